"""Consumes session-revoked messages and deletes each session at the Face API.

Nothing is imported here, so that a publisher or an operator may use one module without loading
all of them. `app.py` is where the platform comes in.
"""

__version__ = "0.3.0"

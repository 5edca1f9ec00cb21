"""Consumes session-revoked messages and deletes each session at the Face API.

Nothing is imported here, so that other programs can load one module without the rest. The Functions
host starts at `app.py`.
"""

__version__ = "0.3.0"

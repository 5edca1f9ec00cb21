"""The cloud on one machine: broker, Face API, identity endpoint and Functions host.

Each part is a separate process that listens on 127.0.0.1 only. None of it is deployed, and none of it
imports `delete_session/`: it starts the app as the platform does.
"""

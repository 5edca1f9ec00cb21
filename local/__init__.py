"""The cloud on one machine: broker, Face API, identity endpoint and Functions host.

Each part is a process of its own that listens on 127.0.0.1 only. None of it is deployed, and none of
it imports `delete_session/`: it starts the app the way the platform does.
"""

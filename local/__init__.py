"""The cloud on one machine: broker, Face API, identity endpoint and Functions host.

Each part is a process of its own that listens on 127.0.0.1 only. Nothing here is deployed, and
nothing here reaches into `delete_session/`: the app is started the way the platform starts it.
"""

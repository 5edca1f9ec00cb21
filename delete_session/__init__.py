"""Consumes session-revoked messages and deletes the session at the Face API."""

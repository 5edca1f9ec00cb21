"""Who calls: what is refused to one of them says nothing about the others."""

import os
from collections.abc import Mapping
from enum import StrEnum


class Caller(StrEnum):
    """Who asks Service Bus or the Face API."""

    LOGIN = "Your login on this machine"
    FUNCTION = "The function's identity"
    KEY = "The key of the connection string"

    @classmethod
    def of(
        cls, connection_string: str | None = None, environment: Mapping[str, str] = os.environ
    ) -> "Caller":
        """Return who calls in this process: a key, if there is one, or the identity that it has."""
        if connection_string:
            return cls.KEY
        return cls.FUNCTION if "IDENTITY_ENDPOINT" in environment else cls.LOGIN

"""JSON of the Face API: what creates a session, and how a session is shown, in both path shapes."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from local.face.errors import ApiError
from local.face.sessions import DEFAULT_TOKEN_SECONDS, Session

MODES = ("Passive", "PassiveActive")
_FLAGS = ("sendResultsToClient", "deviceCorrelationIdSetInClient")
_NO_TEXT = (*_FLAGS, "authTokenTimeToLiveInSeconds")
_JSON_SCALAR = re.compile(r"true|false|[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class Create:
    """A request to create a session."""

    token_seconds: int
    device: str | None


def read_create(values: Any) -> Create:
    """Read the values of a request to create a session.

    Raises:
        ApiError: one is missing or wrong.
    """
    if not isinstance(values, dict):
        raise ApiError(400, "InvalidRequestBody", "The body must be an object.")
    if values.get("livenessOperationMode") not in MODES:
        raise _wrong("livenessOperationMode", f"must be one of {', '.join(MODES)}")
    for name in _FLAGS:
        if not isinstance(values.get(name, False), bool):
            raise _wrong(name, "must be true or false")
    device = values.get("deviceCorrelationId")
    if "deviceCorrelationId" in values and not isinstance(device, str):
        raise _wrong("deviceCorrelationId", "must be a string")
    seconds = values.get("authTokenTimeToLiveInSeconds", DEFAULT_TOKEN_SECONDS)
    if not _is_whole(seconds) or not 60 <= seconds <= 86_400:
        raise _wrong("authTokenTimeToLiveInSeconds", "must be a whole number from 60 to 86400")
    return Create(int(seconds), device)


def from_form(parts: Mapping[str, str]) -> dict[str, object]:
    """Return the values of a form, whose parts are text, as JSON would have them."""
    return {
        name: json.loads(part) if name in _NO_TEXT and _JSON_SCALAR.fullmatch(part) else part
        for name, part in parts.items()
    }


def nested(session: Session) -> dict[str, object]:
    """Return how the older path shape shows a session."""
    return item(session) | {"status": "NotStarted"}


def item(session: Session) -> dict[str, object]:
    """Return how the older path shape lists a session."""
    created = datetime.fromtimestamp(session.created, UTC).isoformat().replace("+00:00", "Z")
    shown: dict[str, object] = {
        "id": session.id,
        "createdDateTime": created,
        "sessionExpired": session.token_has_expired(time.time()),
        "authTokenTimeToLiveInSeconds": session.token_seconds,
    }
    return shown | ({} if session.device is None else {"deviceCorrelationId": session.device})


def flat(session: Session) -> dict[str, object]:
    """Return how the newer path shape shows a session."""
    return {
        "sessionId": session.id,
        "authToken": session.token,
        "status": "NotStarted",
        "results": {"attempts": []},
    }


def _is_whole(value: object) -> bool:
    # To JSON, 600.0 is whole; to Python, True is a number.
    return type(value) is int or (isinstance(value, float) and value.is_integer())


def _wrong(name: str, why: str) -> ApiError:
    return ApiError(400, "BadArgument", f"{name}: {why}.")

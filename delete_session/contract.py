"""What a publisher sends: message bytes → SessionRevoked | Malformed.

A JSON object, or a CloudEvent in structured mode around it (docs/contract.md). Only the session's id
and type determine the deletion: nothing else in a message is checked.
"""

import base64
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import msgspec

MAX_BODY_BYTES = 64 * 1024  # bounds the CPU time of one message

SessionType = Literal["livenessWithVerify", "liveness"]

_TYPES: tuple[SessionType, ...] = get_args(SessionType)

# The end is "(?![\s\S])": "$" also matches before a line feed in Python, and JSON Schema has no "\Z".
SESSION_ID = r"^[A-Za-z0-9_-]{1,128}(?![\s\S])"
"""The id goes into a URL path: only characters that need no encoding there."""
_SessionId = Annotated[str, msgspec.Meta(pattern=SESSION_ID)]


class SessionRevoked(msgspec.Struct, frozen=True, rename="camel"):
    """The members of a message that determine the deletion."""

    session_id: _SessionId
    session_type: SessionType | None = None
    """None: not stated, so that the session may be of either type."""

    @property
    def types(self) -> tuple[SessionType, ...]:
        """The types under which the session may exist."""
        return (self.session_type,) if self.session_type else _TYPES


@dataclass(frozen=True, slots=True)
class Malformed:
    """Not a session-revoked message; `description` says what is wrong and where, not the body."""

    description: str
    session_id: str | None = None
    """The session, if only its type is wrong; for people and the log."""


def parse(body: bytes, content_type: str | None) -> SessionRevoked | Malformed:
    """Read one message.

    Args:
        body: the message's bytes.
        content_type: AMQP content type. A message is an event if this or its `specversion` says so.
    """
    if len(body) > MAX_BODY_BYTES:
        return Malformed(f"body: {len(body)} bytes, at most {MAX_BODY_BYTES} are allowed")
    media_type = (content_type or "").strip().lower()
    try:
        members, path = _object(body, "body"), ""
        is_event = "specversion" in members or media_type.startswith("application/cloudevents")
        # A plain message is read even if it is labelled as an event.
        is_plain = "sessionId" in members and "data" not in members and "data_base64" not in members
        if is_event and not is_plain:
            members, path = _data(members)
    except _Unreadable as error:
        return Malformed(str(error))
    except RecursionError:
        return Malformed("body: nested too deeply")
    try:
        session_id = msgspec.convert(members.get("sessionId"), _SessionId)
    except msgspec.ValidationError:
        rule = "must be 1 to 128 characters of A–Z, a–z, 0–9, - and _"
        return Malformed(f"{path}sessionId: {rule if 'sessionId' in members else 'is missing'}")
    match members.get("sessionType"):
        case None | "":  # what serializers write for a value that is not set
            return SessionRevoked(session_id)
        case "livenessWithVerify" | "liveness" as session_type:
            return SessionRevoked(session_id, session_type)
    return Malformed(f"{path}sessionType: must be livenessWithVerify or liveness", session_id)


class _Unreadable(Exception):
    """No session can be found in the message; the text says where and why."""


_DECISIVE = ("sessionId", "sessionType", "data", "data_base64")  # they determine the deletion
_FORMATS: dict[str, bytes | tuple[bytes, ...]] = {
    "gzip": b"\x1f\x8b",
    "zlib": (b"x\x01", b"x\x9c", b"x\xda"),
    "UTF-16 or UTF-32": (b"\xff\xfe", b"\xfe\xff", b"{\0", b"\0{", b"\0\0\0{"),
    "XML": b"<?xml",
    "binary XML of an old .NET client": b"@\x06string\x08",
    "Base64": b"eyJ",
    "Avro": b"Obj\x01",
}
"""First bytes that prove another format."""


def _object(raw: bytes, where: str) -> dict[str, Any]:
    """Return a JSON object. Bytes that are not UTF-8 are replaced: no valid id or type has any."""
    try:
        value = _decoder.decode(raw.decode("utf-8-sig", "replace"))
    except json.JSONDecodeError as error:
        if not raw.strip():
            raise _Unreadable(f"{where}: empty, must be a JSON object") from None
        for name, first_bytes in _FORMATS.items():
            if raw.startswith(first_bytes):
                raise _Unreadable(f"{where}: looks like {name}, must be JSON in UTF-8") from None
        raise _Unreadable(f"{where}: not JSON in UTF-8: {error}") from None
    return _checked(value, where)


def _checked(value: object, where: str) -> dict[str, Any]:
    """Return a decoded value if it is an object without conflicting members."""
    if not isinstance(value, _Members):
        raise _Unreadable(f"{where}: must be a JSON object")
    if value.conflict:
        raise _Unreadable(f"{value.conflict}: more than once, with different values")
    return value


def _data(event: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the object in an event's `data` or `data_base64`, and the path of its members."""
    data, encoded = event.get("data"), event.get("data_base64")
    if encoded is None:
        members, path = _checked(data, "data"), "data."
    elif data is not None:
        raise _Unreadable("data: must not stand beside data_base64")
    else:
        try:
            # validate: skipping characters outside the alphabet could give another id.
            raw = base64.b64decode(encoded, validate=True)
        except (TypeError, ValueError):
            raise _Unreadable("data_base64: not Base64") from None
        members, path = _object(raw, "data_base64"), "data_base64."
    for name in ("sessionId", "sessionType"):
        # Deleting one of two sessions would silently leave the other.
        if event.get(name) not in (None, "", members.get(name)):
            raise _Unreadable(f"{name}: differs from {path}{name}")
    return members, path


class _Members(dict[str, Any]):
    """A JSON object. `conflict` names a decisive member that it has twice, with different values."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.conflict: str | None = None
        if len(self) < len(pairs):  # a member is there twice, and the last one is kept
            for name, value in pairs:
                inner = getattr(value, "conflict", None)  # the last one may have none
                if name in _DECISIVE and (inner or value != self[name]):
                    self.conflict = name


_decoder = json.JSONDecoder(
    object_pairs_hook=_Members,
    parse_int=float,  # int() refuses numbers of very many digits
    strict=False,  # accepts control characters within strings
)

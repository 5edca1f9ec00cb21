"""What a publisher sends: message bytes → SessionRevoked | Malformed.

Plain JSON, or the same object as `data` of a CloudEvents 1.0 message in structured or binary mode
(CloudEvents AMQP protocol binding 1.0.2). `Body` is the contract, docs/contract.md is its publisher's
side. Reading is more lenient than the contract: only the session's id and type decide about a
deletion; whatever else is wrong is an oddity.
"""

import base64
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, get_args

import msgspec
from msgspec.structs import replace

from .cloud_events import BATCH, STRUCTURED_MODE, data, odd_attributes, odd_properties
from .lenient_json import MISSING, Object, has_half_of_a_pair, kind, load, looks_like

MAX_BODY_BYTES = 64 * 1024

SessionType = Literal["livenessWithVerify", "liveness"]

_SessionId = Annotated[
    str,
    msgspec.Meta(
        # It goes into a URL path: nothing but unreserved characters, so nothing needs escaping.
        # Not "$", which in Python also matches before a line feed at the end.
        pattern=r"^[A-Za-z0-9_-]{1,128}(?![\s\S])",
        description="The session's id, as the Face API returned it when it was created.",
    ),
]
_SessionType = Annotated[
    SessionType, msgspec.Meta(description="Which kind of session the id belongs to.")
]


class Body(msgspec.Struct, frozen=True, rename="camel"):
    """A liveness session was revoked upstream and has to be deleted at the Face API."""

    session_id: _SessionId
    session_type: _SessionType = "livenessWithVerify"
    reason: Annotated[
        str | None,
        msgspec.Meta(description="Why it was revoked, for people. Never logged."),
    ] = None
    revoked_at: Annotated[
        Annotated[datetime, msgspec.Meta(tz=True)] | None,
        msgspec.Meta(description="When it was revoked, RFC 3339 with an offset."),
    ] = None


class SessionRevoked(msgspec.Struct, frozen=True, rename="camel"):
    """What of a message decides about a deletion, and what was odd about the rest."""

    session_id: _SessionId
    session_type: _SessionType = "livenessWithVerify"
    oddities: tuple[str, ...] = ()
    """What does not keep to the contract: where, and what is wrong, never what stands there."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Not a session-revoked message; `description` says what is wrong and where, not the body."""

    description: str


_body = msgspec.json.Decoder(Body)


def parse(
    body: bytes, content_type: str | None, properties: Mapping[str, object]
) -> SessionRevoked | Malformed:
    """Read one message.

    Args:
        body: the message's bytes, UTF-8 JSON.
        content_type: AMQP content type; `application/cloudevents+json` marks structured mode.
        properties: AMQP application properties; those of a CloudEvent mark binary mode.
    """
    if len(body) > MAX_BODY_BYTES:
        return Malformed(f"body: {len(body)} bytes, at most {MAX_BODY_BYTES} are allowed")
    media_type = (content_type or "").strip().lower()
    if media_type.startswith(BATCH):
        return Malformed("content type: a CloudEvents batch is not supported, send single events")
    is_event = media_type.startswith(STRUCTURED_MODE)
    oddities = [] if is_event else odd_properties(media_type, properties)
    problem: Exception | None = None
    try:
        # A byte order mark is no error in RFC 8259, and .NET publishers write one by accident.
        # The decoder itself passes over unknown members without looking at their encoding.
        text = body.decode("utf-8-sig")
        # Of members that stand there twice it takes the last one. A name may be written with escapes.
        once = text.count('"sessionId"') < 2 and text.count('"sessionType"') < 2
        if once and "\\u00" not in text and not oddities:
            read = _body.decode(data(text) if is_event else text)
            return SessionRevoked(read.session_id, read.session_type)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        problem = error
    return _Lenient(problem, oddities).read(body, is_event=is_event)


_TYPES = {name.lower(): name for name in get_args(SessionType)}
_DECISIVE = ("sessionId", "sessionType")
_FOR_INFORMATION = {"reason": "not text", "revokedAt": "not RFC 3339 with an offset"}


class _Lenient:
    """Reads what the strict decoder refuses or might misread, for the session's id and type alone.

    Args:
        problem: why the decoder refused the body, if it was asked.
        oddities: what is odd so far.
    """

    def __init__(self, problem: Exception | None, oddities: list[str]) -> None:
        self._problem = problem
        self._oddities = oddities

    def read(self, body: bytes, *, is_event: bool) -> SessionRevoked | Malformed:
        """Read the body; `is_event` where the content type says that it is a CloudEvent."""
        try:
            text = self._text(body, "body")
            if not text.strip():
                return Malformed("body: empty, expected a JSON object")
            revoked = self._session(self._document(load(text), is_event))
        except msgspec.ValidationError as error:
            return Malformed(_without_values(str(error)))
        except (ValueError, RecursionError) as error:
            return Malformed(f"body: {looks_like(body) or self._reason(error)}")
        if type(self._problem) is msgspec.DecodeError:
            half = has_half_of_a_pair(text)
            self._oddities.append(f"body: {'half of a surrogate pair' if half else self._problem}")
        elif isinstance(self._problem, RecursionError):
            self._oddities.append("body: nested deeply")
        return replace(revoked, oddities=tuple(dict.fromkeys(self._oddities)))

    def _reason(self, error: Exception) -> str:
        """Return why the body is no JSON, in the decoder's words where it has found the same."""
        problem = self._problem
        if isinstance(problem, UnicodeDecodeError):
            return f"not UTF-8 at byte {problem.start}"
        if isinstance(error, RecursionError) or isinstance(problem, RecursionError):
            return "JSON is nested too deeply"
        return str(problem) if type(problem) is msgspec.DecodeError else str(error)

    def _text(self, raw: bytes, where: str) -> str:
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            # What is not ASCII can be no part of an id, and ASCII is read alike.
            self._oddities.append(f"{where}: not UTF-8 at byte {error.start}")
            return raw.decode("utf-8-sig", "replace")

    def _document(self, value: object, is_event: bool) -> Object:
        """Return the object that the contract describes, out of a CloudEvent if it is in one."""
        document = self._object(value, "body")
        names = {name for name, _ in document}
        has_data = not names.isdisjoint(("data", "data_base64"))
        if "sessionId" in names and not (is_event and has_data):
            if is_event:
                self._oddities.append("content type: CloudEvents, but the body is the bare object")
            return document
        if not is_event and "specversion" not in names:
            return document
        if not is_event:
            self._oddities.append("content type: not application/cloudevents+json")
        self._oddities += odd_attributes(dict(document))
        return self._data(document)

    def _data(self, event: Object) -> Object:
        data, encoded = event.member("data"), event.member("data_base64")
        if data is MISSING and encoded is MISSING:
            raise msgspec.ValidationError("Object missing required field `data`")
        if isinstance(encoded, str) and (data is MISSING or data is None):
            self._oddities.append("data_base64: instead of data")
            try:
                # What is not of the alphabet is not passed over: it would make another text.
                raw = base64.b64decode(encoded, validate=True)
                return self._object(load(self._text(raw, "data_base64")), "data_base64")
            except (ValueError, RecursionError):
                raise msgspec.ValidationError("data_base64: not JSON in Base64") from None
        return self._object(encoded if data is MISSING else data, "data")

    def _object(self, value: object, where: str) -> Object:
        if isinstance(value, str):
            with contextlib.suppress(ValueError, RecursionError):
                if isinstance(inner := load(value), Object):
                    self._oddities.append(f"{where}: the object is written into a JSON string")
                    return inner
        if not isinstance(value, Object):
            raise msgspec.ValidationError(f"{where}: Expected `object`, got `{kind(value)}`")
        return value

    def _session(self, document: Object) -> SessionRevoked:
        names = [name for name, _ in document]
        found = {name: document.member(name) for name in _DECISIVE if name in names}
        self._oddities += [f"{name}: more than once" for name in found if names.count(name) > 1]
        given = found.get("sessionType", MISSING)
        if given is None or (isinstance(given, str) and not given.strip()):
            del found["sessionType"]
            self._oddities.append(f"sessionType: {'null' if given is None else 'empty'}")
        elif isinstance(given, str) and given not in _TYPES.values():
            found["sessionType"] = _TYPES.get(given.strip().lower(), "unknown")
            self._oddities.append("sessionType: of another letter case, or with white space")
        for name, value in document:
            try:
                if name in _FOR_INFORMATION:
                    msgspec.convert({"sessionId": "-", name: value}, Body)
            except (msgspec.ValidationError, UnicodeEncodeError):
                self._oddities.append(f"{name}: {_FOR_INFORMATION[name]}")
        return msgspec.convert(
            {name: dict(v) if isinstance(v, Object) else v for name, v in found.items()},
            SessionRevoked,
        )


def _without_values(problem: str) -> str:
    # The one message of msgspec that repeats what it read: Invalid enum value 'x' - at `$.y`.
    return re.sub(
        r"Invalid enum value .* - at ",
        "Not one of the allowed values - at ",
        problem,
        flags=re.DOTALL,
    )

"""What a publisher sends: message bytes → SessionRevoked | Malformed.

Plain JSON, or the same object as `data` of a CloudEvents 1.0 message in structured or binary mode
(CloudEvents AMQP protocol binding 1.0.2). The publisher's side of it is docs/contract.md.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import msgspec

MAX_BODY_BYTES = 64 * 1024

SessionType = Literal["livenessWithVerify", "liveness"]


class SessionRevoked(msgspec.Struct, frozen=True, rename="camel"):
    """A liveness session was revoked upstream and has to be deleted at the Face API."""

    # It goes into a URL path: nothing but unreserved characters, so nothing needs escaping.
    session_id: Annotated[
        str,
        msgspec.Meta(
            # Not "$", which in Python also matches before a line feed at the end.
            pattern=r"^[A-Za-z0-9_-]{1,128}(?![\s\S])",
            description="The session's id, as the Face API returned it when it was created.",
        ),
    ]
    session_type: Annotated[
        SessionType, msgspec.Meta(description="Which kind of session the id belongs to.")
    ] = "livenessWithVerify"
    reason: Annotated[
        str | None,
        msgspec.Meta(description="Why it was revoked, for people. Never logged."),
    ] = None
    revoked_at: Annotated[
        Annotated[datetime, msgspec.Meta(tz=True)] | None,
        msgspec.Meta(description="When it was revoked, RFC 3339 with an offset."),
    ] = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """Not a session-revoked message; `description` says what is wrong and where, not the body."""

    description: str


class _CloudEvent(msgspec.Struct, frozen=True):
    """The envelope of structured mode: required attributes, and the data still undecoded."""

    specversion: Literal["1.0"]
    id: Annotated[str, msgspec.Meta(min_length=1)]
    source: Annotated[str, msgspec.Meta(min_length=1)]
    type: Annotated[str, msgspec.Meta(min_length=1)]
    data: msgspec.Raw
    datacontenttype: str | None = None


_session_revoked = msgspec.json.Decoder(SessionRevoked)
_cloud_event = msgspec.json.Decoder(_CloudEvent)
_JSON_MEDIA_TYPE = re.compile(r"(?i)\s*[a-z0-9.+-]+/(?:[a-z0-9.+-]+\+)?json\s*(?:;.*)?$")


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
    try:
        # A byte order mark is no error in RFC 8259, and .NET publishers write one by accident.
        # The decoder itself passes over unknown members without looking at their encoding.
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Malformed(f"body: not UTF-8 at byte {error.start}")
    if not text.strip():
        return Malformed("body: empty, expected a JSON object")
    media_type = (content_type or "").strip().lower()
    try:
        if media_type.startswith("application/cloudevents-batch"):
            return Malformed(
                "content type: a CloudEvents batch is not supported, send single events"
            )
        if media_type.startswith("application/cloudevents"):
            event = _cloud_event.decode(text)
            if event.datacontenttype and not _JSON_MEDIA_TYPE.match(event.datacontenttype):
                return Malformed("$.datacontenttype: expected application/json")
            return _session_revoked.decode(event.data)
        if problem := _problem_of_binary_mode(media_type, properties):
            return Malformed(problem)
        return _session_revoked.decode(text)
    except msgspec.ValidationError as error:
        return Malformed(_without_values(str(error)))
    except msgspec.DecodeError as error:
        return Malformed(f"body: {error}")
    except RecursionError:
        return Malformed("body: JSON is nested too deeply")


def _problem_of_binary_mode(media_type: str, properties: Mapping[str, object]) -> str | None:
    """What is wrong with the CloudEvents attributes among the properties; None if nothing is."""
    attributes = {
        name[len("cloudEvents:") :]: value
        for name, value in properties.items()
        if name.startswith(("cloudEvents:", "cloudEvents_"))
    }
    if not attributes:
        return None
    if attributes.get("specversion") != "1.0":
        return "application property cloudEvents:specversion: expected '1.0'"
    for name in ("id", "source", "type"):
        value = attributes.get(name)
        if not isinstance(value, str) or not value:
            return f"application property cloudEvents:{name}: expected a non-empty string"
    if media_type and not _JSON_MEDIA_TYPE.match(media_type):
        return "content type: expected application/json"
    return None


def _without_values(problem: str) -> str:
    # The one message of msgspec that repeats what it read: Invalid enum value 'x' - at `$.y`.
    return re.sub(
        r"Invalid enum value .* - at ",
        "Not one of the allowed values - at ",
        problem,
        flags=re.DOTALL,
    )

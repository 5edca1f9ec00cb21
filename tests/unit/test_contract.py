"""The parser: what a publisher may send, and what is malformed."""

import json
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delete_session.contract import MAX_BODY_BYTES, Malformed, SessionRevoked, parse

ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/identity", "type": "session-revoked"}
BINARY = {f"cloudEvents:{name}": value for name, value in ATTRIBUTES.items()}
ALLOWED = string.ascii_letters + string.digits + "-_"


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def malformed(
    raw: bytes, content_type: str | None = None, properties: dict[str, object] | None = None
) -> str:
    result = parse(raw, content_type, properties or {})
    assert isinstance(result, Malformed), result
    return result.description


def test_session_id_alone_is_enough() -> None:
    """A message with nothing but a session id names a livenessWithVerify session."""
    assert parse(body(sessionId="a-B_9"), None, {}) == SessionRevoked(session_id="a-B_9")


def test_optional_fields_are_read_and_unknown_ones_ignored() -> None:
    """Type, reason and time are read; a field that nobody knows is passed over."""
    raw = body(
        sessionId="a",
        sessionType="liveness",
        reason="x",
        revokedAt="2026-01-02T03:04:05+02:00",
        y={},
    )
    assert parse(raw, "application/json", {}) == SessionRevoked(
        session_id="a",
        session_type="liveness",
        reason="x",
        revoked_at=datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC),
    )


@pytest.mark.parametrize("raw", [b"\xef\xbb\xbf" + body(sessionId="a"), b' \n{"sessionId":"a"} '])
def test_byte_order_mark_and_white_space_are_harmless(raw: bytes) -> None:
    """What JSON writers put around the object by accident does not make it malformed."""
    assert parse(raw, None, {}) == SessionRevoked(session_id="a")


@pytest.mark.parametrize(
    "content_type",
    ["application/cloudevents+json", "Application/CloudEvents+JSON; charset=utf-8"],
)
def test_structured_cloudevent_carries_the_object_as_data(content_type: str) -> None:
    """A CloudEvents message in structured mode is read from its data."""
    raw = body(**ATTRIBUTES, data={"sessionId": "a"}, datacontenttype="application/json")
    assert parse(raw, content_type, {}) == SessionRevoked(session_id="a")


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_"])
def test_binary_cloudevent_carries_the_object_as_body(prefix: str) -> None:
    """A CloudEvents message in binary mode is read from its body, under both prefixes."""
    properties = {prefix + name: value for name, value in ATTRIBUTES.items()}
    assert parse(body(sessionId="a"), "application/json", properties) == SessionRevoked(
        session_id="a"
    )


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b"", "body: empty"),
        (b"   ", "body: empty"),
        (b"sessionId=a", "body: JSON is malformed: invalid character (byte 0)"),
        (b'{"sessionId":"a"', "body:"),
        (b'{"sessionId":"a"}{}', "trailing characters"),
        (b'{"sessionId":"a","x":"\xff"}', "body: not UTF-8 at byte 22"),
        (b'{"sessionId":"a","x":NaN}', "body: JSON is malformed"),
        (b'{"sessionId":"a","x":' + b"[" * 60_000, "body: JSON is nested too deeply"),
        (b"null", "Expected `object`, got `null`"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `sessionId`"),
        (body(sessionId=1), "got `int` - at `$.sessionId`"),
        (body(sessionId=""), "at `$.sessionId`"),
        (body(sessionId="a" * 129), "at `$.sessionId`"),
        (body(sessionId="../secret"), "at `$.sessionId`"),
        (body(sessionId="a\n"), "at `$.sessionId`"),
        (body(sessionId="ä"), "at `$.sessionId`"),
        (body(sessionId="a", sessionType="secret"), "at `$.sessionType`"),
        (body(sessionId="a", reason=7), "at `$.reason`"),
        (body(sessionId="a", revokedAt="yesterday"), "at `$.revokedAt`"),
        (body(sessionId="a", revokedAt="2026-01-02T03:04:05"), "timezone"),
        (b"x" * (MAX_BODY_BYTES + 1), f"{MAX_BODY_BYTES + 1} bytes, at most {MAX_BODY_BYTES}"),
    ],
)
def test_malformed_message_is_told_what_and_where(raw: bytes, where: str) -> None:
    """The description names the place, and never repeats what stands there."""
    description = malformed(raw)
    assert where in description
    assert "secret" not in description


def test_largest_allowed_body_is_read() -> None:
    """64 KiB are allowed to the byte."""
    start, end = b'{"sessionId":"a","x":"', b'"}'
    raw = start + b"x" * (MAX_BODY_BYTES - len(start) - len(end)) + end
    assert len(raw) == MAX_BODY_BYTES
    assert parse(raw, None, {}) == SessionRevoked(session_id="a")


@pytest.mark.parametrize(
    ("raw", "content_type", "properties", "where"),
    [
        (body(**ATTRIBUTES), "application/cloudevents+json", {}, "field `data`"),
        (
            body(**{**ATTRIBUTES, "specversion": "0.3"}, data={"sessionId": "a"}),
            "application/cloudevents+json",
            {},
            "$.specversion",
        ),
        (
            body(**ATTRIBUTES, data={"sessionId": ""}),
            "application/cloudevents+json",
            {},
            "$.sessionId",
        ),
        (
            body(**ATTRIBUTES, data={"sessionId": "a"}, datacontenttype="text/xml"),
            "application/cloudevents+json",
            {},
            "$.datacontenttype",
        ),
        (b"[]", "application/cloudevents-batch+json", {}, "batch"),
        (
            body(sessionId="a"),
            "application/json",
            {**BINARY, "cloudEvents:specversion": "2.0"},
            "cloudEvents:specversion",
        ),
        (body(sessionId="a"), None, {**BINARY, "cloudEvents:source": ""}, "cloudEvents:source"),
        (body(sessionId="a"), "text/plain", BINARY, "content type"),
    ],
)
def test_what_claims_to_be_a_cloudevent_has_to_be_one(
    raw: bytes, content_type: str | None, properties: dict[str, object], where: str
) -> None:
    """A CloudEvents message that breaks the specification is malformed."""
    assert where in malformed(raw, content_type, properties)


@given(st.binary(max_size=300), st.none() | st.text(max_size=40))
def test_any_bytes_are_parsed_or_described(raw: bytes, content_type: str | None) -> None:
    """No bytes whatever make the parser raise."""
    assert isinstance(parse(raw, content_type, {}), SessionRevoked | Malformed)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("sessionId"), inner),
        max_leaves=8,
    )
)
def test_any_json_is_parsed_or_described(value: object) -> None:
    """No JSON whatever makes the parser raise, nor read a session id that is not one."""
    result = parse(json.dumps(value).encode(), None, {})
    if isinstance(result, SessionRevoked):
        assert 1 <= len(result.session_id) <= 128
        assert set(result.session_id) <= set(ALLOWED)


@given(st.text(ALLOWED, min_size=1, max_size=128))
def test_every_allowed_session_id_is_read(session_id: str) -> None:
    """A session id of allowed characters comes out as it went in."""
    assert parse(body(sessionId=session_id), None, {}) == SessionRevoked(session_id=session_id)

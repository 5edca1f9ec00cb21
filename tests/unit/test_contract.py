"""The parser: what a publisher may send, and what is malformed."""

import base64
import json
import string
import time
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from delete_session.contract import MAX_BODY_BYTES, Malformed, SessionRevoked, parse

from .fakes import face_client

EVENT = {"specversion": "1.0", "id": "1", "source": "/identity", "type": "session-revoked"}
STRUCTURED = "application/cloudevents+json"
ALLOWED = string.ascii_letters + string.digits + "-_"
ID_RULE = "must be 1 to 128 characters of A–Z, a–z, 0–9, - and _"
TYPE_RULE = "must be livenessWithVerify or liveness"


def body(**members: Any) -> bytes:
    return json.dumps(members).encode()


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def malformed(raw: bytes, content_type: str | None = None) -> str:
    result = parse(raw, content_type)
    assert isinstance(result, Malformed), result
    return result.description


def test_session_id_alone_is_enough() -> None:
    """A message with nothing but a session id names a session of either type."""
    revoked = parse(body(sessionId="a-B_9"), None)
    assert revoked == SessionRevoked("a-B_9")
    assert isinstance(revoked, SessionRevoked)
    assert revoked.types == ("livenessWithVerify", "liveness")


def test_session_type_is_read() -> None:
    """The other type can be stated."""
    raw = body(sessionId="a", sessionType="liveness")
    assert parse(raw, "application/json") == SessionRevoked("a", "liveness")


@pytest.mark.parametrize("session_type", [None, ""])
def test_null_or_empty_type_is_not_stated(session_type: str | None) -> None:
    """Serializers write null or nothing for a value that is not set."""
    assert parse(body(sessionId="a", sessionType=session_type), None) == SessionRevoked("a")


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbf" + body(sessionId="a"),
        b' \n{"sessionId":"a"} ',
        body(sessionId="a", reason=["x"], revokedAt=7, was={"sessionId": "b"}),
        b'{"sessionId":"a","sessionId":"a"}',
        b'{"sess\\u0069onId":"a"}',
        b'{"sessionId":"a","x":"\xff"}',
        b'{"sessionId":"a","x":"\\ud800"}',
        b'{"sessionId":"a","x":[NaN,1e400,"\n"]}',
        b'{"sessionId":"a","x":%s}' % (b"9" * 5000),
        body(sessionId="a", data={"sessionId": "b"}),
    ],
)
def test_only_the_id_and_the_type_are_checked(raw: bytes) -> None:
    """Whatever else is in the object does not keep a session alive."""
    assert parse(raw, "text/plain") == SessionRevoked("a")


@pytest.mark.parametrize("content_type", [STRUCTURED, " Application/CloudEvents; x=y", None])
@pytest.mark.parametrize(
    "members",
    [
        {"data": {"sessionId": "a"}},
        {"data": {"sessionId": "a"}, "sessionId": "a"},
        {"data_base64": encoded(b'{"sessionId":"a","x":"\xff"}'), "data": None},
        {"sessionId": "a"},
    ],
)
def test_event_is_read_from_its_data(members: dict[str, Any], content_type: str | None) -> None:
    """An event in structured mode is known by its content type or by its specversion."""
    assert parse(body(**EVENT, **members), content_type) == SessionRevoked("a")


def test_content_type_alone_marks_an_event() -> None:
    """An event without a specversion is read, too, if the content type says what it is."""
    assert parse(body(data={"sessionId": "a"}), STRUCTURED) == SessionRevoked("a")
    assert malformed(body(data={"sessionId": "a"})) == "sessionId: is missing"


@pytest.mark.parametrize(
    ("raw", "description"),
    [
        (b"x" * (MAX_BODY_BYTES + 1), "body: 65537 bytes, at most 65536 are allowed"),
        (b" \n ", "body: empty, must be a JSON object"),
        (
            b'{"sessionId":"secret"',
            "body: not JSON in UTF-8: Expecting ',' delimiter: line 1 column 22 (char 21)",
        ),
        (b"\xffsecret", "body: not JSON in UTF-8: Expecting value: line 1 column 1 (char 0)"),
        (b'{"sessionId":"a","x":' + b"[" * 60_000, "body: nested too deeply"),
        (b"[]", "body: must be a JSON object"),
        (b'"secret"', "body: must be a JSON object"),
        (b"{}", "sessionId: is missing"),
        (body(sessionId=None), f"sessionId: {ID_RULE}"),
        (body(sessionId=1), f"sessionId: {ID_RULE}"),
        (body(sessionId=["secret"]), f"sessionId: {ID_RULE}"),
        (body(sessionId="../secret"), f"sessionId: {ID_RULE}"),
        (b'{"sessionId":"a\xff"}', f"sessionId: {ID_RULE}"),
        (body(sessionId="a\ud800"), f"sessionId: {ID_RULE}"),
        (body(sessionId="a", sessionType="secret"), f"sessionType: {TYPE_RULE}"),
        (body(sessionId="a", sessionType="Liveness"), f"sessionType: {TYPE_RULE}"),
        (body(sessionId="a", sessionType=0), f"sessionType: {TYPE_RULE}"),
        (body(sessionId="a", sessionType="\ud800"), f"sessionType: {TYPE_RULE}"),
        (body(**EVENT), "data: must be a JSON object"),
        (body(**EVENT, data='{"sessionId":"a"}'), "data: must be a JSON object"),
        (body(**EVENT, data=[], sessionId="a"), "data: must be a JSON object"),
        (body(**EVENT, data={}), "data.sessionId: is missing"),
        (body(**EVENT, data={"sessionId": "secret!"}), f"data.sessionId: {ID_RULE}"),
        (body(**EVENT, data_base64=7), "data_base64: not Base64"),
        # Another alphabet: passing over what is strange to it would make another id.
        (body(**EVENT, data_base64="eyJzZXNz-W9u"), "data_base64: not Base64"),
        (body(**EVENT, data_base64=encoded(b"[]")), "data_base64: must be a JSON object"),
        (
            body(**EVENT, data_base64=encoded(b"7;")),
            "data_base64: not JSON in UTF-8: Extra data: line 1 column 2 (char 1)",
        ),
        (
            body(**EVENT, data_base64=encoded(b'{"sessionId":"a","sessionType":7}')),
            f"data_base64.sessionType: {TYPE_RULE}",
        ),
    ],
)
def test_description_says_what_is_wrong_and_where(raw: bytes, description: str) -> None:
    """It is written for people, and never repeats a value."""
    assert malformed(raw) == description


@pytest.mark.parametrize(
    ("raw", "description"),
    [
        (b'{"sessionId":"a","session\\u0049d":"b"}', "sessionId: more than once"),
        (
            b'{"sessionId":"a","sessionType":"liveness","sessionType":"livenessWithVerify"}',
            "sessionType: more than once",
        ),
        (
            b'{"specversion":"1.0","data":{"sessionId":"a"},"data":{"sessionId":"b"}}',
            "data: more than once",
        ),
        (
            b'{"specversion":"1.0","data":{"sessionId":"b","sessionId":"a"},"data":{"sessionId":"a"}}',
            "data: more than once",
        ),
        (
            body(**EVENT, data={"sessionId": "a"}, sessionId="b"),
            "sessionId: differs from data.sessionId",
        ),
        (
            body(**EVENT, data={"sessionId": "a"}, sessionType="liveness"),
            "sessionType: differs from data.sessionType",
        ),
        (
            body(**EVENT, data_base64=encoded(body(sessionId="a")), sessionId="b"),
            "sessionId: differs from data_base64.sessionId",
        ),
        (
            body(**EVENT, data_base64=encoded(body(sessionId="a")), data={"sessionId": "b"}),
            "data: must not stand beside data_base64",
        ),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", STRUCTURED])
def test_two_sessions_are_malformed(raw: bytes, description: str, content_type: str) -> None:
    """Whichever was deleted, the other one would silently survive."""
    assert malformed(raw, content_type).startswith(description)
    assert parse(raw, content_type).session_id is None


def test_malformed_message_names_its_session() -> None:
    """An operator finds the session again if only its type is wrong."""
    read = parse(body(sessionId="one", sessionType="face"), None)
    assert isinstance(read, Malformed)
    assert read.session_id == "one"


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (bytes.fromhex("1f8b0800000000000203ab562a4e2d2ececccff34c51b252ca4f"), "gzip"),
        (bytes.fromhex("789cab562a4e2d2ececccff34c51b252ca4f49d14dcacc53aa05"), "zlib"),
        ('{"sessionId":"a"}'.encode("utf-16"), "UTF-16 or UTF-32"),
        ('{"sessionId":"a"}'.encode("utf-16-le"), "UTF-16 or UTF-32"),
        ('{"sessionId":"a"}'.encode("utf-16-be"), "UTF-16 or UTF-32"),
        ('{"sessionId":"a"}'.encode("utf-32-be"), "UTF-16 or UTF-32"),
        (b'<?xml version="1.0"?>', "XML"),
        (b"@\x06string\x083http://schemas.microsoft.com", "binary XML of an old .NET client"),
        (base64.b64encode(b'{"sessionId":"a"}'), "Base64"),
        (bytes.fromhex("4f626a0104166176726f2e736368656d61"), "Avro"),
    ],
)
def test_first_bytes_prove_another_format(raw: bytes, name: str) -> None:
    """The description names the format that the body has."""
    assert malformed(raw) == f"body: looks like {name}, must be JSON in UTF-8"


@pytest.mark.parametrize(
    "raw",
    [
        "aced00057400177b2273657373696f6e4964223a226f64642d62696e227d",  # Java
        "260000000273657373696f6e496400080000006f64642d62696e0000",  # BSON
        "81a973657373696f6e4964a76f64642d62696e",  # MessagePack
        "005377a1177b2273657373696f6e4964223a226f64642d62696e227d",  # an AMQP value
        "8004951e000000000000007d948c0973657373696f6e4964948c076f64642d62696e94732e",  # pickle
    ],
)
def test_no_format_is_guessed(raw: str) -> None:
    """Without proof, the description only says that it is not JSON."""
    assert malformed(bytes.fromhex(raw)).startswith("body: not JSON in UTF-8: ")


def test_largest_allowed_body_is_read() -> None:
    """64 KiB are allowed to the byte."""
    raw = filled(b'{"sessionId":"a","x":"', b"x", b'"}')
    assert len(raw) == MAX_BODY_BYTES
    assert parse(raw, None) == SessionRevoked("a")


def filled(start: bytes, unit: bytes, end: bytes) -> bytes:
    """Return a body of about 64 KiB that repeats a unit."""
    return start + unit * ((MAX_BODY_BYTES - len(start) - len(end)) // len(unit)) + end


def cpu_seconds(raw: bytes) -> float:
    """Return the CPU time of one parse, the best of up to three."""
    best = 1e9
    for _ in range(3):
        started = time.process_time()
        parse(raw, None)
        best = min(best, time.process_time() - started)
        if best < 0.05:
            break
    return best


OBJECT = b'{"sessionId":"a","x":'
UNITS = [
    *(b'\\"', b"\\u00e9", b"\\ud800", b"\\\\", b'"', b"[", b"]", b"{}", b'{"a":', b"9", b",1"),
    *(b",NaN", b'"x":1,', b',"sessionId":"a"', b',{"data":[],"data":[]}', b"\n", b"\xff", b"W1tb"),
]
STARTS = [
    *(b"", b"[" * 10_050 + b'"', OBJECT, OBJECT + b'"', OBJECT + b"[1", OBJECT + b"0."),
    *(b'{"sessionId":', b'{"sessionId":"', b'{"sessionId":"a"', b'{"specversion":"1.0","data":'),
    b'{"specversion":"1.0","data_base64":"',
]


@settings(max_examples=100)
@example(b"[" * 10_050 + b'"', b'\\"', b"")  # once took nine seconds
@given(st.sampled_from(STARTS), st.sampled_from(UNITS), st.sampled_from([b"", b'"}', b"}", b"]}"]))
def test_no_body_costs_more_than_50_ms(start: bytes, unit: bytes, end: bytes) -> None:
    """Nesting, escapes, digits and duplicate members take linear time, even at 64 KiB."""
    assert cpu_seconds(filled(start, unit, end)) < 0.05


ODD_TEXT = st.text('a0 "\\{[,\n\0é\u2028\ud800😀', max_size=20)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(ODD_TEXT | st.just("sessionId"), inner, max_size=3)
    ),
    max_leaves=4,
)
CONTENT_TYPES = st.sampled_from([None, "", "text/plain", STRUCTURED, "é"])


@settings(max_examples=50)
@given(st.binary(max_size=300) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_described(raw: bytes) -> None:
    """No bytes make the parser raise, or read a session id that is not one."""
    result = parse(raw, None)
    if isinstance(result, SessionRevoked):
        assert 1 <= len(result.session_id) <= 128
        assert set(result.session_id) <= set(ALLOWED)


IDS = st.text(ALLOWED, min_size=1, max_size=128)
OTHERS = st.dictionaries(
    ODD_TEXT | st.sampled_from(["reason", "revokedAt", "id", "type", "source"]),
    ANYTHING,
    max_size=4,
)


@settings(max_examples=30)
@given(IDS, OTHERS, CONTENT_TYPES, st.sampled_from(["plain", "data", "data_base64"]), st.booleans())
def test_valid_id_is_read_whatever_else_is_sent(
    session_id: str, others: dict[str, Any], content_type: str | None, form: str, escaped: bool
) -> None:
    """A document with a valid id is accepted with any other members and content type."""

    def written(document: dict[str, Any]) -> bytes:
        return json.dumps(document, ensure_ascii=escaped).encode("utf-8", "surrogatepass")

    members = ("sessionId", "sessionType", "specversion", "data", "data_base64")
    others = {name: value for name, value in others.items() if name not in members}
    revoked = {**others, "sessionId": session_id, "sessionType": "liveness"}
    raw = {
        "plain": written(revoked),
        "data": written({**others, "specversion": "1.0", "data": revoked}),
        "data_base64": written(
            {**others, "specversion": "1.0", "data_base64": encoded(written(revoked))}
        ),
    }[form]
    if len(raw) <= MAX_BODY_BYTES:
        assert parse(raw, content_type) == SessionRevoked(session_id, "liveness")


@settings(max_examples=30)
@given(IDS | ODD_TEXT | st.builds(str.__add__, IDS, ODD_TEXT))
async def test_id_reaches_the_url_byte_for_byte_or_not_at_all(session_id: str) -> None:
    """What is asked for ends in the very id that was sent, and nothing else is asked for."""
    asked: list[bytes] = []

    class Transport:
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.extensions["target"])
            return httpx.Response(200, stream=httpx.ByteStream(b""))

    class Tokens:
        async def get(self) -> str:
            return "t"

    face = face_client(Tokens())
    await face.close()
    face._transport = Transport()  # type: ignore[assignment]
    for escaped in (True, False):
        text = json.dumps({"sessionId": session_id}, ensure_ascii=escaped)
        result = parse(text.encode("utf-8", "surrogatepass"), None)
        valid = 1 <= len(session_id) <= 128 and set(session_id) <= set(ALLOWED)
        assert isinstance(result, SessionRevoked if valid else Malformed)
        if isinstance(result, SessionRevoked):
            await face.delete(result.session_id, result.types[0])
            path = b"/face/v1.2-preview.1/detectLivenessWithVerify/singleModal/sessions/"
            assert asked.pop() == path + session_id.encode()
    assert not asked

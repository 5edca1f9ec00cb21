"""The parser: what a publisher may send, and what is malformed."""

import base64
import json
import random
import string
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delete_session.contract import MAX_BODY_BYTES, Malformed, SessionRevoked, parse

from .fakes import face_client

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


def odd(
    raw: bytes, content_type: str | None = None, properties: dict[str, object] | None = None
) -> tuple[str, ...]:
    """What is odd about a message that names the session a."""
    result = parse(raw, content_type, properties or {})
    assert isinstance(result, SessionRevoked), result
    assert (result.session_id, result.session_type) == ("a", "livenessWithVerify")
    return result.oddities


def test_type_is_read_and_other_members_are_passed_over() -> None:
    """Reason, time and a member that nobody knows are allowed, and not odd."""
    raw = body(
        sessionId="a",
        sessionType="liveness",
        reason="x",
        revokedAt="2026-01-02T03:04:05+02:00",
        y={},
    )
    assert parse(raw, "application/json", {}) == SessionRevoked(
        session_id="a", session_type="liveness"
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
        (b'{"sessionId":"a","x":"\xff}', "body: not UTF-8 at byte 22"),
        (b'{"sessionId":"a","reason":7,', "body: "),
        (b'{"sessionId":"a","x":' + b"[" * 60_000, "body: JSON is nested too deeply"),
        (b'{"sessionId":"a","x":' + b"[" * 30_000 + b"}" * 30_000, "nested too deeply"),
        (b'"secret"', "Expected `object`, got `str`"),
        (b'"[]"', "Expected `object`, got `str`"),
        (b"null", "Expected `object`, got `null`"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `sessionId`"),
        (body(sessionId=1), "got `int` - at `$.sessionId`"),
        (body(sessionId={"a": 1}), "got `object` - at `$.sessionId`"),
        (body(sessionId=None), "got `null` - at `$.sessionId`"),
        (b'{"sessionId":"a\xff"}', "at `$.sessionId`"),
        (b'{"sessionId":"a\\ud800"}', "at `$.sessionId`"),
        (b'{"sessionId":"a","sessionId":"b"}', "sessionId: more than once, with different"),
        (b'{"sessionId":"a","session\\u0049d":"b"}', "sessionId: more than once"),
        (
            b'{"sessionId":"a","sessionType":"liveness","sessionType":"livenessWithVerify"}',
            "sessionType: more than once",
        ),
        (body(sessionId=""), "at `$.sessionId`"),
        (body(sessionId="a" * 129), "at `$.sessionId`"),
        (body(sessionId="../secret"), "at `$.sessionId`"),
        (body(sessionId="a\n"), "at `$.sessionId`"),
        (body(sessionId="ä"), "at `$.sessionId`"),
        (body(sessionId="a", sessionType="secret"), "at `$.sessionType`"),
        (body(sessionId="a", sessionType=3), "at `$.sessionType`"),
        (body(sessionId="a", sessionType=["liveness"]), "at `$.sessionType`"),
        (body(sessionId="a", sessionType="\ud800"), "at `$.sessionType`"),
        (
            b"@\x06string\x083http://schemas.microsoft.com/2003/10/Serialization/\x99\x11"
            + body(sessionId="a"),
            "looks like the binary XML of an old .NET client",
        ),
        (
            '{"sessionId":"a"}'.encode("utf-16"),
            "looks like UTF-16 or UTF-32; encode the JSON as UTF-8",
        ),
        ('{"sessionId":"a"}'.encode("utf-16-le"), "looks like UTF-16"),
        ('{"sessionId":"a"}'.encode("utf-16-be"), "looks like UTF-16"),
        ('{"sessionId":"a"}'.encode("utf-32"), "looks like UTF-16 or UTF-32"),
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
            body(**ATTRIBUTES, data={"sessionId": ""}),
            "application/cloudevents+json",
            {},
            "$.sessionId",
        ),
        (body(**ATTRIBUTES, data=7), "application/cloudevents+json", {}, "data: Expected"),
        (body(**ATTRIBUTES, data_base64=7), "application/cloudevents+json", {}, "data: Expected"),
        (body(**ATTRIBUTES, data_base64="*"), "application/cloudevents+json", {}, "data_base64"),
        # Base64 of another alphabet: passing over what is strange to it would make another id.
        (body(**ATTRIBUTES, data_base64="eyJzZXNz-W9u"), None, {}, "data_base64"),
        (body(**ATTRIBUTES, sessionID="a"), "application/json", {}, "field `data`"),
        (b"[]", "application/cloudevents-batch+json", {}, "batch"),
    ],
)
def test_cloudevent_without_a_usable_id_is_malformed(
    raw: bytes, content_type: str | None, properties: dict[str, object], where: str
) -> None:
    """A CloudEvents message is malformed where its data do not name a session."""
    assert where in malformed(raw, content_type, properties)


@pytest.mark.parametrize(
    ("raw", "oddities"),
    [
        (body(sessionId="a", reason=None, revokedAt=None), ()),
        (b'{"sessionId":"a","was":{"sessionId":"b"}}', ()),
        (b'{"sessionId":"a","reason":"it\\u0027s"}', ()),
        (b'{"sess\\u0069onId":"a"}', ()),
        (body(sessionId="a", sessionType=None), ("sessionType: null",)),
        (body(sessionId="a", sessionType=" "), ("sessionType: empty",)),
        (
            body(sessionId="a", sessionType=" LivenessWithVerify"),
            ("sessionType: of another letter case, or with white space",),
        ),
        (b'{"sessionId":"a","sessionId":"a"}', ("sessionId: more than once",)),
        (body(sessionId="a", reason=["secret"]), ("reason: not text",)),
        (b'{"sessionId":"a","reason":1e400}', ("reason: not text",)),
        (b'{"sessionId":"a","reason":%s}' % (b"9" * 5000), ("reason: not text",)),
        (body(sessionId="a", revokedAt="secret"), ("revokedAt: not RFC 3339 with an offset",)),
        (
            body(sessionId="a", revokedAt="2026-01-02T03:04:05"),
            ("revokedAt: not RFC 3339 with an offset",),
        ),
        (
            body(sessionId="a", revokedAt=1767323045, reason={}),
            ("revokedAt: not RFC 3339 with an offset", "reason: not text"),
        ),
        (body(sessionId="a", reason="\ud800"), ("body: half of a surrogate pair",)),
        (body(sessionId="a", x={"secret\udfff": 1}), ("body: half of a surrogate pair",)),
        (
            body(sessionId="a", revokedAt="\udc00"),
            ("revokedAt: not RFC 3339 with an offset", "body: half of a surrogate pair"),
        ),
        (b'{"sessionId":"a","x":"\xed\xa0\x80"}', ("body: not UTF-8 at byte 22",)),
        (b'{"sessionId":"a","reason":"gel\xf6scht"}', ("body: not UTF-8 at byte 30",)),
        (b'{"sessionId":"a","x":NaN}', ("body: JSON is malformed: invalid character (byte 21)",)),
        (b'{"sessionId":"a","x":"\n"}', ("body: JSON is malformed: invalid character (byte 22)",)),
        (b'{"sessionId":"a","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}", ("body: nested deeply",)),
        (
            b'{"x":' + b'{"]":' * 10_000 + b"1" + b"}" * 10_000 + b',"sessionId":"a"}',
            ("body: nested deeply",),
        ),
        (
            json.dumps('{"sessionId":"a"}').encode(),
            ("body: the object is written into a JSON string",),
        ),
    ],
)
def test_what_is_only_for_information_vetoes_no_deletion(
    raw: bytes, oddities: tuple[str, ...]
) -> None:
    """With a usable id and type the session is deleted; what is odd is named, never repeated."""
    assert odd(raw) == oddities


OTHER_TYPE = "content type: not application/cloudevents+json"
NOT_JSON = "datacontenttype: not application/json"


@pytest.mark.parametrize(
    ("event", "content_type", "oddities"),
    [
        ({"data": {"sessionId": "a"}}, "application/json", (OTHER_TYPE,)),
        ({"data": {"sessionId": "a"}}, None, (OTHER_TYPE,)),
        ({"data": {"sessionId": "a"}, "datacontenttype": None}, "text/plain", (OTHER_TYPE,)),
        (
            {"data": {"sessionId": "a"}, "datacontenttype": "text/xml"},
            "application/cloudevents+json",
            (NOT_JSON,),
        ),
        (
            {"data": {"sessionId": "a"}, "datacontenttype": 7},
            "application/cloudevents+json",
            (NOT_JSON,),
        ),
        (
            {"data": '{"sessionId": "a"}', "datacontenttype": "text/plain"},
            "application/cloudevents+json",
            (NOT_JSON, "data: the object is written into a JSON string"),
        ),
        (
            {"data_base64": base64.b64encode(b'{"sessionId":"a"}').decode(), "data": None},
            "application/cloudevents",
            ("data_base64: instead of data",),
        ),
        (
            {"data_base64": base64.b64encode(b'{"sessionId":"a","x":"\xff"}').decode()},
            None,
            (OTHER_TYPE, "data_base64: instead of data", "data_base64: not UTF-8 at byte 22"),
        ),
        (
            {"data": {"sessionId": "a"}, "specversion": "0.3", "id": "", "source": None},
            "application/cloudevents+json",
            (
                "specversion: not '1.0'",
                "id: not a non-empty string",
                "source: not a non-empty string",
            ),
        ),
        ({"data": 7, "sessionId": "a"}, "application/json", ()),
        (
            {"sessionId": "a"},
            "application/cloudevents+json",
            ("content type: CloudEvents, but the body is the bare object",),
        ),
    ],
)
def test_cloudevent_is_read_however_it_is_labelled(
    event: dict[str, Any], content_type: str | None, oddities: tuple[str, ...]
) -> None:
    """An event in structured mode is known by its specversion, and read for its data alone."""
    assert odd(body(**ATTRIBUTES | event), content_type) == oddities


PROPERTY = "application property cloudEvents:"


@pytest.mark.parametrize(
    ("properties", "content_type", "oddities"),
    [
        (BINARY, None, ()),
        (BINARY, "application/octet-stream", ("content type: not application/json",)),
        (BINARY, "text/plain", ("content type: not application/json",)),
        ({**BINARY, "cloudEvents:specversion": 2}, None, (f"{PROPERTY}specversion: not '1.0'",)),
        (
            {**BINARY, "cloudEvents:source": ""},
            None,
            (f"{PROPERTY}source: not a non-empty string",),
        ),
        (
            {"cloudEvents:secret": ["secret"]},
            "application/json",
            (
                f"{PROPERTY}specversion: not '1.0'",
                *(f"{PROPERTY}{name}: not a non-empty string" for name in ("id", "source", "type")),
            ),
        ),
    ],
)
def test_attributes_among_the_properties_veto_no_deletion(
    properties: dict[str, object], content_type: str | None, oddities: tuple[str, ...]
) -> None:
    """In binary mode the body counts; a stray attribute does not make an event of a message."""
    assert odd(body(sessionId="a"), content_type, properties) == oddities


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


IDS = st.text(ALLOWED, min_size=1, max_size=128)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=8,
)
CONTENT_TYPES = (
    st.sampled_from([None, "", "text/plain", "application/cloudevents+json"]) | st.text()
)


@given(
    IDS,
    st.dictionaries(
        st.text(st.characters()) | st.sampled_from(["reason", "revokedAt", "id", "type", "source"]),
        ANYTHING,
    ),
    CONTENT_TYPES.filter(lambda text: "batch" not in (text or "").lower()),
    st.dictionaries(st.text() | st.sampled_from(sorted(BINARY)), ANYTHING),
    st.booleans(),
    st.booleans(),
)
def test_valid_id_is_read_whatever_stands_beside_it(
    session_id: str,
    others: dict[str, Any],
    content_type: str | None,
    properties: dict[str, Any],
    in_event: bool,
    escaped: bool,
) -> None:
    """A document with a valid id is accepted with any other members, label and properties."""
    document = {**others, "sessionId": session_id, "sessionType": "liveness"}
    if in_event:
        document = {**others, "specversion": "1.0", "data": document}
        document.pop("sessionId", None)
    elif (content_type or "").strip().lower().startswith("application/cloudevents"):
        document = {k: v for k, v in document.items() if k not in ("data", "data_base64")}
    raw = json.dumps(document, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    if len(raw) > MAX_BODY_BYTES:
        return
    result = parse(raw, content_type, properties)
    assert isinstance(result, SessionRevoked), result
    assert (result.session_id, result.session_type) == (session_id, "liveness")


@given(IDS | st.text(st.characters(), max_size=200) | IDS.flatmap(lambda x: st.just(x + "\n")))
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
        text = json.dumps({"sessionId": session_id, "reason": 7}, ensure_ascii=escaped)
        result = parse(text.encode("utf-8", "surrogatepass"), None, {})
        valid = 1 <= len(session_id) <= 128 and set(session_id) <= set(ALLOWED)
        assert isinstance(result, SessionRevoked if valid else Malformed)
        if isinstance(result, SessionRevoked):
            await face.delete(result)
            path = b"/face/v1.2-preview.1/detectLivenessWithVerify/singleModal/sessions/"
            assert asked.pop() == path + session_id.encode()
    assert not asked


def documents(seed: int, count: int) -> Iterator[tuple[bytes, str | None, str | None]]:
    """So many bodies with their content types, and the id that each one names, None if none."""
    chance = random.Random(seed)

    def anything(depth: int = 0) -> object:
        text = "".join(chance.choices('aé\u2028\ud800\U0001f600"\\\n\0', k=chance.randrange(4)))
        values: list[object] = [None, True, -1, 10**30, 1.5, float("nan"), text, "2026-01-02"]
        if depth < 3:
            values += [[anything(depth + 1)], {text: anything(depth + 1), "sessionId": "no"}]
        return chance.choice(values)

    for _ in range(count):
        valid = chance.random() < 0.7
        session_id: object = "".join(chance.choices(ALLOWED, k=chance.choice([1, 36, 128])))
        if not valid:
            wrong: list[object] = [
                None,
                7,
                "",
                "a b",
                "a/b",
                "é",
                "x" * 129,
                f"{session_id}\n",
                [],
                "\ud800",
            ]
            session_id = chance.choice(wrong)
        others = {
            name: anything()
            for name in chance.sample(["reason", "revokedAt", "x", "source", "id", "type"], k=3)
        }
        members = [*others.items(), ("sessionId", session_id)]
        chance.shuffle(members)
        document: dict[str, object] = dict(members)
        if not valid and chance.random() < 0.2:
            del document["sessionId"]
        match chance.randrange(4):
            case 0:
                document = {**others, "specversion": "1.0", "data": document}
            case 1:
                encoded = base64.b64encode(json.dumps(document).encode()).decode()
                document = {"specversion": "1.0", "data_base64": encoded}
        escaped = chance.random() < 0.5
        raw = json.dumps(document, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
        content_type = chance.choice([None, "application/json", "application/cloudevents+json"])
        if chance.random() < 0.1:
            raw, valid = raw[: -chance.randrange(1, len(raw))], False
        yield raw, content_type, str(session_id) if valid else None


def test_ten_thousand_documents() -> None:
    """Of 10,000 documents no valid id is refused, no invalid one accepted, and none raises."""
    named = 0
    for raw, content_type, session_id in documents(seed=13, count=10_000):
        result = parse(raw, content_type, {})
        found = result.session_id if isinstance(result, SessionRevoked) else None
        assert found == session_id, (raw, content_type, result)
        named += found is not None
    assert 6_000 < named < 7_000

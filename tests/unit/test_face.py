"""The one call, over a real socket to a server that does what each test says."""

import asyncio
import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from delete_session.contract import SessionType
from delete_session.face import MAX_ANSWER_BYTES, MAX_MESSAGE_CHARACTERS, FaceClient
from delete_session.identity import TokenUnavailable
from delete_session.verdict import Meaning, Verdict
from local.broker.serving import serve_http

from .fakes import face_client

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SESSION: tuple[str, SessionType] = ("s-1", "livenessWithVerify")


class FakeTokens:
    """Hands out token-1, and after each drop the next one."""

    def __init__(self) -> None:
        self.number = 1
        self.error: Exception | None = None

    async def get(self) -> str:
        if self.error:
            raise self.error
        return f"token-{self.number}"

    def drop(self, token: str) -> None:
        assert token == f"token-{self.number}"
        self.number += 1


class Server:
    """Takes down each request and answers as told."""

    def __init__(self, handler: Handler) -> None:
        self.requests: list[web.Request] = []
        self._handler = handler

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await self._handler(request)


def always(status: int = 200, body: bytes = b"", **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if 200 <= status < 300:
            named.setdefault("apim-request-id", "r-0")
        return web.Response(status=status, body=body, headers=named)

    return handler


@contextlib.asynccontextmanager
async def served(
    handler: Handler, tokens: FakeTokens | None = None, **environment: str
) -> AsyncIterator[tuple[FaceClient, Server]]:
    server = Server(handler)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server)
    async with serve_http(app, 0) as port:
        values = {"FACE_ENDPOINT": f"http://127.0.0.1:{port}", **environment}
        client = face_client(tokens or FakeTokens(), **values)
        try:
            yield client, server
        finally:
            await client.close()


async def ask(handler: Handler, **environment: str) -> Verdict:
    async with served(handler, None, **environment) as (client, _):
        return await client.delete(*SESSION)


@pytest.mark.parametrize(
    ("version", "session_type", "path"),
    [
        (
            "v1.1-preview.1",
            "livenessWithVerify",
            "detectLivenessWithVerify/singleModal/sessions/s-1",
        ),
        (
            "v1.2-preview.1",
            "livenessWithVerify",
            "detectLivenessWithVerify/singleModal/sessions/s-1",
        ),
        ("v1.2-preview.1", "liveness", "detectLiveness/singleModal/sessions/s-1"),
        ("v1.2", "livenessWithVerify", "detectLivenessWithVerify-sessions/s-1"),
        ("v1.2", "liveness", "detectLiveness-sessions/s-1"),
        ("v1.3-preview.1", "livenessWithVerify", "detectLivenessWithVerify-sessions/s-1"),
    ],
)
async def test_path_follows_version_and_type(
    version: str, session_type: SessionType, path: str
) -> None:
    """One setting moves to another API version, the message says which kind of session it is."""
    async with served(always(204), FACE_API_VERSION=version) as (client, server):
        answer = await client.delete("s-1", session_type)
    assert answer.status == 204
    [request] = server.requests
    assert (request.method, request.path) == ("DELETE", f"/face/{version}/{path}")
    assert request.headers["Authorization"] == "Bearer token-1"
    assert request.headers["User-Agent"].startswith("liveness-session-revoker/")
    assert "Ocp-Apim-Subscription-Key" not in request.headers


async def test_connection_is_used_again() -> None:
    """All calls go over the same connection, also after an error."""
    answers = iter([(200, b""), (404, b'{"error":{"code":"SessionNotFound"}}'), (200, b"")])

    async def handler(_: web.Request) -> web.Response:
        status, body = next(answers)
        return web.Response(status=status, body=body)

    async with served(handler) as (client, server):
        for _ in range(3):
            await client.delete(*SESSION)
    ports = {request._transport_peername for request in server.requests}
    assert len(ports) == 1


@pytest.mark.parametrize(
    ("body", "headers", "code", "message"),
    [
        (b'{"error":{"code":"BadArgument","message":"no"}}', {}, "BadArgument", "no"),
        (b'{"error":{"code":"A"}}', {"x_ms_error_code": "B"}, "A", ""),
        (b'{"error":{"code":401,"message":"no"}}', {}, "401", "no"),
        (b"", {"x_ms_error_code": "B"}, "B", ""),
        (b"<html>", {"x_ms_error_code": "B"}, "B", ""),
        (b"<html>", {}, "HTTP 400", ""),
        (
            b'{"statusCode":403,"message":"Out of call volume quota."}',
            {},
            "HTTP 400",
            "Out of call volume quota.",
        ),
        (b'{"Message":"blocked"}', {}, "HTTP 400", "blocked"),
        (b'{"error":"invalid_client","error_description":"why"}', {}, "HTTP 400", "why"),
        (
            b'{"error":{"code":"Forbidden","message":"a","innererror":{"code":"UnsupportedFeature","message":"b"}}}',
            {},
            "UnsupportedFeature",
            "a b",
        ),
        (b'{"error":{"code":"400","innererror":{"code":"A"}}}', {}, "A", ""),
        (b'{"error":{"code":"A","innererror":{"code":"B"}}}', {}, "A", ""),
        (b'{"error":{"code":"A","innererror":"x"}}', {}, "A", ""),
        (b'{"error":{"code":"A"', {}, "HTTP 400", ""),
        (b"\xff\xfe\x00", {}, "HTTP 400", ""),
        (b"null", {}, "HTTP 400", ""),
        (b"[1]", {}, "HTTP 400", ""),
        (b'"error"', {}, "HTTP 400", ""),
        (b'{"error":"x"}', {}, "HTTP 400", ""),
        (b'{"error":["x"]}', {}, "HTTP 400", ""),
        (b'{"error":{"code":null}}', {}, "HTTP 400", ""),
        (b'{"error":{"code":{},"message":[]}}', {}, "HTTP 400", ""),
        (b'{"error":{"code":"A","message":"two\\nlines\\u0007"}}', {}, "A", "two lines"),
        (b"[" * 50_000, {}, "HTTP 400", ""),
        (
            b'{"error":{"code":"A","message":"Bearer eyJh.i.c was sent, eyJ0eXAi.x too"}}',
            {},
            "A",
            "[token] was sent, [token] too",
        ),
    ],
)
async def test_code_is_found_wherever_it_is(
    body: bytes, headers: dict[str, str], code: str, message: str
) -> None:
    """From the body, else from the header, else from the status, whatever the body is."""
    answer = await ask(always(400, body, **headers))
    assert (answer.status, answer.code, answer.message) == (400, code, message)


async def test_long_message_is_cut() -> None:
    """A page of a message does not become a page of a log line."""
    body = json.dumps({"error": {"code": "A", "message": "x" * 5000}}).encode()
    assert len((await ask(always(400, body))).message) == MAX_MESSAGE_CHARACTERS


async def test_answer_is_read_up_to_a_bound() -> None:
    """An endless body is cut at the bound, and the code comes from the header."""
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=500, headers={"x-ms-error-code": "Big"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while sent < 100 * MAX_ANSWER_BYTES:
                await response.write(b"x" * MAX_ANSWER_BYTES)
                sent += MAX_ANSWER_BYTES
        return response

    answer = await ask(handler)
    assert (answer.status, answer.code) == (500, "Big")
    assert sent < 100 * MAX_ANSWER_BYTES


async def test_compressed_answer_is_not_inflated() -> None:
    """No small answer becomes a large one in memory."""
    body = gzip.compress(b'{"error":{"code":"Inflated"}}')
    answer = await ask(always(500, body, content_encoding="gzip"))
    assert (answer.status, answer.code) == (500, "HTTP 500")


async def test_request_id_and_wait_are_read() -> None:
    """What support asks for, and how long to wait."""
    answer = await ask(always(429, b"", apim_request_id="r-1", retry_after="7"))
    assert (answer.request_id, answer.retry_after) == ("r-1", 7)


async def test_redirect_is_not_followed() -> None:
    """A token is never sent to where a redirect points."""
    async with served(always(307, location="/elsewhere")) as (client, server):
        answer = await client.delete(*SESSION)
    assert (answer.status, answer.code) == (307, "HTTP 307")
    assert len(server.requests) == 1


async def test_refused_token_is_replaced_by_the_next_attempt() -> None:
    """A 401 drops the token; each attempt is one call, so that the rate holds."""

    async def handler(request: web.Request) -> web.Response:
        fresh = request.headers["Authorization"] == "Bearer token-2"
        return web.Response(status=200 if fresh else 401)

    async with served(handler) as (client, server):
        assert [(await client.delete(*SESSION)).status for _ in range(2)] == [401, 200]
        assert len(server.requests) == 2


async def test_no_token_means_no_call() -> None:
    """Without a token nothing is sent."""
    tokens = FakeTokens()
    tokens.error = TokenUnavailable("identity endpoint answered 500")
    async with served(always(), tokens) as (client, server):
        answer = await client.delete(*SESSION)
    assert (answer.status, answer.code) == (None, "TokenUnavailable")
    assert answer.message == "identity endpoint answered 500"
    assert not server.requests


async def test_hang_ends_at_the_total_timeout() -> None:
    """However the answer drips, the call ends in time."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.02)
        return response

    started = time.monotonic()
    times = {"CALL_TIMEOUT_SECONDS": "0.3"}
    answer = await ask(drip, **times)
    assert (answer.status, answer.code) == (None, "Timeout")
    assert time.monotonic() - started < 3


async def raw(reply: bytes) -> Verdict:
    """The answer when a server writes these bytes and hangs up."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = face_client(FakeTokens(), FACE_ENDPOINT=f"http://127.0.0.1:{port}")
    async with server:
        answer = await client.delete(*SESSION)
    await client.close()
    return answer


async def test_control_characters_in_a_header_hide_no_429() -> None:
    """Whatever Retry-After holds, the answer is a 429; NUL, CR and LF are not HTTP."""
    for byte in (*set(range(32)) - {0, 10, 13}, 127, 128, 255):
        head = b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\nRetry-After: 1%c" % byte
        answer = await raw(head + b"\r\n\r\n")
        assert (answer.status, answer.meaning) == (429, Meaning.THROTTLED), byte


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\x00\x01\x02 this is not HTTP\r\n\r\n",
        b"HTTP/1.1 2xx OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_broken_http_is_a_failed_connection(reply: bytes) -> None:
    """Whatever comes instead of HTTP, nothing is known, and nothing is raised."""
    answer = await raw(reply)
    assert (answer.status, answer.code) == (None, "ConnectionFailed")


async def test_refused_connection_is_a_failed_connection() -> None:
    """If no server listens, the outcome is unknown."""
    client = face_client(FakeTokens(), FACE_ENDPOINT="http://127.0.0.1:9")
    answer = await client.delete(*SESSION)
    await client.close()
    assert (answer.status, answer.code) == (None, "ConnectionFailed")
    assert "token" not in answer.message


@pytest.mark.parametrize(
    ("status", "body"), [(204, b""), (404, b'{"error": {"code": "SessionNotFound"}}')]
)
async def test_the_same_answer_proves_one_deletion_only(status: int, body: bytes) -> None:
    """A request id that was seen before belongs to another call, whose session is gone; this one's
    may be alive."""
    async with served(always(status, body, apim_request_id="r-1")) as (client, _):
        first, second = [await client.delete(*SESSION) for _ in range(2)]
    assert first.meaning in (Meaning.DELETED, Meaning.ALREADY_GONE)
    assert (second.meaning, second.message) == (
        *(Meaning.UNCONFIRMED, "its request id was seen before"),
    )


async def test_answers_without_a_request_id_are_not_taken_for_each_other() -> None:
    """Two sessions are gone, although neither answer has a request id."""
    body = b'{"error": {"code": "SessionNotFound"}}'
    async with served(always(404, body)) as (client, _):
        answers = [await client.delete(*SESSION) for _ in range(2)]
    assert {answer.meaning for answer in answers} == {Meaning.ALREADY_GONE}

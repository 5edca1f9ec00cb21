"""httpx over aiohttp, over a real socket."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from delete_session.transport import AiohttpTransport
from local.broker.certificates import self_signed
from local.broker.serving import serve_http
from tests.unit.recording_proxy import RecordingProxy

MAX_BYTES = 1000


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[httpx.AsyncClient, list[web.Request]]]:
    requests: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        requests.append(request)
        response = web.Response(status=418, text="x" * int(request.query.get("bytes", "3")))
        response.set_cookie("seen", "yes")
        response.headers.add("X-Twice", "1")
        response.headers.add("X-Twice", "2")
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    transport = AiohttpTransport(tls=False, max_bytes=MAX_BYTES)
    async with (
        serve_http(app, 0) as port,
        httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client, requests


async def test_serves_an_httpx_client() -> None:
    """Path, query and headers go out as httpx has them, and the whole answer comes back."""
    async with served() as (client, requests):
        response = await client.get("/a%2Fb?c=d%20e", headers={"x-mine": "m"})
    assert (response.status_code, response.text) == (418, "xxx")
    assert response.headers.get_list("x-twice") == ["1", "2"]
    [request] = requests
    assert request.raw_path == "/a%2Fb?c=d%20e"
    assert request.headers["X-Mine"] == "m"


async def test_target_stands_for_the_path() -> None:
    """The extension of that name is what goes out, byte for byte."""
    async with served() as (client, requests):
        await client.delete("/collection/", extensions={"target": b"/collection/s-1"})
    assert [(each.method, each.raw_path) for each in requests] == [("DELETE", "/collection/s-1")]


async def test_cookies_are_not_kept() -> None:
    """What one answer sets, the next request does not carry: the jar is the client's matter."""
    async with served() as (client, requests):
        await client.get("/")
        client.cookies.clear()
        await client.get("/")
    assert not requests[1].cookies


async def error_of(reply: bytes | None, **times: float) -> httpx.TransportError:
    """What a request to a server ends with that writes this and hangs up; None: it never answers."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if reply is None:
            await reader.read()
        else:
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = AiohttpTransport(tls=False, max_bytes=MAX_BYTES)
    request = httpx.Request("GET", f"http://127.0.0.1:{port}/", extensions={"timeout": times})
    async with server, transport:
        with pytest.raises(httpx.TransportError) as raised:
            await transport.handle_async_request(request)
    return raised.value


@pytest.mark.parametrize(
    "reply", [b"", b"not HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"]
)
async def test_failures_are_httpx_errors(reply: bytes) -> None:
    """A caller that knows httpx needs to know nothing of aiohttp."""
    assert isinstance(await error_of(reply), httpx.NetworkError)


async def test_time_to_read_is_bounded() -> None:
    """The extension `timeout` is heeded."""
    assert isinstance(await error_of(None, read=0.05), httpx.TimeoutException)


async def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is talked to if its certificate is trusted, and not otherwise."""
    tls = self_signed("Nobody", tmp_path)
    request = functools.partial(httpx.Request, "GET")
    async with serve_http(web.Application(), 0, tls) as port:
        url = f"https://127.0.0.1:{port}/"
        async with AiohttpTransport(tls=True, max_bytes=MAX_BYTES) as transport:
            with pytest.raises(httpx.NetworkError, match="certificate"):
                await transport.handle_async_request(request(url))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
        async with AiohttpTransport(tls=True, max_bytes=MAX_BYTES) as transport:
            assert (await transport.handle_async_request(request(url))).status_code == 404


async def through(proxy: str | None, url: str) -> int:
    """The status that a request through a proxy ends with."""
    async with AiohttpTransport(tls=True, max_bytes=MAX_BYTES, proxy=proxy) as transport:
        request = httpx.Request("DELETE", url, headers={"authorization": "Bearer secret"})
        return (await transport.handle_async_request(request)).status_code


async def test_proxy_is_asked_for_a_tunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It learns the host and its own login, never the token: TLS goes through to the server."""
    tls = self_signed("Nobody", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    async with (
        serve_http(web.Application(), 0, tls) as port,
        RecordingProxy(leads_to=port).running() as proxy,
    ):
        there = f"http://me:p%40ss@127.0.0.1:{proxy.port}"
        assert await through(there, "https://127.0.0.1:4433/") == 404
        assert proxy.asked_for == ["127.0.0.1:4433"]
        assert "Proxy-Authorization: Basic bWU6cEBzcw==" in proxy.requests[0]
        assert "secret" not in proxy.requests[0]


async def test_environment_s_proxies_are_the_caller_s_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a proxy in its arguments the transport goes through none."""
    async with RecordingProxy().running() as proxy, served() as (client, _):
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert (await client.get("/")).status_code == 418
        assert proxy.requests == []


async def test_refusing_proxy_is_told_without_its_password() -> None:
    """The error says that the proxy refused, and which one; no more of its address."""
    async with RecordingProxy(leads_to=None).running() as proxy:
        there = f"http://me:hidden@127.0.0.1:{proxy.port}"
        with pytest.raises(httpx.TransportError, match="Forbidden") as raised:
            await through(there, "https://127.0.0.1:4433/")
    assert proxy.url in str(raised.value)
    assert "hidden" not in str(raised.value)


async def test_proxy_that_is_not_there_is_a_failed_connect() -> None:
    """No server listens at the proxy's port."""
    with pytest.raises(httpx.NetworkError, match=r"127\.0\.0\.1:9 "):
        await through("http://127.0.0.1:9", "https://127.0.0.1:4433/")


async def test_an_answer_that_nobody_asked_for_answers_no_call() -> None:
    """A connection on which something came while it was idle is closed, and another is opened."""
    calls: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                calls.append((await reader.readuntil(b"\r\n\r\n")).split()[1])
                writer.write(b"HTTP/1.1 204 No Content\r\nX-For: %b\r\n\r\n" % calls[-1])
                await writer.drain()
                if calls == [b"/1"]:
                    await answered.wait()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    await writer.drain()
                    unasked.set()

    answered, unasked = asyncio.Event(), asyncio.Event()
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, AiohttpTransport(tls=False, max_bytes=MAX_BYTES) as transport:
        first = await transport.handle_async_request(httpx.Request("DELETE", f"{base}/1"))
        answered.set()
        await unasked.wait()
        await asyncio.sleep(0)  # so that the client's socket is read
        second = await transport.handle_async_request(httpx.Request("DELETE", f"{base}/2"))
    assert (first.headers["x-for"], second.headers["x-for"]) == ("/1", "/2")

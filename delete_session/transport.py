"""httpx's requests over aiohttp's connections, with nothing between the two that costs time."""

from functools import lru_cache
from typing import Any

import aiohttp
import httpx
from yarl import URL

from .proxy import Proxy

# Idle connections are dropped before Azure's load balancers forget them (240 s).
_KEEP_ALIVE_SECONDS = 60

_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    # The first that fits is told.
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.SocketTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ClientPayloadError, httpx.ReadError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (aiohttp.ClientError, httpx.NetworkError),
)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends requests without a body and reads answers up to a bound.

    Of the request's extensions (python-httpx.org/advanced/extensions) it heeds `target` and the
    `connect` and `read` times of `timeout`. How many calls are under way is the caller's to bound.

    Args:
        verify: whether there are certificates to check, that is, whether https is spoken.
        max_bytes: of an answer's body, as it comes over the wire; what is beyond is not read.
        proxy: that requests go through; aiohttp is not to look for one itself, which it would do for
            each request anew, on a thread, and read ~/.netrc besides.
    """

    def __init__(self, *, verify: bool, max_bytes: int, proxy: Proxy | None = None) -> None:
        self._verify = verify
        self._max_bytes = max_bytes
        self._proxy: dict[str, Any] = (
            {"proxy": proxy.url, "proxy_headers": proxy.headers} if proxy else {}
        )
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the answer's stream is in memory.

        Raises:
            httpx.TransportError: there was no answer, or only a part of one.
        """
        url, extensions = request.url, request.extensions
        target: bytes = extensions.get("target") or url.raw_path
        times = extensions.get("timeout", {})
        try:
            async with (self._session or self._open()).request(
                request.method,
                # As it is: httpx has encoded its URL, and whoever gives a target has encoded that.
                URL(f"{url.scheme}://{url.netloc.decode()}{target.decode()}", encoded=True),
                headers=[(name.decode(), value.decode()) for name, value in request.headers.raw],
                allow_redirects=False,
                timeout=_timeout(times.get("connect"), times.get("read")),
                **self._proxy,
            ) as answer:
                body = await self._read(answer)
                return httpx.Response(
                    answer.status,
                    headers=answer.raw_headers,
                    stream=httpx.ByteStream(body),
                    request=request,
                )
        except aiohttp.ClientError as error:
            kind = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
            raise kind(str(error)) from error

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        # Made by the first call: aiohttp wants the event loop to run.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
                ssl=httpx.create_ssl_context() if self._verify else True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self._session

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        body = b""
        while chunk := await answer.content.readany():
            body += chunk
            if len(body) > self._max_bytes:
                answer.close()
                return body[: self._max_bytes]
        return body


@lru_cache
def _timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(sock_connect=connect, sock_read=read)

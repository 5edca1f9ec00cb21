"""httpx's requests over aiohttp's connections."""

from base64 import b64encode
from functools import lru_cache
from typing import Any

import aiohttp
import httpx
from aiohttp.connector import Connection
from yarl import URL

# Idle connections are dropped before Azure's load balancers forget them (240 s).
_KEEP_ALIVE_SECONDS = 60


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends requests without a body and reads a bounded part of the answer.

    Supports the request extensions (python-httpx.org/advanced/extensions) `target` and `timeout`
    (`connect` and `read`). Concurrency is limited by the caller.

    Args:
        tls: whether requests are https. If not, it need not load the certificates to trust.
        max_bytes: maximum size of an answer's body that is read.
        proxy: URL of an HTTP proxy; aiohttp's own search for one costs a thread per request.
    """

    def __init__(self, *, tls: bool, max_bytes: int, proxy: str | None = None) -> None:
        self._tls = tls
        self._max_bytes = max_bytes
        self._proxy: dict[str, Any] = {}
        if proxy is not None:
            url = URL(proxy)
            # aiohttp's errors repeat the URL, so the login goes into a header.
            self._proxy["proxy"] = url.with_user(None)
            if url.user is not None:
                login = b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
                self._proxy["proxy_headers"] = {"Proxy-Authorization": f"Basic {login}"}
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the answer into memory.

        Raises:
            httpx.TransportError: there was no complete answer.
        """
        url, extensions = request.url, request.extensions
        target: bytes = extensions.get("target") or url.raw_path
        timeouts = extensions.get("timeout", {})
        try:
            async with (self._session or self._open()).request(
                request.method,
                # Both parts are encoded already.
                URL(f"{url.scheme}://{url.netloc.decode()}{target.decode()}", encoded=True),
                headers=[(name.decode(), value.decode()) for name, value in request.headers.raw],
                allow_redirects=False,
                timeout=_timeout(timeouts.get("connect"), timeouts.get("read")),
                **self._proxy,
            ) as answer:
                body = await self._read(answer)
                return httpx.Response(
                    answer.status,
                    headers=answer.raw_headers,
                    stream=httpx.ByteStream(body),
                    request=request,
                )
        except aiohttp.ServerTimeoutError as error:
            raise httpx.TimeoutException(str(error)) from error
        except aiohttp.ClientError as error:
            raise httpx.NetworkError(str(error)) from error

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        # Made by the first call, because aiohttp needs a running event loop.
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                limit=0,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
                ssl=httpx.create_ssl_context() if self._tls else True,
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


class _Connector(aiohttp.TCPConnector):
    async def connect(self, *args: Any, **more: Any) -> Connection:
        """Return a connection; an idle one on which data came, unasked for, is closed."""
        connection = await super().connect(*args, **more)
        if connection.protocol is None or not connection.protocol.should_close:
            return connection
        connection.close()
        return await self.connect(*args, **more)


@lru_cache
def _timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(sock_connect=connect, sock_read=read)

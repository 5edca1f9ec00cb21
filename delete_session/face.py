"""The Face API: one call, typed answer."""

import asyncio
import json
import time
from collections.abc import Callable

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from .contract import SessionRevoked
from .decision import FaceAnswer, retry_after_seconds
from .identity import TokenSource, TokenUnavailable
from .settings import VERSION, Settings

MAX_ANSWER_BYTES = 64 * 1024
MAX_MESSAGE_CHARACTERS = 1000

# Idle connections are dropped before Azure's load balancers forget them (240 s).
_KEEP_ALIVE_SECONDS = 60

# By API version, facts from azure-rest-api-specs (specification/ai/data-plane/Face): the previews up
# to v1.2-preview.1 nest the sessions, v1.2 and what came after flattened the path.
_NESTED = "{type}/singleModal/sessions"
_FLAT = "{type}-sessions"
_NESTED_VERSIONS = ("v1.1-preview.1", "v1.2-preview.1")

_PATH_SEGMENT = {"livenessWithVerify": "detectLivenessWithVerify", "liveness": "detectLiveness"}


def collection_url(endpoint: str, api_version: str, session_type: str) -> str:
    """The address that a session's id is appended to."""
    shape = _NESTED if api_version in _NESTED_VERSIONS else _FLAT
    return f"{endpoint}/face/{api_version}/{shape.format(type=_PATH_SEGMENT[session_type])}/"


class FaceClient:
    """Deletes liveness sessions over one connection pool.

    Args:
        settings: endpoint, API version and timeouts.
        tokens: where the bearer token comes from.
    """

    def __init__(self, settings: Settings, tokens: TokenSource) -> None:
        self._tokens = tokens
        self._total_timeout = settings.total_timeout
        self._collections = {
            kind: collection_url(settings.face_endpoint, settings.face_api_version, kind)
            for kind in _PATH_SEGMENT
        }
        # aiohttp under httpx: six times the calls per second of httpx's own transport at a sixth of
        # the CPU time. And without httpx.AsyncClient on top, whose redirects, cookies and merging of
        # URLs and headers are of no use here and take as long as all the rest of the call: measured
        # by `make bench` (docs/decisions.md).
        self._transport = AiohttpTransport(
            verify=settings.face_endpoint.startswith("https:"),
            # How many calls are under way is the host's to bound (maxConcurrentCalls).
            limits=httpx.Limits(max_connections=0, keepalive_expiry=_KEEP_ALIVE_SECONDS),
        )
        timeout = httpx.Timeout(settings.total_timeout, connect=settings.connect_timeout)
        self._extensions = {"timeout": timeout.as_dict()}
        self._headers = {
            "user-agent": f"liveness-session-revoker/{VERSION}",
            "accept": "application/json",
            "accept-encoding": "identity",  # so that the bound on the answer is one on memory
        }

    async def delete(
        self, revoked: SessionRevoked, may_ask_again: Callable[[], bool] = lambda: True
    ) -> FaceAnswer:
        """Delete the session; never raises, whatever comes back or does not.

        A 401 drops the token and asks once more with a new one: keys roll over, caches lag.

        Args:
            revoked: the session.
            may_ask_again: asked after a 401; no where the circuit has opened meanwhile.
        """
        try:
            async with asyncio.timeout(self._total_timeout):
                token = await self._tokens.get()
                answer = await self._send(revoked, token)
                if answer.status == 401:
                    self._tokens.drop(token)
                if answer.status == 401 and may_ask_again():
                    answer = await self._send(revoked, await self._tokens.get())
                return answer
        except (TimeoutError, httpx.TimeoutException) as error:
            # The transport reports a lost connection, too, as httpx.ConnectTimeout.
            cause = error.__cause__
            if isinstance(cause, aiohttp.ClientError) and not isinstance(cause, TimeoutError):
                return _failed(cause)
            return FaceAnswer(
                status=None, code="Timeout", message=f"no answer within {self._total_timeout:g} s"
            )
        except TokenUnavailable as error:
            return FaceAnswer(status=None, code="TokenUnavailable", message=str(error))
        except Exception as error:  # broken HTTP, TLS, DNS, sockets: all mean that nothing is known
            return _failed(error)

    async def _send(self, revoked: SessionRevoked, token: str) -> FaceAnswer:
        request = httpx.Request(
            "DELETE",
            self._collections[revoked.session_type] + revoked.session_id,
            headers={**self._headers, "authorization": f"Bearer {token}"},
            extensions=self._extensions,
        )
        # A transport follows no redirects: they are the client's.
        response = await self._transport.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        try:
            body = await _read(response.stream)
        finally:
            await response.stream.aclose()
        return read_answer(response, body)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


def _failed(error: BaseException) -> FaceAnswer:
    return FaceAnswer(
        status=None, code="ConnectionFailed", message=_one_line(f"{type(error).__name__}: {error}")
    )


async def _read(stream: httpx.AsyncByteStream) -> bytes:
    body = b""
    async for chunk in stream:
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            return body[:MAX_ANSWER_BYTES]  # leaving the stream unread closes the connection
    return body


def read_answer(response: httpx.Response, body: bytes) -> FaceAnswer:
    """What a response says."""
    code, message = _face_error(body)
    headers = response.headers
    return FaceAnswer(
        status=response.status_code,
        code=code
        or _one_line(headers.get("x-ms-error-code", ""))
        or f"HTTP {response.status_code}",
        message=message,
        request_id=_one_line(headers.get("apim-request-id") or headers.get("x-ms-request-id") or "")
        or None,
        retry_after=retry_after_seconds(
            headers.get("retry-after"), headers.get("retry-after-ms"), message, time.time()
        ),
        has_body=bool(body),
    )


def _face_error(body: bytes) -> tuple[str, str]:
    """Code and message of a FaceErrorResponse; empty where the body is something else."""
    if not body:  # as of every deletion
        return "", ""
    try:
        error = json.loads(body)["error"]
        code, message = error["code"], error.get("message", "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "", ""
    return (
        _one_line(str(code)) if isinstance(code, str | int) else "",
        _one_line(message) if isinstance(message, str) else "",
    )


def _one_line(text: str) -> str:
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(text.split())[:MAX_MESSAGE_CHARACTERS]

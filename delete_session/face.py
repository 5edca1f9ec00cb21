"""The Face API: one call, typed answer."""

import asyncio
import json
import time
from collections.abc import Callable
from functools import lru_cache

import httpx

from . import __version__
from .answer import Answer, retry_after_seconds
from .contract import SessionRevoked
from .identity import TokenSource, TokenUnavailable
from .transport import AiohttpTransport

MAX_ANSWER_BYTES = 64 * 1024
MAX_MESSAGE_CHARACTERS = 1000

# By API version, facts from azure-rest-api-specs (specification/ai/data-plane/Face): the previews up
# to v1.2-preview.1 nest the sessions, v1.2 and what came after flattened the path.
_NESTED = "{type}/singleModal/sessions"
_FLAT = "{type}-sessions"
_NESTED_VERSIONS = ("v1.1-preview.1", "v1.2-preview.1")

_NO_BODY = httpx.ByteStream(b"")

_PATH_SEGMENT = {"livenessWithVerify": "detectLivenessWithVerify", "liveness": "detectLiveness"}


def collection_url(endpoint: str, api_version: str, session_type: str) -> str:
    """The address that a session's id is appended to."""
    shape = _NESTED if api_version in _NESTED_VERSIONS else _FLAT
    return f"{endpoint}/face/{api_version}/{shape.format(type=_PATH_SEGMENT[session_type])}/"


class FaceClient:
    """Deletes liveness sessions over one connection pool.

    Args:
        endpoint: `https://<name>.cognitiveservices.azure.com`.
        api_version: of the Face API.
        tokens: where the bearer token comes from.
        connect_timeout: seconds for a connection.
        total_timeout: seconds for one call, with its token and all.
    """

    def __init__(
        self,
        endpoint: str,
        api_version: str,
        tokens: TokenSource,
        *,
        connect_timeout: float,
        total_timeout: float,
    ) -> None:
        self._tokens = tokens
        self._total_timeout = total_timeout
        self._collections = {
            kind: httpx.URL(collection_url(endpoint, api_version, kind)) for kind in _PATH_SEGMENT
        }
        # A transport and no httpx.AsyncClient around it, whose redirects, cookies and merging of URLs
        # and headers are of no use here: docs/decisions.md has what each would cost.
        self._transport = AiohttpTransport(
            verify=endpoint.startswith("https:"), max_bytes=MAX_ANSWER_BYTES
        )
        self._timeout = {"connect": connect_timeout}

    async def delete(
        self, revoked: SessionRevoked, may_retry: Callable[[], bool] = lambda: True
    ) -> Answer:
        """Delete the session; never raises, whatever comes back or does not.

        A 401 drops the token and asks once more with a new one: keys roll over, caches lag.

        Args:
            revoked: the session.
            may_retry: asked after a 401; no where the circuit has opened meanwhile.
        """
        try:
            async with asyncio.timeout(self._total_timeout):
                token = await self._tokens.get()
                answer = await self._send(revoked, token)
                if answer.status == 401:
                    self._tokens.drop(token)
                if answer.status == 401 and may_retry():
                    answer = await self._send(revoked, await self._tokens.get())
                return answer
        except (TimeoutError, httpx.TimeoutException):
            return Answer(
                status=None, code="Timeout", message=f"no answer within {self._total_timeout:g} s"
            )
        except TokenUnavailable as error:
            return Answer(status=None, code="TokenUnavailable", message=str(error))
        except Exception as error:  # broken HTTP, TLS, DNS, sockets: all mean that nothing is known
            message = _one_line(f"{type(error).__name__}: {error}")
            return Answer(status=None, code="ConnectionFailed", message=message)

    async def _send(self, revoked: SessionRevoked, token: str) -> Answer:
        collection = self._collections[revoked.session_type]
        # The id goes into `target`, which stands for the URL's path: parsing another URL for each
        # session would take a quarter of all the CPU time of a message.
        target = collection.raw_path + revoked.session_id.encode()
        response = await self._transport.handle_async_request(
            httpx.Request(
                "DELETE",
                collection,
                headers=_headers(token),
                stream=_NO_BODY,
                extensions={"target": target, "timeout": self._timeout},
            )
        )
        # Not response.read(), which would inflate a compressed one.
        assert isinstance(response.stream, httpx.ByteStream)
        return read_answer(response, b"".join(response.stream))

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


@lru_cache(maxsize=1)
def _headers(token: str) -> httpx.Headers:
    return httpx.Headers(
        {
            "user-agent": f"liveness-session-revoker/{__version__}",
            "accept": "application/json",
            "accept-encoding": "identity",  # so that the bound on the answer is one on memory
            "authorization": f"Bearer {token}",
        }
    )


def read_answer(response: httpx.Response, body: bytes) -> Answer:
    """What a response says."""
    status, headers = response.status_code, response.headers
    request_id = headers.get("apim-request-id") or headers.get("x-ms-request-id") or ""
    request_id = _one_line(request_id) or None
    if response.is_success and not body:  # as after every deletion: there is nothing more to read
        return Answer(status=status, code=f"HTTP {status}", request_id=request_id)
    code, message = _face_error(body)
    return Answer(
        status=status,
        code=code or _one_line(headers.get("x-ms-error-code", "")) or f"HTTP {status}",
        message=message,
        request_id=request_id,
        retry_after=retry_after_seconds(
            headers.get("retry-after"), headers.get("retry-after-ms"), message, time.time()
        ),
        has_body=bool(body),
    )


def _face_error(body: bytes) -> tuple[str, str]:
    """Code and message of a FaceErrorResponse; empty where the body is something else."""
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

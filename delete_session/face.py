"""One call of the Face API, and the verdict on its answer."""

import asyncio
import json
from collections import deque
from functools import lru_cache

import httpx
from msgspec.structs import replace

from . import __version__
from .contract import SessionType
from .identity import TokenSource, TokenUnavailable
from .transport import AiohttpTransport
from .verdict import Meaning, Verdict, hide_tokens, judge, no_response, retry_after_seconds

MAX_ANSWER_BYTES = 64 * 1024  # more than any error has
MAX_MESSAGE_CHARACTERS = 1000  # all texts together must fit into a dead-letter description (4096)
CONNECT_SECONDS = 5  # no healthy endpoint takes longer; the call's timeout may be shorter
_MAX_NESTING = 4  # errors within errors

# Paths by API version (azure-rest-api-specs, specification/ai/data-plane/Face): previews up to
# v1.2-preview.1 are nested, v1.2 and later are flat.
_NESTED_VERSIONS = ("v1.1-preview.1", "v1.2-preview.1")

_NO_BODY = httpx.ByteStream(b"")

_PATH_SEGMENT = {"livenessWithVerify": "detectLivenessWithVerify", "liveness": "detectLiveness"}


def collection_url(endpoint: str, api_version: str, session_type: str) -> str:
    """Return the URL that a session's id is appended to."""
    shape = "/singleModal/sessions" if api_version in _NESTED_VERSIONS else "-sessions"
    return f"{endpoint}/face/{api_version}/{_PATH_SEGMENT[session_type]}{shape}/"


class FaceClient:
    """Deletes liveness sessions over one connection pool.

    `timeout`: seconds for one call, its token included. `not_retryable`: FaceError codes that
    dead-letter a message. `proxy`: URL of an HTTP proxy; None for a direct connection.
    """

    def __init__(
        self,
        endpoint: str,
        api_version: str,
        tokens: TokenSource,
        *,
        timeout: float,
        not_retryable: frozenset[str],
        proxy: str | None = None,
    ) -> None:
        self._tokens = tokens
        self._timeout = timeout
        self._not_retryable = not_retryable
        self._collections = {
            each: httpx.URL(collection_url(endpoint, api_version, each)) for each in _PATH_SEGMENT
        }
        # The transport alone: httpx.AsyncClient's redirects, cookies and merging of URLs and headers
        # cost CPU time and are not needed.
        self._transport = AiohttpTransport(
            tls=endpoint.startswith("https:"), max_bytes=MAX_ANSWER_BYTES, proxy=proxy
        )
        self._answered = deque[str](maxlen=100)  # request ids

    async def delete(self, session_id: str, session_type: SessionType) -> Verdict:
        """Delete the session. It never raises: every failure is a verdict."""
        try:
            async with asyncio.timeout(self._timeout):
                token = await self._tokens.get()
                verdict = await self._send(session_id, session_type, token)
                if verdict.refuses_token:
                    self._tokens.drop(token)  # the next attempt makes its call with a new one
                return verdict
        except (TimeoutError, httpx.TimeoutException):
            return no_response("Timeout", f"no answer within {self._timeout:g} s")
        except TokenUnavailable as error:
            return no_response("TokenUnavailable", str(error))
        except Exception as error:  # broken HTTP, TLS, DNS, sockets: the outcome is unknown
            return no_response("ConnectionFailed", _one_line(f"{type(error).__name__}: {error}"))

    async def _send(self, session_id: str, session_type: SessionType, token: str) -> Verdict:
        collection = self._collections[session_type]
        # `target` replaces the URL's path: parsing a URL for each session would cost a quarter of the
        # CPU time of a message.
        target = collection.raw_path + session_id.encode()
        response = await self._transport.handle_async_request(
            httpx.Request(
                "DELETE",
                collection,
                headers=_headers(token),
                stream=_NO_BODY,
                extensions={"target": target, "timeout": {"connect": CONNECT_SECONDS}},
            )
        )
        # Not response.read(), which would decompress the body.
        assert isinstance(response.stream, httpx.ByteStream)
        verdict = read_response(response, b"".join(response.stream), self._not_retryable)
        if verdict.meaning in (Meaning.DELETED, Meaning.ALREADY_GONE) and verdict.request_id:
            if verdict.request_id in self._answered:  # the answer to another call proves nothing
                message = "its request id was seen before"
                return replace(verdict, meaning=Meaning.UNCONFIRMED, message=message)
            self._answered.append(verdict.request_id)
        return verdict

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


@lru_cache(maxsize=1)
def _headers(token: str) -> httpx.Headers:
    return httpx.Headers(
        {
            "user-agent": f"liveness-session-revoker/{__version__}",
            "accept": "application/json",
            "accept-encoding": "identity",  # a small compressed answer could fill the memory
            "authorization": f"Bearer {token}",
        }
    )


def read_response(response: httpx.Response, body: bytes, not_retryable: frozenset[str]) -> Verdict:
    """Judge a response by its status, its headers and at most `MAX_ANSWER_BYTES` of its body."""
    status, headers = response.status_code, response.headers
    request_id = _one_line(headers.get("apim-request-id", "")) or None
    if response.is_success and not body:  # there is nothing more to read
        message = "" if request_id else "a success without the request id that the Face API gives"
        return judge(status, [], message, request_id=request_id, has_body=False)
    codes, message = _error(body)
    if not codes and (code := _one_line(headers.get("x-ms-error-code", ""))):
        codes = [code]
    return judge(
        status,
        codes,
        message,
        request_id=request_id or _one_line(headers.get("x-ms-request-id", "")) or None,
        has_body=bool(body),
        retry_after=retry_after_seconds(headers.get("retry-after"), message),
        not_retryable=not_retryable,
    )


def _error(body: bytes) -> tuple[list[str], str]:
    """Return the codes, outermost first, and the text of an error body in any known form."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return [], ""
    if not isinstance(found, dict):
        return [], ""
    errors: list[dict[str, object]] = []
    error: object = found.get("error")
    while isinstance(error, dict) and len(errors) < _MAX_NESTING:
        errors.append(error)
        error = error.get("innererror") or error.get("innerError")
    given = [each.get("code") for each in errors]
    codes = [_one_line(str(code)) for code in given if isinstance(code, str | int)]
    # Gateways and identity services write their text elsewhere.
    texts = [each.get("message") for each in errors]
    texts += [found.get(name) for name in ("message", "Message", "error_description", "title")]
    distinct = dict.fromkeys(_one_line(text) for text in texts if isinstance(text, str))
    return [code for code in codes if code], _one_line(" ".join(distinct))


def _one_line(text: str) -> str:
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    return hide_tokens(" ".join(text.split()))[:MAX_MESSAGE_CHARACTERS]

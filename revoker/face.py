"""Single calls of the Face API, their answers, and the remedies."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import get_args
from urllib.parse import urlsplit

import httpx
from azure.core.exceptions import ClientAuthenticationError

from delete_session import __version__
from delete_session.contract import SessionType
from delete_session.endpoint import proxy_for
from delete_session.face import MAX_ANSWER_BYTES, collection_url, read_response
from delete_session.identity import credential
from delete_session.settings import TABLE
from delete_session.transport import AiohttpTransport
from delete_session.verdict import PERMISSION_DENIED, Meaning, Verdict
from revoker.caller import Caller
from revoker.failure import Exit, Failure, first_line
from revoker.text import from_json

CALL_SECONDS = 15.0
MAX_LIST_BYTES = 1024 * 1024  # 1,000 sessions of about 250 bytes
NOT_RETRYABLE = frozenset((TABLE["face_codes_not_retryable"].default or "").split(","))

# The Failure says why there is no token; without a handler, standard error would repeat it.
logging.getLogger("azure.identity").addHandler(logging.NullHandler())


async def token(scope: str, client_id: str | None, resource_id: str | None = None) -> str:
    """Get a Microsoft Entra token.

    Raises:
        Failure: no token is available.
    """
    login = credential(client_id, resource_id=resource_id)
    try:
        async with asyncio.timeout(CALL_SECONDS):
            return (await login.get_token(scope)).token
    except TimeoutError:
        cause = f"no answer within {CALL_SECONDS:g} s"
    except ClientAuthenticationError as error:
        cause = first_line(error)
    except Exception as error:  # each credential raises different errors
        cause = f"{type(error).__name__}: {first_line(error)}"
    finally:
        await login.close()
    remedy = "Log in with 'az login' to the tenant of the subscription."
    if Caller.of() is Caller.FUNCTION:
        remedy = (
            "Check that the app has the identity that AZURE_CLIENT_ID names (its Identity page)."
        )
    raise Failure(f"No Microsoft Entra token: {cause}.", remedy)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and the clock skew that its response showed."""

    verdict: Verdict
    clock_skew_seconds: float | None
    """Seconds by which this machine's clock is ahead of the server's; None if it sent no time."""
    ids: Sequence[str] | None = None
    """What a list names; None for any other answer."""


def remedy_for(verdict: Verdict) -> str:
    """Return what to do about a verdict: the function's own remedy wherever it has one."""
    if verdict.remedy:
        return verdict.remedy
    match verdict.status, verdict.code:
        case 403, "UnsupportedFeature":
            return "Apply for limited access to Face liveness for this subscription and resource."
        case 429, _:
            return (
                "Wait and run it again. Most likely other callers use up the quota: see 'Rate and "
                "capacity' in docs/operations.md."
            )
        case int(status), _ if 400 <= status < 500 and status not in (408, 409):
            return "Look the code up in the Face API's documentation, or ask Microsoft's support."
        case _:
            return (
                "Try again; if it fails again, see Azure's status page for the resource's region."
            )


class Face:
    """The Face API at one endpoint."""

    def __init__(self, client: httpx.AsyncClient, endpoint: str) -> None:
        self._client = client
        self._endpoint = endpoint

    @classmethod
    @asynccontextmanager
    async def open(
        cls, endpoint: str, bearer: str | None, max_bytes: int = MAX_ANSWER_BYTES
    ) -> AsyncIterator["Face"]:
        """Open a client on the function's transport, so that it has the same problems.

        Args:
            endpoint: the endpoint of the Face resource.
            bearer: the token; None for a call that should be refused.
            max_bytes: how much of an answer is read.
        """
        headers = {"user-agent": f"liveness-session-revoker-ops/{__version__}"}
        if bearer is not None:
            headers["authorization"] = f"Bearer {bearer}"
        try:
            proxy = proxy_for(urlsplit(endpoint).hostname or "", os.environ)
        except ValueError as error:
            raise Failure(f"{error}.", "Correct HTTPS_PROXY, or unset it.", Exit.USAGE) from None
        async with httpx.AsyncClient(
            transport=AiohttpTransport(
                tls=endpoint.startswith("https:"), max_bytes=max_bytes, proxy=proxy
            ),
            timeout=CALL_SECONDS,
            headers=headers,
        ) as client:
            yield cls(client, endpoint)

    async def call(
        self,
        method: str,
        api_version: str,
        session_type: SessionType,
        session_id: str,
        *,
        bearer: str | None = None,
    ) -> Reply:
        """GET or DELETE one session; `bearer` replaces the client's token.

        Raises:
            Failure: there was no answer.
        """
        url = collection_url(self._endpoint, api_version, session_type) + session_id
        reply, _ = await self._request(method, url, bearer)
        return reply

    async def list(
        self, api_version: str, session_type: SessionType, after: str, *, bearer: str
    ) -> Reply:
        """GET the ids of the sessions behind one, as many as the API gives at once.

        Raises:
            Failure: there was no answer.
        """
        url = collection_url(self._endpoint, api_version, session_type).removesuffix("/")
        reply, body = await self._request("GET", url, bearer, {"start": after} if after else {})
        try:
            ids = [str(each["id"]) for each in from_json(body)]
        except (KeyError, TypeError, ValueError):
            return reply
        return replace(reply, ids=ids if reply.verdict.status == 200 else None)

    async def _request(
        self, method: str, url: str, bearer: str | None, query: Mapping[str, str] | None = None
    ) -> tuple[Reply, bytes]:
        headers = {"authorization": f"Bearer {bearer}"} if bearer else None
        before = time.time()
        try:
            # The client's own timeout restarts with each byte.
            async with asyncio.timeout(CALL_SECONDS):
                response = await self._client.request(method, url, headers=headers, params=query)
        except (httpx.HTTPError, TimeoutError) as error:
            why = (
                f"no whole answer within {CALL_SECONDS:g} s"
                if isinstance(error, TimeoutError)
                else f"{type(error).__name__}: {first_line(error)}"
            )
            raise Failure(
                f"{self._endpoint} does not answer: {why}.",
                "Check FACE_ENDPOINT, and that this machine's network reaches it.",
            ) from error
        middle = (before + time.time()) / 2
        verdict = read_response(response, response.content, NOT_RETRYABLE)
        return Reply(verdict, _skew(response, middle)), response.content


def is_nested(api_version: str) -> bool:
    """Whether a version has the paths of the older previews; only those can list sessions."""
    return "/singleModal/" in collection_url("", api_version, "liveness")


def _skew(response: httpx.Response, now: float) -> float | None:
    try:
        # The header has whole seconds only, on average half a second too few.
        server = parsedate_to_datetime(response.headers["date"]).timestamp() + 0.5
    except (KeyError, ValueError):
        return None
    return now - server


class Existence(Enum):
    """Whether a session exists at the Face API."""

    EXISTS = "exists"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Finding:
    """The Face API's answer about a session, and its time."""

    existence: Existence
    session_type: SessionType | None
    """The type of a session that exists."""
    at: datetime


async def session(
    endpoint: str,
    api_version: str,
    scope: str,
    client_id: str | None,
    session_id: str,
    session_type: SessionType | None,
) -> Finding:
    """Ask whether a session exists, under both types unless one is named.

    Raises:
        Failure: the API's answer leaves it open.
    """
    types: tuple[SessionType, ...] = (session_type,) if session_type else get_args(SessionType)
    bearer = await token(scope, client_id)
    async with Face.open(endpoint, bearer) as face:
        for each in types:
            reply = await face.call("GET", api_version, each, session_id)
            if reply.verdict.status == 200:
                return Finding(Existence.EXISTS, each, datetime.now().astimezone())
            if reply.verdict.meaning is not Meaning.ALREADY_GONE:
                raise unanswered(reply.verdict)
    return Finding(Existence.GONE, None, datetime.now().astimezone())


def unanswered(verdict: Verdict) -> Failure:
    """Return the failure for an answer that does not tell whether a session exists."""
    return Failure(f"Cannot tell: {verdict.describe()}.", _remedy_for_reading(verdict))


def _remedy_for_reading(verdict: Verdict) -> str:
    if verdict.code == PERMISSION_DENIED:
        # The function's remedy would be the role to delete, which does not help a reader.
        return (
            "Your login may not read sessions, and the function's own role can only delete them: "
            "search the log instead, as 'What happened to session X' in docs/operations.md says."
        )
    return remedy_for(verdict)

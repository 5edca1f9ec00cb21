"""Calls of the Face API by hand: one at a time, with all that its answer tells."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import get_args

import httpx
from azure.core.exceptions import ClientAuthenticationError

from delete_session import __version__
from delete_session.answer import Answer, describe, remedy
from delete_session.contract import SessionType
from delete_session.face import MAX_ANSWER_BYTES, collection_url, read_answer
from delete_session.identity import SCOPE, credential
from delete_session.settings import TABLE
from delete_session.transport import AiohttpTransport
from revoker.failure import Failure, first_line

CALL_SECONDS = 15.0
NOT_RETRYABLE = frozenset((TABLE["face_codes_not_retryable"].default or "").split(","))


async def token(scope: str, client_id: str | None) -> str:
    """A Microsoft Entra token.

    Raises:
        Failure: none can be had.
    """
    login = credential(client_id)
    try:
        async with asyncio.timeout(CALL_SECONDS):
            return (await login.get_token(scope)).token
    except TimeoutError:
        cause = f"no answer within {CALL_SECONDS:g} s"
    except ClientAuthenticationError as error:
        cause = first_line(error)
    except Exception as error:  # every credential has failures of its own
        cause = f"{type(error).__name__}: {first_line(error)}"
    finally:
        await login.close()
    raise Failure(
        f"No Microsoft Entra token: {cause}.",
        "Log in with 'az login', to the tenant of the subscription; within Azure, check that the "
        "app has the identity that AZURE_CLIENT_ID names.",
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and what else was seen with it."""

    answer: Answer
    clock_skew_seconds: float | None
    """This machine's clock less the server's; None where the server did not tell its time."""


class Face:
    """The Face API at one endpoint."""

    def __init__(self, client: httpx.AsyncClient, endpoint: str, bearer: str) -> None:
        self._client = client
        self._endpoint = endpoint
        self._headers = {"authorization": f"Bearer {bearer}"}

    @classmethod
    @asynccontextmanager
    async def open(cls, endpoint: str, bearer: str) -> AsyncIterator["Face"]:
        """A client with the function's own transport, so that it meets what the function meets."""
        async with httpx.AsyncClient(
            transport=AiohttpTransport(
                verify=endpoint.startswith("https:"), max_bytes=MAX_ANSWER_BYTES
            ),
            timeout=CALL_SECONDS,
            headers={"user-agent": f"liveness-session-revoker-ops/{__version__}"},
        ) as client:
            yield cls(client, endpoint, bearer)

    async def call(
        self, method: str, api_version: str, session_type: SessionType, session_id: str
    ) -> Reply:
        """GET or DELETE one session.

        Raises:
            Failure: no answer came.
        """
        url = collection_url(self._endpoint, api_version, session_type) + session_id
        before = time.time()
        try:
            response = await self._client.request(method, url, headers=self._headers)
        except httpx.HTTPError as error:
            raise Failure(
                f"{self._endpoint} does not answer: {type(error).__name__}: {first_line(error)}.",
                "Check FACE_ENDPOINT, and that the network lets you there; "
                "'revoker doctor' tells more.",
            ) from error
        middle = (before + time.time()) / 2
        return Reply(
            read_answer(response, response.content, NOT_RETRYABLE), _skew(response, middle)
        )


def _skew(response: httpx.Response, now: float) -> float | None:
    try:
        # The header's seconds are whole ones: on average half a second has passed.
        server = parsedate_to_datetime(response.headers["date"]).timestamp() + 0.5
    except (KeyError, ValueError):
        return None
    return now - server


class Existence(Enum):
    """What the API tells about a session."""

    EXISTS = "exists"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Told:
    """What the API told about a session, and when."""

    existence: Existence
    session_type: SessionType | None
    """Of a session that exists."""
    at: datetime


async def session(
    endpoint: str,
    api_version: str,
    client_id: str | None,
    session_id: str,
    session_type: SessionType | None,
) -> Told:
    """Ask whether a session exists, under both types unless one is named.

    Raises:
        Failure: the API does not tell.
    """
    types: tuple[SessionType, ...] = (session_type,) if session_type else get_args(SessionType)
    bearer = await token(SCOPE, client_id)
    async with Face.open(endpoint, bearer) as face:
        for each in types:
            reply = await face.call("GET", api_version, each, session_id)
            answer = reply.answer
            if answer.status == 200:
                return Told(Existence.EXISTS, each, datetime.now().astimezone())
            if answer.status != 404 or answer.code != "SessionNotFound":
                cure = remedy(answer) or "Try again in a minute."
                if answer.status == 403 or answer.code == "PermissionDenied":
                    cure = (
                        "Your login may not read sessions, and the function's own role can only "
                        "delete: ask the log instead, see 'What happened to session X' in "
                        "docs/operations.md."
                    )
                raise Failure(f"Cannot tell: {describe(answer)}.", cure)
    return Told(Existence.GONE, None, datetime.now().astimezone())

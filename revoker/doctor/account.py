"""The Face account as Azure Resource Manager describes it, for callers who may read it.

Nothing rests on this: whatever keeps it from being read is a reason to skip a check, and no fault.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from delete_session import __version__
from delete_session.endpoint import proxy_for
from delete_session.transport import AiohttpTransport
from revoker.doctor.runner import Skipped
from revoker.failure import first_line

MANAGERS = {
    "https://cognitiveservices.azure.com/.default": "https://management.azure.com",
    "https://cognitiveservices.azure.us/.default": "https://management.usgovcloudapi.net",
    "https://cognitiveservices.azure.cn/.default": "https://management.chinacloudapi.cn",
}
"""Azure Resource Manager's address in each cloud, by the scope of the cloud's Face API."""

RESOURCE_ID = re.compile(
    r"/subscriptions/[0-9a-f-]{36}/resourceGroups/[\w.()-]+"
    r"/providers/Microsoft\.CognitiveServices/accounts/[A-Za-z0-9._-]+",
    re.IGNORECASE,
)

MAX_SUBSCRIPTIONS = 50
MAX_PAGES = 10
"""Of the accounts of one subscription."""
MAX_ANSWER_BYTES = 8 * 2**20
CALLS_AT_ONCE = 10

# Old enough that every cloud knows them; of the account, only what they already had is read.
_ACCOUNT_VERSION = "api-version=2023-05-01"
_ACCOUNTS = f"providers/Microsoft.CognitiveServices/accounts?{_ACCOUNT_VERSION}"
_SUBSCRIPTIONS = "subscriptions?api-version=2022-12-01"


@dataclass(frozen=True, slots=True)
class Limit:
    """So many calls in so many seconds, for all callers of the account together."""

    count: float
    seconds: float

    @property
    def per_second(self) -> float:
        """Calls a second."""
        return self.count / self.seconds


class _CallRateLimit(msgspec.Struct, rename="camel"):
    count: float | None = None
    renewal_period: float | None = None
    rules: list[Any] | None = None


class _Properties(msgspec.Struct, rename="camel"):
    endpoint: str | None = None
    call_rate_limit: msgspec.Raw = msgspec.Raw(b"null")  # read only of the account that is meant


class Account(msgspec.Struct):
    """A Face account."""

    name: str
    properties: _Properties

    @property
    def host(self) -> str:
        """The host of its endpoint; empty if it has none."""
        try:
            return urlsplit(self.properties.endpoint or "").hostname or ""
        except ValueError:
            return ""

    @property
    def limit(self) -> Limit:
        """Its `callRateLimit`.

        Raises:
            Skipped: it has none, or none that can be read.
        """
        try:
            told = (
                msgspec.json.decode(self.properties.call_rate_limit, type=_CallRateLimit | None)
                or _CallRateLimit()
            )
        except msgspec.MsgspecError:
            raise Skipped(f"the callRateLimit of {self.name} cannot be read") from None
        count, seconds = told.count or 0, told.renewal_period or 0
        if all(1e-6 <= each <= 1e9 for each in (count, seconds)):
            return Limit(count, seconds)
        rules = f", only {len(told.rules)} for single paths" if told.rules else ""
        raise Skipped(f"{self.name} tells no rate limit for all its calls{rules}")


class _Accounts(msgspec.Struct, rename="camel"):
    value: list[Account]
    next_link: str | None = None


class _Subscription(msgspec.Struct, rename="camel"):
    subscription_id: str


class _Subscriptions(msgspec.Struct, rename="camel"):
    value: list[_Subscription]


class _Error(msgspec.Struct):
    code: str = ""


class _Refusal(msgspec.Struct):
    error: _Error


class ResourceManager:
    """Azure Resource Manager at one address. Each question is asked once, without retries."""

    def __init__(self, client: httpx.AsyncClient, address: str) -> None:
        self._client = client
        self._address = address
        self._turn = asyncio.Semaphore(CALLS_AT_ONCE)

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str, bearer: str, seconds: float) -> AsyncIterator[Self]:
        """Open a client.

        Args:
            address: of the cloud's Azure Resource Manager.
            bearer: a token for it.
            seconds: that one call may take.

        Raises:
            Skipped: HTTPS_PROXY is wrong.
        """
        try:
            proxy = proxy_for(urlsplit(address).hostname or "", os.environ)
        except ValueError as error:
            raise Skipped(str(error)) from None
        async with httpx.AsyncClient(
            transport=AiohttpTransport(
                verify=address.startswith("https:"), max_bytes=MAX_ANSWER_BYTES, proxy=proxy
            ),
            timeout=seconds,
            headers={
                "user-agent": f"liveness-session-revoker-ops/{__version__}",
                "authorization": f"Bearer {bearer}",
            },
        ) as client:
            yield cls(client, address)

    async def read(self, resource_id: str) -> Account:
        """Return the account with this resource id.

        Raises:
            Skipped: it cannot be read; the text says why.
        """
        return await self._get(f"{resource_id.strip('/')}?{_ACCOUNT_VERSION}", Account)

    async def find(self, host: str, subscription: str) -> Account:
        """Return the account whose endpoint has this host.

        Args:
            host: of the endpoint.
            subscription: id of the one to search; if empty, all that the caller may read, up to a
                bound.

        Raises:
            Skipped: it cannot be found; the text says why.
        """
        found = [subscription] if subscription else await self._subscriptions()
        if not found:
            raise Skipped("this login may read no subscription")
        problem = None
        tasks = [
            asyncio.create_task(self._find_in(each, host)) for each in found[:MAX_SUBSCRIPTIONS]
        ]
        try:
            for done in asyncio.as_completed(tasks):
                try:
                    if account := await done:
                        return account
                except Skipped as why:
                    problem = why
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise problem or Skipped(_not_among(found, host))

    async def _subscriptions(self) -> list[str]:
        answer = await self._get(_SUBSCRIPTIONS, _Subscriptions)
        return [each.subscription_id for each in answer.value]

    async def _find_in(self, subscription: str, host: str) -> Account | None:
        path: str | None = f"subscriptions/{quote(subscription, safe='')}/{_ACCOUNTS}"
        for _ in range(MAX_PAGES):
            if path is None:
                break
            page = await self._get(path, _Accounts)
            for each in page.value:
                if each.host == host:
                    return each
            path = self._within(page.next_link)
        return None

    def _within(self, link: str | None) -> str | None:
        # The token goes nowhere else.
        start = f"{self._address}/"
        return link.removeprefix(start) if link and link.startswith(start) else None

    async def _get[T](self, path: str, kind: type[T]) -> T:
        try:
            async with self._turn:
                response = await self._client.get(f"{self._address}/{path}")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Skipped(
                f"{self._address} does not answer: {type(error).__name__}: {first_line(error)}"
            ) from error
        if response.status_code in (401, 403):
            raise Skipped(f"this login may not read the Face account ({_said(response)})")
        if response.status_code != 200:
            raise Skipped(f"{self._address} answered {_said(response)}")
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.MsgspecError:
            raise Skipped(f"the answer of {self._address} cannot be read") from None


def _said(response: httpx.Response) -> str:
    try:
        code = msgspec.json.decode(response.content, type=_Refusal).error.code
    except msgspec.MsgspecError:
        code = ""
    known = re.fullmatch(r"\w{1,80}", code)
    return f"HTTP {response.status_code}{f' {code}' if known else ''}"


def _not_among(subscriptions: Sequence[str], host: str) -> str:
    count, searched = len(subscriptions), min(len(subscriptions), MAX_SUBSCRIPTIONS)
    where = "one subscription" if count == 1 else f"{count} subscriptions"
    if searched < count:
        where = f"the first {searched} of {where}"
    return (
        f"this login sees no account with the endpoint {host} in {where}; --face-account names one"
    )

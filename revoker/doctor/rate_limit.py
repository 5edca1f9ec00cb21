"""The doctor's check of the Face account's own rate limit against what the function is allowed."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from delete_session.endpoint import face_scope as scope_of
from delete_session.endpoint import is_loopback
from delete_session.settings import TABLE
from revoker.connection import face_scope, setting
from revoker.doctor.account import MANAGERS, RESOURCE_ID, Account, Limit, ResourceManager
from revoker.doctor.runner import Check, Skipped, Warned
from revoker.face import token
from revoker.failure import Failure

ACCOUNT_ID, SUBSCRIPTION_ID = "FACE_ACCOUNT_ID", "AZURE_SUBSCRIPTION_ID"
"""Environment variables of the doctor, both optional: where to look for the account."""

LOOKUP_SECONDS = 10.0

# As infra/ deploys it, if nobody says otherwise: a test compares them.
PERCENT_OF_LIMIT = 80
"""Of the account's limit, for each instance."""

MOST, LEAST = TABLE["max_rate"], TABLE["min_rate"]
INSTANCES = TABLE["max_rate"]


def checks(environment: Mapping[str, str]) -> list[Check]:
    """Return the check of the rate limit, which passes or is skipped if nothing can be read."""

    async def rate_limit() -> str:
        rates = Rates.read(environment)
        account = await _account(environment)
        return judge(account.name, account.limit, rates)

    return [Check("Face rate limit", ("Face token",), rate_limit)]


@dataclass(frozen=True, slots=True)
class Rates:
    """Calls a second that one instance makes, and how many instances there may be."""

    most: float
    least: float | None
    """None: a part of the most."""
    instances: int = 2
    most_is_set: bool = True
    """Whether this environment says so, and not the default."""
    instances_are_set: bool = True

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read the function's settings.

        Raises:
            Skipped: they are wrong.
        """
        rows = MOST, LEAST, INSTANCES
        texts = [environment.get(row.name, "").strip() for row in rows]
        try:
            most, least, instances = (
                row.parse(text or row.default or "") for row, text in zip(rows, texts, strict=True)
            )
        except ValueError:
            raise Skipped("its settings are wrong") from None
        return cls(most, least, instances, bool(texts[0]), bool(texts[2]))


def judge(name: str, limit: Limit, rates: Rates) -> str:
    """Say what an account allows, beside what the function takes of it.

    Raises:
        Warned: the function may take all of it.
    """
    allowed, remedies = limit.per_second, []
    facts = f"{name} allows {limit.count:.9g} calls in {limit.seconds:.9g} s"
    if limit.seconds != 1:
        facts += f" ({allowed:.3g} a second)"
    facts += f"; {MOST.name} is {rates.most:.9g}{_where_from(rates.most_is_set)}"
    share = rates.most / allowed
    if share < 1:
        facts += f", {100 * share:.3g} % of it for each instance"
    else:
        facts += ", more than that" if share > 1 else ", all of it for one instance"
        remedies.append(_remedy(allowed, rates))
    facts += f"; {INSTANCES.name} is {rates.instances}{_where_from(rates.instances_are_set)}"
    if rates.least is None:
        least = rates.most * 0.05 / rates.instances
        facts += f"; {LEAST.name} is empty, which means {least:.3g}"
    else:
        facts += f"; {LEAST.name} is {rates.least:.9g}"
        if rates.least * rates.instances >= allowed:
            who = "it leaves" if rates.instances == 1 else f"{rates.instances} instances leave"
            facts += f", so that {who} nothing to the live traffic"
            remedies.append(f"Lower {LEAST.name}, or leave it empty.")
    if remedies:
        raise Warned(facts, " ".join(remedies))
    return facts


def _where_from(is_set: bool) -> str:
    return "" if is_set else " (the default, since it is not set here)"


def _remedy(allowed: float, rates: Rates) -> str:
    # As infra/ rounds it.
    right = math.floor(allowed * 10 * PERCENT_OF_LIMIT) / 1000
    first = "" if rates.most_is_set else "See what the app itself has set; if nothing: "
    if right < 0.1:  # the least that the setting takes
        return f"{first}Have the account's limit raised."
    return (
        f"{first}Set {MOST.name} to {right:.9g} ({PERCENT_OF_LIMIT} %, as infra/ does), or have "
        "the account's limit raised."
    )


async def _account(environment: Mapping[str, str]) -> Account:
    try:
        endpoint = setting("face_endpoint", environment)
        scope = face_scope(environment)
    except Failure:
        raise Skipped("its settings are wrong") from None
    host = urlsplit(endpoint).hostname or ""
    if is_loopback(host):
        raise Skipped("a Face API on this machine has no account in Azure")
    manager = MANAGERS.get(scope)
    if manager is None:
        raise Skipped("no Azure Resource Manager is known for FACE_TOKEN_SCOPE")
    resource_id = _resource_id(environment)
    if not resource_id and not _is_custom_subdomain(endpoint):
        raise Skipped("FACE_ENDPOINT is not an account's own: name the account by --face-account")
    bearer = await _token(manager, environment)
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            return await _ask(manager, bearer, resource_id, host, environment)
    except TimeoutError:
        raise Skipped(f"{manager} did not answer within {LOOKUP_SECONDS:g} s") from None


async def _token(address: str, environment: Mapping[str, str]) -> str:
    # It has a time limit of its own; a shorter one here would leave the Azure CLI running.
    client_id = environment.get("AZURE_CLIENT_ID", "").strip() or None
    try:
        return await token(f"{address}/.default", client_id)
    except Failure as failure:
        raise Skipped(f"{failure.cause.rstrip('.')} (for {address})") from None


async def _ask(
    address: str, bearer: str, resource_id: str, host: str, environment: Mapping[str, str]
) -> Account:
    async with ResourceManager.open(address, bearer, LOOKUP_SECONDS) as manager:
        if resource_id:
            return _of_endpoint(await manager.read(resource_id), host)
        return await manager.find(host, environment.get(SUBSCRIPTION_ID, "").strip())


def _of_endpoint(account: Account, host: str) -> Account:
    if _is_custom_subdomain(f"https://{host}") and account.host != host:
        raise Failure(
            f"{account.name} has the endpoint {account.host}, not {host}",
            f"Correct --face-account ({ACCOUNT_ID}) or FACE_ENDPOINT.",
        )
    return account


def _resource_id(environment: Mapping[str, str]) -> str:
    text = environment.get(ACCOUNT_ID, "").strip()
    if text and not RESOURCE_ID.fullmatch(text):
        raise Failure(
            f"{text} is not the resource id of a Face account",
            f"Correct --face-account or {ACCOUNT_ID}: /subscriptions/…/resourceGroups/…/providers/"
            "Microsoft.CognitiveServices/accounts/…, as 'az cognitiveservices account list' tells.",
        )
    return text


def _is_custom_subdomain(endpoint: str) -> bool:
    try:
        scope_of(endpoint)
    except ValueError:
        return False
    return True

"""Disturbances of a trial: the app restarts, and loses its role for a while. Both go through `az`."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from revoker.doctor.runner import Skipped
from revoker.failure import Exit, Failure
from revoker.remedies import for_error
from revoker.trial.az import az, log_rows
from revoker.trial.stage import Stage

_NAMES = ("AZURE_FUNCTION_APP_NAME", "FACE_ACCOUNT")
_RESTARTED_SESSIONS = 10
_RESTART_SECONDS = 180.0
_REMOVAL_SECONDS = 300.0
"""How long the removal of a role may take to work; longer, and a trial has no time for it."""
_REMOVAL_GAP_SECONDS = 10.0
_RETURN_SECONDS = 420.0
"""How long a role takes to work again, and the retries then take."""


@dataclass(frozen=True, slots=True)
class App:
    """The function app in Azure, and its roles on the Face account."""

    id: str
    assignments: Sequence[Mapping[str, Any]]

    @classmethod
    async def find(cls, environment: Mapping[str, str]) -> Self:
        """Look it up by the names in the environment.

        Raises:
            Skipped: a name is missing, or nothing has it.
        """
        if missing := [name for name in _NAMES if not environment.get(name)]:
            raise Skipped(f"it needs {' and '.join(missing)} in the environment")
        name, account = (environment[each] for each in _NAMES)
        found = await az("functionapp", "list", "--query", f"[?name=='{name}']")
        if len(found) != 1:
            raise Skipped(f"your login sees {len(found)} apps with the name {name}")
        identity = found[0].get("identity") or {}
        users = (identity.get("userAssignedIdentities") or {}).values()
        principals = {each.get("principalId") for each in (identity, *users)} - {None}
        assignments = []
        for each in principals:
            of_principal = await az("role", "assignment", "list", "--all", "--assignee", each)
            assignments += [x for x in of_principal if x["scope"].endswith(f"/accounts/{account}")]
        return cls(found[0]["id"], assignments)

    async def restart(self) -> None:
        """Restart it."""
        await az("functionapp", "restart", "--ids", self.id)

    async def remove_roles(self) -> None:
        """Remove its roles on the Face account."""
        await az(
            "role", "assignment", "delete", "--ids", *(each["id"] for each in self.assignments)
        )

    async def restore_roles(self) -> None:
        """Assign the removed roles again, under their old names.

        Raises:
            Failure: one could not be assigned.
        """
        for each in self.assignments:
            try:
                await az(
                    *("role", "assignment", "create", "--name", each["name"]),
                    *("--assignee-object-id", each["principalId"]),
                    *("--assignee-principal-type", "ServicePrincipal"),
                    *("--role", each["roleDefinitionId"], "--scope", each["scope"]),
                )
            except Skipped as error:
                raise Failure(
                    f"The app's role on {each['scope']} is still removed: {error}",
                    "Provision again ('azd provision') to restore it.",
                    Exit.WRONG,
                ) from None


async def restart(stage: Stage) -> str:
    """Restart the app while revocations are under way; they must all end."""
    app = await App.find(stage.environment)
    ids = [await stage.create("liveness", stage.version) for _ in range(_RESTARTED_SESSIONS)]
    sent = await stage.send(*map(stage.revocation, ids))
    await app.restart()
    await stage.ended_well(sent, _RESTART_SECONDS)
    for each in ids:
        await stage.expect_gone(each)
    return f"yes: all {len(ids)} sessions are gone"


async def remove_role(stage: Stage) -> str:
    """Remove the app's role until a revocation is refused; restored, it must end."""
    app = await App.find(stage.environment)
    if not app.assignments:
        raise Skipped("the app has no role on the Face account itself that could be removed")
    began, ids, sent = datetime.now(UTC), list[str](), list[str]()
    until, next_at, is_refused = time.monotonic() + _REMOVAL_SECONDS, 0.0, False
    try:
        await app.remove_roles()
        while not is_refused:
            if (now := time.monotonic()) > until:
                raise Skipped(f"after {_REMOVAL_SECONDS:g} s the role still worked")
            if now >= next_at:  # a session that was deleted meanwhile shows nothing
                next_at = now + _REMOVAL_GAP_SECONDS
                ids.append(await stage.create("liveness", stage.version))
                sent += await stage.send(stage.revocation(ids[-1]))
            await asyncio.sleep(0.5)
            waiting = [seen for seen in await stage.look() if seen.root_id in sent]
            is_refused = any(for_error(seen.last_error) for seen in waiting)
    finally:
        await app.restore_roles()
    await stage.ended_well(sent, _RETURN_SECONDS, is_misconfigured=True)
    for each in ids:
        await stage.expect_gone(each)
    return f"yes: all {len(ids)} sessions are gone; {await _reported(stage, began)}"


async def _reported(stage: Stage, began: datetime) -> str:
    query = (
        "AppTraces | where Message startswith '{' and Message has 'deployment_fault' "
        f"| where TimeGenerated > datetime({began.isoformat()})"
    )
    try:
        if not await log_rows(stage, query, bool):
            raise Failure("No deployment_fault was logged", "Look for exceptions in the log.")
    except Skipped as error:
        return f"whether deployment_fault was logged is open: {error}"
    return "deployment_fault was logged"

"""The Azure CLI, for what a trial asks Azure itself."""

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from typing import Any

from revoker.doctor.runner import Skipped
from revoker.trial.stage import Stage

_INGESTION_POLL_SECONDS = 15.0


async def az(*arguments: str) -> Any:
    """Run the Azure CLI and return what it prints, as JSON.

    Raises:
        Skipped: there is none, or it may not.
    """
    program = shutil.which("az")
    if program is None:
        raise Skipped("it needs the Azure CLI")
    process = await asyncio.create_subprocess_exec(
        *(program, *arguments, "--output", "json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode:
        what = " ".join(arguments[:3])
        raise Skipped(f"your login may not run 'az {what}': {err.decode().strip()[:300]}")
    return json.loads(out or b"null")


async def log_rows(
    stage: Stage, query: str, are_all: Callable[[list[dict[str, Any]]], bool]
) -> list[dict[str, Any]]:
    """Query the workspace until all rows have arrived, or have had time to.

    Raises:
        Skipped: there is no workspace, or the login may not read it.
    """
    workspace = stage.environment.get("LOG_WORKSPACE_ID")
    if not workspace:
        raise Skipped("it needs LOG_WORKSPACE_ID in the environment")
    until = time.monotonic() + 5 * stage.patience
    what = ("monitor", "log-analytics", "query", "--workspace", workspace, "--timespan", "PT1H")
    while True:
        rows: list[dict[str, Any]] = await az(*what, "--analytics-query", query)
        if are_all(rows) or time.monotonic() > until:
            return rows
        await asyncio.sleep(min(_INGESTION_POLL_SECONDS, stage.patience))

"""Checks as values, and the runner, which skips a check if one that it needs has failed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from revoker.failure import Failure


class Skipped(Exception):
    """Raised by a probe that has nothing to look at; the text says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check."""

    name: str
    needs: tuple[str, ...]
    """Names of the checks that this one needs; they come before it."""
    probe: Callable[[], Awaitable[str]]
    """Return what was found, raise a Failure if something is wrong, or raise Skipped."""


class State(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one check."""

    name: str
    state: State
    detail: str
    """What was found, what is wrong, or why the check was skipped."""
    remedy: str = ""
    """What to do about a failed check."""


async def run(
    checks: Sequence[Check], ended: Callable[[Result], None] = lambda _: None
) -> list[Result]:
    """Run all checks, each as soon as those that it needs have passed.

    Args:
        checks: in the order of the results.
        ended: called with each result as soon as the check ends.

    Raises:
        ValueError: a check needs one that does not come before it.
    """
    before: set[str] = set()
    for check in checks:
        if missing := set(check.needs) - before:
            raise ValueError(f"{check.name!r} needs {missing}, which does not come before it")
        before.add(check.name)
    running: dict[str, asyncio.Task[Result]] = {}
    async with asyncio.TaskGroup() as group:
        for check in checks:
            needed = [running[need] for need in check.needs]
            task = running[check.name] = group.create_task(_run_after(needed, check))
            task.add_done_callback(lambda done: None if done.cancelled() else ended(done.result()))
    return [task.result() for task in running.values()]


async def _run_after(needed: Sequence[asyncio.Task[Result]], check: Check) -> Result:
    for each in needed:
        match await each:
            case Result(name, State.FAILED):
                return Result(check.name, State.SKIPPED, f"{name} failed")
            case Result(_, State.SKIPPED, why):
                return Result(check.name, State.SKIPPED, why)
    try:
        return Result(check.name, State.OK, await check.probe())
    except Failure as failure:
        return Result(check.name, State.FAILED, failure.cause, failure.remedy)
    except Skipped as why:
        return Result(check.name, State.SKIPPED, str(why))

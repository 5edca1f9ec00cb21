"""Runs a verb, and handles its failure."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from revoker import output
from revoker.failure import Exit, Failure

if TYPE_CHECKING:
    from revoker.actor import Actor
    from revoker.record import Record

LOOK_SECONDS = 120.0
WORK_SECONDS = 3600.0
"""When a verb ends at the latest: one that only looks, and one that changes something."""

_began = ContextVar[float]("began")


def run[T](work: Coroutine[Any, Any, T], seconds: float = LOOK_SECONDS) -> T:
    """Run a coroutine to its end.

    Args:
        work: the coroutine.
        seconds: when the verb ends at the latest, from its beginning.

    Raises:
        Failure: it took longer.
    """
    left = seconds - (time.monotonic() - _began.get(time.monotonic()))

    async def in_time() -> T:
        async with asyncio.timeout(left):
            return await work

    try:
        return asyncio.run(in_time())
    except TimeoutError:
        raise Failure(
            f"It was not done within {seconds / 60:g} minutes.",
            "What was done is done: run it again for the rest.",
        ) from None


@contextmanager
def reporting(as_json: bool, *, doctor: bool = False) -> Iterator[None]:
    """Print a Failure, and end with its exit code.

    Args:
        as_json: print JSON.
        doctor: whether the doctor itself runs, so that it is no help to name it.
    """
    began = _began.set(time.monotonic())
    try:
        yield
    except Failure as failure:
        output.failure(failure, as_json, doctor=doctor)
        raise typer.Exit(failure.code) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        output.interrupted(as_json)
        raise typer.Exit(Exit.INTERRUPTED) from None
    finally:
        _began.reset(began)


@contextmanager
def recording(path: Path | None, who: "Actor", operation: str) -> Iterator["Record"]:
    """Open the record, and at the end upload what was written, if that is wanted."""
    from revoker.record import DEFAULT, Record

    with Record.open(path or DEFAULT, "command", who, operation) as record:
        try:
            yield record
        finally:
            output.not_uploaded(asyncio.run(record.upload()))


@contextmanager
def counted(
    done: str, count: Callable[[], int], total: int, go_on: str
) -> Iterator[dict[str, object]]:
    """Say how many messages were done if the work within ends early.

    Args:
        done: what was done to them, such as `published`.
        count: how many of them were confirmed so far.
        total: how many there are.
        go_on: how to run the verb again for the rest.

    Yields:
        More facts for `--json`.
    """
    facts: dict[str, object] = {}
    try:
        yield facts
    except (Failure, KeyboardInterrupt, asyncio.CancelledError) as error:
        failed = (
            error if isinstance(error, Failure) else Failure("Interrupted.", "", Exit.INTERRUPTED)
        )
        facts |= {**failed.facts, done: count(), "of": total}
        raise Failure(
            f"{failed.cause} {count()} of {total} messages were {done}.",
            f"{failed.remedy} For the rest, run this again with {go_on}.".strip(),
            failed.code,
            **facts,
        ) from None

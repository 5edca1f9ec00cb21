"""Runs a verb, and handles its failure."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from revoker import output
from revoker.failure import Exit, Failure


def run[T](work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(work)


@contextmanager
def reporting(as_json: bool) -> Iterator[None]:
    """Print a Failure, and end with its exit code."""
    try:
        yield
    except Failure as failure:
        output.failure(failure, as_json)
        raise typer.Exit(failure.code) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        output.interrupted()
        raise typer.Exit(Exit.INTERRUPTED) from None

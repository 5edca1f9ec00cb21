"""The host's process: starts the app, listens, and ends in one of the platform's ways."""

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

import uvloop

from local import host
from local.broker.serving import announce
from local.host import telemetry, worker
from local.host.configuration import HostError, read_host_json
from local.host.listener import Listener
from local.host.metadata import OddMetadata
from local.host.trigger import Trigger, read_trigger

_logger = logging.getLogger("host")
_ABANDON_SECONDS = 5


class End(Enum):
    """Why the host stops listening."""

    DRAINED = auto()
    """SIGUSR1, as the platform's host drains an instance: invocations are aborted after a moment."""
    TIMED_OUT = auto()
    """An invocation took too long: all are aborted, and the process restarts."""
    FAILED = auto()
    """A listener ended without a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line."""

    app: Path
    abort_seconds: tuple[float, float]
    odd_metadata: OddMetadata


def parse(arguments: Sequence[str] | None) -> Options:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m local.host",
        description=(host.__doc__ or "").partition(":")[0] + ".",
        epilog="App settings are the environment, as on the platform. SIGTERM ends the process at "
        "once, as it ends the platform's worker, unless the app has a handler; SIGUSR1 drains it as "
        "the platform's host drains an instance.",
    )
    parser.add_argument("--app", type=Path, default=Path(), help="the app's folder (default: .)")
    parser.add_argument(
        "--abort-seconds",
        type=float,
        nargs=2,
        metavar=("LEAST", "MOST"),
        default=(1, 3),
        help="invocations are aborted at a random time between these after SIGUSR1 (default: 1 3)",
    )
    parser.add_argument(
        "--odd-metadata",
        type=json.loads,
        default={},
        metavar="JSON",
        help="trigger metadata that replaces the true ones, by message id; null: none",
    )
    options = parser.parse_args(arguments)
    return Options(
        app=options.app,
        abort_seconds=tuple(options.abort_seconds),
        odd_metadata=options.odd_metadata,
    )


async def main(arguments: Sequence[str] | None = None) -> int:
    """Run the host until there is a reason to end; return the exit code."""
    options, started_in = parse(arguments), Path.cwd()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    for chatty in ("azure.servicebus", "azure.functions"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for own in ("host", "metrics"):  # at any level that the app gives to the root logger
        logging.getLogger(own).setLevel(logging.INFO)
    try:
        telemetry.start_if_asked(os.environ)
        triggers = await _load(options.app.resolve())
    except (HostError, worker.IndexingFailed, OSError, ValueError) as error:
        _logger.error("The app does not start: %s", error)
        return 1
    listeners = [Listener(trigger, options.odd_metadata) for trigger in triggers]
    running = [asyncio.create_task(listener.run()) for listener in listeners]
    names = " ".join(trigger.function.name for trigger in triggers)
    announce("host", functions=names, pid=os.getpid())
    end = await _end(listeners, running)
    await _finish(end, options, listeners, running)
    results = await asyncio.gather(*running, return_exceptions=True)
    failures = [result for result in results if isinstance(result, Exception)]
    for failure in failures:
        _logger.error("Listener stopped: %r", failure)
    if end is End.TIMED_OUT:
        _restart(started_in)
    return 1 if failures else 0


async def _load(app: Path) -> list[Trigger]:
    os.chdir(app)
    sys.path.insert(0, str(app))
    host_json = read_host_json(json.loads((app / "host.json").read_text()))
    functions = await worker.index(app)
    if not functions:
        raise HostError(f"no functions found in {app}")
    return [read_trigger(function, host_json, os.environ) for function in functions]


async def _end(listeners: Sequence[Listener], running: Sequence[asyncio.Task[None]]) -> End:
    """Wait until there is a reason to end, and return it."""
    drained = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, drained.set)
    reasons: dict[asyncio.Task[Any], End] = {asyncio.create_task(drained.wait()): End.DRAINED}
    reasons |= {asyncio.create_task(each.timed_out.wait()): End.TIMED_OUT for each in listeners}
    reasons |= dict.fromkeys(running, End.FAILED)
    await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
    return next(end for task, end in reasons.items() if task.done())


async def _finish(
    end: End,
    options: Options,
    listeners: Sequence[Listener],
    running: Sequence[asyncio.Task[None]],
) -> None:
    """Stop receiving, and give invocations in flight the time that this end allows."""
    for listener in listeners:
        listener.drain()
    if end is End.DRAINED:
        _logger.info("DrainMode mode enabled")
        await asyncio.wait(running, timeout=random.uniform(*options.abort_seconds))
    for listener in listeners:
        listener.abort("Worker channel is shutting down. Aborting function.")
    _, late = await asyncio.wait(running, timeout=_ABANDON_SECONDS)
    for task in late:
        task.cancel()


def _restart(folder: Path) -> None:
    os.chdir(folder)  # python -m looks for the host's package there
    _logger.warning("A function timeout has occurred. Restarting the worker process.")
    logging.shutdown()
    os.execv(sys.executable, sys.orig_argv)


def run() -> None:
    """Run the host as this process's main program; does not return."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = asyncio.run(main(), loop_factory=uvloop.new_event_loop)
    logging.shutdown()
    os._exit(code)  # like the platform, which ends the worker without closing anything

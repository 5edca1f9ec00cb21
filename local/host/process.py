"""The host's process: starts the app, listens, and ends when it is told to."""

import argparse
import asyncio
import json
import logging
import os
import sys
from pathlib import Path

from local.host import worker
from local.host.listener import Listener
from local.host.trigger import HostError, read_trigger
from local.service import announce, stopped

_logger = logging.getLogger("host")


async def main(arguments: list[str] | None = None) -> int:
    """Run the host until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m local.host",
        description="Runs a function app with Service Bus queue triggers on this machine.",
        epilog="App settings are the environment, as on the platform.",
    )
    parser.add_argument("--app", type=Path, default=Path(), help="the app's folder (default: .)")
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=30,
        help="how long invocations in flight may take after SIGTERM (default: 30)",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    for chatty in ("azure.servicebus", "azure.functions"):
        logging.getLogger(chatty).setLevel(logging.WARNING)

    app = options.app.resolve()
    os.chdir(app)
    sys.path.insert(0, str(app))
    try:
        host_json = json.loads((app / "host.json").read_text())
        functions = await worker.index(app)
        if not functions:
            raise HostError(f"no functions found in {options.app}")
        triggers = [
            read_trigger(function, host_json, os.environ, options.drain_seconds)
            for function in functions
        ]
    except (HostError, worker.IndexingFailed, OSError, ValueError) as error:
        _logger.error("The app does not start: %s", error)
        return 1

    listeners = [Listener(trigger) for trigger in triggers]
    running = [asyncio.create_task(listener.run()) for listener in listeners]
    announce("host", functions=" ".join(function.name for function in functions), pid=os.getpid())
    stop = asyncio.create_task(stopped())
    await asyncio.wait({*running, stop}, return_when=asyncio.FIRST_COMPLETED)
    for listener in listeners:
        listener.drain()
    _, late = await asyncio.wait(running, timeout=options.drain_seconds)
    for task in late:
        task.cancel()
    results = await asyncio.gather(*running, return_exceptions=True)
    failures = [result for result in results if isinstance(result, Exception)]
    for failure in failures:
        _logger.error("Listener stopped: %r", failure)
    return 1 if failures else 0


def run() -> None:
    """Run the host as this process's main program; does not return."""
    code = asyncio.run(main())
    logging.shutdown()
    os._exit(code)  # the platform, too, ends the worker without asking it to close anything

"""What the local services share: the ready line and the stop signal."""

import asyncio
import json
import signal
import sys


def announce(service: str, **facts: str | int) -> None:
    """Print the one JSON line that tells the starter this service is ready and where it listens.

    It is the first line on standard output, e.g. ``{"service": "face", "port": 40001}``. Logs go to
    standard error.
    """
    json.dump({"service": service, **facts}, sys.stdout)
    sys.stdout.write("\n")
    sys.stdout.flush()


async def stopped() -> None:
    """Return once SIGTERM or SIGINT has arrived."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    await event.wait()

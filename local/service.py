"""What the local services share: the ready line and the stop signal."""

import asyncio
import contextlib
import json
import signal
import ssl
import sys
from collections.abc import AsyncIterator

from aiohttp import web


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


@contextlib.asynccontextmanager
async def serve_http(
    app: web.Application, port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve on 127.0.0.1 and yield the port: a free one if 0 was asked for.

    At the end, requests that still hang are cut off at once.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()

"""What a local server needs: the ready line, the stop signal, HTTP, and JSON for its control.

The other local services import it from here, so that the broker depends on none of them.
"""

import asyncio
import contextlib
import json
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web


def announce(service: str, **facts: str | int) -> None:
    """Print the JSON line that says that this service is ready, and where it listens.

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

    At the end, requests still in progress are cut off at once.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@web.middleware
async def errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer an HTTP error with {"error": text}."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.json_response({"error": error.text or error.reason}, status=error.status)


async def json_body(request: web.Request) -> Any:
    """Return the request's body.

    Raises:
        web.HTTPBadRequest: the body is not JSON.
    """
    try:
        return json.loads(await request.read())
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"the body is not JSON: {error}") from error


def whole_number(request: web.Request, key: str, default: int) -> int:
    """Return a query parameter that is a whole number, 0 or more.

    Raises:
        web.HTTPBadRequest: it is something else.
    """
    text = request.query.get(key)
    if text is None:
        return default
    if not text.isdecimal():
        raise web.HTTPBadRequest(text=f"{key}: must be a whole number, 0 or more")
    return int(text)

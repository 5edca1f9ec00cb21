"""HTTP servers that tests answer for themselves."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web


@contextlib.contextmanager
def serving(
    answer: Callable[[web.Request], web.Response | Awaitable[web.Response]],
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """Run an HTTP server that gives one answer to everything; the value is its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    async def start() -> web.AppRunner:
        async def handle(request: web.Request) -> web.Response:
            given = answer(request)
            return given if isinstance(given, web.Response) else await given

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return runner

    runner = run(start())
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        run(runner.cleanup())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()

"""Serves the desk on 127.0.0.1 until SIGINT or SIGTERM."""

import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from revoker.desk.app import make_app
from revoker.desk.desk import Desk
from revoker.failure import Exit, Failure


async def serve(
    environment: Mapping[str, str], record: Path, port: int, ready: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        environment: the function's settings.
        record: the file in which what is done is recorded.
        port: the port; 0 for a free one.
        ready: called with the address that opens the desk.

    Raises:
        Failure: a setting is missing or wrong, or the port is taken.
    """
    listener = _listen(port)
    desk = Desk(environment, record, listener.getsockname()[1])
    server = _Server(
        uvicorn.Config(
            make_app(desk),
            access_log=False,  # it would have the token
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=1,  # pages that update themselves never end
        ),
        lambda: ready(desk.access.address),
    )
    await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Reports when it is ready, and ends gracefully at a signal, which uvicorn would raise again."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [(number, signal.signal(number, self.handle_exit)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise Failure(
            f"The desk cannot listen on port {port}: {error.strerror}.",
            "Name another one with --port, or leave it out for a free one.",
            Exit.USAGE,
        ) from None
    return listener

"""Serves the desk on this machine until SIGINT or SIGTERM."""

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
    environment: Mapping[str, str],
    record: Path,
    port: int,
    address: str | None,
    ready: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        environment: the function's settings.
        record: the file in which what is done is recorded.
        port: the port; 0 for a free one.
        address: where the browser reaches the desk; None for a name on this machine.
        ready: called with the address that opens the desk.

    Raises:
        Failure: a setting is missing or wrong, or the port is taken.
    """
    listeners = _listen(port)
    desk = Desk(environment, record, listeners[0].getsockname()[1], address)
    server = _Server(
        uvicorn.Config(
            make_app(desk),
            access_log=False,  # it would have the token
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=1,
        ),
        lambda: ready(desk.access.address),
    )
    await server.serve(sockets=listeners)


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


def _listen(port: int) -> list[socket.socket]:
    """Listen on both loopback addresses: a browser may take either for the desk's name.

    Otherwise another program could listen on the same port of the other one.
    """
    listeners: list[socket.socket] = []
    hosts = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    for family, host in hosts[: 1 + _has_ipv6()]:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listeners.append(listener)
        try:
            listener.bind((host, port))
        except OSError as error:
            for each in listeners:
                each.close()
            raise Failure(
                f"The desk cannot listen on port {port} of {host}: {error.strerror}.",
                "Name another one with --port, or leave it out for a free one.",
                Exit.USAGE,
            ) from None
        port = listener.getsockname()[1]
    return listeners


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True

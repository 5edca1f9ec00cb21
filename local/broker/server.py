"""The listener, and what concerns all connections: idle limits, disconnecting, stopping."""

import asyncio

from .connection import Connection
from .dispatcher import Dispatcher


class Server:
    """Accepts connections for a dispatcher.

    Args:
        dispatcher: the state that all connections share.
        idle_connection_seconds: connections idle for longer are closed; None: never.
        idle_link_seconds: links idle for longer are detached; None: never.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        idle_connection_seconds: float | None = None,
        idle_link_seconds: float | None = None,
    ) -> None:
        self.dispatcher = dispatcher
        self._idle_connection_seconds = idle_connection_seconds or float("inf")
        self._idle_link_seconds = idle_link_seconds or float("inf")
        self._sweeper: asyncio.TimerHandle | None = None
        self._listener: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Start to accept connections; return the port."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Connection(self.dispatcher), host, port)
        self._sweep()
        listening: int = self._listener.sockets[0].getsockname()[1]
        return listening

    async def close(self) -> None:
        """Say goodbye to all clients and stop."""
        if self._listener is not None:
            self._listener.close()
        self.disconnect("The broker is stopping.")
        self.dispatcher.run_turn()
        await asyncio.sleep(0)
        for connection in list(self.dispatcher.connections):
            connection.hang_up()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.dispatcher.close()

    def _sweep(self) -> None:
        """End what is idle, now and from time to time, if there are limits."""
        shortest = min(self._idle_connection_seconds, self._idle_link_seconds)
        if shortest < float("inf"):
            for connection in list(self.dispatcher.connections):
                connection.end_idle(self._idle_connection_seconds, self._idle_link_seconds)
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(max(0.05, shortest / 10), self._sweep)

    def disconnect(self, description: str, *, abrupt: bool = False) -> int:
        """Close every connection as the service does, or just cut the sockets if `abrupt`."""
        connections = list(self.dispatcher.connections)
        for connection in connections:
            if abrupt:
                connection.abort()
            else:
                connection.close("amqp:connection:forced", description)
        return len(connections)

    def detach(self, description: str) -> int:
        """Detach every link to a queue or a management node, as the service does to idle ones."""
        return sum(
            connection.detach_all(description) for connection in list(self.dispatcher.connections)
        )

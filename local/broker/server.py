"""The AMQP side: who is connected, who waits at which queue, and when what is stored and sent.

All runs in one thread. At the end of a turn the changes are stored, and only then do the answers go
to the sockets. So no client hears of anything that a crash could undo.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Sequence

from local.broker import management
from local.broker.configuration import AuthorizationRule
from local.broker.connection import Connection, Outlet
from local.broker.faults import Faults
from local.broker.queues import Namespace, Queue
from local.broker.store import Store


class Server:
    """The broker: the queues, who waits at them, and all connections."""

    def __init__(
        self,
        namespace: Namespace,
        rules: Sequence[AuthorizationRule],
        *,
        store: Store | None = None,
        idle_connection_seconds: float | None = None,
        idle_link_seconds: float | None = None,
    ) -> None:
        self.namespace = namespace
        self.rules = rules
        self.faults = Faults()
        self.store = store
        self.idle_connection_seconds = idle_connection_seconds
        self.idle_link_seconds = idle_link_seconds
        self.connections: set[Connection] = set()
        self._lines: dict[str, deque[Outlet]] = {}
        self._dirty: set[Connection] = set()
        self._turn_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._sweeper: asyncio.TimerHandle | None = None
        self._listener: asyncio.Server | None = None
        self._failure: asyncio.Future[None] | None = None

    async def listen(self, host: str, port: int) -> int:
        """Start to accept connections; returns the port."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Connection(self), host, port)
        self._failure = loop.create_future()
        self._arm_timer()
        self._sweep()
        listening: int = self._listener.sockets[0].getsockname()[1]
        return listening

    async def close(self) -> None:
        """Say goodbye to all clients and stop."""
        if self._listener is not None:
            self._listener.close()
        self.disconnect("The broker is stopping.")
        self._turn()
        await asyncio.sleep(0)
        for connection in list(self.connections):
            connection.hang_up()
        for handle in (self._timer, self._sweeper):
            if handle is not None:
                handle.cancel()
        if self.store is not None:
            self.store.close()

    async def failed(self) -> None:
        """Wait for a failure to store, and raise it (sqlite3.Error)."""
        assert self._failure is not None
        await self._failure

    def now(self) -> float:
        return time.time()

    def _sweep(self) -> None:
        """End what is idle, now and then, if that is wanted."""
        limits = (self.idle_connection_seconds, self.idle_link_seconds)
        connection_seconds, link_seconds = (x or float("inf") for x in limits)
        shortest = min(connection_seconds, link_seconds)
        if shortest < float("inf"):
            for connection in list(self.connections):
                connection.end_idle(connection_seconds, link_seconds)
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(max(0.05, shortest / 10), self._sweep)

    # Turns

    def touch(self, connection: Connection | None = None) -> None:
        """Something has changed: store and send it at the end of this turn."""
        if connection is not None:
            self._dirty.add(connection)
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        now = self.now()
        self.namespace.advance(now)
        for queue in self.namespace.queues.values():
            self._serve(queue, now)
            if queue.dead_letters is not None:
                self._serve(queue.dead_letters, now)
        if self.store is not None:
            try:
                self.store.commit(self.namespace)
            except sqlite3.Error as error:
                # Nothing is answered that is not stored: give up rather than lie.
                if self._failure is not None and not self._failure.done():
                    self._failure.set_exception(error)
                return
        self.namespace.changes.clear()
        dirty, self._dirty = self._dirty, set()
        for connection in dirty:
            connection.write_out()
        self._arm_timer()

    def _arm_timer(self) -> None:
        """One timer for all queues: the earliest deadline."""
        deadline = self.namespace.next_deadline()
        if deadline == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = float("inf") if deadline is None else deadline
        if deadline is not None:
            loop = asyncio.get_running_loop()
            # A day at most: the clock may be set, and a loop's timers must not be years away.
            delay = min(max(0.0, deadline - self.now()) + 0.001, 86400.0)
            self._timer = loop.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self._turn()

    # Deliveries

    def wait_for_message(self, outlet: Outlet) -> None:
        """A receiver has given credit: it joins the queue's line."""
        if not outlet.waiting:
            outlet.waiting = True
            self._lines.setdefault(outlet.queue.name, deque()).append(outlet)

    def leave_line(self, outlet: Outlet) -> None:
        """A receiver is gone."""
        if outlet.waiting:
            outlet.waiting = False
            with contextlib.suppress(ValueError):
                self._lines[outlet.queue.name].remove(outlet)

    def _serve(self, queue: Queue, now: float) -> None:
        """Hand ready messages to those in line, one each in turn."""
        line = self._lines.get(queue.name)
        while line and queue.has_ready():
            outlet = line.popleft()
            if not outlet.waiting or outlet.paused or outlet.link.credit <= 0:
                outlet.waiting = False
                continue
            fault = None if outlet.pardoned else self.faults.strike("receive", queue.name)
            outlet.pardoned = False
            if fault is not None:
                outlet.waiting = False
                outlet.connection.withhold(outlet, fault)
                continue
            entry = queue.deliver(now, delete=outlet.deletes)
            if entry is None:
                line.appendleft(outlet)
                return
            outlet.connection.transfer(
                outlet, entry.lock_token, management.encode_entry(queue, entry)
            )
            line.append(outlet)
        for outlet in line or ():
            if outlet.waiting and outlet.link.drain_mode and outlet.link.credit > 0:
                outlet.link.drained()  # there is no more: gives the credit back
                self._dirty.add(outlet.connection)

    # What the control port asks for

    def disconnect(self, description: str, *, abrupt: bool = False) -> int:
        """Close every connection as the service does; `abrupt` just cuts the sockets."""
        connections = list(self.connections)
        for connection in connections:
            if abrupt:
                connection.abort()
            else:
                connection.close("amqp:connection:forced", description)
        return len(connections)

    def detach(self, description: str) -> int:
        """Detach every link to a queue or a management node as the service does when it is idle."""
        return sum(connection.detach_all(description) for connection in list(self.connections))

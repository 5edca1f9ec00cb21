"""What all connections share: the queues, the consumers that wait, and when to store and send.

A turn takes in whatever has arrived, hands out messages, stores the changes, and only then lets the
answers go to the sockets. So no client hears of anything that a crash could undo.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from . import management
from .configuration import AuthorizationRule
from .faults import Fault, Faults
from .latency import Latency
from .queues import Namespace, Queue
from .store import Store


class Peer(Protocol):
    """A client's connection, as the dispatcher and the server see it."""

    def write_out(self) -> None:
        """Send what is ready to the socket."""

    def transfer(self, consumer: "Consumer", lock_token: bytes, encoded: bytes) -> None:
        """Send a message to a consumer."""

    def withhold(self, consumer: "Consumer", fault: Fault) -> None:
        """Apply a fault to a consumer in place of a delivery."""

    def close(self, condition: str, description: str) -> None:
        """Close the connection with an error."""

    def detach_all(self, description: str) -> int:
        """Detach all links but those to `$cbs`; return how many."""

    def end_idle(self, connection_seconds: float, link_seconds: float) -> None:
        """Close the connection, or detach links, that have been idle for longer."""

    def hang_up(self) -> None:
        """Close the socket once everything is sent."""

    def abort(self) -> None:
        """Cut the socket; what has not been sent yet is lost."""


@dataclass(slots=True, eq=False)
class Consumer:
    """A link on which the broker sends a queue's messages to a receiver."""

    connection: Peer
    link: Any
    queue: Queue
    deletes: bool
    waiting: bool = False  # among the queue's waiters
    paused: bool = False  # by a fault
    skip_fault: bool = False  # a fault has delayed this delivery already


class Dispatcher:
    """The state beneath all connections.

    Args:
        namespace: the queues.
        rules: the keys that tokens may be signed with.
        store: where changes are kept; None keeps them in memory only.
        latency: what operations wait for before they are carried out.
    """

    def __init__(
        self,
        namespace: Namespace,
        rules: Sequence[AuthorizationRule],
        store: Store | None = None,
        latency: Latency | None = None,
    ) -> None:
        self.namespace = namespace
        self.rules = rules
        self.faults = Faults()
        self.latency = latency or Latency()
        self.connections: set[Peer] = set()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._store = store
        self._waiters: dict[str, deque[Consumer]] = {}
        self._dirty: set[Peer] = set()
        self._turn_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._arm_timer()

    def now(self) -> float:
        """Return the broker's time, in seconds since 1970."""
        return time.time()

    def close(self) -> None:
        """Stop the timer and close the store."""
        if self._timer is not None:
            self._timer.cancel()
        if self._store is not None:
            self._store.close()

    # Turns

    def touch(self, connection: Peer | None = None) -> None:
        """Note a change, to be stored and sent at the end of this turn."""
        if connection is not None:
            self._dirty.add(connection)
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self.run_turn)

    def run_turn(self) -> None:
        """Hand out messages, store the changes, send the answers."""
        self._turn_due = False
        now = self.now()
        self.namespace.advance(now)
        for queue in self.namespace.queues.values():
            self._serve(queue, now)
            if queue.dead_letters is not None:
                self._serve(queue.dead_letters, now)
        if self._store is not None:
            try:
                self._store.commit(self.namespace)
            except sqlite3.Error as error:
                # Never answer what is not stored: giving up is better than lying.
                if not self.failure.done():
                    self.failure.set_exception(error)
                return
        self.namespace.changes.clear()
        dirty, self._dirty = self._dirty, set()
        for connection in dirty:
            connection.write_out()
        self._arm_timer()

    def _arm_timer(self) -> None:
        """Set the one timer of all queues to the earliest deadline."""
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
        self.run_turn()

    # Deliveries

    def wait_for_message(self, consumer: Consumer) -> None:
        """Add a consumer that has given credit to its queue's waiters."""
        if not consumer.waiting:
            consumer.waiting = True
            self._waiters.setdefault(consumer.queue.name, deque()).append(consumer)

    def stop_waiting(self, consumer: Consumer) -> None:
        """Remove a consumer that is gone from its queue's waiters."""
        if consumer.waiting:
            consumer.waiting = False
            with contextlib.suppress(ValueError):
                self._waiters[consumer.queue.name].remove(consumer)

    def _serve(self, queue: Queue, now: float) -> None:
        """Hand ready messages to the waiters, one at a time in turn."""
        waiters = self._waiters.get(queue.name)
        while waiters and queue.has_ready():
            consumer = waiters.popleft()
            if not consumer.waiting or consumer.paused or consumer.link.credit <= 0:
                consumer.waiting = False
                continue
            fault = None if consumer.skip_fault else self.faults.next_fault("receive", queue.name)
            consumer.skip_fault = False
            if fault is not None:
                consumer.waiting = False
                consumer.connection.withhold(consumer, fault)
                continue
            entry = queue.deliver(now, delete=consumer.deletes)
            if entry is None:
                waiters.appendleft(consumer)
                return
            consumer.connection.transfer(
                consumer, entry.lock_token, management.encode_entry(queue, entry)
            )
            waiters.append(consumer)
        for consumer in waiters or ():
            if consumer.waiting and consumer.link.drain_mode and consumer.link.credit > 0:
                consumer.link.drained()  # nothing more to send: this returns the credit
                self._dirty.add(consumer.connection)

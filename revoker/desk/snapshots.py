"""The contents of the two queues, read while pages ask for them, over links that stay open."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from azure.servicebus.aio import ServiceBusReceiver

from revoker.connection import QueueAddress
from revoker.failure import Failure, first_line
from revoker.messages import Seen, peek
from revoker.status import WATCH_SECONDS, Status, progress, summary

LIMIT = 20_000
"""Maximum number of messages examined in each of the two queues."""

CURRENT_SECONDS = 10.0
"""A page says that older facts are out of date."""

_WAIT_SECONDS = 0.4  # that a page waits for a reading
_CHANGED_WAIT_SECONDS = 5.0  # the same after a change
_FRESH_SECONDS = (
    2.0  # or as long as the reading took, so that long queues are not read all the time
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The messages of the queue and of its dead letters at one time."""

    taken_at: datetime
    """When the reading began."""
    seconds: float
    """How long the reading took."""
    waiting: Sequence[Seen]
    dead: Sequence[Seen]
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a page may show: the last snapshot, if there is one, and the state of the reading."""

    snapshot: Snapshot | None
    failure: Failure | None
    """Why the last reading failed."""
    reading_since: datetime | None
    """When the reading that is under way began."""

    @property
    def current(self) -> bool:
        """Whether the snapshot may be shown as what is there now."""
        if self.snapshot is None or self.failure is not None:
            return False
        return (datetime.now(UTC) - self.snapshot.taken_at).total_seconds() < CURRENT_SECONDS


class Snapshots:
    """Reads the queues when a page is asked for and the last snapshot is no longer fresh."""

    def __init__(self, address: QueueAddress) -> None:
        self._address = address
        self._last: Snapshot | None = None
        self._failure: Failure | None = None
        self._tried_at = float("-inf")
        self._outdated = True
        self._reading: asyncio.Task[None] | None = None
        self._reading_since: datetime | None = None
        self._unended: tuple[float, Sequence[Seen]] = 0.0, ()
        """The earliest reading of which no message has ended, and its time."""
        self._links = AsyncExitStack()
        self._receivers: list[ServiceBusReceiver] = []

    async def view(self) -> View:
        """Return the last snapshot, or a new one if reading it is quick."""
        changed = self._outdated and self._last is not None
        deadline = time.monotonic() + (_CHANGED_WAIT_SECONDS if changed else _WAIT_SECONDS)
        if changed:
            await self._reading_until(deadline)  # it began before the change
        if not self._is_fresh():
            self._start()
        await self._reading_until(deadline)
        return View(snapshot=self._last, failure=self._failure, reading_since=self._reading_since)

    async def _reading_until(self, deadline: float) -> None:
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=max(0.0, deadline - time.monotonic()))

    async def latest(self) -> Snapshot:
        """Read the queues now, and return what is in them.

        Raises:
            Failure: they cannot be read.
        """
        if self._reading is not None:
            await asyncio.wait([self._reading])  # it may have begun before the last change
        await self._start()
        if self._failure is not None:
            raise self._failure
        assert self._last is not None
        return self._last

    def outdate(self) -> None:
        """Read the queues again for the next page, because something has changed."""
        self._outdated = True

    async def close(self) -> None:
        """End a reading that is under way, and close the links."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        await self._disconnect()

    def _is_fresh(self) -> bool:
        seconds = self._last.seconds if self._last is not None else 0.0
        fresh_for = max(_FRESH_SECONDS, seconds)
        return not self._outdated and time.monotonic() - self._tried_at < fresh_for

    def _start(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._outdated = False
            self._reading = asyncio.create_task(self._read())
        return self._reading

    async def _look(self) -> list[list[Seen]]:
        async with self._address.explained("Listen"):
            for dead in (False, True)[len(self._receivers) :]:
                receiver = self._address.receiver(dead_letters=dead)
                self._receivers.append(await self._links.enter_async_context(receiver))
            return await asyncio.gather(*map(_all_of, self._receivers))

    async def _disconnect(self) -> None:
        self._receivers.clear()
        with suppress(Failure):
            await self._links.aclose()

    async def _read(self) -> None:
        began, self._reading_since = time.monotonic(), datetime.now(UTC)
        try:
            waiting, dead = await self._look()
            self._last = Snapshot(
                taken_at=self._reading_since,
                seconds=time.monotonic() - began,
                waiting=waiting,
                dead=dead,
                status=self._watched(waiting, summary(waiting, dead, LIMIT), began),
            )
            self._failure = None
        except Failure as failure:
            self._failure = failure
        except Exception as error:  # the page reports any error of a library, and goes on
            self._failure = Failure(
                f"{self._address.where} failed: {type(error).__name__}: {first_line(error)}",
                "If it goes on failing, run the doctor.",
            )
        finally:
            self._tried_at = time.monotonic()
            self._reading = self._reading_since = None
            if self._failure is not None:
                await self._disconnect()

    def _watched(self, waiting: Sequence[Seen], found: Status, now: float) -> Status:
        began, first = self._unended
        watched = progress(first, waiting, found, now - began)
        if not watched.stalled:
            self._unended = now, waiting
        return watched if now - began >= WATCH_SECONDS else found


async def _all_of(receiver: ServiceBusReceiver) -> list[Seen]:
    async with aclosing(peek(receiver, limit=LIMIT)) as messages:
        return [Seen.read(message) async for message in messages]

"""The contents of the two queues, read while pages ask for them, over links that stay open."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from azure.servicebus.aio import ServiceBusReceiver

from revoker.connection import QueueAddress
from revoker.failure import Failure, first_line
from revoker.local_cloud import LocalCloud
from revoker.messages import Seen, peek
from revoker.status import (
    WATCH_SECONDS,
    Reading,
    Status,
    findings,
    first_receipts,
    with_local_facts,
)

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
    reading: Reading
    status: Status

    @property
    def waiting(self) -> Sequence[Seen]:
        """The messages in the queue."""
        return self.reading.waiting

    @property
    def dead(self) -> Sequence[Seen]:
        """The dead letters."""
        return self.reading.dead


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

    def __init__(
        self,
        address: QueueAddress,
        outcomes: QueueAddress | None = None,
        cloud: LocalCloud | None = None,
    ) -> None:
        self._address = address
        self._outcomes = outcomes
        self._cloud = cloud
        self._last: Snapshot | None = None
        self._failure: Failure | None = None
        self._tried_at = float("-inf")
        self._outdated = True
        self._reading: asyncio.Task[None] | None = None
        self._reading_since: datetime | None = None
        self._unended: tuple[float, Reading | None] = 0.0, None
        """The earliest reading of which no message has ended, and its time."""
        self._links = AsyncExitStack()
        self._receivers: list[ServiceBusReceiver] = []
        self._receipts_link: ServiceBusReceiver | None = None

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

    async def _look(self) -> Reading:
        async with self._address.explained("Listen"):
            for dead in (False, True)[len(self._receivers) :]:
                receiver = self._address.receiver(dead_letters=dead)
                self._receivers.append(await self._links.enter_async_context(receiver))
            waiting, dead_letters = await asyncio.gather(*map(_all_of, self._receivers))
        reading = Reading(limit=LIMIT, waiting=waiting, dead=dead_letters)
        if self._outcomes is not None:
            reading = await self._with_receipts(reading, self._outcomes)
        if self._cloud is not None:
            reading = await with_local_facts(reading, self._cloud, self._address.queue)
        return reading

    async def _with_receipts(self, reading: Reading, outcomes: QueueAddress) -> Reading:
        try:
            async with outcomes.explained("Listen"):
                if self._receipts_link is None:
                    link = outcomes.receiver()
                    self._receipts_link = await self._links.enter_async_context(link)
                found = await first_receipts(self._receipts_link, LIMIT)
                return replace(reading, receipts=found)
        except Failure as failure:
            self._receipts_link = None
            return replace(reading, receipts_failure=failure.cause)

    async def _disconnect(self) -> None:
        self._receivers.clear()
        self._receipts_link = None
        with suppress(Failure):
            await self._links.aclose()

    async def _read(self) -> None:
        began, self._reading_since = time.monotonic(), datetime.now(UTC)
        try:
            reading = await self._look()
            self._last = Snapshot(
                taken_at=self._reading_since,
                seconds=time.monotonic() - began,
                reading=reading,
                status=self._watched(reading, began),
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

    def _watched(self, reading: Reading, now: float) -> Status:
        began, first = self._unended
        watched = findings(reading, first, now - began)
        if not watched.stalled:
            self._unended = now, reading
        return watched if now - began >= WATCH_SECONDS else findings(reading)


async def _all_of(receiver: ServiceBusReceiver) -> list[Seen]:
    async with aclosing(peek(receiver, limit=LIMIT)) as messages:
        return [Seen.read(message) async for message in messages]

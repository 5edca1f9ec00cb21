"""Wait for the outcomes of what was just published. Nothing is locked, moved or consumed.

A message that is neither in the queue nor among its dead letters was processed: no session with its id
exists under the types that were asked. Whether there ever was one, only its receipt says.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from delete_session.receipt import Data
from revoker.connection import QueueAddress
from revoker.messages import Seen, look, walk
from revoker.outcomes import receipts

WAIT_SECONDS = 3000.0
"""How long outcomes are waited for; it fits into the time limit of the verb."""

_EVERY_SECONDS = 1.0


@dataclass(slots=True)
class Outcomes:
    """The outcomes of messages; the keys are their message ids."""

    receipts: dict[str, Data] = field(default_factory=dict)
    """What their receipts say: `deleted` or `already_gone`."""
    processed: set[str] = field(default_factory=set)
    """Those that were processed, and whose receipts were not there."""
    dead: dict[str, Seen] = field(default_factory=dict)
    waiting: dict[str, Seen | None] = field(default_factory=dict)
    """Those without an outcome, as they were last seen in the queue."""

    @property
    def ended(self) -> int:
        """The number of those that have an outcome."""
        return len(self.receipts) + len(self.processed) + len(self.dead)


async def check_right_to_look(address: QueueAddress) -> None:
    """Look into the queue and its dead letters.

    Raises:
        Failure: this login may not.
    """
    await look(address, 1, dead_letters=False)
    await look(address, 1, dead_letters=True)


async def wait(
    address: QueueAddress,
    outcomes: QueueAddress | None,
    sessions: Mapping[str, str],
    progress: Callable[[int], None],
    seconds: float = WAIT_SECONDS,
) -> Outcomes:
    """Wait until each message has an outcome, or the time is over.

    Args:
        address: the queue's address.
        outcomes: the queue of the receipts; None: receipts cannot be read.
        sessions: the session of each message id that was published.
        progress: called with the number of those that have an outcome.
        seconds: how long to wait.
    """
    found = Outcomes(waiting=dict.fromkeys(sessions))
    wanted = frozenset(sessions.items())
    absent: set[str] = set()
    start = 1
    try:
        async with asyncio.timeout(seconds):
            while found.waiting:
                # In the order in which a message moves: it is seen on its way or at its end.
                left = {each for each in wanted if each[0] in found.waiting}
                queued = await _of(address, left, dead_letters=False)
                dead = await _of(address, left, dead_letters=True)
                if outcomes is not None:
                    async with aclosing(receipts(outcomes, start)) as some:
                        async for each in some:
                            start = each.number + 1
                            told = each.data
                            publication = told.root_message_id, told.session_id
                            if publication in wanted and told.outcome != "dead_lettered":
                                found.receipts[told.root_message_id] = told
                found.dead |= {id_: seen for id_, seen in dead.items() if id_ not in found.receipts}
                for id_ in (*found.receipts, *found.dead):
                    found.waiting.pop(id_, None)
                found.waiting |= {id_: seen for id_, seen in queued.items() if id_ in found.waiting}
                # Twice, because somebody may move a dead letter back between the looks.
                absent, before = found.waiting.keys() - queued.keys(), absent
                for id_ in absent & before:
                    del found.waiting[id_]
                    found.processed.add(id_)
                progress(found.ended)
                await asyncio.sleep(_EVERY_SECONDS if found.waiting else 0)
    except TimeoutError:
        pass  # the caller sees who still waits
    return found


async def _of(
    address: QueueAddress, wanted: Collection[tuple[str, str | None]], *, dead_letters: bool
) -> dict[str, Seen]:
    """Return the wanted messages of a queue, or the copies that are retries of them."""
    found = {}
    async with aclosing(walk(address, dead_letters=dead_letters)) as messages:
        async for message in messages:
            seen = Seen.read(message)
            if seen.publication in wanted:
                found[seen.root_id] = seen
    return found

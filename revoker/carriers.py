"""The messages that carry a session, in the queue and in its dead letters."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from revoker.connection import QueueAddress
from revoker.messages import Seen, look

LIMIT = 10_000
"""Maximum number of messages examined in each of the two queues."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """A message that names a session."""

    seen: Seen
    dead: bool
    """Whether it is in the dead-letter queue."""

    @property
    def what(self) -> str:
        """What the message is, for people."""
        if self.dead:
            return f"dead letter number {self.seen.sequence_number}, {self.seen.reason}"
        if self.seen.state == "scheduled" and self.seen.scheduled_for is not None:
            return f"a retry that waits until {self.seen.scheduled_for:%Y-%m-%d %H:%M:%S}Z"
        return f"a message that is {self.seen.state}"


async def carriers(
    address: QueueAddress, sessions: Collection[str], *, except_ids: Collection[str] = ()
) -> Mapping[str, Sequence[Carrier]]:
    """Return the messages that name these sessions, by session. Changes nothing.

    Args:
        address: the queue's address; the right to Listen is needed.
        sessions: their ids.
        except_ids: message ids to leave out.
    """
    waiting, dead = await asyncio.gather(
        look(address, LIMIT, dead_letters=False), look(address, LIMIT, dead_letters=True)
    )
    return among(waiting, dead, sessions, except_ids=except_ids)


def among(
    waiting: Iterable[Seen],
    dead: Iterable[Seen],
    sessions: Collection[str],
    *,
    except_ids: Collection[str] = (),
) -> Mapping[str, Sequence[Carrier]]:
    """Return those of these messages that name one of the sessions, by session."""
    wanted, left_out = frozenset(sessions), frozenset(except_ids)
    by_session = defaultdict(list)
    for seen, is_dead in chain(
        ((each, False) for each in waiting), ((each, True) for each in dead)
    ):
        if seen.session_id in wanted and seen.message_id not in left_out:
            by_session[seen.session_id or ""].append(Carrier(seen, is_dead))
    return by_session

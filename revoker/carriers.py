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
            return f"a message that is scheduled for {self.seen.scheduled_for:%Y-%m-%d %H:%M:%S}Z"
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
    return among(*await _look_at_both(address), sessions, except_ids=except_ids)


async def _look_at_both(address: QueueAddress) -> tuple[list[Seen], list[Seen]]:
    return await asyncio.gather(
        look(address, LIMIT, dead_letters=False), look(address, LIMIT, dead_letters=True)
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One published message: its original and its copies may both be dead letters."""

    letters: Sequence[Seen]
    """Those of its dead letters that are wanted."""
    copies: Sequence[Carrier]
    """Its other messages, in the queue and in the dead letters."""
    of_session: Sequence[Carrier]
    """All other messages of its session, these copies among them."""

    @property
    def others(self) -> Sequence[Carrier]:
        """Messages of other publications that carry its session."""
        key = self.letters[0].publication
        return [each for each in self.of_session if each.seen.publication != key]

    @property
    def alone(self) -> bool:
        """Whether no other known message carries its session."""
        return not self.copies and not self.of_session


def publications(
    wanted: Sequence[Seen], waiting: Sequence[Seen], dead: Sequence[Seen]
) -> list[Publication]:
    """Return the publications of these dead letters, with what else is known of each."""
    own = {seen.sequence_number for seen in wanted}
    letters, copies = defaultdict(list), defaultdict(list)
    of_session: defaultdict[str | None, list[Carrier]] = defaultdict(list)
    for seen in wanted:
        letters[seen.publication].append(seen)
    others = [Carrier(seen, dead=True) for seen in dead if seen.sequence_number not in own]
    for each in [*(Carrier(seen, dead=False) for seen in waiting), *others]:
        copies[each.seen.publication].append(each)
        if each.seen.session_id is not None:
            of_session[each.seen.session_id].append(each)
    return [
        Publication(letters=some, copies=copies[key], of_session=of_session[key[1]])
        for key, some in letters.items()
    ]


async def publications_of(address: QueueAddress, wanted: Sequence[Seen]) -> list[Publication]:
    """Look for what else there is of the publications of these dead letters. Changes nothing."""
    return publications(wanted, *await _look_at_both(address))


def together(found: Iterable[Carrier]) -> list[str]:
    """Say what each of these messages is, those of one publication in one text."""
    texts = defaultdict(list)
    for each in found:
        texts[each.seen.publication].append(each.what)
    return ["; the same publication: ".join(some) for some in texts.values()]

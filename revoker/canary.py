"""Resubmit one first, and see what happens to it, before all the others follow."""

import asyncio
from collections.abc import Mapping, Sequence

from delete_session.message import ROOT_ID
from revoker.connection import QueueAddress
from revoker.messages import Seen, look

WAIT_SECONDS = 120.0
"""How long a canary may take. If it still waits for a retry then, the others would wait, too."""

_LIMIT = 10_000  # messages looked at in each of the two queues
_EVERY_SECONDS = 1.0


def first_of_each_reason(wanted: Sequence[Seen]) -> list[Seen]:
    """Return the oldest dead letter of each reason."""
    firsts: dict[str, Seen] = {}
    for seen in wanted:
        firsts.setdefault(seen.reason, seen)
    return list(firsts.values())


async def outcomes_of(
    address: QueueAddress,
    firsts: Sequence[Seen],
    copies: Mapping[int, str],
    seconds: float = WAIT_SECONDS,
) -> dict[str, str]:
    """Wait for the outcomes of canaries; return why the others of a reason must not follow.

    Args:
        address: the queue's address.
        firsts: the dead letters that were resubmitted first.
        copies: the message ids of their copies, by their sequence numbers.
        seconds: how long to wait.
    """
    waiting = {
        copies[each.sequence_number]: each.reason
        for each in firsts
        if each.sequence_number in copies
    }
    failed = {
        each.reason: "it was not resubmitted"
        for each in firsts
        if each.sequence_number not in copies
    }
    last: dict[str, str] = {}
    try:
        async with asyncio.timeout(seconds):
            while waiting:
                # The queue first: a message that moves in between is then seen in one of the two.
                queued = {
                    _copy(seen): seen for seen in await look(address, _LIMIT, dead_letters=False)
                }
                dead = {
                    _copy(seen): seen for seen in await look(address, _LIMIT, dead_letters=True)
                }
                for copy, reason in list(waiting.items()):
                    if copy in dead:
                        failed[reason] = f"its copy was dead-lettered again as {dead[copy].reason}"
                    last[reason] = (queued[copy].last_error or "") if copy in queued else ""
                    if copy in dead or copy not in queued:
                        del waiting[copy]
                await asyncio.sleep(_EVERY_SECONDS if waiting else 0)
    except TimeoutError:
        for reason in waiting.values():
            because = f", after {last[reason]}" if last.get(reason) else ""
            failed[reason] = f"its copy still waits in the queue after {seconds:g} s{because}"
    return failed


def _copy(seen: Seen) -> str:
    """Return the message id of the copy that this is, or of which it is a retry."""
    return str(seen.properties.get(ROOT_ID) or seen.message_id)

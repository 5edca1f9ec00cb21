"""Receipts in their queue: peeked at, and compared with the outcomes of the messages."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient

from local.publisher import Planned
from local.run_report import Ended, Told

OUTCOME_QUEUE = "session-outcomes"
_PEEK = 250


async def peeked(connection_string: str, queue: str) -> list[dict[str, Any]]:
    """Return the CloudEvents in a queue of receipts."""
    found: list[ServiceBusReceivedMessage] = []
    async with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(queue) as receiver,
    ):
        start = 1
        while some := await receiver.peek_messages(_PEEK, sequence_number=start):
            found += some
            start = (some[-1].sequence_number or start) + 1
    return [json.loads(b"".join(each.body)) for each in found]


def check(
    receipts: Iterable[Mapping[str, Any]], planned: Sequence[Planned], ended: Mapping[str, Ended]
) -> Told:
    """Compare receipts with the outcome of each message, and add what is wrong to its problems."""
    by_message: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in receipts:
        by_message[event["data"]["rootMessageId"]].append(event)
    sent = sum(map(len, by_message.values()))
    missing = wrong = 0
    for each in planned:
        this, told = ended[each.message_id], by_message.pop(each.message_id, [])
        true = [event for event in told if _is_true(event, each, this)]
        if not true and this.outcome != "pending":
            missing += 1
            this.problems.append("ended without a receipt")
        if others := len(told) - len(true[:1]):
            wrong += others
            this.problems.append(f"{others} receipts too many, or not true")
    return Told(sent, missing, wrong + sum(map(len, by_message.values())))


def _is_true(event: Mapping[str, Any], each: Planned, ended: Ended) -> bool:
    data = event["data"]
    session_id = data.get("sessionId")
    if session_id not in (each.session_id, None) and (
        # A receipt for a malformed message may name the id that it found, or none.
        each.session_id or session_id.encode() not in each.body
    ):
        return False
    given_up = ended.outcome == "dead_lettered"
    return (
        ended.outcome != "pending"
        and event["type"].endswith(".failed" if given_up else ".completed")
        and data.get("reason") == ended.reason
        # A message that was delivered twice may have had its receipt the first time.
        and (data["outcome"] == "dead_lettered") == given_up
    )

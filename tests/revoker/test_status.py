"""`revoker status`: does anything end, why not, and what to do about it."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from revoker import status
from revoker.connection import QueueAddress
from revoker.messages import Seen
from revoker.remedies import cause_of
from revoker.status import Status, summary
from tests.revoker.conftest import OneQueue, retry_copy_of

FIREWALL = "HTTP 403: Access denied due to Virtual Network/Firewall rules."
ROLE = "HTTP 401 PermissionDenied: Principal does not have access to API/Operation."


def seen(number: int = 1, **fields: Any) -> Seen:
    """A message that waits."""
    now = datetime.now(UTC)
    defaults: dict[str, Any] = {
        "sequence_number": number,
        "message_id": f"m-{number}",
        "root_id": f"m-{number}",
        "state": "active",
        "session_id": f"s-{number}",
        "session_type": None,
        "enqueued_at": now,
        "first_enqueued_at": now,
        "expires_at": None,
        "scheduled_for": None,
        "delivery_count": 0,
        "attempts": 0,
        "last_error": None,
        "reason": "(none)",
        "description": "",
        "content_type": None,
        "size": 0,
        "properties": {},
    }
    return Seen(**defaults | fields)


async def watched(monkeypatch: pytest.MonkeyPatch, *readings: list[Seen]) -> Status:
    """Return what `status` finds if the queue has these messages, one reading after the other."""
    left = list(readings)

    async def look(_: object, __: int, *, dead_letters: bool) -> list[Seen]:
        if dead_letters:
            return []
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(status, "look", look)
    address = QueueAddress.read(
        {"ServiceBusConnection__fullyQualifiedNamespace": "n.servicebus.windows.net"}
    )
    return await status.status(address, 100)


@pytest.mark.parametrize(
    ("error", "name", "remedy"),
    [
        (ROLE, "HTTP 401 PermissionDenied", "may not delete sessions"),
        (FIREWALL, "HTTP 403", "network rules"),
        ("HTTP 404: Resource not found", "HTTP 404", "FACE_API_VERSION"),
        ("HTTP 429: slow down", "HTTP 429", "rate limit is used up"),
        ("HTTP 503: busy", "HTTP 503", "The Face API fails"),
        ("HTTP 418 Teapot: short", "HTTP 418 Teapot", "on no list"),
        ("TokenUnavailable: no token within 5 s", "TokenUnavailable", "managed identity"),
        ("Timeout: no answer within 10 s", "Timeout", "FACE_ENDPOINT"),
        (f"no call was made: circuit open after {FIREWALL}", "HTTP 403", "network rules"),
        (
            "no call was made: the rate limit gave no permit in time",
            "the rate limit gave no permit in time",
            "rate limit is used up",
        ),
    ],
)
def test_every_error_has_a_cause_and_a_remedy(error: str, name: str, remedy: str) -> None:
    """The whole text decides, also behind an open circuit."""
    assert cause_of(error)[0] == name
    assert remedy in cause_of(error)[1]


def test_a_circuit_that_is_open_counts_as_what_opened_it() -> None:
    """Those that were called and those that waited behind them have one cause."""
    waiting = [
        seen(1, last_error=ROLE),
        seen(2, last_error=f"no call was made: circuit open after {ROLE}"),
    ]
    found = summary(waiting, [], 100)
    assert found.waiting_because == {"HTTP 401 PermissionDenied": 2}
    assert len(found.advice) == 1
    assert found.is_wrong


def test_the_publishers_of_what_is_wrong_are_named() -> None:
    """Messages that merely wait are not counted."""
    shop = {"publisher": "shop"}
    waiting = [
        seen(1, last_error=ROLE, properties=shop),
        seen(2, properties={"publisher": "other"}),
    ]
    found = summary(waiting, [seen(3, properties=shop), seen(4)], 100)
    assert found.publishers == {"shop": 2, "unnamed": 1}


async def test_nothing_ends_because_the_function_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Messages that stay as they are, and were never delivered, were not taken."""
    found = await watched(monkeypatch, [seen(1), seen(2)])
    assert (found.stalled, found.is_wrong, found.ended) == (True, True, 0)
    assert found.advice[0].startswith("The function takes no messages")
    assert "OUTCOME_QUEUE" in found.advice[0]  # receipts that cannot be sent look the same


async def test_messages_that_come_meanwhile_hide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishers go on while the function is stopped."""
    found = await watched(monkeypatch, [seen(1)], [seen(1), seen(2)])
    assert found.advice[0].startswith("The function takes no messages")


async def test_errors_that_are_known_are_not_watched_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cause is known then, and waiting would only delay the answer."""
    monkeypatch.setattr(status, "WATCH_SECONDS", 30.0)
    found = await watched(monkeypatch, [seen(1, last_error=FIREWALL)])
    assert found.stalled
    assert (found.watched_seconds or 0) < 10


async def test_nothing_ends_because_the_function_holds_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Messages that were delivered and stay as they are cannot be settled."""
    found = await watched(monkeypatch, [seen(1, delivery_count=1), seen(2)])
    assert found.advice[0].startswith("The function holds messages")


async def test_nothing_ends_but_messages_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function works, so that the errors of the retries are the cause."""
    found = await watched(monkeypatch, [seen(1)], [seen(2, root_id="m-1", last_error=FIREWALL)])
    assert found.stalled
    assert "network rules" in found.advice[0]


def test_dead_letters_tell_what_their_last_error_asks_for() -> None:
    """The reason alone would not say what to repair."""
    dead = [seen(1, reason="RetriesExhausted", description=f"retried for 48 h; {ROLE}")] * 2
    (advice,) = summary([], dead, 100).advice
    assert advice.startswith("RetriesExhausted: fix the last error")
    assert advice.count("may not delete sessions") == 1


async def test_one_that_ends_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts by publication: a retry copy in place of its original has not ended."""
    first = [seen(1), seen(2)]
    found = await watched(monkeypatch, first, [seen(3, root_id="m-1")])
    assert (found.ended, found.stalled, found.is_wrong) == (1, False, False)


async def test_what_is_scheduled_for_later_does_not_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher may schedule messages; nothing is watched then."""
    found = await watched(monkeypatch, [seen(1, state="scheduled")])
    assert (found.watched_seconds, found.is_wrong) == (None, False)


def test_a_message_that_is_delivered_again_and_again_is_named() -> None:
    """It may crash the function each time."""
    found = summary([seen(1), seen(2, delivery_count=7)], [], 100)
    assert "m-2 (session s-2) was delivered 7 times" in found.advice[0]


def test_the_exit_code_tells_that_messages_wait_because_of_an_error(queue: OneQueue) -> None:
    """Nothing is dead-lettered, and nothing is well; an empty queue is well, and says so."""
    empty = queue.revoker("status")
    assert empty.code == 0
    assert "Nothing waits. There are no dead letters." in empty.out

    async def send() -> None:
        history = retry_copy_of("a")
        async with (
            ServiceBusClient.from_connection_string(
                queue.environment["ServiceBusConnection"]
            ) as client,
            client.get_queue_sender(queue.name) as sender,
        ):
            await sender.send_messages(
                ServiceBusMessage(
                    json.dumps({"sessionId": "a"}),
                    message_id=history.copy_id,
                    application_properties=dict(history.write()),  # type: ignore[arg-type]
                )
            )

    asyncio.run(send())
    ran = queue.revoker("status")
    assert ran.code == 1
    assert "Nothing has ended for " in ran.out
    assert "HTTP 503: The Face API fails" in ran.out

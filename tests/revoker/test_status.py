"""`revoker status`: does anything end, why not, and what to do about it."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from delete_session.receipt import Data
from revoker import status
from revoker.connection import QueueAddress
from revoker.local_cloud import LocalCloud, LogLine
from revoker.messages import Seen
from revoker.outcomes import Receipt
from revoker.remedies import cause_of
from revoker.status import Reading, Status, findings, with_local_facts
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


def found(
    waiting: list[Seen], dead: list[Seen] | None = None, limit: int = 100, **known: Any
) -> Status:
    """Return what is found if this is known."""
    return findings(Reading(limit=limit, waiting=waiting, dead=dead or [], **known))


def receipt(seconds: float, outcome: str = "deleted", **ago: float) -> Receipt:
    """A receipt after one call of this many seconds."""
    time = datetime.now(UTC) - timedelta(**ago)
    data = Data(
        outcome=outcome,  # type: ignore[arg-type]
        attempts=1,
        published_at=time,
        first_attempt_at=time - timedelta(seconds=seconds),
        last_attempt_at=time,
        root_message_id="m",
    )
    return Receipt(1, "r", time, data)


def line(**facts: Any) -> LogLine:
    """A line of the function's log, of now."""
    return LogLine(at=datetime.now(UTC), host="host-0", logger="delete_session", facts=facts)


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
        (
            "ConnectionFailed: NetworkError: Cannot connect to host x:443 [Name or service not known]",
            "ConnectionFailed",
            "does not resolve",
        ),
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
    now = found(waiting, [])
    assert now.waiting_because == {"HTTP 401 PermissionDenied": 2}
    assert len(now.advice) == 1
    assert now.is_wrong


def test_the_publishers_of_what_is_wrong_are_named() -> None:
    """Messages that merely wait are not counted."""
    shop = {"publisher": "shop"}
    waiting = [
        seen(1, last_error=ROLE, properties=shop),
        seen(2, properties={"publisher": "other"}),
    ]
    now = found(waiting, [seen(3, properties=shop), seen(4)])
    assert now.publishers == {"shop": 2, "unnamed": 1}


async def test_nothing_ends_for_a_reason_that_the_queue_alone_does_not_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A message that is locked for the first time looks like one that was never taken."""
    now = await watched(monkeypatch, [seen(1), seen(2)])
    assert (now.stalled, now.is_wrong, now.ended) == (True, True, 0)
    assert now.advice[0].startswith("Look at the function's log.")


@pytest.mark.parametrize(
    ("known", "cause"),
    [
        ({"locked": 0}, "The function takes no messages"),
        ({"locked": 2}, "calls of the Face API are slow"),
        ({"locked": 2, "cause": "The broker refuses: full"}, "The broker refuses: full"),
        ({"locked": 0, "cause": "The broker refuses: full"}, "The function takes no messages"),
        ({"minutes": 6}, "The function takes no messages"),
        ({"minutes": 6, "delivery_count": 1}, "The function holds messages"),
    ],
)
def test_what_is_known_tells_why_nothing_ends(known: dict[str, Any], cause: str) -> None:
    """One cause is named: by the locks and the log, or by age and deliveries."""
    enqueued_at = datetime.now(UTC) - timedelta(minutes=known.pop("minutes", 0))
    waiting = [
        seen(enqueued_at=enqueued_at, delivery_count=known.pop("delivery_count", 0)),
    ]
    reading = Reading(limit=100, waiting=waiting, dead=[], **known)
    (advice,) = findings(reading, reading, 10).advice
    assert cause in advice


@pytest.mark.parametrize(
    ("lines", "causes"),
    [
        ([{"event": "broker_refuses", "queue": "q", "reason": "full"}], ("Data Receiver", "full")),
        ([{"event": "broker_refuses", "queue": "told", "reason": "full"}], ("OUTCOME_QUEUE",)),
        ([{"event": "circuit_open", "last_failure": FIREWALL}], ("HTTP 403", "network rules")),
        ([{"event": "circuit_open", "last_failure": ROLE}, {"event": "circuit_closed"}], ()),
    ],
)
async def test_the_log_of_the_local_cloud_tells_why_messages_are_held(
    lines: list[dict[str, str]], causes: tuple[str, ...], tmp_path: Path
) -> None:
    """The broker refuses, and for which queue; or the circuit is open."""
    now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
    log = [f"{now},042 WARNING delete_session {json.dumps(each)}\n" for each in lines]
    (tmp_path / "host-0.log").write_text("".join(log))
    cloud = LocalCloud("http://127.0.0.1:1", None, tmp_path)
    reading = await with_local_facts(Reading(limit=9, waiting=[], dead=[]), cloud, "q")
    await cloud.close()
    assert bool(reading.cause) == bool(causes)
    assert all(each in reading.cause for each in causes)


async def test_messages_that_come_meanwhile_hide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishers go on while the function is stopped."""
    now = await watched(monkeypatch, [seen(1)], [seen(1), seen(2)])
    assert now.advice[0].startswith("Look at the function's log.")


@pytest.mark.parametrize(
    "known",
    [
        {"receipts": [receipt(8)] * 3 + [receipt(0.1)] + [receipt(0.1, minutes=6)] * 9},
        {"lines": [line(outcome="deleted", ms_in_call=16000.0, asked=["a", "b"])] * 3},
    ],
)
def test_slow_calls_are_named(known: dict[str, Any]) -> None:
    """All succeed, so that nothing else shows it; receipts tell it, or the local cloud's log."""
    now = found([seen()], **known)
    assert "calls of the Face API are slow" in now.advice[0]
    assert "took 8 s or more" in now.advice[0]
    assert now.is_wrong


def test_calls_that_are_not_slow_are_no_finding() -> None:
    """A burst may take long although nothing is wrong."""
    assert not found([seen()], receipts=[receipt(0.3)] * 3 + [receipt(9)]).is_wrong


def test_what_publishers_scheduled_is_no_retry() -> None:
    """A retry copy has an error."""
    before = datetime.now(UTC) - timedelta(hours=1)
    retry = seen(2, state="scheduled", last_error=ROLE, first_enqueued_at=before)
    now = found([seen(1, state="scheduled"), retry])
    assert (now.scheduled, now.retries_scheduled) == (2, 1)
    assert now.oldest_by_state["retry"] == pytest.approx(3600, abs=5)
    assert now.oldest_by_state.get("scheduled", 0) < 5


def test_what_was_not_read_is_said() -> None:
    """Receipts are read from the oldest on, so that their limit hides what happens now."""
    old = receipt(0.1, "already_gone", hours=5)
    now = found([seen()], limit=2, receipts=[old, old])
    (unread,) = now.unread
    assert not now.complete
    assert f"first 2 receipts were examined, the last of {old.time:%Y-%m-%d %H:%M:%S}Z" in unread
    assert found([seen()], receipts_failure="no right.").unread == [
        "No receipts were examined: no right."
    ]
    assert found([seen()] * 2, limit=2).unread == [
        "Only the first 2 messages of each queue were examined."
    ]


async def test_errors_that_are_known_are_not_watched_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cause is known then, and waiting would only delay the answer."""
    monkeypatch.setattr(status, "WATCH_SECONDS", 30.0)
    now = await watched(monkeypatch, [seen(1, last_error=FIREWALL)])
    assert now.stalled
    assert (now.watched_seconds or 0) < 10


async def test_nothing_ends_because_the_function_holds_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Messages that were delivered and stay as they are cannot be settled."""
    now = await watched(monkeypatch, [seen(1, delivery_count=1), seen(2)])
    assert now.advice[0].startswith("The function holds messages")


async def test_nothing_ends_but_messages_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function works, so that the errors of the retries are the cause."""
    now = await watched(monkeypatch, [seen(1)], [seen(2, root_id="m-1", last_error=FIREWALL)])
    assert now.stalled
    assert "network rules" in now.advice[0]


def test_dead_letters_tell_what_their_last_error_asks_for() -> None:
    """The reason alone would not say what to repair."""
    dead = [seen(1, reason="RetriesExhausted", description=f"retried for 48 h; {ROLE}")] * 2
    (advice,) = found([], dead).advice
    assert advice.startswith("RetriesExhausted: fix the last error")
    assert advice.count("may not delete sessions") == 1


async def test_one_that_ends_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts by publication: a retry copy in place of its original has not ended."""
    first = [seen(1), seen(2)]
    now = await watched(monkeypatch, first, [seen(3, root_id="m-1")])
    assert (now.ended, now.stalled, now.is_wrong) == (1, False, False)


async def test_what_is_scheduled_for_later_does_not_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher may schedule messages; nothing is watched then."""
    now = await watched(monkeypatch, [seen(1, state="scheduled")])
    assert (now.watched_seconds, now.is_wrong) == (None, False)


def test_a_message_that_is_delivered_again_and_again_is_named() -> None:
    """It may crash the function each time."""
    now = found([seen(1), seen(2, delivery_count=7)], [])
    assert "m-2 (session s-2) was delivered 7 times" in now.advice[0]


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

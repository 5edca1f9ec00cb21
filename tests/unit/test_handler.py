"""The steps from a message to its one end, with everything around them faked."""

import asyncio
import json
import logging
from datetime import datetime, timedelta

import pytest

from delete_session.handler import HOLD_SECONDS
from delete_session.queue import SettlementFailed, Unsendable
from delete_session.verdict import Verdict

from .fakes import (
    BAD,
    DELETED,
    DENIED,
    ENQUEUED,
    GONE,
    UNAVAILABLE,
    Bench,
    FakeTime,
    message,
    retry_copy,
    throttled,
    verdict,
)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> "Lines":
    caplog.set_level(logging.INFO, "delete_session")
    return Lines(caplog)


class Lines:
    """The JSON lines logged so far."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def __call__(self, **wanted: object) -> list[dict[str, object]]:
        records = [record for record in self._caplog.records if record.name == "delete_session"]
        parsed = [json.loads(record.getMessage()) for record in records]
        return [
            line for line in parsed if all(line.get(key) == value for key, value in wanted.items())
        ]


@pytest.mark.parametrize(("answer", "outcome"), [(DELETED, "deleted"), (GONE, "already_gone")])
async def test_gone_session_completes_the_message(
    answer: Verdict, outcome: str, lines: Lines
) -> None:
    """Success returns, so that the host completes, and logs one line."""
    bench = Bench(answer)
    await bench.handle()
    assert bench.queue.tries == 0
    [line] = lines()
    assert line["outcome"] == outcome
    assert (line["session_id"], line["message_id"], line["attempts"]) == ("s-1", "m-1", 1)


@pytest.mark.parametrize(("given", "logged"), [("shop", "shop"), ("\ud800", "?"), (7, None)])
async def test_the_line_names_the_publisher(given: object, logged: object, lines: Lines) -> None:
    """It is what the application property says, if that is text."""
    await Bench(GONE).handle(message(properties={"publisher": given}))
    assert lines()[0].get("publisher") == logged


@pytest.mark.parametrize(
    ("answers", "asked", "outcome", "found"),
    [
        ([DELETED], 1, "deleted", "livenessWithVerify"),
        ([GONE, DELETED], 2, "deleted", "liveness"),
        ([GONE, GONE], 2, "already_gone", None),
        ([GONE, UNAVAILABLE, DELETED], 3, "deleted", "liveness"),
        ([BAD], 1, "dead_lettered", None),
        ([GONE, BAD], 2, "dead_lettered", None),
    ],
)
async def test_session_of_unstated_type_is_looked_for_under_both(
    answers: list[Verdict], asked: int, outcome: str, found: str | None, lines: Lines
) -> None:
    """Only if nothing is found under the first type, the other one is asked, too."""
    bench = Bench(*answers)
    await bench.handle(message(b'{"sessionId": "s-1"}'))
    types = ["livenessWithVerify", "liveness"]
    assert [each for _, each in bench.face.calls] == [types[min(n, 1)] for n in range(asked)]
    [line] = lines(event="revocation")
    assert line["outcome"] == outcome
    assert line.get("session_type") == found
    assert line["asked"] == types[: min(asked, 2)]


async def test_both_types_are_asked_again_after_a_retry() -> None:
    """A copy does not remember which type was asked: in between, a session may have been created."""
    bench = Bench(GONE, throttled(60), GONE, GONE)
    await bench.handle(message(b'{"sessionId": "s-1"}'))
    [copy] = bench.queue.copies
    bench.time.seconds += 61
    await bench.handle(
        message(b'{"sessionId": "s-1"}', copy.properties, message_id=copy.message_id)
    )
    assert [each for _, each in bench.face.calls] == ["livenessWithVerify", "liveness"] * 2


async def test_rejected_request_is_dead_lettered_with_its_code(lines: Lines) -> None:
    """What can never work goes to the dead-letter queue, with the code as the reason."""
    bench = Bench(BAD)
    await bench.handle()
    [(delivery, decision)] = bench.queue.dead_letters
    assert delivery.message_id == "m-1"
    assert decision.reason == "BadArgument"
    assert decision.description == "HTTP 400 BadArgument: no (request id r-1)"
    [line] = lines()
    assert (line["outcome"], line["reason"], line["status"]) == (
        "dead_lettered",
        "BadArgument",
        400,
    )


async def test_malformed_message_is_dead_lettered_without_a_call(lines: Lines) -> None:
    """A malformed message never reaches the Face API, and its body never reaches the log."""
    bench = Bench()
    await bench.handle(message(b"secret"))
    [(_, decision)] = bench.queue.dead_letters
    assert decision.reason == "MalformedMessage"
    assert not bench.face.calls
    assert "secret" not in json.dumps(lines())


async def test_short_wait_is_waited_in_place(lines: Lines) -> None:
    """A retry within the in-place limit makes no copy."""
    bench = Bench(UNAVAILABLE, UNAVAILABLE, DELETED)
    await bench.handle()
    assert bench.time.slept == [1.0, 2.0]  # half of 2 s, half of 4 s
    assert not bench.queue.copies
    assert lines()[-1]["attempts"] == 3


async def test_long_wait_schedules_a_copy_and_completes(lines: Lines) -> None:
    """Beyond the in-place limit, a copy carries on and the original is completed."""
    bench = Bench(UNAVAILABLE)
    given = message(properties={"tenant": "blue", "Diagnostic-Id": "00-1-2-03"})
    await bench.handle(given)
    [copy] = bench.queue.copies
    assert copy.body == given.get_body()
    assert (copy.content_type, copy.correlation_id, copy.subject) == (
        "application/json",
        "c-1",
        "session-revoked",
    )
    assert copy.expires_at == ENQUEUED + timedelta(hours=48)
    assert copy.properties["tenant"] == "blue"
    assert copy.properties["Diagnostic-Id"] == "00-1-2-03"
    assert copy.properties["revoker-root-id"] == "m-1"
    assert copy.properties["revoker-attempt"] == 4  # 1 + 2 + 4 s in place; 8 s is too long
    assert copy.properties["revoker-copy"] == 1
    assert copy.properties["revoker-last-error"] == "HTTP 503 ServiceUnavailable: try later"
    assert copy.enqueued_at == ENQUEUED + timedelta(seconds=1 + 2 + 4 + 8)
    [line] = lines(event="revocation")
    assert (line["outcome"], line["delay_seconds"]) == ("retry_scheduled", 8)


async def test_copy_carries_on_where_the_original_stopped() -> None:
    """Attempts, root and first enqueue come from the copy's properties."""
    first = Bench(UNAVAILABLE)
    await first.handle()
    [copy] = first.queue.copies
    second = Bench(UNAVAILABLE, time=FakeTime(copy.enqueued_at))
    await second.handle(
        message(
            properties=copy.properties,
            message_id=copy.message_id,
            enqueued_time_utc=copy.enqueued_at,
        )
    )
    [next_copy] = second.queue.copies
    assert next_copy.properties["revoker-attempt"] == 5
    assert next_copy.properties["revoker-copy"] == 2
    assert next_copy.properties["revoker-root-id"] == "m-1"
    assert next_copy.properties["revoker-first-enqueued"] == ENQUEUED.isoformat()
    assert next_copy.message_id != copy.message_id


async def test_same_delivery_schedules_the_same_copy() -> None:
    """A redelivery after a crash schedules under the same message id, which the broker drops."""
    ids = set()
    for count in (1, 2):
        bench = Bench(UNAVAILABLE)
        await bench.handle(message(delivery_count=count))
        ids.add(bench.queue.copies[0].message_id)
    assert len(ids) == 1


async def test_deliveries_are_not_attempts() -> None:
    """A message that was delivered nine times before still gets its whole effort."""
    bench = Bench(UNAVAILABLE)
    await bench.handle(message(delivery_count=9))
    assert bench.queue.copies[0].properties["revoker-attempt"] == 4
    assert not bench.queue.dead_letters


@pytest.mark.parametrize("answer", [UNAVAILABLE, DENIED, throttled(1)])
async def test_effort_ends_at_the_horizon(answer: Verdict) -> None:
    """48 hours after the first enqueue, the next failure is the last."""
    late = ENQUEUED + timedelta(hours=48, seconds=1)
    bench = Bench(answer, time=FakeTime(late))
    await bench.handle(
        retry_copy(ENQUEUED, attempts=40, enqueued_time_utc=late, expires_at_utc=None)
    )
    [(_, decision)] = bench.queue.dead_letters
    assert decision.reason == "RetriesExhausted"
    assert "after 41 attempts" in decision.description
    assert answer.code in decision.description


async def test_effort_ends_before_the_message_expires() -> None:
    """If it waited in the queue for most of its life, we dead-letter it, with the true cause."""
    bench = Bench(UNAVAILABLE, time=FakeTime(ENQUEUED + timedelta(seconds=46)))
    await bench.handle(message(expires_at_utc=ENQUEUED + timedelta(minutes=1)))
    [(_, decision)] = bench.queue.dead_letters
    assert decision.reason == "RetriesExhausted"


async def test_message_that_expires_soon_does_not_keep_others_waiting() -> None:
    """It waits here for a sixteenth of what is left of its life, and then as a scheduled copy."""
    bench = Bench(throttled(3))
    await bench.handle(message(expires_at_utc=ENQUEUED + timedelta(seconds=40)))
    assert not bench.time.slept
    assert bench.queue.copies


async def test_wrong_clock_does_not_end_the_effort() -> None:
    """A clock that is three days ahead makes no message look three days old."""
    bench = Bench(UNAVAILABLE, time=FakeTime(ENQUEUED + timedelta(days=3)))
    await bench.handle()
    assert bench.queue.copies
    assert not bench.queue.dead_letters


async def test_clock_behind_the_brokers_schedules_nothing_in_the_past() -> None:
    """A retry is scheduled after the enqueue, however late our clock is."""
    bench = Bench(UNAVAILABLE, time=FakeTime(ENQUEUED - timedelta(hours=5)))
    await bench.handle()
    assert bench.queue.copies[0].enqueued_at > ENQUEUED


@pytest.mark.parametrize("answer", [BAD, UNAVAILABLE])
async def test_failed_settlement_abandons_the_message(answer: Verdict, lines: Lines) -> None:
    """What the broker does not settle raises, so that the host abandons it, and is logged."""
    bench = Bench(answer, errors=(SettlementFailed("no"),))
    with pytest.raises(SettlementFailed):
        await bench.handle()
    assert lines()[-1]["outcome"] == "settlement_failed"


async def test_outage_opens_the_circuit_and_stops_the_calls(lines: Lines) -> None:
    """After a run of failures no call is made, and messages wait behind the cool-down."""
    bench = Bench(UNAVAILABLE, breaker_failures=3, max_wait=0)
    for _ in range(10):
        await bench.handle()
    assert len(bench.face.calls) == 3
    assert len(bench.queue.copies) == 10
    for copy in bench.queue.copies[3:]:
        wait = (copy.enqueued_at - ENQUEUED).total_seconds()
        assert 30 <= wait <= 60
        assert copy.properties["revoker-attempt"] == 0
        assert copy.properties["revoker-last-error"] == (
            "no call was made: circuit open after HTTP 503 ServiceUnavailable: try later"
        )
    assert len(lines(event="circuit_open")) == 1


async def test_probe_closes_the_circuit_again(lines: Lines) -> None:
    """After the cool-down one message is the probe; when it works, all is as before."""
    bench = Bench(
        *(UNAVAILABLE, UNAVAILABLE, DELETED),
        breaker_failures=2,
        max_wait=0,
    )
    await bench.handle()
    await bench.handle()
    bench.time.seconds += 30
    await asyncio.gather(*(bench.handle() for _ in range(3)))
    assert [line["event"] for line in lines() if str(line["event"]).startswith("circuit")] == [
        "circuit_open",
        "circuit_half_open",
        "circuit_closed",
    ]
    assert len(lines(outcome="deleted")) >= 1


async def test_throttling_does_not_open_the_circuit(lines: Lines) -> None:
    """429 is the limiter's matter: the endpoint works."""
    bench = Bench(throttled(1), breaker_failures=1, max_wait=0)
    for _ in range(3):
        await bench.handle()
    assert not lines(event="circuit_open")
    assert bench.handler.gate.rate < 10_000


@pytest.mark.parametrize(("minimum", "floor"), [("", 1.0), ("2", 2.0)])
async def test_limiter_keeps_the_minimum_of_the_settings(minimum: str, floor: float) -> None:
    """However many calls are throttled, the rate stays at the set minimum, or at its default."""
    bench = Bench(FACE_MAX_CALLS_PER_SECOND="8", FACE_MIN_CALLS_PER_SECOND=minimum)
    gate = bench.handler.gate
    for _ in range(20):
        permit = await gate.acquire(within=1e6)
        assert permit is not None
        gate.report(permit, throttled(1.0))
    assert gate.rate == floor


async def test_one_throttled_call_pauses_all_that_wait() -> None:
    """While Retry-After runs, no message makes a call."""
    bench = Bench(throttled(3), DELETED)
    await asyncio.gather(*(bench.handle() for _ in range(5)))
    assert bench.time.seconds >= 3
    assert len(bench.face.calls) <= 10


async def test_resubmitted_message_begins_anew(lines: Lines) -> None:
    """A dead letter that somebody sends again with all its properties gets its whole effort."""
    late = ENQUEUED + timedelta(days=9)
    bench = Bench(UNAVAILABLE, time=FakeTime(late))
    old = retry_copy(ENQUEUED, attempts=99).application_properties
    await bench.handle(
        message(properties=old, message_id="again", enqueued_time_utc=late, expires_at_utc=None)
    )
    [copy] = bench.queue.copies
    assert copy.properties["revoker-root-id"] == "again"
    assert copy.properties["revoker-attempt"] == 4


async def test_last_copy_is_enqueued_before_the_message_expires() -> None:
    """However long the message waited in the queue, its last attempt is at its retry deadline."""
    bench = Bench(throttled(600), time=FakeTime(ENQUEUED + timedelta(minutes=5)))
    await bench.handle(message(expires_at_utc=ENQUEUED + timedelta(minutes=10)))
    [copy] = bench.queue.copies
    assert copy.enqueued_at == ENQUEUED + timedelta(minutes=7, seconds=30)


async def test_absurd_wait_of_one_message_does_not_stop_the_others() -> None:
    """A Retry-After of thirty years holds up its own message, and the rest for the cap at most."""
    bench = Bench(throttled(1e9), DELETED, RETRY_MAX_DELAY_SECONDS="60")
    await bench.handle()
    bench.time.seconds += 61
    await bench.handle()
    assert len(bench.face.calls) == 2


async def test_no_invocation_waits_for_its_turn_for_longer_than_it_may_hold() -> None:
    """With a tiny quota, messages that wait in line give way to a copy before the host's limit."""
    bench = Bench(throttled(1), FACE_MAX_CALLS_PER_SECOND="0.1")
    await asyncio.gather(*(bench.handle() for _ in range(16)))
    assert bench.time.seconds <= HOLD_SECONDS + 60
    assert bench.queue.copies


async def test_unsendable_properties_are_left_out_of_the_copy() -> None:
    """What cannot be sent with the publisher's properties, subject and id is sent without them."""
    bench = Bench(throttled(60), errors=(Unsendable("too large"),))
    await bench.handle(message(properties={"big": "x"}))
    [copy] = bench.queue.copies
    assert "big" not in copy.properties
    assert (copy.subject, copy.correlation_id) == (None, None)
    assert copy.properties["revoker-attempt"] == 1


async def test_reason_told_is_never_another_messages() -> None:
    """A message that was never called about says so, without another's request id."""
    bench = Bench(verdict(503, "x", request_id="another"), breaker_failures=1)
    await bench.handle()
    await bench.handle(retry_copy(ENQUEUED - timedelta(hours=49)))
    [(_, decision)] = bench.queue.dead_letters
    assert "no call was made: circuit open" in decision.description
    assert "another" not in decision.description


async def test_deployment_fault_is_told_once_in_plain_words(lines: Lines) -> None:
    """The first line of such a fault says what to do; the next one comes after a recovery."""
    bench = Bench(
        *(DENIED, DENIED, DELETED, DENIED),
        max_wait=0,
    )
    for _ in range(4):
        await bench.handle()
    told = lines(event="deployment_fault")
    assert len(told) == 2
    assert "role" in str(told[0]["remedy"])


async def test_cancellation_completes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shutdown in the middle of a call raises, so that the host does not complete."""
    bench = Bench()

    async def hang(*_: object) -> Verdict:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(bench.face, "delete", hang)
    task = asyncio.create_task(bench.handle())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.queue.tries == 0


async def test_impossible_stamp_is_not_the_time_of_the_process(lines: Lines) -> None:
    """After a message from the end of time, the next one's retry is due as usual."""
    bench = Bench(UNAVAILABLE, max_wait=0)
    await bench.handle(message(enqueued_time_utc=datetime.max))
    await bench.handle()
    assert all(copy.enqueued_at < ENQUEUED + timedelta(hours=1) for copy in bench.queue.copies)
    assert len(bench.queue.copies) == 2

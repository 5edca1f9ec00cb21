"""What the publisher is told: what a receipt says, and when it is sent."""

import hashlib
import json
import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage

from delete_session.message import PUBLISHED_ID, History, published_id
from delete_session.queue import SettlementFailed, Unsendable
from delete_session.receipt import CONTENT_TYPE
from delete_session.verdict import Verdict

from .fakes import (
    BAD,
    DELETED,
    ENQUEUED,
    GONE,
    UNAVAILABLE,
    Bench,
    message,
    retry_copy,
    throttled,
    verdict,
)

ROOT = Path(__file__).parents[2]
OUTCOMES = "session-outcomes"
STAMP = int(ENQUEUED.timestamp() * 1000)
TYPE = "liveness-session-revoker.session-revocation"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def event(sent: ServiceBusMessage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b"".join(sent.body))
    return found


async def only_receipt(bench: Bench, **fields: Any) -> tuple[ServiceBusMessage, dict[str, Any]]:
    await bench.handle(message(**fields))
    [sent] = bench.outcomes.sent
    return sent, event(sent)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (verdict(200, request_id="r-9"), "deleted"),
        (verdict(404, "SessionNotFound", request_id="r-9"), "already_gone"),
    ],
)
async def test_gone_session_is_told_before_the_message_ends(answer: Verdict, outcome: str) -> None:
    """The receipt of a completed revocation holds all that proves it, as one CloudEvent."""
    sent, told = await only_receipt(
        Bench(answer, OUTCOME_QUEUE=OUTCOMES), properties={"traceparent": TRACE}
    )
    assert told == {
        "specversion": "1.0",
        "id": f"m-1:{STAMP}:completed",
        "source": "/liveness-session-revoker/session-revoked",
        "type": f"{TYPE}.completed",
        "subject": "s-1",
        "time": "2026-01-02T03:04:05Z",
        "datacontenttype": "application/json",
        "traceparent": TRACE,
        "data": {
            "sessionId": "s-1",
            "sessionType": "livenessWithVerify",
            "askedTypes": ["livenessWithVerify"],
            "outcome": outcome,
            "attempts": 1,
            "publishedAt": "2026-01-02T03:04:05Z",
            "firstAttemptAt": "2026-01-02T03:04:05Z",
            "lastAttemptAt": "2026-01-02T03:04:05Z",
            "faceRequestId": "r-9",
            "rootMessageId": "m-1",
        },
    }
    assert sent.message_id == told["id"]
    assert sent.correlation_id == "c-1"
    assert (sent.subject, sent.content_type) == (told["type"], CONTENT_TYPE)
    assert sent.application_properties == {"traceparent": TRACE}


async def test_given_up_revocation_is_told_before_it_is_dead_lettered() -> None:
    """The receipt of a failed revocation says why, and comes first."""
    bench = Bench(BAD, OUTCOME_QUEUE=OUTCOMES)
    _, told = await only_receipt(bench)
    assert bench.steps == ["send", "dead-letter"]
    assert (told["id"], told["type"]) == (f"m-1:{STAMP}:failed", f"{TYPE}.failed")
    data = told["data"]
    assert (data["outcome"], data["reason"], data["code"]) == (
        *("dead_lettered", "BadArgument", "BadArgument"),
    )
    assert data["description"] == "HTTP 400 BadArgument: no (request id r-1)"
    assert data["faceRequestId"] == "r-1"


async def test_malformed_message_is_told_without_a_session() -> None:
    """Where no session is known, the receipt is about the publisher's message."""
    sent, told = await only_receipt(
        Bench(OUTCOME_QUEUE=OUTCOMES), body=b'{"x": 1}', correlation_id=None
    )
    assert told["subject"] == told["data"]["rootMessageId"] == sent.correlation_id == "m-1"
    assert told["data"]["reason"] == "MalformedMessage"
    assert told["data"]["attempts"] == 0
    assert not told["data"].keys() & {"sessionId", "sessionType", "code", "lastAttemptAt"}


async def test_malformed_message_may_name_a_session() -> None:
    """What a message names is told even if it is malformed otherwise."""
    _, told = await only_receipt(
        Bench(OUTCOME_QUEUE=OUTCOMES), body=b'{"sessionId": "s-1", "sessionType": "face"}'
    )
    assert told["data"]["reason"] == "MalformedMessage"
    assert told["subject"] == told["data"]["sessionId"] == "s-1"
    assert "sessionType" not in told["data"]


async def test_retry_is_not_told_and_its_copy_carries_the_times() -> None:
    """Nothing is sent before the end; then the receipt tells the first attempt and the last."""
    bench = Bench(throttled(60), DELETED, OUTCOME_QUEUE=OUTCOMES)
    await bench.handle()
    assert (bench.steps, bench.outcomes.sent) == (["schedule"], [])
    [copy] = bench.queue.copies
    bench.time.seconds += 75
    await bench.handle(
        message(
            properties=dict(copy.properties),
            message_id=copy.message_id,
            enqueued_time_utc=ENQUEUED + timedelta(seconds=70),
        )
    )
    [sent] = bench.outcomes.sent
    told = event(sent)
    assert told["id"] == f"m-1:{STAMP}:completed"
    assert told["data"]["attempts"] == 2
    assert told["data"]["publishedAt"] == told["data"]["firstAttemptAt"] == "2026-01-02T03:04:05Z"
    assert told["data"]["lastAttemptAt"] == told["time"] == "2026-01-02T03:05:20Z"


async def test_end_without_a_call_tells_the_attempts_before_it() -> None:
    """When the effort ends while calls are blocked, the attempts are those of earlier deliveries."""
    bench = Bench(
        UNAVAILABLE,
        breaker_failures=1,
        max_wait=0,
        OUTCOME_QUEUE=OUTCOMES,
    )
    await bench.handle()
    first = ENQUEUED - timedelta(hours=49)
    last = ENQUEUED - timedelta(hours=1)
    history = History(
        root_id="m-2",
        first_enqueued_at=first,
        attempts=7,
        copies=7,
        last_error="HTTP 503 x",
        first_attempt_at=first,
        last_attempt_at=last,
    )
    await bench.handle(message(properties=history.write(), message_id=history.copy_id))
    [sent] = bench.outcomes.sent
    data = event(sent)["data"]
    assert (data["reason"], data["attempts"]) == ("RetriesExhausted", 7)
    times = [datetime.fromisoformat(data[name]) for name in ("firstAttemptAt", "lastAttemptAt")]
    assert times == [first, last]
    assert "code" not in data


async def test_copy_of_an_older_version_tells_no_first_attempt() -> None:
    """What is not known is left out, not guessed."""
    bench = Bench(GONE, OUTCOME_QUEUE=OUTCOMES)
    await bench.handle(retry_copy(ENQUEUED - timedelta(hours=1), attempts=3))
    [sent] = bench.outcomes.sent
    data = event(sent)["data"]
    assert (data["attempts"], data["lastAttemptAt"]) == (4, "2026-01-02T03:04:05Z")
    assert "firstAttemptAt" not in data


@pytest.mark.parametrize("answer", [DELETED, BAD])
async def test_receipt_that_cannot_be_sent_keeps_the_message(
    answer: Verdict, caplog: pytest.LogCaptureFixture
) -> None:
    """The message is neither completed nor dead-lettered, but abandoned."""
    caplog.set_level(logging.WARNING, "delete_session")
    bench = Bench(answer, receipt_errors=(SettlementFailed("not found"),), OUTCOME_QUEUE=OUTCOMES)
    with pytest.raises(SettlementFailed, match="receipt not sent: not found"):
        await bench.handle()
    assert set(bench.steps) == {"send"}
    line = json.loads(caplog.records[-1].getMessage())
    assert (line["outcome"], line["reason"]) == (
        *("settlement_failed", "receipt not sent: not found"),
    )


@pytest.mark.parametrize(("answer", "last"), [(DELETED, "send"), (BAD, "dead-letter")])
async def test_receipt_that_can_never_be_sent_is_logged_and_dropped(
    answer: Verdict, last: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It must not hold up the message, nor any other."""
    caplog.set_level(logging.WARNING, "delete_session")
    bench = Bench(answer, receipt_errors=(Unsendable("too large"),), OUTCOME_QUEUE=OUTCOMES)
    await bench.handle()
    assert bench.steps[-1] == last
    line = json.loads(caplog.records[0].getMessage())
    assert (line["event"], line["reason"]) == ("receipt_not_sent", "too large")


async def test_redelivery_is_told_under_the_same_id() -> None:
    """After a crash between receipt and end, the broker can tell that it is the same receipt."""
    bench = Bench(DELETED, GONE, OUTCOME_QUEUE=OUTCOMES)
    await bench.handle()
    await bench.handle(message(delivery_count=2))
    first, second = bench.outcomes.sent
    assert first.message_id == second.message_id
    failing = Bench(BAD, errors=(SettlementFailed("lost"),), OUTCOME_QUEUE=OUTCOMES)
    with pytest.raises(SettlementFailed):
        await failing.handle()
    await failing.handle(message(delivery_count=2))
    first, second = failing.outcomes.sent
    assert first.message_id == second.message_id


async def test_half_of_a_surrogate_pair_keeps_no_receipt_back() -> None:
    """Whatever the publisher's ids hold, the receipt can be sent."""
    sent, told = await only_receipt(
        Bench(OUTCOME_QUEUE=OUTCOMES), message_id="m-\ud800", correlation_id="\udfff"
    )
    assert sent.message_id == told["id"] == f"m-?:{STAMP}:completed"
    assert sent.correlation_id == "?"


@pytest.mark.parametrize(
    ("properties", "parent"),
    [
        ({"Diagnostic-Id": TRACE}, TRACE),
        ({"traceparent": TRACE, "Diagnostic-Id": "other"}, TRACE),
        ({"Diagnostic-Id": "|a.b."}, None),
        ({"traceparent": 7, "tracestate": "a=b"}, None),
        ({}, None),
    ],
)
async def test_trace_goes_on(properties: dict[str, object], parent: str | None) -> None:
    """The publisher's trace context is carried on if it is one, in the event and around it."""
    sent, told = await only_receipt(Bench(OUTCOME_QUEUE=OUTCOMES), properties=properties)
    assert told.get("traceparent") == parent
    assert (sent.application_properties or {}).get("traceparent") == parent
    assert "tracestate" not in told


def test_resubmitted_message_is_told_as_the_published_one() -> None:
    """The publisher finds its own message id, however often a dead letter was put back."""
    for root_id in ("m-1", "m-1:resubmit:7", "m-1:resubmit:7:resubmit:12"):
        assert published_id(root_id, {}) == "m-1"


async def test_long_id_is_told_as_published() -> None:
    """A resubmitted message's id holds its hash; the id beside it is told if it has that hash."""
    long = "m" * 128
    id_ = f"{hashlib.sha256(long.encode()).hexdigest()}:resubmit:7"
    for beside, told_as in ((long, long), ("other", id_.partition(":")[0])):
        given = message(message_id=id_, properties={PUBLISHED_ID: beside}, correlation_id=None)
        bench = Bench(throttled(60), DELETED, OUTCOME_QUEUE=OUTCOMES)
        await bench.handle(given)
        [copy] = bench.queue.copies  # it goes through a retry, too
        sent, told = await only_receipt(
            Bench(OUTCOME_QUEUE=OUTCOMES),
            message_id=copy.message_id,
            properties=dict(copy.properties),
            correlation_id=None,
        )
        assert told["data"]["rootMessageId"] == sent.correlation_id == told_as

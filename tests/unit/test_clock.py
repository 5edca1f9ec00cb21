"""What a wall clock that steps does to the time at which retry copies are enqueued."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import azure.functions as func
import pytest

from delete_session.app import create_handler
from delete_session.clock import Clock
from delete_session.message import Delivery
from delete_session.settings import Settings
from delete_session.verdict import Verdict

from .fakes import verdict

TRUE_START = datetime(2026, 1, 1, tzinfo=UTC)
ENVIRONMENT = {
    "FACE_ENDPOINT": "http://127.0.0.1:9",
    "ServiceBusConnection": "Endpoint=sb://127.0.0.1:9;SharedAccessKeyName=k;SharedAccessKey=c2Vj",
    "FACE_MAX_CALLS_PER_SECOND": "1000",
}


class Message(func.ServiceBusMessage):
    """What the host hands over, enqueued at a true time."""

    def __init__(self, enqueued_at: datetime) -> None:
        self._enqueued_at = enqueued_at

    def get_body(self) -> bytes:
        return b'{"sessionId": "a"}'

    message_id = "m"
    lock_token = "00000000-0000-0000-0000-000000000000"
    delivery_count = 1
    sequence_number = 1
    content_type = correlation_id = subject = expires_at_utc = None
    application_properties = user_properties = {}  # noqa: RUF012

    @property
    def enqueued_time_utc(self) -> datetime:
        return self._enqueued_at


async def enqueue_delays(
    monkeypatch: pytest.MonkeyPatch, steps: Sequence[tuple[float, float]], waited: float = 0.1
) -> list[float]:
    """Deliver one message a minute; the Face API says: in 60 s.

    Args:
        monkeypatch: replaces the Face API and the broker.
        steps: of each message, how far the wall clock is ahead, and is to be at its receipt.
        waited: seconds that each message was in the queue.

    Returns:
        Of each message, the true seconds from its receipt until its copy is enqueued.
    """
    minutes, ahead = 0.0, 0.0

    def true_time() -> datetime:
        return TRUE_START + timedelta(minutes=minutes)

    clock = Clock(
        wall=lambda: true_time().timestamp() + ahead,
        monotonic=lambda: 1000 + minutes * 60,
        random=lambda: 0.5,
    )
    handler = create_handler(Settings.from_environment(ENVIRONMENT), clock)
    copies: list[Delivery] = []

    async def delete(*_: object) -> Verdict:
        return verdict(409, "ConcurrentOperationConflict", retry_after=60)

    async def schedule(copy: Delivery, until: float) -> None:
        copies.append(copy)

    monkeypatch.setattr(handler.face, "delete", delete)
    monkeypatch.setattr(handler.queue, "schedule", schedule)
    delays = []
    for minutes, ahead in steps:  # noqa: B007 (the clock reads it)
        await handler.handle(Message(true_time() - timedelta(seconds=waited)))
        delays.append((copies[-1].enqueued_at - true_time()).total_seconds())
    await handler.face.close()
    return delays


async def test_step_ahead_delays_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that steps two hours ahead does not have copies enqueued two hours late."""
    delays = await enqueue_delays(monkeypatch, [(0, 0), (1, 7200), (2, 7200), (3, 0)])
    assert delays == pytest.approx([60] * 4)


async def test_step_back_hurries_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that steps back and right again costs no more than the message's wait so far."""
    delays = await enqueue_delays(monkeypatch, [(0, 0), (1, -1200), (2, -1200), (3, 0)])
    assert delays == pytest.approx([60] * 4, abs=0.2)


async def test_clock_that_was_ahead_is_believed_once_it_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that started with its clock ahead follows the correction."""
    delays = await enqueue_delays(monkeypatch, [(0, 300), (1, 0), (2, 0)])
    assert delays == pytest.approx([360, 60, 60])

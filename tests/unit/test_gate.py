"""The gate: who gets a permit and when, and what an answer changes for the waiters."""

import asyncio

import pytest

from delete_session.clock import Clock
from delete_session.gate import Gate, Permit
from delete_session.limiter import RateCause
from delete_session.verdict import Verdict
from tests.unit.fakes import FakeTime, verdict

DELETED = verdict(204, "", request_id="r-1")
THROTTLED = verdict(429, "TooManyRequests", retry_after=30.0)
NO_ANSWER = verdict(None, "Timeout")

type Change = tuple[float, str, float | None]
"""What the gate reports of its rate: calls per second, cause, pause."""


class NeverEnds(FakeTime):
    """A clock whose sleeps last until they are cancelled."""

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.Event().wait()


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[Change]:
    found: list[Change] = []
    monkeypatch.setattr("delete_session.gate.record_rate", lambda *change: found.append(change))
    return found


def gate(clock: Clock) -> Gate:
    return Gate(
        max_rate=8.0,
        breaker_failures=2,
        break_duration=5.0,
        max_wait=2.0,
        max_delay=600.0,
        clock=clock,
    )


async def next_permit(line: Gate, within: float = 10.0) -> Permit:
    permit = await line.acquire(within)
    assert permit is not None
    return permit


async def waits(time: FakeTime, line: Gate) -> asyncio.Task[Permit | None]:
    """Start a waiter, and return once it sleeps."""
    task = asyncio.create_task(line.acquire(60.0))
    while not time.slept:
        await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("answers", [[NO_ANSWER] * 2, [THROTTLED]])
async def test_waiter_gets_no_permit_while_calls_are_blocked(answers: list[Verdict]) -> None:
    """An open circuit, and a pause that is longer than `max_wait`, block the waiters, too."""
    time = FakeTime()
    line = gate(time.clock)
    permits = [await next_permit(line) for _ in answers]
    for permit, answer in zip(permits, answers, strict=True):
        line.report(permit, answer)
    assert await line.acquire(60.0) is None


async def test_each_cut_is_reported_once(rates: list[Change]) -> None:
    """The report has the rate, its cause and the pause; two 429s of one flight are one cut."""
    time = FakeTime()
    line = gate(time.clock)
    permits = [await next_permit(line), await next_permit(line)]
    time.seconds += 10
    for permit in permits:
        line.report(permit, THROTTLED)
    [(rate, cause, pause)] = rates
    assert (round(rate, 3), cause, pause) == (5.6, RateCause.CUT, 30.0)
    time.seconds += 600
    assert line.rate_cause is RateCause.CEILING


async def test_cut_to_the_floor_is_reported_as_such(rates: list[Change]) -> None:
    """Repeated 429s end at one eighth of the ceiling, and the report says so."""
    time = FakeTime()
    line = gate(time.clock)
    for _ in range(9):
        line.report(await next_permit(line, within=60), verdict(429, "429"))
    assert rates[-1] == (1.0, RateCause.FLOOR, 1.0)


async def test_wait_in_line_ends_in_time() -> None:
    """A message behind one that waits gives up when its own time is over; those that wait count."""
    time = NeverEnds()
    line = gate(time.clock)
    await next_permit(line)
    first = await waits(time, line)
    assert line.waiting == 1
    assert await line.acquire(0.01) is None
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert line.waiting == 0

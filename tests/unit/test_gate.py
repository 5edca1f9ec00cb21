"""The gate: who gets a permit and when, and what an answer changes for the waiters."""

import asyncio

import pytest

from delete_session.clock import Clock
from delete_session.gate import Gate, Permit
from delete_session.limiter import RateCause
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


def gate(clock: Clock, rates: list[Change] | None = None) -> Gate:
    return Gate(
        max_rate=8.0,
        breaker_failures=2,
        break_duration=5.0,
        max_wait=2.0,
        max_delay=600.0,
        clock=clock,
        on_rate=lambda *change: None if rates is None else rates.append(change),
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


async def test_open_circuit_wakes_the_next_waiter_without_a_permit() -> None:
    """A waiter does not sleep on once no call will be made."""
    time = NeverEnds()
    line = gate(time.clock)
    permits = [await next_permit(line)]
    time.seconds = 1.3
    permits.append(await next_permit(line))
    waiting = await waits(time, line)
    for permit in permits:
        line.report(permit, NO_ANSWER)
    async with asyncio.timeout(5):
        assert await waiting is None


async def test_long_pause_wakes_the_next_waiter_without_a_permit() -> None:
    """No waiter sleeps out a Retry-After that is longer than `max_wait`."""
    time = NeverEnds()
    line = gate(time.clock)
    permit = await next_permit(line)
    waiting = await waits(time, line)
    line.report(permit, THROTTLED)
    async with asyncio.timeout(5):
        assert await waiting is None


async def test_answer_that_blocks_nothing_wakes_no_waiter() -> None:
    """A waiter sleeps on after a deletion."""
    time = NeverEnds()
    line = gate(time.clock)
    permit = await next_permit(line)
    waiting = await waits(time, line)
    line.report(permit, DELETED)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(time.slept) == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_newcomer_keeps_its_time_limit_while_the_turn_passes_on() -> None:
    """A message that asks while the next waiter is woken queues behind it, and its wait still ends."""
    time = NeverEnds()
    line = gate(time.clock)
    await next_permit(line)
    first = await waits(time, line)
    second = asyncio.create_task(line.acquire(60.0))
    await asyncio.sleep(0)
    first.cancel()
    newcomers = []
    while not first.done():  # one for each step until its turn has passed on
        newcomers.append(asyncio.create_task(line.acquire(0.01)))
        await asyncio.sleep(0)
    newcomers.append(asyncio.create_task(line.acquire(0.01)))
    async with asyncio.timeout(5):
        assert await asyncio.gather(*newcomers) == [None] * len(newcomers)
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_cut_and_return_to_the_ceiling_are_each_reported_once() -> None:
    """One report per cut, with its time and pause, and one when the rate is back at the ceiling."""
    time = FakeTime()
    rates: list[Change] = []
    line = gate(time.clock, rates)
    permits = [await next_permit(line), await next_permit(line)]
    time.seconds = 10.0
    for permit in permits:
        line.report(permit, THROTTLED)
    [(rate, *cause_and_pause)] = rates
    assert rate == pytest.approx(8 * 0.7)
    assert cause_and_pause == ["cut by a 429 at 03:04:15Z", 30.0]
    causes = [line.rate_cause]
    for _ in range(3):
        time.seconds += 200
        line.report(await next_permit(line), DELETED)
    assert rates[1:] == [(8.0, "ceiling", None)]
    causes.append(line.rate_cause)
    assert causes == [RateCause.CUT, RateCause.CEILING]


async def test_cut_to_the_floor_is_reported_as_such() -> None:
    """Repeated 429s end at one eighth of the ceiling, and the report says so."""
    time = FakeTime()
    rates: list[Change] = []
    line = gate(time.clock, rates)
    for _ in range(9):
        line.report(await next_permit(line, within=60), verdict(429, "429"))
    rate, cause, pause = rates[-1]
    assert (rate, pause) == (1.0, 1.0)
    assert cause.startswith("cut to the floor by a 429 at 03:04:")


async def test_sleep_ends_with_the_waiter_that_is_cancelled() -> None:
    """No sleeping task is left behind by a message whose lock ends."""
    time = NeverEnds()
    line = gate(time.clock)
    await next_permit(line)
    waiting = await waits(time, line)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}

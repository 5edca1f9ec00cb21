"""The line of waiting messages: who may call, when, and what an answer changes for those who wait."""

import asyncio

from delete_session.clock import Clock
from delete_session.gate import Gate, Permit
from tests.unit.fakes import FakeTime

from .fakes import verdict

DELETED = verdict(204, "", request_id="r-1")
THROTTLED = verdict(429, "TooManyRequests", retry_after=30.0)
NO_ANSWER = verdict(None, "Timeout")


class NeverEnds(FakeTime):
    """A clock whose sleeps last until they are cancelled."""

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.Event().wait()


def gate(
    clock: Clock,
    most_calls: float = 8.0,
    least_calls: float | None = None,
    instances: int = 1,
) -> Gate:
    return Gate(
        most_calls=most_calls,
        least_calls=least_calls,
        instances=instances,
        breaker_failures=2,
        cool_down=5.0,
        patience=2.0,
        longest_wait=600.0,
        clock=clock,
    )


async def next_permit(line: Gate, within: float = 10.0) -> Permit:
    permit = await line.acquire(within)
    assert permit is not None
    return permit


async def waits(time: FakeTime, line: Gate) -> asyncio.Task[Permit | None]:
    """Start the next in line, and return once it sleeps."""
    task = asyncio.create_task(line.acquire(60.0))
    while not time.slept:
        await asyncio.sleep(0)
    return task


async def test_first_answer_lets_the_next_in_line_go_at_the_higher_rate() -> None:
    """The second message does not sleep out the wait of a rate that is no longer in force."""
    time = NeverEnds()
    line = gate(time.clock)
    permit = await next_permit(line)
    waiting = await waits(time, line)
    time.seconds = 0.2
    line.report(permit, DELETED)
    async with asyncio.timeout(5):
        assert await waiting is not None
    assert time.slept[0] > 0.2


async def test_open_circuit_lets_the_next_in_line_go_without_a_permit() -> None:
    """Who waits in line is told at once when waiting has become pointless."""
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


async def test_long_pause_lets_the_next_in_line_go_without_a_permit() -> None:
    """A 429 that asks for more than patience has is not slept out with a lock in hand."""
    time = NeverEnds()
    line = gate(time.clock)
    permit = await next_permit(line)
    waiting = await waits(time, line)
    line.report(permit, THROTTLED)
    async with asyncio.timeout(5):
        assert await waiting is None


async def test_answer_that_changes_nothing_wakes_nobody() -> None:
    """Who waits goes on sleeping when the rate stays as it is."""
    time = NeverEnds()
    line = gate(time.clock)
    permit = await next_permit(line)
    line.report(permit, DELETED)
    time.seconds = 0.15
    permit = await next_permit(line)
    waiting = await waits(time, line)
    line.report(permit, DELETED)  # the rate is the highest that is allowed already
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(time.slept) == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_newcomer_between_two_turns_keeps_its_time_limit() -> None:
    """Who comes when the first in line has just left goes to the end of the line, for so long only."""
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


async def test_guaranteed_share_is_the_smaller_the_more_instances_there_may_be() -> None:
    """The gate tells its rate limiter how many may call, and what is guaranteed if that is given."""

    async def rate(least: float | None, instances: int) -> float:
        line = gate(FakeTime().clock, least_calls=least, instances=instances)
        for _ in range(20):
            line.report(await next_permit(line, within=1e6), verdict(429, "429"))
        return line.rate

    assert await rate(None, 20) == await rate(8 / 20 / 20, 20) < await rate(None, 1)
    assert await rate(2.0, 20) >= 2


async def test_sleep_of_one_who_gives_up_ends_with_it() -> None:
    """No sleeper is left behind by a message whose lock ends."""
    time = NeverEnds()
    line = gate(time.clock)
    await next_permit(line)
    waiting = await waits(time, line)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}

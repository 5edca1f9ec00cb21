"""The rate limiter and the circuit breaker, without a clock of their own."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from delete_session.pacing import (
    CALM_SECONDS,
    CUT,
    GROUP,
    GROWTH,
    LEAST,
    PROBING,
    SPREAD,
    BreakerState,
    CircuitBreaker,
    RateLimiter,
)


def limiter(most: float = 8) -> RateLimiter:
    return RateLimiter(most, lambda: 0.5)  # every call costs one token


def drive(
    paced: RateLimiter, seconds: float, *, start: float = 0.0, quota: float = 1e9
) -> list[float]:
    """Call as fast as the limiter allows; all succeed, up to a quota that is a token bucket.

    Returns:
        The times of the successes.
    """
    now, end, times = start, start + seconds, list[float]()
    tokens, filled_at = quota, start
    while now < end:
        if wait := paced.wait(now):
            now += wait
            continue
        paced.take(now)
        tokens, filled_at = min(quota, tokens + (now - filled_at) * quota), now
        if tokens >= 1:
            tokens -= 1
            paced.succeeded(now)
            times.append(now)
        else:
            paced.throttled(now, now, 1.0)
    return times


def test_first_call_goes_at_once() -> None:
    """A single revocation after a long rest is not held up."""
    assert limiter().wait(100.0) == 0


def test_new_process_starts_slow_and_gets_up_to_speed() -> None:
    """In its first second a new process makes a call or two; ten seconds later the full rate."""
    paced = limiter()
    times = drive(paced, 20)
    assert sum(time < 1 for time in times) <= 2
    assert paced.rate == 8
    assert 38 <= sum(15 <= time < 20 for time in times) <= 42


def test_rate_never_exceeds_the_configured_one() -> None:
    """Over any ten seconds, the calls are at most the configured rate and the small burst."""
    times = drive(limiter(), 60)
    for start in range(50):
        assert sum(start <= time < start + 10 for time in times) <= 8 * 10 + 2


def test_throttling_cuts_the_rate_once_and_pauses_everyone() -> None:
    """Of several 429 for calls that were under way together, one cuts; all wait for Retry-After.

    The first one after the start takes the last doubling back.
    """
    paced = limiter()
    drive(paced, 20)
    for _ in range(5):
        paced.throttled(20.1, called_at=20.0, retry_after=3)
    assert paced.rate == pytest.approx(8 / (1 + GROWTH))
    assert paced.wait(20.2) == pytest.approx(2.9)
    assert paced.paused_for(22.1) == pytest.approx(1)


def test_later_throttling_cuts_again() -> None:
    """A 429 for a call made after the cut means that the rate is still too high."""
    paced = limiter()
    drive(paced, 20)
    paced.throttled(20, called_at=20, retry_after=0)
    paced.throttled(21, called_at=20.5, retry_after=0)
    assert paced.rate == pytest.approx(8 / (1 + GROWTH) * CUT)


def test_rate_rises_again_with_successes_only() -> None:
    """Time alone does not raise the rate; successes do, up to the configured one."""
    paced = limiter()
    drive(paced, 20)
    paced.throttled(20, 20, 0)
    cut = paced.rate
    assert paced.wait(1000) == 0
    assert paced.rate == cut
    drive(paced, 300, start=1000)
    assert paced.rate == 8


def test_rise_is_quick_again_after_a_calm() -> None:
    """Long after the last throttling, a success raises the rate by far more than soon after it."""
    paced = limiter()
    drive(paced, 20)
    paced.throttled(20, 20, 0)
    rates = [paced.rate]
    for now in (21, 20 + CALM_SECONDS + 1):
        paced.succeeded(now)
        rates.append(paced.rate)
    soon, later = rates[1] / rates[0] - 1, rates[2] / rates[1] - 1
    assert 0 < soon < later / 5


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


def test_calls_go_in_groups_only_where_they_were_throttled() -> None:
    """Away from the rate that was too high calls are spaced evenly, near it they go in threes."""
    paced = limiter()
    assert min(gaps(drive(paced, 30)[-20:])) > 0.12
    paced.throttled(30, 30, 1)
    away = drive(paced, 10, start=31)
    assert paced.rate < PROBING * 8
    assert min(gaps(away)[1:]) > 0.12  # the first two after a rest go at once
    near = away
    while paced.rate < PROBING * 8:
        near = drive(paced, 1, start=near[-1])
    together = gaps(drive(paced, 10, start=near[-1] + 2))
    assert len(together) > 60
    assert sum(gap == 0 for gap in together) == pytest.approx(
        len(together) * (1 - 1 / GROUP), abs=3
    )


def test_groups_are_no_more_than_a_second_worth() -> None:
    """A rate below one call a second has no groups: a message would wait long for the next one."""
    paced = limiter(0.9)
    drive(paced, 100)
    paced.throttled(100, 100, 1)
    while paced.rate < 0.9:
        paced.succeeded(101)
    assert min(gaps(drive(paced, 60, start=110))[1:]) > 1


@pytest.mark.parametrize("seed", range(5))
def test_quota_is_used_though_nobody_tells_it(seed: int) -> None:
    """Against a quota below the configured rate, most of it is used, and few calls are wasted."""
    wasted = 0

    class Counting(RateLimiter):
        def throttled(self, now: float, called_at: float, retry_after: float) -> None:
            nonlocal wasted
            wasted += 1
            super().throttled(now, called_at, retry_after)

    times = drive(Counting(8, random.Random(seed).random), 400, quota=5)
    assert len(times) >= 0.75 * 5 * 400
    assert wasted <= 0.06 * len(times)


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["ok", "429"])), max_size=60))
def test_rate_stays_between_the_least_and_the_most(history: list[tuple[float, str]]) -> None:
    """Whatever the answers, the rate stays in its bounds and no wait is negative or endless."""
    paced, now = limiter(), 0.0
    for pause, outcome in history:
        now += pause
        wait = paced.wait(now)
        assert 0 <= wait <= 2 / (8 * LEAST[0]) + 2
        now += wait
        paced.take(now)
        if outcome == "ok":
            paced.succeeded(now)
        else:
            paced.throttled(now, now, 2)
        assert 8 * LEAST[0] <= paced.rate <= 8


def breaker(changes: list[BreakerState] | None = None) -> CircuitBreaker:
    return CircuitBreaker(3, 30, changes.append if changes is not None else lambda _: None)


def fail(broken: CircuitBreaker, times: int, now: float) -> None:
    for _ in range(times):
        generation = broken.admit(now)
        assert generation is not None
        broken.report(generation, works=False, now=now)


def test_run_of_failures_opens_and_each_change_is_told_once() -> None:
    """Closed, open, half-open, closed: each is told once, in this order."""
    changes: list[BreakerState] = []
    broken = breaker(changes)
    fail(broken, 3, now=0)
    assert broken.blocked_for(10) == 20
    assert broken.admit(29.9) is None
    probe = broken.admit(30)
    assert probe is not None
    broken.report(probe, works=True, now=31)
    assert changes == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


def test_success_between_failures_keeps_it_closed() -> None:
    """Only a run of failures counts."""
    broken = breaker()
    for _ in range(10):
        fail(broken, 2, now=0)
        generation = broken.admit(0)
        assert generation is not None
        broken.report(generation, works=True, now=0)
    assert broken.state is BreakerState.CLOSED


def test_one_probe_at_a_time() -> None:
    """While the probe is under way, no other call is let through."""
    broken = breaker()
    fail(broken, 3, now=0)
    assert broken.admit(30) is not None
    assert broken.admit(30) is None
    assert broken.blocked_for(31) > 0


def test_failed_probe_opens_for_another_cool_down() -> None:
    """One failure is enough to open a half-open breaker again."""
    broken = breaker()
    fail(broken, 3, now=0)
    fail(broken, 1, now=30)
    assert broken.state is BreakerState.OPEN
    assert broken.admit(59) is None


def test_lost_probe_is_followed_by_another() -> None:
    """A probe whose result never comes does not keep the breaker from closing."""
    broken = breaker()
    fail(broken, 3, now=0)
    lost = broken.admit(30)
    second = broken.admit(60)
    assert lost is not None
    assert second is not None
    broken.report(lost, works=False, now=61)
    broken.report(second, works=True, now=62)
    assert broken.admit(62) is not None
    assert broken.admit(62) is not None


def test_answers_from_before_the_change_do_not_count() -> None:
    """A success of a call made before the breaker opened does not close it."""
    broken = breaker()
    early = broken.admit(0)
    assert early is not None
    fail(broken, 3, now=1)
    broken.report(early, works=True, now=2)
    assert broken.state is BreakerState.OPEN


def test_longer_retry_after_prolongs_the_cool_down() -> None:
    """A server that says when to come back is taken at its word."""
    broken = breaker()
    for _ in range(3):
        generation = broken.admit(0)
        assert generation is not None
        broken.report(generation, works=False, now=0, retry_after=120)
    assert broken.blocked_for(0) == 120


class BreakerMachine(RuleBasedStateMachine):
    """Any order of calls, answers and waits."""

    @initialize()
    def begin(self) -> None:
        self.changes: list[BreakerState] = []
        self.breaker = breaker(self.changes)
        self.now = 0.0
        self.generations: list[int] = []
        self.admitted_while_open: Counter[float] = Counter()

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def call(self) -> None:
        was = self.breaker.state
        closed_for = self.breaker.blocked_for(self.now)
        generation = self.breaker.admit(self.now)
        assert (generation is None) == (closed_for > 0)
        if generation is not None:
            self.generations.append(generation)
            if was is not BreakerState.CLOSED:
                self.admitted_while_open[self.now] += 1

    @rule(works=st.booleans(), data=st.data())
    def answer(self, works: bool, data: st.DataObject) -> None:
        if self.generations:
            generation = self.generations.pop(data.draw(st.integers(0, len(self.generations) - 1)))
            self.breaker.report(generation, works, self.now)

    @invariant()
    def never_open_for_longer_than_the_cool_down(self) -> None:
        assert 0 <= self.breaker.blocked_for(self.now) <= 30 + 1e-6

    @invariant()
    def probes_come_one_at_a_time(self) -> None:
        assert all(count == 1 for count in self.admitted_while_open.values())

    @invariant()
    def every_change_is_a_change(self) -> None:
        pairs = zip([BreakerState.CLOSED, *self.changes], self.changes, strict=False)
        assert all(before is not after for before, after in pairs)


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class BucketMachine(RuleBasedStateMachine):
    """Any order of calls, answers and waits: the bucket never gives more than the rate."""

    @initialize(most=st.sampled_from([0.5, 8.0, 100.0]), chance=st.floats(0.05, 0.95))
    def begin(self, most: float, chance: float) -> None:
        self.most, self.chance = most, chance
        self.limiter = RateLimiter(most, lambda: chance)
        self.now, self.spent = 0.0, 0.0
        self.taken = 0

    @rule(seconds=st.floats(0, 20))
    def rest(self, seconds: float) -> None:
        self.now += seconds

    @rule(outcome=st.sampled_from(["ok", "ok", "ok", "429"]))
    def call(self, outcome: str) -> None:
        for _ in range(100):
            wait = self.limiter.wait(self.now)
            if not wait:
                break
            self.now += wait
        assert self.limiter.wait(self.now) == 0  # waiting as told is always enough
        self.limiter.take(self.now)
        self.taken += 1
        if outcome == "ok":
            self.limiter.succeeded(self.now)
        else:
            self.limiter.throttled(self.now, self.now, 1.0)

    @invariant()
    def no_more_calls_than_the_rate_allows(self) -> None:
        price = 1 + SPREAD * (2 * self.chance - 1)
        allowance = max(1.0, self.most * 0.05) + self.now * self.most
        assert (self.taken - GROUP) * price <= allowance + 1e-6


TestBucket = BucketMachine.TestCase
TestBucket.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

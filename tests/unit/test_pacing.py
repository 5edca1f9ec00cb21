"""The rate limiter and the circuit breaker, without a clock of their own."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from delete_session.pacing import CUT, GROWTH, LEAST, BreakerState, CircuitBreaker, RateLimiter


def limiter(most: float = 8) -> RateLimiter:
    return RateLimiter(most, lambda: 0.5)  # every call costs one token


def drive(
    paced: RateLimiter, seconds: float, *, start: float = 0.0, quota: float = 1e9
) -> list[float]:
    """Call as fast as the limiter allows, all successes up to a quota; return the times."""
    now, end, times = start, start + seconds, list[float]()
    while now < end:
        if wait := paced.wait(now):
            now += wait
            continue
        paced.take(now)
        recent = sum(1 for time in times if time > now - 1)
        if recent < quota:
            paced.succeeded()
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


def test_rise_is_careful_near_where_it_was_throttled() -> None:
    """Ten successes near the rate that was too high raise it by a fraction of what they do else."""
    paced = limiter()
    drive(paced, 20)
    paced.throttled(20, 20, 0)
    away = paced.rate
    for _ in range(2):
        paced.succeeded()
    away = paced.rate / away - 1
    while paced.rate < 0.9 * 8:
        paced.succeeded()
    near = paced.rate
    for _ in range(2):
        paced.succeeded()
    assert 0 < paced.rate / near - 1 < away / 5


def test_quota_is_shared_without_talking() -> None:
    """Against a quota below the configured rate, most calls succeed and most of it is used."""
    times = drive(limiter(), 200, quota=5)
    assert len(times) >= 0.75 * 5 * 200


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
            paced.succeeded()
        else:
            paced.throttled(now, now, 2)
        assert 8 * LEAST[0] <= paced.rate <= 8


def breaker(changes: list[BreakerState] | None = None) -> CircuitBreaker:
    return CircuitBreaker(3, 30, changes.append if changes is not None else lambda _: None)


def fail(broken: CircuitBreaker, times: int, now: float) -> None:
    for _ in range(times):
        ticket = broken.admit(now)
        assert ticket is not None
        broken.report(ticket, works=False, now=now)


def test_run_of_failures_opens_and_each_change_is_told_once() -> None:
    """Closed, open, half-open, closed: each is told once, in this order."""
    changes: list[BreakerState] = []
    broken = breaker(changes)
    fail(broken, 3, now=0)
    assert broken.closed_for_calls(10) == 20
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
        ticket = broken.admit(0)
        assert ticket is not None
        broken.report(ticket, works=True, now=0)
    assert broken.state is BreakerState.CLOSED


def test_one_probe_at_a_time() -> None:
    """While the probe is under way, no other call is let through."""
    broken = breaker()
    fail(broken, 3, now=0)
    assert broken.admit(30) is not None
    assert broken.admit(30) is None
    assert broken.closed_for_calls(31) > 0


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
        ticket = broken.admit(0)
        assert ticket is not None
        broken.report(ticket, works=False, now=0, retry_after=120)
    assert broken.closed_for_calls(0) == 120


class BreakerMachine(RuleBasedStateMachine):
    """Any order of calls, answers and waits."""

    @initialize()
    def begin(self) -> None:
        self.changes: list[BreakerState] = []
        self.breaker = breaker(self.changes)
        self.now = 0.0
        self.tickets: list[int] = []
        self.admitted_while_open: Counter[float] = Counter()

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def call(self) -> None:
        was = self.breaker.state
        closed_for = self.breaker.closed_for_calls(self.now)
        ticket = self.breaker.admit(self.now)
        assert (ticket is None) == (closed_for > 0)
        if ticket is not None:
            self.tickets.append(ticket)
            if was is not BreakerState.CLOSED:
                self.admitted_while_open[self.now] += 1

    @rule(works=st.booleans(), data=st.data())
    def answer(self, works: bool, data: st.DataObject) -> None:
        if self.tickets:
            ticket = self.tickets.pop(data.draw(st.integers(0, len(self.tickets) - 1)))
            self.breaker.report(ticket, works, self.now)

    @invariant()
    def never_open_for_longer_than_the_cool_down(self) -> None:
        assert 0 <= self.breaker.closed_for_calls(self.now) <= 30 + 1e-6

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
            self.limiter.succeeded()
        else:
            self.limiter.throttled(self.now, self.now, 1.0)

    @invariant()
    def no_more_calls_than_the_rate_allows(self) -> None:
        price = 2 * self.chance
        allowance = max(2.0, self.most * 0.05) + self.now * self.most
        assert (self.taken - 1) * price <= allowance + 1e-6


TestBucket = BucketMachine.TestCase
TestBucket.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

"""The circuit breaker, with times passed in."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from delete_session.breaker import BreakerState, CircuitBreaker


def breaker(changes: list[BreakerState] | None = None) -> CircuitBreaker:
    return CircuitBreaker(3, 30, changes.append if changes is not None else lambda _: None)


def fail(broken: CircuitBreaker, times: int, now: float) -> None:
    for _ in range(times):
        generation = broken.admit(now)
        assert generation is not None
        broken.report(generation, works=False, now=now)


def test_consecutive_failures_open_it_and_each_change_is_reported_once() -> None:
    """Closed, open, half-open, closed: each is reported once, in this order."""
    changes: list[BreakerState] = []
    broken = breaker(changes)
    fail(broken, 3, now=0)
    assert broken.blocked_for(10) == 20
    assert broken.admit(29.9) is None
    trial = broken.admit(30)
    assert trial is not None
    broken.report(trial, works=True, now=31)
    assert changes == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


def test_success_between_failures_keeps_it_closed() -> None:
    """Only consecutive failures count."""
    broken = breaker()
    for _ in range(10):
        fail(broken, 2, now=0)
        generation = broken.admit(0)
        assert generation is not None
        broken.report(generation, works=True, now=0)
    assert broken.state is BreakerState.CLOSED


def test_one_trial_call_at_a_time() -> None:
    """During a trial call, no other call is admitted."""
    broken = breaker()
    fail(broken, 3, now=0)
    assert broken.admit(30) is not None
    assert broken.admit(30) is None
    assert broken.blocked_for(31) > 0


def test_failed_trial_call_starts_another_break() -> None:
    """One failure is enough to open a half-open breaker again."""
    broken = breaker()
    fail(broken, 3, now=0)
    fail(broken, 1, now=30)
    assert broken.state is BreakerState.OPEN
    assert broken.admit(59) is None


def test_trial_call_that_takes_longer_than_the_break_closes_the_circuit() -> None:
    """The next trial call is admitted meanwhile, and the answer to either of them counts."""
    broken = breaker()
    fail(broken, 3, now=0)
    slow = broken.admit(30)
    assert broken.admit(60) is not None
    assert slow is not None
    broken.report(slow, works=True, now=61)
    assert broken.state is BreakerState.CLOSED


def test_answers_from_before_the_change_do_not_count() -> None:
    """A success of a call made before the breaker opened does not close it."""
    broken = breaker()
    early = broken.admit(0)
    assert early is not None
    fail(broken, 3, now=1)
    broken.report(early, works=True, now=2)
    assert broken.state is BreakerState.OPEN


def test_longer_retry_after_extends_the_break() -> None:
    """A Retry-After longer than the break duration is respected."""
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
    def never_open_for_longer_than_a_break(self) -> None:
        assert 0 <= self.breaker.blocked_for(self.now) <= 30 + 1e-6

    @invariant()
    def one_trial_call_at_a_time(self) -> None:
        assert all(count == 1 for count in self.admitted_while_open.values())

    @invariant()
    def every_change_is_a_change(self) -> None:
        pairs = zip([BreakerState.CLOSED, *self.changes], self.changes, strict=False)
        assert all(before is not after for before, after in pairs)


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)

"""The rate limiter, without a clock of its own."""

import random
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bench import simulation
from bench.simulation import REFUSES_AT_RANDOM, storm
from delete_session.pacing import SPREAD, RateLimiter


def limiter(most: float = 8, least: float | None = None) -> RateLimiter:
    # Every call costs one token; one of four is guaranteed 0.1 calls a second.
    return RateLimiter(most, lambda: 0.5, least, instances=4)


def drive(
    paced: RateLimiter,
    seconds: float,
    refuses: Callable[[float], bool] = lambda _: False,
    *,
    start: float = 0.0,
    retry_after: float = 1.0,
) -> tuple[list[float], list[float]]:
    """Call as fast as the limiter allows, and answer at once.

    Returns:
        The times of the successes, and of the refusals.
    """
    now, end = start, start + seconds
    succeeded, refused = list[float](), list[float]()
    while now < end:
        if wait := paced.wait(now):
            now += wait
            continue
        paced.take(now)
        if refuses(now):
            paced.throttled(now, now, retry_after)
            refused.append(now)
        else:
            paced.succeeded(now, now)
            succeeded.append(now)
    return succeeded, refused


def bucket(rate: float, size: float = 3.0) -> Callable[[float], bool]:
    """Refuse what a token bucket would."""
    tokens, filled_at = size, 0.0

    def refuses(now: float) -> bool:
        nonlocal tokens, filled_at
        tokens, filled_at = min(size, tokens + (now - filled_at) * rate), now
        if tokens < 1:
            return True
        tokens -= 1
        return False

    return refuses


def share(part: float, seed: int = 1) -> Callable[[float], bool]:
    """Refuse a share of the calls, whatever their rate."""
    chance = random.Random(seed)
    return lambda _: chance.random() < part


def test_first_call_goes_at_once() -> None:
    """A single revocation after a long rest is not held up."""
    assert limiter().wait(100.0) == 0


def test_first_call_after_a_rest_goes_at_once() -> None:
    """A revocation is not held up by what was learned about the rate long ago."""
    paced = limiter()
    drive(paced, 60, bucket(1))
    assert paced.wait(600) == 0


@pytest.mark.parametrize("instances", [1, 2])
def test_new_process_starts_at_full_rate(instances: int) -> None:
    """With nobody else calling, the first ten calls take no longer than the most allows."""
    times, _ = drive(RateLimiter(8, lambda: 0.5, instances=instances), 2)
    assert times[9] <= 9 / 8 + 0.01


def test_each_starts_the_slower_the_more_there_may_be() -> None:
    """Twenty fresh instances together do not ask for much more than one of them may."""
    calls = []
    for instances in (1, 2, 4, 20):
        times, _ = drive(RateLimiter(8, lambda: 0.5, instances=instances), 4)
        calls.append(len(times))
    assert calls == sorted(calls, reverse=True)
    assert 20 * calls[-1] <= 2 * 8 * 4


@pytest.mark.parametrize(("refused_calls", "seconds"), [(1, 75), (2, 180)])
def test_process_refused_at_its_first_calls_recovers(refused_calls: int, seconds: float) -> None:
    """It may be alone after all, and comes back to two calls a second in a minute or three."""
    left = refused_calls
    paced = RateLimiter(8, random.Random(1).random)

    def first_ones(_: float) -> bool:
        nonlocal left
        left -= 1
        return left >= 0

    drive(paced, seconds, first_ones)
    assert paced.rate >= 2


def test_start_does_not_take_the_whole_of_a_long_window() -> None:
    """After its first ten calls a process approaches the most step by step, and gets there."""
    times, _ = drive(limiter(), 60)
    assert sum(time < 4 for time in times) <= 16
    assert len([time for time in times if 50 <= time < 60]) >= 79


def test_new_process_waits_for_its_first_answer() -> None:
    """Until the first answer, calls do not follow at the full rate."""
    paced = limiter()
    paced.take(0.0)
    assert paced.wait(0.1) >= 0.3
    paced.succeeded(0.1, 0.0)
    assert paced.wait(0.1) <= 1 / 8


def test_what_got_through_first_says_where_to_look() -> None:
    """A process that was refused after many calls goes on faster than one refused at its first."""
    rates = []
    for calls in (0, 2, 8):
        paced = limiter()
        for call in range(calls):
            paced.take(call / 8)
            paced.succeeded(call / 8, call / 8)
        paced.take(calls / 8)
        paced.throttled(calls / 8, calls / 8, 1.0)
        rates.append(paced.rate)
    assert rates[0] < rates[1] / 1.5 < rates[2] / 2


def test_rate_never_exceeds_the_configured_one() -> None:
    """Over any ten seconds, the calls are at most the configured rate and one."""
    times, _ = drive(limiter(), 60)
    for start in range(50):
        assert sum(start <= time < start + 10 for time in times) <= 8 * 10 + 2


def test_refused_start_is_slow_at_once() -> None:
    """A process that is refused from its first call on makes but few more in its first minute."""
    times, refused = drive(limiter(), 60, lambda _: True)
    assert not times
    assert len(refused) <= 12


def test_throttling_pauses_everyone() -> None:
    """After a 429 no call is made until Retry-After is over."""
    paced = limiter()
    drive(paced, 20)
    paced.throttled(20.1, called_at=20.05, retry_after=3)
    assert paced.wait(20.2) >= 2.9
    assert paced.paused_for(22.1) == pytest.approx(1)


def test_pause_is_no_longer_than_waiting_may_help() -> None:
    """Where refusals have other reasons, one of them does not hold up all other calls."""
    paced = RateLimiter(8, random.Random(1).random)
    drive(paced, 1800, share(0.1))
    drive(paced, 3, start=1800)
    now = 1803.0 + paced.wait(1803.0)
    paced.take(now)
    paced.throttled(now, now, retry_after=1)
    assert paced.paused_for(now) < 0.3


def test_pairs_find_a_used_up_quota_before_others_do() -> None:
    """Near the limit some calls come in pairs, and the rate stays what it is."""
    paced = RateLimiter(8, random.Random(1).random)
    drive(paced, 120, refuses := bucket(5))
    times, _ = drive(paced, 400, refuses, start=130)
    gaps = [after - before for before, after in pairwise(times)]
    assert 0.01 < sum(gap < 0.0101 for gap in gaps) / len(gaps) < 0.2


def pairs_of(quota: str) -> tuple[float, list[bool]]:
    """Return the share of calls that come in pairs, and how the second was answered where it told."""
    times, told = list[float](), list[bool]()

    class Watched(RateLimiter):
        def take(self, now: float) -> None:
            times.append(now)
            super().take(now)

        def _begin(self) -> None:
            super()._begin()
            learn = self._beliefs.learn_from_second

            def telling(rate: float, refused: bool) -> None:
                told.append(refused)
                learn(rate, refused)

            self._beliefs.learn_from_second = telling  # type: ignore[method-assign]

    storm(1, quota, "steady", lambda chance: Watched(8, chance), messages=2000)
    return sum(b - a < 0.0101 for a, b in pairwise(times)) / len(times), told


def test_pairs_tell_refusals_that_have_other_reasons() -> None:
    """A process that has met many of them makes pairs to be sure of it, one at its limit hardly any."""
    many, told_at_random = pairs_of(REFUSES_AT_RANDOM)
    few, _ = pairs_of("bucket of 3")
    assert many > 1.5 * few
    assert len(told_at_random) > 5
    assert sum(told_at_random) / len(told_at_random) < 0.3


def test_pairs_do_not_change_a_high_rate() -> None:
    """Each call costs what it should, however close they are."""
    paced = RateLimiter(1000, random.Random(1).random)
    times, _ = drive(paced, 60)
    assert len([time for time in times if time >= 50]) == pytest.approx(10_000, rel=0.02)


@pytest.mark.parametrize("kind", [lambda: simulation.Bucket(30), lambda: simulation.Bucket(100)])
def test_raised_quota_is_shared_alike(
    kind: Callable[[], simulation.Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ten times the quota, calls do not fall into step with those of a live client."""
    monkeypatch.setattr(simulation, "QUOTA", 100.0)
    monkeypatch.setattr(simulation, "LIVE_RATE", 50.0)
    monkeypatch.setitem(simulation.QUOTAS, "raised", lambda _: kind())
    outcomes = [
        storm(seed, "raised", "steady", lambda chance: RateLimiter(80, chance), messages=5000)
        for seed in range(5)
    ]
    assert median(each.throughput for each in outcomes) >= 0.85 * 50
    assert max(each.harm for each in outcomes) <= 0.02


def test_calls_under_way_at_the_cut_cut_no_further() -> None:
    """Of several 429 for calls that were under way together, one is learned from."""
    paced = limiter()
    drive(paced, 20)
    paced.throttled(20.1, called_at=20.05, retry_after=3)
    cut = paced.rate
    assert cut < 8
    for _ in range(5):
        paced.throttled(20.2, called_at=20.06, retry_after=3)
    assert paced.rate == cut
    paced.throttled(24.2, called_at=24.1, retry_after=3)
    assert paced.rate < cut


def test_time_alone_does_not_raise_the_rate() -> None:
    """The rate rises with successes only, and up to the configured one."""
    paced = limiter()
    drive(paced, 60, bucket(2))
    rate = paced.rate
    assert rate < 3
    paced.wait(1000)
    assert paced.rate == rate
    drive(paced, 600, start=1000)
    assert paced.rate == 8


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("quota", [1.0, 5.0])
def test_quota_is_used_though_nobody_tells_it(quota: float, seed: int) -> None:
    """Against a quota below the configured rate, most of it is used, and few calls are wasted."""
    paced = RateLimiter(8, random.Random(seed).random)
    drive(paced, 120, refuses := bucket(quota))
    times, refused = drive(paced, 400, refuses, start=130)
    assert len(times) >= 0.7 * quota * 400
    assert len(refused) <= 0.03 * len(times)


@pytest.mark.parametrize("part", [0.1, 0.4])
def test_refusals_that_cutting_does_not_help_against_do_not_keep_it_slow(part: float) -> None:
    """Where a share of calls is refused at any rate, it comes back from having cut."""
    paced = RateLimiter(8, random.Random(1).random)
    drive(paced, 1800, refuses := share(part))
    times, _ = drive(paced, 600, refuses, start=1801)
    assert len(times) / 600 > 0.6


def test_guaranteed_share_is_kept_though_every_call_is_refused() -> None:
    """However many calls are refused, the rate stays at the least that is guaranteed."""
    paced = limiter(least=0.5)
    _, refused = drive(paced, 600, lambda _: True)
    assert paced.rate >= 0.5
    assert len(refused) >= 600 / (1 / 0.5 + 2)


@pytest.mark.parametrize("instances", [1, 2, 20, 1000])
def test_guaranteed_share_is_divided_among_the_instances(instances: int) -> None:
    """Unless a share is given, all of them together have a twentieth of the most of one."""

    def rates(least: float | None) -> list[float]:
        paced, found = RateLimiter(8, lambda: 0.5, least, instances=instances), list[float]()
        for second in range(0, 3000, 60):
            drive(paced, 60, lambda _: True, start=second)
            found.append(paced.rate)
        return found

    assert rates(None) == rates(8 / 20 / instances) != rates(8 / 10 / instances)


def test_long_retry_after_counts_for_more() -> None:
    """A refusal that asks to stay away for long cuts more than one that asks for a second."""
    rates = []
    for retry_after in (1, 5):
        paced = limiter()
        drive(paced, 20)
        paced.throttled(20.1, 20.05, retry_after)
        rates.append(paced.rate)
    assert rates[1] < rates[0]


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["ok", "429"])), max_size=60))
@settings(deadline=None)
def test_rate_stays_between_the_least_and_the_most(history: list[tuple[float, str]]) -> None:
    """Whatever the answers, the rate stays in its bounds and no wait is negative or endless."""
    paced, now = limiter(least=0.1), 0.0
    for pause, outcome in history:
        now += pause
        wait = paced.wait(now)
        assert 0 <= wait <= 3 / 0.1 + 2
        now += wait
        paced.take(now)
        if outcome == "ok":
            paced.succeeded(now, now)
        else:
            paced.throttled(now, now, 2)
        assert 0.1 <= paced.rate <= 8


def test_learning_costs_nothing_at_high_rates() -> None:
    """Thousands of successes a second are learned from together."""
    paced = RateLimiter(10_000, lambda: 0.5)
    drive(paced, 0.05)
    paced.throttled(0.05, 0.05, 0)
    learned = 0
    beliefs = paced._beliefs
    learn = beliefs.learn

    def counting(*args: Any, **named: Any) -> None:
        nonlocal learned
        learned += 1
        learn(*args, **named)

    beliefs.learn = counting  # type: ignore[method-assign]
    times, _ = drive(paced, 2, start=1)
    assert learned <= 25
    assert len(times) > learned


CELLS = [
    ("bucket of 10", "steady", 1),
    ("100 in a fixed 10 s", "steady", 1),
    ("10 in a fixed 1 s", "none", 1),
    ("bucket of 10", "steady", 4),
    ("bucket of 10", "steady", 20),
]


@pytest.mark.parametrize(("quota", "live", "processes"), CELLS)
def test_storm_leaves_the_live_calls_theirs(quota: str, live: str, processes: int) -> None:
    """In a simulated storm most of what is free is used, and few live calls are throttled."""

    def one_of_them(chance: Callable[[], float]) -> RateLimiter:
        return RateLimiter(8, chance, instances=processes)

    outcomes = [storm(seed, quota, live, one_of_them, processes=processes) for seed in range(25)]
    free = 8.0 if live == "none" else 5.0
    assert median(each.throughput for each in outcomes) >= 0.75 * free
    assert median(each.harm for each in outcomes) <= (0.02 if processes == 1 else 0.035)


@pytest.mark.parametrize("processes", [1, 4, 20])
def test_most_of_what_is_free_is_used_where_a_tenth_is_refused_at_random(processes: int) -> None:
    """Cutting the rate does not help there, and the limiter finds it out in time."""

    def one_of_them(chance: Callable[[], float]) -> RateLimiter:
        return RateLimiter(8, chance, instances=processes)

    outcomes = [
        storm(seed, REFUSES_AT_RANDOM, "steady", one_of_them, processes=processes)
        for seed in range(25)
    ]
    assert median(each.throughput for each in outcomes) >= 0.7 * 5


@pytest.mark.parametrize(("instances", "part"), [(2, 0.85), (4, 0.7), (20, 0.35)])
def test_one_that_is_alone_though_there_may_be_more(instances: int, part: float) -> None:
    """The platform may start fewer instances than it is allowed to."""
    outcomes = [
        storm(
            seed,
            "bucket of 10",
            "steady",
            lambda chance: RateLimiter(8, chance, instances=instances),
        )
        for seed in range(9)
    ]
    assert median(each.throughput for each in outcomes) >= part * 5
    assert median(each.harm for each in outcomes) <= 0.02


@pytest.mark.parametrize("gap", [5.0, 60.0, 3600.0])
@pytest.mark.parametrize("quota", ["bucket of 10", "100 in a fixed 10 s"])
def test_storm_after_quiet_hours_is_no_slower_than_a_fresh_one(quota: str, gap: float) -> None:
    """Calls that got through one by one, long ago, do not count as what the quota allows."""

    def rested(chance: Callable[[], float]) -> RateLimiter:
        paced = RateLimiter(8, chance)
        for call in range(100, 0, -1):
            assert paced.wait(-call * gap) == 0
            paced.take(-call * gap)
            paced.succeeded(-call * gap + 0.02, -call * gap)
        return paced

    def seconds(make_pace: Callable[[Callable[[], float]], RateLimiter]) -> float:
        return median(storm(seed, quota, "steady", make_pace).seconds for seed in range(5))

    assert seconds(rested) <= 1.1 * seconds(lambda chance: RateLimiter(8, chance))


def test_one_chance_refusal_after_quiet_hours_does_not_make_the_next_storm_slow() -> None:
    """A 429 met by a single call, with a live client there, says little about a storm later on."""

    def unlucky(chance: Callable[[], float]) -> RateLimiter:
        paced = RateLimiter(8, chance)
        for call in range(100, 0, -1):
            paced.take(-call * 60.0)
            if call == 50:
                paced.throttled(-call * 60.0 + 0.02, -call * 60.0, 1.0)
            else:
                paced.succeeded(-call * 60.0 + 0.02, -call * 60.0)
        return paced

    took = median(storm(seed, "bucket of 10", "steady", unlucky).seconds for seed in range(5))
    assert took <= 1.6 * 200


class LimiterMachine(RuleBasedStateMachine):
    """Any order of calls, answers and waits: there are never more calls than the rate allows."""

    @initialize(most=st.sampled_from([0.5, 8.0, 100.0]), chance=st.floats(0.05, 0.95))
    def begin(self, most: float, chance: float) -> None:
        self.most, self.chance = most, chance
        self.limiter = RateLimiter(most, lambda: chance)
        self.now, self.taken = 0.0, 0

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
            self.limiter.succeeded(self.now, self.now)
        else:
            self.limiter.throttled(self.now, self.now, 1.0)

    @invariant()
    def no_more_calls_than_the_rate_allows(self) -> None:
        price = 1 + SPREAD * (2 * self.chance - 1)
        allowance = max(1.0, self.most * 0.05) + self.now * self.most
        assert (self.taken - 1) * price <= allowance + 1e-6


TestLimiter = LimiterMachine.TestCase
TestLimiter.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

"""What `make pacing` compares, and the limiter's figures that need no reference."""

from statistics import mean

import pytest

from bench.pacing import (
    FIRST_CALLS,
    LATENCIES,
    SEEDS,
    SETUPS,
    Point,
    Scenario,
    Setup,
    best_constant,
    first_calls,
    judge,
    limited,
    overload,
    recovery,
)
from bench.simulation import LIVE, QUOTAS

CURVE = [Point(1, 1.0, 0.0, 0.0), Point(2, 2.0, 0.02, 0.0), Point(3, 2.8, 0.1, 0.04)]
ONE = SETUPS[0]
BESIDE_LIVE = Scenario("bucket of 10", "steady", 0.02)


def test_best_constant_rate_is_interpolated_at_the_live_throttle_rate() -> None:
    """Half-way between two rates in live 429s, it is half-way in deletions, too."""
    best = best_constant(CURVE, 0.06, max_rate=8)
    assert best.throughput == pytest.approx(2.4)
    assert best_constant(CURVE, 0.06, max_rate=2).throughput == 2.0


@pytest.mark.parametrize(
    ("got", "missed"),
    [
        (Point(0, 1.9, 0.02, 0.01), ()),
        (Point(0, 1.5, 0.02, 0.01), ("slow",)),
        (Point(0, 2.8, 0.2, 0.01), ("live 429s",)),
        (Point(0, 1.9, 0.02, 0.06), ("own 429s",)),
    ],
)
def test_scenario_names_the_thresholds_that_it_misses(got: Point, missed: tuple[str, ...]) -> None:
    """Too few deletions, more live 429s than gain deletions, and too many own 429s are misses."""
    assert judge(ONE, BESIDE_LIVE, got, CURVE).missed == missed


@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_live_calls_are_throttled_no_more_than_allowed(setup: Setup) -> None:
    """The mean live throttle rate of all limits and patterns stays within its threshold."""
    points = [
        limited((setup, Scenario(quota, live, LATENCIES[0]), 3))
        for quota in QUOTAS
        for live in LIVE[1:]
    ]
    assert mean(point.live_throttle_rate for point in points) <= setup.live_throttle_rate + 0.002


@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_live_calls_beyond_the_quota_leave_the_function_its_floor_only(setup: Setup) -> None:
    """When live calls alone exceed the quota, the function adds a bounded share of live 429s."""
    assert mean(overload(setup, seed) for seed in range(SEEDS)) <= setup.overload


@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_deletions_recover_within_four_minutes_of_a_busy_minute(setup: Setup) -> None:
    """A minute of too many live calls does not slow deletions down for long."""
    assert recovery(setup, seed=0) < 240


@pytest.mark.parametrize(("count", "seconds"), FIRST_CALLS.items())
def test_first_calls_of_a_fresh_process_are_made_at_the_ceiling(count: int, seconds: float) -> None:
    """Without live calls, ten revocations take about a second, and fifty about six."""
    assert first_calls(ONE, count, seed=0) == pytest.approx(seconds, rel=0.1)

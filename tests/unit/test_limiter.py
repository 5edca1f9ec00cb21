"""The rate limiter, with times passed in."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delete_session.limiter import (
    CUT,
    JITTER,
    LATE_SECONDS,
    RETURN,
    RISE_SECONDS,
    RateCause,
    RateLimiter,
)


def limiter(
    max_rate: float = 8.0, min_rate: float | None = None, random: Callable[[], float] = lambda: 0.5
) -> RateLimiter:
    """A limiter that spaces calls evenly unless told otherwise."""
    return RateLimiter(max_rate, random, min_rate)


def calls(limited: RateLimiter, start: float, count: int) -> list[float]:
    """Make calls as early as allowed; return their times."""
    now, times = start, list[float]()
    while len(times) < count:
        now += limited.wait(now)
        if not limited.wait(now):
            limited.take(now)
            times.append(now)
    return times


def throttle(limited: RateLimiter, count: int, start: float = 0.0) -> float:
    """Answer calls with 429, one after the other; return the time of the last answer."""
    now = start
    for _ in range(count):
        [now] = calls(limited, now, 1)
        limited.throttled(now, now, 1.0)
    return now


def test_starts_at_the_ceiling() -> None:
    """A fresh process makes its first call at once and the next ones at `max_rate`."""
    times = calls(limiter(), 100.0, 9)
    assert times[0] == 100
    assert times[-1] == pytest.approx(101, abs=LATE_SECONDS)
    assert limiter().cause(0.0) is RateCause.CEILING


def test_429_pauses_all_calls_for_its_retry_after() -> None:
    """No call is made before the Retry-After is over."""
    limited = limiter()
    calls(limited, 0.0, 1)
    limited.throttled(0.1, 0.0, 5.0)
    assert limited.paused_for(2.0) == pytest.approx(3.1)
    assert calls(limited, 0.2, 1)[0] >= 5.1


def test_shorter_retry_after_does_not_shorten_a_pause() -> None:
    """The pause lasts until the latest moment that any 429 asked for."""
    limited = limiter()
    limited.throttled(0.0, 0.0, 5.0)
    limited.throttled(1.0, 1.0, 1.0)
    assert limited.paused_for(1.0) == pytest.approx(4.0)


def test_429s_of_one_flight_cut_once() -> None:
    """Calls made before a cut do not cut again; one made after it does."""
    limited = limiter()
    assert limited.throttled(1.0, 0.9, 1.0)
    assert not limited.throttled(1.1, 0.95, 1.0)
    assert limited.rate(1.1) == pytest.approx(8 * (1 - CUT))
    assert limited.cause(1.1) is RateCause.CUT
    assert limited.throttled(1.5, 1.2, 1.0)
    assert limited.rate(1.5) == pytest.approx(8 * (1 - CUT) ** 2)


def test_rate_rises_from_zero_to_the_ceiling_in_five_minutes() -> None:
    """The rise is linear, starts after the pause, and ends at the ceiling."""
    limited = limiter()
    limited.throttled(0.0, 0.0, 10.0)
    low = 8 * (1 - CUT)
    assert limited.rate(10.0) == pytest.approx(low)
    assert limited.rate(40.0) == pytest.approx(low + 30 * 8 / RISE_SECONDS)
    assert limited.rate(10 + CUT * RISE_SECONDS - 1) < 8
    assert limited.rate(10 + CUT * RISE_SECONDS + 1) == 8
    assert limited.cause(200.0) is RateCause.CEILING


def test_small_quota_rises_by_calls_instead() -> None:
    """At two calls per second, the rise from zero takes as long as a thousand calls."""
    limited = limiter(max_rate=2.0)
    limited.throttled(0.0, 0.0, 0.0)
    assert limited.rate(50.0) == pytest.approx(1.4 + 50 * 2 / 500)


@pytest.mark.parametrize(("min_rate", "floor"), [(None, 1.0), (0.5, 0.5), (3.0, 3.0), (99.0, 8.0)])
def test_rate_never_drops_below_the_floor(min_rate: float | None, floor: float) -> None:
    """However many calls are throttled, the floor stays: one eighth of the ceiling by default."""
    limited = limiter(min_rate=min_rate)
    now = throttle(limited, 50)
    assert limited.rate(now) == floor
    assert limited.cause(now) is (RateCause.CEILING if floor == 8 else RateCause.FLOOR)


def test_calls_after_a_pause_are_spread() -> None:
    """The first call after a pause comes within two intervals of the rate, as chance has it."""

    def first_call(chance: float) -> float:
        limited = limiter(random=lambda: chance)
        limited.throttled(0.0, 0.0, 1.0)
        return calls(limited, 0.0, 1)[0] - 1

    assert first_call(0.0) == pytest.approx(0.0)
    assert first_call(0.999) == pytest.approx(RETURN / (8 * (1 - CUT)), rel=0.01)


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 1 - JITTER), (0.999, 1 + JITTER)])
def test_spacing_is_jittered(chance: float, factor: float) -> None:
    """Two calls are up to 30 % closer or further apart than the rate says."""
    _, second, third = calls(limiter(random=lambda: chance), 0.0, 3)
    assert third - second == pytest.approx(factor / 8, rel=0.01)


def test_coarse_timer_does_not_lower_the_rate() -> None:
    """A call that is a few milliseconds late does not delay the next one."""
    limited = limiter()
    due = calls(limited, 0.0, 2)[1] + 0.125
    limited.take(due + 0.04)
    assert limited.wait(due + 0.04) == pytest.approx(0.125 - 0.04)


def test_idle_time_saves_up_no_burst() -> None:
    """After a long rest, the first call goes at once and the next ones are spaced."""
    limited = limiter()
    calls(limited, 0.0, 1)
    times = calls(limited, 1000.0, 5)
    assert times[0] == 1000.0
    assert times[-1] - times[0] >= 4 / 8 - LATE_SECONDS


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=60), st.floats(0.1, 50))
def test_any_history_keeps_the_rate_between_floor_and_ceiling(
    history: list[tuple[float, bool]], max_rate: float
) -> None:
    """Whatever the answers, a permit comes, and no sooner than the last pause ends."""
    limited, now = limiter(max_rate), 0.0
    for seconds, is_429 in history:
        [now] = calls(limited, now + seconds, 1)
        assert limited.paused_for(now) == 0
        if is_429:
            limited.throttled(now, now, seconds)
        assert max_rate / 8 <= limited.rate(now) <= max_rate


def test_average_rate_is_the_ceiling() -> None:
    """Jitter changes the spacing and not the average."""
    chances = iter([0.1, 0.9, 0.3, 0.7] * 250)
    times = calls(limiter(random=lambda: next(chances)), 0.0, 801)
    assert times[-1] == pytest.approx(100, rel=0.01)
    assert len({round(b - a, 6) for a, b in pairwise(times)}) > 1

"""The rate limit of an account: `count` calls per `seconds`. The caller passes in the time.

Azure Resource Manager describes the limit of such an account as `callRateLimit` with a `count` and a
`renewalPeriod` in seconds. Whether that window is fixed or slides, and whether refused calls count, is
not public. So the limit here takes either shape, and a client has to live with all of them.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self


class Shape(StrEnum):
    """How calls are counted."""

    FIXED = "fixed"
    """In windows that follow one another."""
    SLIDING = "sliding"
    """In the window that ends now."""
    SLIDING_ALL = "sliding_all"
    """In the window that ends now, refused calls included."""
    BUCKET = "bucket"
    """By tokens that flow in evenly; at most `count` of them are kept."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` calls in `seconds`, counted in one of the shapes."""

    count: int
    seconds: float
    shape: Shape = Shape.FIXED

    @classmethod
    def parse(cls, text: str, shape: str = Shape.FIXED) -> Self | None:
        """Read COUNT/SECONDS, e.g. "10/1"; "none" stands for no limit.

        Raises:
            ValueError: it is neither, or there is no such shape.
        """
        if shape not in list(Shape):
            raise ValueError(f"limit_shape: expected one of {', '.join(Shape)}")
        if text == "none":
            return None
        count, slash, seconds = text.partition("/")
        try:
            limit = cls(int(count), float(seconds), Shape(shape))
        except ValueError:
            slash, limit = "", cls(0, 0)
        if not slash or limit.count < 1 or not 0 < limit.seconds < math.inf:
            raise ValueError('limit: expected COUNT/SECONDS, e.g. "10/1", or "none"')
        return limit


class Counter(Protocol):
    """Counts calls against a limit."""

    def take(self, now: float) -> float:
        """Count a call; return 0 if it may be made, else the seconds until one may."""
        ...


def counter_for(limit: Limit | None) -> Counter:
    """Return a counter that has seen no call yet."""
    match limit:
        case None:
            return _Unlimited()
        case Limit(shape=Shape.FIXED):
            return _FixedWindow(limit)
        case Limit(shape=Shape.BUCKET):
            return _Bucket(limit)
        case Limit():
            return _SlidingWindow(limit, count_refused=limit.shape is Shape.SLIDING_ALL)


class _Unlimited:
    def take(self, _: float) -> float:
        return 0.0


class _FixedWindow:
    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._window = -1
        self._calls = 0

    def take(self, now: float) -> float:
        window = math.floor(now / self._limit.seconds)
        if window != self._window:
            self._window, self._calls = window, 0
        if self._calls >= self._limit.count:
            return (window + 1) * self._limit.seconds - now
        self._calls += 1
        return 0.0


class _SlidingWindow:
    def __init__(self, limit: Limit, *, count_refused: bool) -> None:
        self._limit = limit
        self._count_refused = count_refused
        self._counted: deque[float] = deque()

    def take(self, now: float) -> float:
        counted, limit = self._counted, self._limit
        while counted and counted[0] <= now - limit.seconds:
            counted.popleft()
        allowed = len(counted) < limit.count
        if allowed or self._count_refused:
            counted.append(now)
        # The next call may be made when all but count - 1 of those counted have left the window.
        return 0.0 if allowed else counted[-limit.count] + limit.seconds - now


class _Bucket:
    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._rate = limit.count / limit.seconds
        self._tokens = float(limit.count)
        self._filled_at: float | None = None

    def take(self, now: float) -> float:
        if self._filled_at is not None:
            flowed_in = (now - self._filled_at) * self._rate
            self._tokens = min(self._limit.count, self._tokens + flowed_in)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0

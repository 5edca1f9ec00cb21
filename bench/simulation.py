"""A burst of revocations against a rate-limited API, in simulated time.

The simulation knows nothing about the function's limiter. All randomness comes from the seed: the same
seed gives the same run.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

QUOTA = 10.0
"""Calls per second that the API allows to all its clients together."""
LIVE_RATE, BUSY_RATE = 5.0, 12.0
"""Calls per second of the live client; alone, it exceeds the quota when it is busy."""
LIVE_BURST = 10


class Quota(Protocol):
    """The API's rate limit, for all its clients together."""

    def refuse(self, now: float) -> float:
        """Return 0 if a call made now is allowed, else the Retry-After in seconds."""


class Bucket:
    """Tokens that refill at the quota's rate, up to a capacity."""

    def __init__(self, capacity: float) -> None:
        self._capacity = self._tokens = capacity
        self._at = 0.0

    def refuse(self, now: float) -> float:
        self._tokens = min(self._capacity, self._tokens + (now - self._at) * QUOTA)
        self._at = now
        if self._tokens < 1:
            return 1.0
        self._tokens -= 1
        return 0.0


class FixedWindow:
    """A number of calls in each window of a fixed length."""

    def __init__(self, seconds: float, offset: float) -> None:
        self._seconds, self._count = seconds, round(QUOTA * seconds)
        self._ends = offset * seconds
        self._left = self._count

    def refuse(self, now: float) -> float:
        if now >= self._ends:
            self._ends += self._seconds * (1 + (now - self._ends) // self._seconds)
            self._left = self._count
        if not self._left:
            return max(1.0, math.ceil(self._ends - now))
        self._left -= 1
        return 0.0


class SlidingWindow:
    """A number of calls in any second; throttled ones may count, too."""

    def __init__(self, counts_throttled: bool) -> None:
        self._counts_throttled = counts_throttled
        self._count = round(QUOTA)
        self._calls: deque[float] = deque()

    def refuse(self, now: float) -> float:
        calls = self._calls
        while calls and calls[0] <= now - 1:
            calls.popleft()
        allowed = len(calls) < self._count
        if allowed or self._counts_throttled:
            calls.append(now)
        return 0.0 if allowed else 1.0


QUOTAS: dict[str, Callable[[random.Random], Quota]] = {
    "bucket of 10": lambda _: Bucket(10),
    "bucket of 3": lambda _: Bucket(3),
    "10 in a fixed 1 s": lambda chance: FixedWindow(1.0, chance.random()),
    "100 in a fixed 10 s": lambda chance: FixedWindow(10.0, chance.random()),
    "10 in any 1 s": lambda _: SlidingWindow(counts_throttled=False),
    "10 in any 1 s, 429s count": lambda _: SlidingWindow(counts_throttled=True),
}
LIVE = "none", "steady", "random", "bursts"
"""Patterns of the live client's calls."""


class Limiter(Protocol):
    """What the simulation asks of a client's rate limiter."""

    def wait(self, now: float) -> float:
        """Return the seconds until the next call."""

    def take(self, now: float) -> None:
        """Make a call."""

    def throttled(self, now: float, called_at: float, retry_after: float) -> object:
        """Record a 429."""


@dataclass(slots=True)
class Outcome:
    """Result of one simulated burst."""

    seconds: float = 0.0
    throttled: int = 0
    live: int = 0
    live_throttled: int = 0
    deleted_at: list[float] = field(default_factory=list)

    @property
    def throughput(self) -> float:
        """Deletions per second."""
        return len(self.deleted_at) / max(1e-9, self.seconds)

    @property
    def throttled_share(self) -> float:
        """Share of the function's calls that were throttled."""
        return self.throttled / max(1, self.throttled + len(self.deleted_at))

    @property
    def live_throttle_rate(self) -> float:
        """Share of the live calls that were throttled."""
        return self.live_throttled / max(1, self.live)


_LIVE, _ARRIVE, _ANSWER, _TURN = range(4)


def burst(
    seed: int,
    quota: str,
    live: str,
    make_limiter: Callable[[Callable[[], float]], Limiter],
    *,
    processes: int = 1,
    latency: float = 0.02,
    messages: int = 1000,
    limit_seconds: float = 4000.0,
    busy_until: float = 0.0,
) -> Outcome:
    """Simulate processes that share a queue of revocations, and a quota with a live client.

    Args:
        seed: seed of all randomness.
        quota: the API's rate limit, one of `QUOTAS`.
        live: pattern of the live client's calls, one of `LIVE`.
        make_limiter: makes a process's limiter, given a source of randomness.
        processes: number of processes; all start at once.
        latency: seconds from a call to its answer; the call arrives half-way.
        messages: number of sessions to delete.
        limit_seconds: end of the simulation, even if sessions are left.
        busy_until: until then, the live client calls at `BUSY_RATE`.
    """
    chance = random.Random(f"{seed}")
    refuse, live_chance = QUOTAS[quota](chance).refuse, random.Random(f"{seed} live")
    limiters = [make_limiter(random.Random(f"{seed} {who}").random) for who in range(processes)]
    turns = [0] * processes  # of each process, the number of the turn that counts
    result = Outcome()
    deleted, waiting = result.deleted_at, messages
    # Time, order, kind, process, turn or Retry-After, time of the call.
    agenda: list[tuple[float, int, int, int, float, float]] = []
    push, pop = heapq.heappush, heapq.heappop
    order = processes

    if live != "none":
        push(agenda, (live_chance.random(), -1, _LIVE, 0, 0.0, 0.0))
    for who in range(processes):
        push(agenda, (0.0, who, _TURN, who, 0.0, 0.0))
    while len(deleted) < messages:
        now, _, what, who, number, called_at = pop(agenda)
        if now > limit_seconds:
            now = limit_seconds
            break
        order += 1
        if what == _LIVE:
            calls = LIVE_BURST if live == "bursts" else 1
            rate = BUSY_RATE if now < busy_until else LIVE_RATE
            result.live += calls
            for _ in range(calls):
                if refuse(now):
                    result.live_throttled += 1
            gap = live_chance.expovariate(rate) if live == "random" else calls / rate
            push(agenda, (now + gap, order, _LIVE, 0, 0.0, 0.0))
            continue
        if what == _ARRIVE:
            push(agenda, (now + latency / 2, order, _ANSWER, who, refuse(now), called_at))
            continue
        limiter = limiters[who]
        if what == _TURN:
            if number != turns[who] or not waiting:
                continue
            wait = limiter.wait(now)
            if not wait:
                waiting -= 1
                limiter.take(now)
                push(agenda, (now + latency / 2, order, _ARRIVE, who, 0.0, now))
            push(agenda, (now + wait, order, _TURN, who, number, 0.0))
            continue
        if number:  # the Retry-After
            result.throttled += 1
            limiter.throttled(now, called_at, number)
            waiting += 1
        else:
            deleted.append(now)
        # An answer may change when the next call is due.
        turns[who] += 1
        push(agenda, (now, order, _TURN, who, turns[who], 0.0))
    result.seconds = now
    return result

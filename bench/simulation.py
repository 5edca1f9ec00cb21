"""A storm of revocations against a rate-limited resource, in simulated time.

Nothing here knows how the function's limiter works, and the limiter knows nothing of what is here. All
chance comes from the seed, so that every run of a seed is the same.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

QUOTA = 10.0
"""Calls per second that the resource allows to all its callers together."""
MOST = 8.0
"""FACE_MAX_CALLS_PER_SECOND of every process."""
LIVE_RATE = 5.0
BURST = 10


class Quota(Protocol):
    """The resource's rate limit, over all its callers."""

    def refuse(self, now: float) -> float:
        """Return 0 if a call made now is allowed, or else the Retry-After in seconds."""


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
    """So many calls in each window of so many seconds."""

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
    """So many calls in any second; refused ones may count, too."""

    def __init__(self, counts_refused: bool) -> None:
        self._counts_refused = counts_refused
        self._count = round(QUOTA)
        self._calls: deque[float] = deque()

    def refuse(self, now: float) -> float:
        calls = self._calls
        while calls and calls[0] <= now - 1:
            calls.popleft()
        allowed = len(calls) < self._count
        if allowed or self._counts_refused:
            calls.append(now)
        return 0.0 if allowed else 1.0


class RandomRefusals:
    """A bucket that also refuses one call in ten for reasons of its own."""

    def __init__(self, chance: random.Random) -> None:
        self._bucket = Bucket(QUOTA)
        self._chance = chance.random

    def refuse(self, now: float) -> float:
        return 1.0 if self._chance() < 0.1 else self._bucket.refuse(now)


QUOTAS: dict[str, Callable[[random.Random], Quota]] = {
    "bucket of 10": lambda _: Bucket(10),
    "bucket of 3": lambda _: Bucket(3),
    "10 in a fixed 1 s": lambda chance: FixedWindow(1.0, chance.random()),
    "100 in a fixed 10 s": lambda chance: FixedWindow(10.0, chance.random()),
    "10 in any 1 s": lambda _: SlidingWindow(counts_refused=False),
    "10 in any 1 s, refused count": lambda _: SlidingWindow(counts_refused=True),
}
REFUSES_AT_RANDOM = "10 % refused at random"


def quota_named(name: str, chance: random.Random) -> Quota:
    """Return a new quota, unused."""
    return RandomRefusals(chance) if name == REFUSES_AT_RANDOM else QUOTAS[name](chance)


LIVE = "none", "steady", "random", "bursty"


class Pace(Protocol):
    """What the simulation asks of a limiter."""

    def wait(self, now: float) -> float: ...
    def take(self, now: float) -> None: ...
    def succeeded(self, now: float, called_at: float) -> None: ...
    def throttled(self, now: float, called_at: float, retry_after: float) -> None: ...


class ConstantPace:
    """A fixed rate, jittered, whatever the answers: what the limiter is compared with."""

    def __init__(self, rate: float, random: Callable[[], float]) -> None:
        self._rate, self._random = rate, random
        self._next = random() / rate

    def wait(self, now: float) -> float:
        return max(0.0, self._next - now)

    def take(self, now: float) -> None:
        self._next = now + (0.25 + 1.5 * self._random()) / self._rate

    def succeeded(self, now: float, called_at: float) -> None:
        pass

    def throttled(self, now: float, called_at: float, retry_after: float) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Point:
    """Deletions per second, and what they cost."""

    rate: float
    throughput: float
    harm: float
    waste: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One situation to simulate."""

    quota: str
    live: str
    processes: int
    latency: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the limiter came to in a cell, and what it is measured by."""

    cell: Cell
    got: Point
    best: Point
    most_harm: float
    strict_harm: float
    """The harm of a low price, whatever the limiter's own: no bar, but counted."""
    missed: tuple[str, ...]


@dataclass(slots=True)
class Outcome:
    """What a simulated storm came to."""

    seconds: float = 0.0
    throttled: int = 0
    live: int = 0
    live_throttled: int = 0
    deleted: list[tuple[float, int]] = field(default_factory=list)
    """When each session was deleted, and by which process."""

    @property
    def throughput(self) -> float:
        """Deletions per second."""
        return len(self.deleted) / max(1e-9, self.seconds)

    @property
    def waste(self) -> float:
        """Share of the function's calls that were throttled."""
        return self.throttled / max(1, self.throttled + len(self.deleted))

    @property
    def harm(self) -> float:
        """Share of the live calls that were throttled."""
        return self.live_throttled / max(1, self.live)


_LIVE, _ARRIVE, _ANSWER, _TURN = range(4)


def storm(
    seed: int,
    quota_name: str,
    live: str,
    make_pace: Callable[[Callable[[], float]], Pace],
    *,
    processes: int = 1,
    latency: float = 0.02,
    messages: int = 1000,
    limit_seconds: float = 4000.0,
    joins_at: float = 0.0,
) -> Outcome:
    """Simulate processes that share a queue of revocations and a quota with a live client.

    Args:
        seed: of all chance.
        quota_name: of the resource's rate limit.
        live: the pattern of the live client's calls, one of `LIVE`.
        make_pace: makes a process's limiter, given a source of chance.
        processes: instances of the function, all started at once.
        latency: seconds from a call to its answer; it arrives half-way.
        messages: how many sessions are to be deleted.
        limit_seconds: when the simulation ends, whatever is left to do.
        joins_at: seconds after which the last process starts.
    """
    chance = random.Random(f"{seed}")
    quota = quota_named(quota_name, chance)
    refuse, live_chance = quota.refuse, random.Random(f"{seed} live")
    paces = [make_pace(random.Random(f"{seed} {who}").random) for who in range(processes)]
    turns = [0] * processes  # of each process, which turn is the one that counts
    result = Outcome()
    deleted, waiting = result.deleted, messages
    # When, in which order, what, which process, a number of its own, and when its call was made.
    agenda: list[tuple[float, int, int, int, float, float]] = []
    push, pop = heapq.heappush, heapq.heappop
    order = 0

    if live != "none":
        push(agenda, (live_chance.random(), -1, _LIVE, 0, 0.0, 0.0))
    for who in range(processes):
        at = joins_at if who == processes - 1 else 0.0
        push(agenda, (at, order, _TURN, who, 0.0, 0.0))
        order += 1
    while len(deleted) < messages:
        now, _, what, who, number, called_at = pop(agenda)
        if now > limit_seconds:
            now = limit_seconds
            break
        order += 1
        if what == _LIVE:
            calls = BURST if live == "bursty" else 1
            result.live += calls
            for _ in range(calls):
                if refuse(now):
                    result.live_throttled += 1
            gap = calls / LIVE_RATE
            if live == "random":
                gap = live_chance.expovariate(LIVE_RATE)
            push(agenda, (now + gap, order, _LIVE, 0, 0.0, 0.0))
            continue
        if what == _ARRIVE:
            push(agenda, (now + latency / 2, order, _ANSWER, who, refuse(now), called_at))
            continue
        pace = paces[who]
        if what == _TURN:
            if number != turns[who] or not waiting:
                continue
            wait = pace.wait(now)
            if not wait:
                waiting -= 1
                pace.take(now)
                push(agenda, (now + latency / 2, order, _ARRIVE, who, 0.0, now))
            push(agenda, (now + wait, order, _TURN, who, number, 0.0))
            continue
        if number:  # the Retry-After
            result.throttled += 1
            pace.throttled(now, called_at, number)
            waiting += 1
        else:
            deleted.append((now, who))
            pace.succeeded(now, called_at)
        # An answer changes the rate, and what the next call waits for.
        turns[who] += 1
        push(agenda, (now, order, _TURN, who, turns[who], 0.0))
    result.seconds = now
    return result

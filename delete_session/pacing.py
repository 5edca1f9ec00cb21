"""How fast we may call: a rate limiter that assumes nothing about what limits it.

It is told the time (monotonic seconds) by its caller, and never sleeps by itself.
"""

import math
import random
from collections.abc import Callable

# What the limiter supposes before it has seen anything, and how it learns. Found with bench/pacing.py,
# which simulates it against rate limits of several kinds; docs/decisions.md has the figures.
OWN_SHARE = 0.0055
"""The limit of a process: the rate at which this share of its calls is refused because of the rate."""
STEEPNESS = 4.7
"""That share grows with this power of the rate: next to nothing below the limit, much above."""
MOST_OWN_SHARE = 0.73
"""It grows no further: some calls come through however many there are."""
OTHER_SHARES = 0.0004, 0.04, 0.1, 0.2, 0.45
"""Shares that may be refused whatever the rate: by a quota that others use up, for example."""
DOUBT = 0.047
"""Probability, before all evidence, that it is any but the first of them."""
USUAL_LIMIT, WIDTH = 0.19, 4.0
"""Before all evidence, the limit is about this part of the most, give or take so many e-folds."""
START = 0.25
"""A new process calls at this part of the most until its first answer, and then at the most until it
is refused: what got through by then says where to look for the limit."""
FOUND_PART, FOUND_CALLS, FOUND_WIDTH = 0.45, 0.32, 1.07
"""Namely about this part of the rate that got through, pause included, give or take so many e-folds;
the calls are added to it, as even a process whose first call was refused has to look somewhere."""
START_WEIGHT, START_CALLS = 0.48, 6
"""And each success until then is evidence of so much weight, up to so many."""
CAUTION, BOLDNESS = 0.25, 0.157
"""Probability that is left for the limit to be lower than the rate that is kept to; it grows with this
power of an eighth of the most over the rate, so that processes come to share alike."""
STEPS = 3
"""Rates are told apart to this part of an octave."""
MEMORY, FIRST_MEMORY, MEMORY_GROWTH = 800.0, 37.0, 0.5
"""Calls that the evidence goes back; it begins short, so that the crowd of a start is forgotten."""
RATE_SECONDS = 17.0
"""The rate of our own calls is measured over so long, and over two calls at least."""
SPREAD = 0.39
"""The time to the next call is that much longer or shorter than the rate says, at random."""
RETURN = 1.4
"""After a pause, up to so many times the time between calls passes before the next one, at random."""
REFUSAL_WEIGHT, MOST_SECONDS = 0.9, 2.75
"""A refusal counts as so much for each second of its Retry-After, up to so many seconds."""
LEARN_SECONDS = 0.1
"""Successes within so long are learned from together, which makes learning cheap at high rates."""
LEAST_PART = 1 / 80
"""The guaranteed share, unless one is given, as a part of the most calls per second."""


class Beliefs:
    """What is known about the limit: suppositions, and how probable each of them is.

    A supposition is a limit, and a share of calls that is refused for other reasons. Every answer
    makes those suppositions more probable that expected it. Where cutting the rate did not help, the
    other reasons become probable, and the limit need no longer be low to explain the refusals.
    """

    def __init__(self, least: float, most: float) -> None:
        count = 1 + math.ceil(STEPS * math.log2(3 * most / least))
        self._most = most
        self._limits = [least * 2 ** (step / STEPS) for step in range(count)]
        self._logs = self._prior = self._about(USUAL_LIMIT * most, WIDTH)
        self._calls = 0
        self._expected: dict[tuple[int, bool], list[float]] = {}

    def start(self, found: float, successes: int) -> None:
        """Take in what a process found out up to its first refusal.

        Args:
            found: calls per second that got through.
            successes: how many calls got through, at the full rate.
        """
        weight = START_WEIGHT * min(START_CALLS, successes)
        about, full = self._about(FOUND_PART * found, FOUND_WIDTH), self._logs_of(0, refused=False)
        self._logs = [log + weight * new for log, new in zip(about, full, strict=True)]

    def learn(self, rate: float, calls: int, refused: bool, weight: float = 1.0) -> None:
        """Take in how calls were answered.

        Args:
            rate: calls per second of our own at that time.
            calls: how many, all answered alike.
            refused: how.
            weight: answers that each of them stands for.
        """
        self._calls += calls
        memory = min(MEMORY, FIRST_MEMORY + self._calls * MEMORY_GROWTH)
        kept = (1 - 1 / memory) ** calls
        weight *= (1 - kept) * memory
        level = max(0, round(STEPS * math.log2(self._most / rate)))
        if (level, refused) not in self._expected:
            self._expected[level, refused] = self._logs_of(level, refused)
        self._logs = [
            kept * log + (1 - kept) * before + weight * new
            for log, before, new in zip(
                self._logs, self._prior, self._expected[level, refused], strict=True
            )
        ]

    def limit(self, caution: float) -> float:
        """The rate that the limit is below with a probability of `caution`."""
        most, count = max(self._logs), len(self._limits)
        weights = [math.exp(log - most) for log in self._logs]
        by_limit = [sum(weights[step::count]) for step in range(count)]
        left, step = caution * sum(by_limit), 0
        while left > by_limit[step]:
            left -= by_limit[step]
            step += 1
        return self._limits[step] * math.exp2((left / by_limit[step] - 0.5) / STEPS)

    def _about(self, limit: float, width: float) -> list[float]:
        """Logarithms of probabilities that are highest at a limit, and fall off from there."""
        others = len(OTHER_SHARES) - 1
        return [
            math.log(share) - 0.5 * (math.log(each / limit) / width) ** 2
            for share in (1 - DOUBT, *[DOUBT / others] * others)
            for each in self._limits
        ]

    def _logs_of(self, level: int, refused: bool) -> list[float]:
        """Under each supposition, the logarithm of the probability of such an answer."""
        rate = self._most * 2 ** (-level / STEPS)
        shares = [
            min(max(MOST_OWN_SHARE, other), other + OWN_SHARE * (rate / limit) ** STEEPNESS)
            for other in OTHER_SHARES
            for limit in self._limits
        ]
        return [math.log(share if refused else 1 - share) for share in shares]


class RateLimiter:
    """Paces calls at the rate that its own answers show to be free, whatever limits them.

    It knows only whether each of its calls was refused, and how fast it was calling. From that it
    learns at what rate its own calls begin to be refused, and keeps just below: several processes
    and the live traffic thus share a quota without talking to each other. It starts at full speed with
    the first answer, since the first refusal comes at once where there is nothing to spare.

    Args:
        most: calls per second; the rate never exceeds it.
        random: uniform in [0, 1). Calls are spaced at random around the rate: evenly spaced ones can
            fall into step with another caller and take its place every time.
        least: calls per second; the rate never falls below it, however many are refused.
    """

    def __init__(
        self,
        most: float,
        random: Callable[[], float] = random.random,
        least: float | None = None,
    ) -> None:
        self._most = most
        self._least = min(most, most * LEAST_PART if least is None else least)
        self._random = random
        self._rate = max(self._least, START * most)
        self._beliefs = Beliefs(self._least, most)
        # Some 50 ms worth of calls may go at once, where the rate is so high that timers are coarse.
        self._capacity = max(1.0, most * 0.05 - 1)
        self._tokens = 0.0
        self._at: float | None = None
        # Calls of late, each worth less the longer ago it was; since when; and their rate.
        self._recent, self._called_at, self._begun_at = 0.0, 0.0, 0.0
        self._used_rate = 0.0
        self._successes, self._learned_at = 0, float("-inf")
        self._ever_throttled = False
        self._cut_at = float("-inf")
        self._paused_until = float("-inf")

    @property
    def rate(self) -> float:
        """Calls per second, now."""
        return self._rate

    def paused_for(self, now: float) -> float:
        """Seconds until the pause that a throttling asked for is over; 0 if there is none."""
        return max(0.0, self._paused_until - now)

    def wait(self, now: float) -> float:
        """Seconds until the next call may be made; 0: take it."""
        self._refill(now)
        # What is lacking to the rounding of floats is not worth a wait.
        lacking = 0.0 if self._tokens > -1e-9 else -self._tokens
        return max(lacking / self._rate, self.paused_for(now))

    def take(self, now: float) -> None:
        """Make a call, after `wait` has returned 0."""
        self._refill(now)
        self._tokens -= 1 + SPREAD * (2 * self._random() - 1)
        seconds = max(RATE_SECONDS, 2 / self._rate)
        if not self._recent:
            self._begun_at = now
        self._recent = 1 + self._recent * math.exp((self._called_at - now) / seconds)
        self._called_at = now
        self._used_rate = self._recent / min(seconds, now - self._begun_at + 1)

    def succeeded(self, now: float) -> None:
        """The API has answered a call with anything but 429."""
        self._successes += 1
        if not self._ever_throttled:
            self._rate = self._most
        elif now - self._learned_at >= LEARN_SECONDS:
            self._learn(now)
            self._follow()

    def throttled(self, now: float, called_at: float, retry_after: float) -> None:
        """The API has answered 429.

        Args:
            now: when the answer came.
            called_at: when the call was made. One that was under way at the last cut tells nothing
                new, and is not learned from again.
            retry_after: seconds until when no call is to be made.
        """
        self._paused_until = max(self._paused_until, now + retry_after)
        if called_at < self._cut_at:
            return
        if not self._ever_throttled:
            self._ever_throttled = True
            seconds = max(1.0, now - self._begun_at + retry_after)
            self._beliefs.start((self._successes + FOUND_CALLS) / seconds, self._successes)
            self._successes = 0
        else:
            seconds = min(MOST_SECONDS, max(1.0, retry_after))
            self._learn(now, refused=REFUSAL_WEIGHT * seconds)
        self._follow()
        self._cut_at = now
        # Not all processes that wait for the same moment come back at that moment.
        self._tokens = min(self._tokens, -retry_after * self._rate - RETURN * self._random())

    def _learn(self, now: float, refused: float = 0.0) -> None:
        rate = min(self._most, max(self._least / 4, self._used_rate))
        if self._successes:
            self._beliefs.learn(rate, self._successes, refused=False)
        if refused:
            self._beliefs.learn(rate, 1, refused=True, weight=refused)
        self._successes, self._learned_at = 0, now

    def _follow(self) -> None:
        caution = CAUTION * (self._most / 8 / self._rate) ** BOLDNESS
        limit = self._beliefs.limit(min(0.95, caution))
        self._rate = min(self._most, max(self._least, limit))

    def _refill(self, now: float) -> None:
        if self._at is not None:
            self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._rate)
        self._at = now

"""How fast we may call: a rate limiter that assumes nothing about what limits it.

It is told the time (monotonic seconds) by its caller, and never sleeps by itself. What it learns from
answers is in beliefs.py, what two calls at the same moment tell in pair.py.
"""

import math
import random
from collections.abc import Callable

from .beliefs import Beliefs, crowd
from .pair import Pair

# Found with bench/pacing.py, as the constants of beliefs.py were.
START = 0.1
"""A new process calls at this part of the most until its first answer."""
FIRST_CALLS, THEN, RISE = 20, 0.24, 0.1
"""Then at the most for so many calls, of all instances together. If none of them was refused, it goes
on from this part of the most, higher by this part with each success, until the first refusal (both are
less in a crowd): where refusals come late, a start at full speed takes what others need before anything
is refused. What got through by then, pause included, says where to look for the limit."""
REST_SECONDS, REST_CALLS = 30.0, 4
"""After so long without a call, and so many times between calls, a process begins anew: what others
leave of a quota changes within minutes, and one refusal long ago must not slow down a storm."""
FOUND_CALLS = 0.32
"""It is reckoned with so many calls more, as even a process whose first call was refused has to look
somewhere."""
CAUTION, BOLDNESS = 0.25, 0.18
"""Probability that is left for the limit to be lower than the rate that is kept to; it grows with this
power of an eighth of the most over the rate, so that processes come to share alike."""
DARING, SURENESS = 1.75, 7
"""And by so much (less in a crowd), times this power of the probability that refusals have other
reasons: the surer that is, the less there is to lose. The pairs below keep it from error."""
RATE_SECONDS = 17.0
"""The rate of our own calls is measured over so long, and over two calls at least."""
SPREAD = 0.12
"""The time to the next call is that much longer or shorter than the rate says, at random."""
APART = 0.08
"""Two calls of a pair are so much of the time between calls at the most apart (10 ms if it is eight a
second), so that they arrive in turn, if possible; the time after them is as much longer."""
PAIRS = 0.2
"""So many calls, times the square of the rate over the most, are the first of a pair: the second is the
first to find a quota used up. Evenly spaced calls take what evenly spaced others leave, and push these
over the limit without being refused themselves."""
DOUBTFUL_PAIRS, DOUBTFUL = 0.3, 8
"""Or so many, times this power of the probability that refusals have other reasons: if the first of a
pair is refused, the second tells whether it is so."""
RETURN = 1.7
"""After a pause, up to so many times the time between calls passes before the next one, at random."""
REFUSAL_WEIGHT, MOST_SECONDS = 1.05, 2.75
"""A refusal counts as so much for each second of its Retry-After, up to so many seconds."""
LEARN_SECONDS = 0.1
"""Successes within so long are learned from together, which makes learning cheap at high rates."""
LEAST_PART = 0.05
"""The guaranteed share of all instances together, unless one is given, as a part of the most calls per
second of one."""


class RateLimiter:
    """Paces calls at the rate that its own answers show to be free, whatever limits them.

    It knows only whether each of its calls was refused, and how fast it was calling. From that it
    learns at what rate its own calls begin to be refused, and keeps just below: several processes
    and the live traffic thus share a quota without talking to each other. Until its first refusal it
    makes some calls at the most after each rest, and approaches the most step by step after that.

    Args:
        most: calls per second; the rate never exceeds it. Calls are spaced at random, so that it is an
            average: 80 calls in ten seconds may be some more.
        random: uniform in [0, 1). Calls are spaced at random around the rate: evenly spaced ones can
            fall into step with another caller and take its place every time.
        least: calls per second; the rate never falls below it, however many are refused. The pause
            that a refusal asks for comes on top. None: a part of the most, divided by `instances`.
        instances: how many processes may call at the same time at most, this one included. The more
            there may be, the slower each starts, the surer it is of the limit that its start shows,
            and the less daring.
    """

    def __init__(
        self,
        most: float,
        random: Callable[[], float] = random.random,
        least: float | None = None,
        *,
        instances: int = 1,
    ) -> None:
        self._most = most
        self._least = min(most, most * LEAST_PART / instances if least is None else least)
        self._random = random
        self._instances, self._crowd = instances, crowd(instances)
        self._first_calls = max(1, round(FIRST_CALLS / instances))
        # Some 50 ms worth of calls may go at once, where the rate is so high that timers are coarse.
        self._capacity = max(1.0, most * 0.05 - 1)
        self._tokens, self._owed = 0.0, 0.0
        self._at: float | None = None
        self._called_at = self._paused_until = float("-inf")
        self._begin()

    def _begin(self) -> None:
        """Know nothing, as in a new process."""
        self._beliefs = Beliefs(self._least, self._most, self._instances)
        self._pair = Pair(float("-inf"))
        self._rate = max(self._least, START * self._most)
        # Calls of late, each worth less the longer ago it was; since when; and their rate.
        self._recent, self._begun_at, self._used_rate = 0.0, float("-inf"), 0.0
        self._successes, self._learned_at = 0, float("-inf")
        self._ever_throttled = False
        self._others = 0.0  # the probability that a refusal, now, has other reasons than our rate
        self._cut_at = float("-inf")

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
        rested_for = now - max(self._called_at, self._paused_until)
        rested = rested_for > max(REST_SECONDS, REST_CALLS / self._rate)
        if rested and self._ever_throttled:
            self._begin()
        if rested or (not self._ever_throttled and self._tokens >= self._capacity):
            # It had nothing to do: what got through before, one by one, says nothing about the limit.
            self._recent, self._begun_at, self._successes = 0.0, now, 0
        self._tokens -= self._price(now)
        seconds = max(RATE_SECONDS, 2 / self._rate)
        self._recent = 1 + self._recent * math.exp((self._called_at - now) / seconds)
        self._called_at = now
        self._used_rate = self._recent / min(seconds, now - self._begun_at + 1)

    def succeeded(self, now: float, called_at: float) -> None:
        """The API has answered a call with anything but 429.

        Args:
            now: when the answer came.
            called_at: when the call was made, as `take` was told.
        """
        if self._ever_throttled:
            self._hear(called_at, refused=False)
        self._successes += 1
        if not self._ever_throttled:
            self._rate = self._unrefused_rate()
        elif now - self._learned_at >= LEARN_SECONDS:
            self._learn(now)
            self._follow()

    def throttled(self, now: float, called_at: float, retry_after: float) -> None:
        """The API has answered 429.

        Args:
            now: when the answer came.
            called_at: when the call was made, as `take` was told. One that was under way at the last
                cut tells nothing new, and is not learned from again.
            retry_after: seconds that it asks to wait. At the first refusal all calls do, and later as
                far as it is probable that their rate was the reason: waiting does not help against
                others.
        """
        self._refill(now)
        self._hear(called_at, refused=True)
        pause = retry_after
        if self._ever_throttled:
            pause *= self._beliefs.ours(self._called_rate())
        self._paused_until = max(self._paused_until, now + pause)
        if called_at < self._cut_at:
            return
        if not self._ever_throttled:
            self._ever_throttled = True
            seconds = max(1.0, now - self._begun_at + retry_after)
            found = (self._successes + FOUND_CALLS) / seconds
            self._beliefs.start(found, self._called_rate(), self._successes)
            self._successes = 0
        else:
            seconds = min(MOST_SECONDS, max(1.0, retry_after))
            self._learn(now, refused=REFUSAL_WEIGHT * seconds)
        self._follow()
        self._cut_at = now
        # Not all processes that wait for the same moment come back at that moment.
        self._tokens = min(self._tokens, -pause * self._rate - RETURN * self._random())

    def _price(self, now: float) -> float:
        """Tokens that a call costs: about 1; or next to none, and the next one costs as much more."""
        price = 1 + SPREAD * (2 * self._random() - 1)
        if self._owed:
            price, self._owed = price + self._owed, 0.0
            self._pair.call_second(now)
        elif self._random() < self._pairs():
            together = APART * self._rate / self._most
            price, self._owed = together, price - together
            self._pair = Pair(now)
        return price

    def _pairs(self) -> float:
        """The probability that a call is the first of a pair."""
        if not self._ever_throttled and self._successes <= self._first_calls:
            return 0.0  # the calls at the most say nothing about the limit
        near_limit = PAIRS * (self._rate / self._most) ** 2
        if not self._ever_throttled:
            return near_limit
        return max(near_limit, DOUBTFUL_PAIRS * math.pow(self._others, DOUBTFUL))

    def _hear(self, called_at: float, refused: bool) -> None:
        """Learn from a pair, if this is the answer that was missing."""
        second_refused = self._pair.answered(called_at, refused)
        if second_refused is not None:
            self._beliefs.learn_from_second(self._called_rate(), second_refused)

    def _unrefused_rate(self) -> float:
        """The rate of a process that has never been refused."""
        if self._successes < self._first_calls:
            return self._most
        if self._successes == self._first_calls:
            return max(self._least, THEN * self._most / self._crowd)
        return min(self._most, self._rate * (1 + RISE / self._crowd))

    def _called_rate(self) -> float:
        return min(self._most, max(self._least / 4, self._used_rate))

    def _learn(self, now: float, refused: float = 0.0) -> None:
        rate = self._called_rate()
        if self._successes:
            self._beliefs.learn(rate, self._successes, refused=False)
        if refused:
            self._beliefs.learn(rate, 1, refused=True, weight=refused)
        self._successes, self._learned_at = 0, now

    def _follow(self) -> None:
        self._others = 1 - self._beliefs.ours(self._called_rate())
        caution = CAUTION * (self._most / 8 / self._rate) ** BOLDNESS
        caution *= 1 + DARING / self._crowd * math.pow(self._others, SURENESS)
        limit = self._beliefs.limit(min(0.95, caution))
        self._rate = min(self._most, max(self._least, limit))

    def _refill(self, now: float) -> None:
        if self._at is not None:
            self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._rate)
        self._at = now

"""What a process believes about the rate limit that it calls against, whatever limits it.

It knows how fast it called and whether it was refused, and learns from both by Bayes' rule.
"""

import math

# Found with bench/pacing.py, which simulates the limiter against rate limits of several kinds;
# docs/decisions/rate-limiter.md has the figures.
OWN_SHARE = 0.006
"""The limit of a process: the rate at which this share of its calls is refused because of the rate."""
STEEPNESS = 6.8
"""That share grows with this power of the rate: next to nothing below the limit, much above."""
MOST_OWN_SHARE = 0.73
"""It grows no further: some calls come through however many there are."""
OTHER_SHARES = 0.0004, 0.037, 0.1, 0.128, 0.45
"""Shares that may be refused whatever the rate: by a quota that others use up, for example."""
CROWD, NO_CROWD = 0.65, 2
"""Of several processes that call the same resource each sees less of its limit, and what it sees is
more often another's doing. So what they suppose is narrower by this power of their number over the
second, and changes less with each answer; other reasons are more probable beforehand, and the memory
is longer at first. Two are no crowd yet."""
DOUBT, MOST_DOUBT = 0.049, 0.5
"""Probability, before all evidence, that it is any but the first of them; in a crowd at most."""
USUAL_LIMIT, WIDTH = 0.19, 4.2
"""Before all evidence, the limit is about this part of the most, give or take so many e-folds."""
FOUND_PART, FOUND_WIDTH = 0.47, 2.0
"""At its first refusal, the limit is about this part of the rate that a new process found to get
through, give or take so many e-folds."""
START_WEIGHT, START_CALLS = 0.38, 8
"""And each success until then is evidence of so much weight, up to so many."""
STEPS = 3
"""Rates are told apart to this part of an octave."""
MEMORY, FIRST_MEMORY, MEMORY_GROWTH = 1000.0, 20.0, 0.5
"""Calls that the evidence goes back; it begins short, so that the crowd of a start is forgotten."""
LATE = 0.1
"""Probability that of two calls at the same moment the second is allowed, though the first was refused
because of the rate: time has passed between them, or they changed places on their way."""


def crowd(instances: int) -> float:
    """How much of a crowd so many processes are: 1 for those that are none."""
    return math.pow(max(1.0, instances / NO_CROWD), CROWD)


class Beliefs:
    """What is known about the limit: suppositions, and how probable each of them is.

    A supposition is a limit, and a share of calls that is refused for other reasons. Every answer
    makes those suppositions more probable that expected it. Where cutting the rate did not help, the
    other reasons become probable, and the limit need no longer be low to explain the refusals.
    """

    def __init__(self, least: float, most: float, instances: int) -> None:
        self._crowd = crowded = crowd(instances)
        self._doubt = min(MOST_DOUBT, DOUBT * crowded)
        self._found_width, self._first_memory = FOUND_WIDTH / crowded, FIRST_MEMORY * crowded
        count = 1 + math.ceil(STEPS * math.log2(3 * most / least))
        self._most = most
        self._limits = [least * 2 ** (step / STEPS) for step in range(count)]
        self._logs = self._prior = self._about(USUAL_LIMIT * most, WIDTH / crowded)
        self._calls = 0
        self._others = [other for other in OTHER_SHARES for _ in self._limits]
        self._expected: dict[tuple[int, bool], list[float]] = {}
        self._ours: dict[int, list[float]] = {}

    def start(self, found: float, rate: float, successes: int) -> None:
        """Take in what a process found out up to its first refusal.

        Args:
            found: calls per second that got through, pause included.
            rate: calls per second of our own at that time.
            successes: how many calls got through.
        """
        weight = START_WEIGHT * min(START_CALLS, successes)
        about = self._about(FOUND_PART * found, self._found_width)
        through = self._logs_of(self._level(rate), refused=False)
        self._logs = [log + weight * new for log, new in zip(about, through, strict=True)]

    def learn(self, rate: float, calls: int, refused: bool, weight: float = 1.0) -> None:
        """Take in how calls were answered.

        Args:
            rate: calls per second of our own at that time.
            calls: how many, all answered alike.
            refused: how.
            weight: answers that each of them stands for.
        """
        self._calls += calls
        memory = min(MEMORY, self._first_memory + self._calls * MEMORY_GROWTH)
        kept = (1 - 1 / memory) ** calls
        weight *= (1 - kept) * memory / self._crowd
        level = self._level(rate)
        expected = self._logs_of(level, refused)
        self._logs = [
            kept * log + (1 - kept) * before + weight * new
            for log, before, new in zip(self._logs, self._prior, expected, strict=True)
        ]

    def learn_from_second(self, rate: float, refused: bool) -> None:
        """Take in how a call was answered that was made at the same moment as one that was refused.

        If the rate was the reason, there was no room for the second call either; if it was another
        one, the second call fared as any call does.

        Args:
            rate: calls per second of our own at that time.
            refused: whether the second call was refused, too.
        """
        level = self._level(rate)
        if_ours = LATE if not refused else 1 - LATE
        self._logs = [
            log + math.log(ours * if_ours + (1 - ours) * (share if refused else 1 - share))
            for log, ours, share in zip(
                self._logs, self._ours_at(level), self._shares(level), strict=True
            )
        ]

    def ours(self, rate: float) -> float:
        """The probability that a call refused at this rate was refused because of the rate."""
        weights = self._weights()
        parts = self._ours_at(self._level(rate))
        return sum(each * part for each, part in zip(weights, parts, strict=True)) / sum(weights)

    def limit(self, caution: float) -> float:
        """The rate that the limit is below with a probability of `caution`."""
        weights, count = self._weights(), len(self._limits)
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
            for share in (1 - self._doubt, *[self._doubt / others] * others)
            for each in self._limits
        ]

    def _level(self, rate: float) -> int:
        """The step of the scale of rates, counted downwards from the most."""
        return max(0, round(STEPS * math.log2(self._most / rate)))

    def _weights(self) -> list[float]:
        """How probable each supposition is, in relation to the most probable one."""
        most = max(self._logs)
        return [math.exp(log - most) for log in self._logs]

    def _shares(self, level: int) -> list[float]:
        """Under each supposition, the share of calls at such a rate that is refused."""
        rate = self._most * 2 ** (-level / STEPS)
        return [
            min(max(MOST_OWN_SHARE, other), other + OWN_SHARE * (rate / limit) ** STEEPNESS)
            for other in OTHER_SHARES
            for limit in self._limits
        ]

    def _logs_of(self, level: int, refused: bool) -> list[float]:
        """Under each supposition, the logarithm of the probability of such an answer."""
        if (level, refused) not in self._expected:
            self._expected[level, refused] = [
                math.log(share if refused else 1 - share) for share in self._shares(level)
            ]
        return self._expected[level, refused]

    def _ours_at(self, level: int) -> list[float]:
        """Under each supposition, the probability that the rate is the reason of a refusal."""
        if level not in self._ours:
            self._ours[level] = [
                1 - other / share
                for other, share in zip(self._others, self._shares(level), strict=True)
            ]
        return self._ours[level]

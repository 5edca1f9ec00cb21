"""The flow on the local cloud: sampled every second, and shown for the last minutes."""

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from revoker.desk.plots import Plot, Series
from revoker.local_cloud import CloudDown, LocalCloud, LogLine, Logs

BUCKET_SECONDS = 5
BUCKETS = 60
RECENT = 8

_EVERY_SECONDS = 1.0
_LIVE_SECONDS = 5.0  # each host that runs logs its rate and its circuit every second
_ANSWER_SECONDS = 35.0  # after which a call without an answer counts as unanswered
_SINCE = f"{BUCKET_SECONDS * BUCKETS // 60} min ago"

CIRCUIT = ("closed", "half-open", "open")
KINDS = ("accepted", "429", "refused", "failed")
"""Categories of answers: the session is gone; throttled; other 4xx; 5xx and no answer."""
OUTCOMES = ("deleted", "already_gone", "dead_lettered", "retry_scheduled")
COUNTS = ("active", "locked", "scheduled", "dead_lettered")


@dataclass(slots=True)
class Bucket:
    """The counts of a few seconds, and the state at their end."""

    calls: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    counts: Mapping[str, int] | None = None
    rate: float | None = None
    circuit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What the page shows."""

    at: datetime | None
    """When the last sample was taken; None before the first one."""
    counts: Mapping[str, int]
    outcomes: Mapping[str, int]
    calls: int
    quota: float | None
    rate: float | None
    circuit: str
    recent: Sequence[LogLine]
    plots: Sequence[Plot]
    failure: str | None


class Flow:
    """Samples a local cloud while the desk runs."""

    def __init__(self, cloud: LocalCloud, queue: str) -> None:
        self._cloud = cloud
        self._queue = queue
        self._logs = Logs(cloud.logs)
        self._buckets: defaultdict[int, Bucket] = defaultdict(Bucket)
        self._recent: deque[LogLine] = deque(maxlen=RECENT)
        self._calls_before = 0
        self._counted: set[int] = set()
        self._hosts: dict[str, LogLine] = {}
        """The last metrics of each host."""
        self._quota: float | None = None
        self._failure: str | None = None
        self._sampled_at: datetime | None = None

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            await self.sample(time.time())
            await asyncio.sleep(_EVERY_SECONDS)

    async def sample(self, now: float) -> None:
        """Take one sample; a cloud that is down leaves a gap."""
        try:
            counts = await self._cloud.queue(self._queue)
            self._quota = await self._cloud.quota()
            self._count_calls(await self._cloud.calls(self._calls_before), now)
            self._read(await asyncio.to_thread(self._logs.new_lines))
            self._failure = None
            self._sampled_at = datetime.fromtimestamp(now, UTC)
        except (CloudDown, OSError) as error:
            self._failure = f"The local cloud does not answer: {error}"
            return
        bucket = self._buckets[_number(now)]
        bucket.counts = counts
        live = [
            each.facts
            for each in self._hosts.values()
            if now - each.at.timestamp() < _LIVE_SECONDS and "revoker.face.rate" in each.facts
        ]
        bucket.rate = sum(each["revoker.face.rate"] for each in live) if live else None
        bucket.circuit = max((each.get("revoker.circuit.state", 0) for each in live), default=0)
        oldest = _number(now) - BUCKETS
        for number in [each for each in self._buckets if each < oldest]:
            del self._buckets[number]

    def _count_calls(self, calls: Sequence[Mapping[str, Any]], now: float) -> None:
        pending = []
        for call in calls:
            number, status = call["number"], call["status"]
            if number in self._counted:
                continue
            if status is None and now - call["time"] < _ANSWER_SECONDS:
                pending.append(number)
                continue
            self._counted.add(number)
            self._buckets[_number(call["time"])].calls[kind_of(status, call["code"])] += 1
        if calls:
            self._calls_before = min(pending, default=calls[-1]["number"] + 1) - 1
        self._counted = {each for each in self._counted if each > self._calls_before}

    def _read(self, lines: Sequence[LogLine]) -> None:
        for line in lines:
            facts = line.facts
            if line.logger == "metrics":
                self._hosts[line.host] = line
            elif outcome := facts.get("outcome"):
                self._buckets[_number(line.at.timestamp())].outcomes[outcome] += 1
                self._recent.appendleft(line)

    def now(self, now: float) -> Now:
        """Return what the page shows at this time."""
        last = _number(now)
        buckets = [self._buckets.get(last - BUCKETS + 1 + each) for each in range(BUCKETS)]
        some = [each for each in buckets if each is not None]
        latest = next((each for each in reversed(some) if each.counts is not None), Bucket())
        return Now(
            at=self._sampled_at,
            counts={name: (latest.counts or {}).get(name, 0) for name in COUNTS},
            outcomes={name: sum(each.outcomes[name] for each in some) for name in OUTCOMES},
            calls=sum(each.calls.total() for each in some),
            quota=self._quota,
            rate=latest.rate,
            circuit=CIRCUIT[latest.circuit or 0],
            recent=list(self._recent),
            plots=_plots(buckets, self._quota),
            failure=self._failure,
        )


def kind_of(status: int | None, code: str | None) -> str:
    """Return the category of an answer of the Face API."""
    if status in (200, 204) or (status == 404 and code == "SessionNotFound"):
        return "accepted"
    if status == 429:
        return "429"
    return "refused" if status is not None and 300 <= status < 500 else "failed"


def _number(seconds: float) -> int:
    return int(seconds // BUCKET_SECONDS)


def _plots(buckets: Sequence[Bucket | None], quota: float | None) -> Sequence[Plot]:
    def levels(name: str) -> list[float | None]:
        return [each.counts.get(name, 0) if each and each.counts else None for each in buckets]

    def per_second(*kinds: str) -> list[float | None]:
        full = buckets[:-1]  # the last one is not over, and would show too few
        counts = [sum(each.calls[kind] for kind in kinds) if each else None for each in full]
        return [*(None if each is None else each / BUCKET_SECONDS for each in counts), None]

    speed = [
        Series("allowed rate", [each.rate if each else None for each in buckets]),
        Series("calls made", per_second(*KINDS)),
    ]
    if quota is not None:
        speed.append(Series("quota", [quota] * len(buckets)))
    opened = [bool(each and each.circuit) for each in buckets]
    return [
        Plot(
            "In the queues",
            "messages",
            [
                Series("active", levels("active")),
                Series("scheduled", levels("scheduled")),
                Series("dead letters", levels("dead_lettered")),
            ],
            _SINCE,
        ),
        Plot(
            "Answers of the Face API",
            "per second",
            [
                Series("gone (200, 204, 404 SessionNotFound)", per_second("accepted")),
                Series("too many (429)", per_second("429")),
                Series("refused (other 3xx, 4xx)", per_second("refused")),
                Series("failed (5xx, none)", per_second("failed")),
            ],
            _SINCE,
        ),
        Plot("Rate and quota", "calls per second", speed, _SINCE, opened),
    ]

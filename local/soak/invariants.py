"""What must hold after every scenario: pure functions of the evidence.

A revocation is a published message with the retry copies that descend from it. It has ended when
one of them was dead-lettered, or was completed after the session was found deleted or gone.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

GONE = "gone"
"""Outcomes of a revocation whose session no longer exists."""

WINDOW_SECONDS = 10.0
FIRST_CALLS = 2
"""Of a process that starts: its first call goes immediately, and the next one may be early."""
UNDER_WAY_SECONDS = 0.25
"""How much later a call that began just before the breaker opened may arrive, on a busy machine."""

_ENDINGS = ("completed", "dead_lettered", "expired", "schedule_cancelled")
DONE = ("deleted", "already_gone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One published message, and its permitted ends."""

    message_id: str
    """Without a colon, which separates the parts of a retry copy's id."""
    body: bytes
    session_id: str | None = None
    ends: tuple[str, ...] = (GONE,)
    """`gone`, or reasons in the dead-letter queue."""
    description: str = ""
    """Regular expression that the description in the dead-letter queue must match."""
    content_type: str | None = "application/json"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the function's log: process (by host number), time and content."""

    host: int
    time: float
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The records of the broker, the Face API and the function's log at the end of a scenario."""

    published: Sequence[Published]
    ledger: Sequence[Mapping[str, Any]]
    """Every event of the queue at the broker, in order."""
    dead_letters: Sequence[Mapping[str, Any]]
    in_queue: int
    """Messages still active, scheduled or deferred."""
    sessions: frozenset[str]
    """Ids of the sessions that exist at the Face API."""
    calls: Sequence[Mapping[str, Any]]
    """The function's calls to the Face API, in order."""
    lines: Sequence[LogLine]
    calls_per_second: float
    """Maximum rate of one process."""
    processes: int
    """Maximum number of processes at the same time."""
    starts: int
    """Number of processes started; each may begin with a burst."""
    broker_starts: int = 1
    receipts: Sequence[Mapping[str, Any]] | None = None
    """The CloudEvents in the queue of receipts; None where receipts are off."""
    receipts_ledger: Sequence[Mapping[str, Any]] = ()
    """Every event of the queue of receipts at the broker, in order."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A measured value and its upper bound."""

    name: str
    value: float
    bound: float

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return self.value <= self.bound


@dataclass(slots=True)
class Verdict:
    """The ends of the revocations, and everything that is wrong about them."""

    published: int = 0
    completed: int = 0
    dead_lettered: int = 0
    lost: int = 0
    stuck: int = 0
    twice: int = 0
    redundant: int = 0
    """Ended again after a crash, by a redelivery: harmless, as delivery is at least once."""
    still_existing: int = 0
    wrong_end: int = 0
    untrue: int = 0
    problems: list[str] = field(default_factory=list)
    thresholds: list[Threshold] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every invariant holds."""
        return all(threshold.ok for threshold in self.thresholds)


def root_id(message_id: str) -> str:
    """Return the id of the published message from which a message descends."""
    return message_id.partition(":")[0]


def check(evidence: Evidence) -> Verdict:
    """Check the five invariants."""
    verdict = Verdict(published=len(evidence.published))
    events: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for event in evidence.ledger:
        message_id = event["message_id"]
        events[root_id(message_id)][message_id][event["event"]] += 1
    outcomes: dict[str, str] = {}  # the last logged outcome of each broker message
    for line in evidence.lines:
        if line.record.get("event") == "revocation":
            outcomes[line.record["message_id"]] = line.record["outcome"]
    letters: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for letter in evidence.dead_letters:
        letters[root_id(letter["message_id"])].append(letter)

    known = {each.message_id for each in evidence.published}
    for stranger in sorted(set(events) - known):
        verdict.problems.append(f"{stranger}: was never published")
    for each in evidence.published:
        _judge(verdict, each, events[each.message_id], outcomes, letters[each.message_id], evidence)

    verdict.thresholds = [
        Threshold("lost", verdict.lost, 0),
        Threshold("stuck", max(verdict.stuck, evidence.in_queue), 0),
        Threshold("ended twice", verdict.twice, 0),
        Threshold("messages from nowhere", len(set(events) - known), 0),
        Threshold("completed although the session exists", verdict.still_existing, 0),
        Threshold("ended where it should not", verdict.wrong_end, 0),
        Threshold("dead-lettered with an untrue reason", verdict.untrue, 0),
        rate_threshold(evidence),
        probe_threshold(evidence),
    ]
    return verdict


def _judge(
    verdict: Verdict,
    each: Published,
    messages: Mapping[str, Counter[str]],
    outcomes: Mapping[str, str],
    letters: Sequence[Mapping[str, Any]],
    evidence: Evidence,
) -> None:
    def problem(text: str) -> None:
        verdict.problems.append(f"{each.message_id}: {text}")

    done = sum(
        events["completed"] for message_id, events in messages.items()
        if outcomes.get(message_id) in DONE
    )  # fmt: skip
    unexplained = [
        message_id
        for message_id, events in messages.items()
        if events["completed"] and outcomes.get(message_id) not in (*DONE, "retry_scheduled")
    ]
    dead = sum(events["dead_lettered"] for events in messages.values())
    open_ = [
        message_id
        for message_id, events in messages.items()
        if (events["scheduled"] or events["enqueued"]) and not any(events[end] for end in _ENDINGS)
    ]
    endings_of_one = max(
        (sum(events[end] for end in _ENDINGS) for events in messages.values()), default=0
    )

    if open_:
        verdict.stuck += 1
        problem(f"still in the queue: {', '.join(open_)}")
    elif not done and not dead:
        verdict.lost += 1
        problem("neither completed with its session gone nor dead-lettered")
    if unexplained:
        # It was completed for no recorded reason: that counts as lost.
        verdict.untrue += 1
        problem(f"completed without a line in the log: {', '.join(unexplained)}")
    if endings_of_one > 1 or dead > 1 or (dead and done) or dead != len(letters):
        verdict.twice += 1
        problem(f"done {done} times, dead-lettered {dead} times, {len(letters)} dead letters")
    verdict.redundant += max(0, done - 1)
    if dead:
        verdict.dead_lettered += 1
    elif done:
        verdict.completed += 1
        if GONE not in each.ends:
            verdict.wrong_end += 1
            problem(f"completed, expected {' or '.join(each.ends)}")
        if each.session_id in evidence.sessions:
            verdict.still_existing += 1
            problem("completed, but its session still exists")
    for letter in letters:
        reason, description = letter["reason"], letter["description"] or ""
        if reason not in each.ends:
            verdict.wrong_end += 1
            problem(f"dead-lettered as {reason}, expected {' or '.join(each.ends)}: {description}")
        elif not description or not re.search(each.description, description):
            verdict.untrue += 1
            problem(f"dead-lettered with the description {description!r}")


def most_in_window(times: Iterable[float], seconds: float) -> int:
    """Return the maximum number of events in any window of `seconds`; `times` must be in order."""
    window: list[float] = []
    most = first = 0
    for time in times:
        window.append(time)
        while window[first] <= time - seconds:
            first += 1
        most = max(most, len(window) - first)
    return most


def rate_threshold(evidence: Evidence) -> Threshold:
    """Limit the calls of all processes in the busiest ten seconds."""
    most = most_in_window((call["time"] for call in evidence.calls), WINDOW_SECONDS)
    # What the rate allows, its jitter (spacing varies by 30 %: 5 standard deviations), and the first
    # calls of each process that was started.
    calls = evidence.processes * evidence.calls_per_second * WINDOW_SECONDS
    bound = calls + math.sqrt(calls) + FIRST_CALLS * evidence.starts
    return Threshold("calls in the busiest 10 s", most, math.ceil(bound))


def probe_threshold(evidence: Evidence) -> Threshold:
    """Limit the calls that arrived while the breaker was open, apart from the probes."""
    excess = 0
    if evidence.processes == 1:  # with several, the caller is unknown
        for opened, closed, probes in open_intervals(evidence.lines):
            calls = [
                call
                for call in evidence.calls
                if opened + UNDER_WAY_SECONDS < call["time"] < closed
                # After a 401, a probe calls once more with a new token: one probe, two calls.
            ]
            refused = sum(call["status"] == 401 for call in calls)
            excess += max(0, len(calls) - refused // 2 - probes)
    return Threshold("calls while the breaker was open, but for probes", excess, 0)


def open_intervals(lines: Sequence[LogLine]) -> list[tuple[float, float, int]]:
    """Return when the breaker opened, when it closed, and how many probes it let through."""
    intervals: list[tuple[float, float, int]] = []
    since: dict[int, tuple[float, int]] = {}
    for line in lines:
        opened, probes = since.get(line.host, (line.time, 0))
        match line.record.get("event"):
            case "circuit_open":
                since[line.host] = opened, probes
            case "circuit_half_open":
                since[line.host] = opened, probes + 1
            case "circuit_closed" if line.host in since:
                del since[line.host]
                intervals.append((opened, line.time, probes))
    # One that never closed was open until the last line of its process.
    for host, (opened, probes) in since.items():
        last = max(line.time for line in lines if line.host == host)
        intervals.append((opened, last, probes))
    return intervals

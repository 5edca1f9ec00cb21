"""The scenarios: what is done to the cloud while revocations pass through it.

Times are a twentieth of the deployed ones where nothing else is said, so that outages shrink: the
cool-down is 1.5 s and not 30, the first backoff 0.1 s and not 2, a lock lasts 3 s and not 60.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.cloud import Options, Service
from local.soak.invariants import Bar, Evidence, Published
from local.soak.stage import Stage

COOL_DOWN = 1.5
SCALED: Mapping[str, str] = {
    "FACE_TOTAL_TIMEOUT_SECONDS": "1.5",
    "FACE_CONNECT_TIMEOUT_SECONDS": "1",
    "TOKEN_TIMEOUT_SECONDS": "1",
    "SETTLE_TIMEOUT_SECONDS": "2",
    "RETRY_IN_PLACE_MAX_SECONDS": "0.25",
    "RETRY_BACKOFF_BASE_SECONDS": "0.1",
    "RETRY_BACKOFF_CAP_SECONDS": "45",
    "CIRCUIT_BREAKER_COOL_DOWN_SECONDS": str(COOL_DOWN),
    "FACE_MAX_CALLS_PER_SECOND": "100",
}
LOCK: Mapping[str, object] = {"lockDuration": "PT3S"}

TRANSIENT = (
    *("status:500", "status:502", "status:503", "status:504", "status:408", "status:409"),
    *("status:401", "status:404", "disconnect", "garbage", "html", "truncate", "huge", "empty"),
    *("redirect", "other_json", "latency:0.2", "hang:5"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario."""

    name: str
    play: Callable[[Stage], Awaitable[None]]
    """Publishes, breaks and mends; what is left in the queue afterwards is waited for."""
    limit: float
    """Seconds that it may take until the queue holds nothing but dead letters."""
    settings: Mapping[str, str] = field(default_factory=lambda: SCALED)
    options: Mapping[str, Any] = field(default_factory=dict)
    bars: Callable[[Stage, Evidence], list[Bar]] = lambda _stage, _evidence: []

    @property
    def what(self) -> str:
        """What happens, in one sentence."""
        return (self.play.__doc__ or "").strip()

    def cloud(self, seed: int) -> Options:
        """The cloud it plays on."""
        values = {"queue_properties": LOCK, **self.options}
        return Options(seed=seed, settings=self.settings, **values)


COPIES = 0.02
"""RETRY_IN_PLACE_MAX_SECONDS where retries are to be copies, so that something can befall them."""


def with_settings(**changes: float) -> dict[str, str]:
    """The scaled settings, some of them changed."""
    return {**SCALED, **{name: f"{value:g}" for name, value in changes.items()}}


def transient(share: float) -> dict[str, Any]:
    """A rule of faults: that share of all calls fails in some way that passes."""
    return {"fault": "random", "probability": share, "kinds": list(TRANSIENT), "method": "DELETE"}


def rejected(each: Published, status: int, code: str) -> dict[str, Any]:
    """A rule of faults: this session's calls are always refused."""
    return {
        "fault": "status",
        "status": status,
        "code": code,
        "message": "refused by the scenario",
        "session_id": each.session_id,
    }


def rejected_end(status: int, code: str) -> dict[str, Any]:
    """Where a message ends whose session's calls are refused so."""
    return {"ends": (code,), "description": f"^HTTP {status} {code}: refused by the scenario"}


# ---- outages ----

OUTAGE_RATE = 40
OUTAGE_COOL_DOWN = 3.0


async def face_503_then_recovery(stage: Stage) -> None:
    """The Face API answers everyone 503 for ten minutes (at 1:10, cool-down and backoff too)."""
    await stage.publish(stage.plan(150))
    await stage.drained()  # it is a process in full swing that meets the outage
    await stage.break_face({"fault": "status", "status": 503, "code": "ServiceUnavailable"})
    messages = stage.plan(400)
    await stage.publish(messages[:200])
    await stage.publish(messages[200:], per_second=200 / 60)
    await recover(stage, stage.mend_face())


async def recover(stage: Stage, mending: Awaitable[None]) -> None:
    """Mend, and measure how long the rest takes."""
    await mending
    stage.marks["left"] = await stage.left()
    began = time.monotonic()
    await stage.drained()
    stage.marks["drain"] = time.monotonic() - began


def drain_bar(rate: float, cool_down: float) -> Callable[[Stage, Evidence], list[Bar]]:
    """The bar of outages: all gone within twice the cool-down and 1.15 times the optimum."""

    def bars(stage: Stage, _: Evidence) -> list[Bar]:
        optimum = stage.marks.get("left", 0) / rate
        value = stage.marks.get("drain", float("inf"))
        return [Bar("seconds from recovery to the end", value, 2 * cool_down + 1.15 * optimum)]

    return bars


async def token_endpoint_down_then_up(stage: Stage) -> None:
    """The identity endpoint fails, then hangs, and the token held expires; then it works."""
    await stage.set_identity(lifetime_seconds=4)
    await stage.publish(stage.plan(100))
    await stage.drained()
    await stage.set_identity(fail=True)
    await asyncio.sleep(5)
    await stage.publish(stage.plan(100))
    await asyncio.sleep(6)
    await stage.set_identity(fail=False, hang_seconds=30)
    await asyncio.sleep(4)
    await recover(stage, stage.set_identity(hang_seconds=0, lifetime_seconds=3600))


async def tokens_refused_then_accepted(stage: Stage) -> None:
    """The Face API refuses every token (401), then the role (403), then accepts them."""
    await stage.publish(stage.plan(100))
    await stage.drained()
    await stage.face("POST", "/_local/config", {"reject_tokens": True})
    await stage.publish(stage.plan(100))
    await asyncio.sleep(6)
    await stage.face("POST", "/_local/config", {"reject_tokens": False, "deny_role": True})
    await asyncio.sleep(6)
    await recover(stage, stage.face("POST", "/_local/config", {"deny_role": False}))


# ---- storms ----

STORM = 1000
QUOTA, LIVE = 10, 5
LIVE_BEFORE = 2.0
"""Seconds for which the live client is there before the storm."""


async def storm_steady(stage: Stage) -> None:
    """1,000 revocations at once against 10 calls/s, of which a live client takes 5, evenly."""
    await _storm(stage, poisson=False)


async def storm_poisson(stage: Stage) -> None:
    """The same, with the live client's calls at random times (Poisson)."""
    await _storm(stage, poisson=True)


async def _storm(stage: Stage, *, poisson: bool) -> None:
    async with stage.live_client(LIVE, poisson=poisson) as live:
        await asyncio.sleep(LIVE_BEFORE)
        began = time.monotonic()
        await stage.publish(stage.plan(STORM))
        await stage.drained()
        stage.marks["seconds"] = time.monotonic() - began
        stage.marks["live"] = live.share_throttled
        stage.marks["live calls"] = live.calls


def storm_bars(live_bound: float) -> Callable[[Stage, Evidence], list[Bar]]:
    """The bars of a storm."""

    def bars(stage: Stage, evidence: Evidence) -> list[Bar]:
        wasted = sum(call["status"] == 429 for call in evidence.calls)
        deleted = sum(call["status"] in (200, 204) for call in evidence.calls)
        never = float("inf")
        seconds = stage.marks.get("seconds", never)
        # What the live client left over: at random times it takes a little more or less than 5.
        optimum = STORM / (QUOTA - stage.marks.get("live calls", 0) / (seconds + LIVE_BEFORE))
        return [
            Bar("seconds ÷ optimum", seconds / optimum, 1.15),
            Bar("429 answers ÷ deletions", wasted / max(1, deleted), 0.05),
            Bar("share of live calls with 429", stage.marks.get("live", never), live_bound),
        ]

    return bars


def curve(evidence: Evidence, seconds: float = 10) -> list[float]:
    """Calls per second of the function, over consecutive spans of so many seconds."""
    if not evidence.calls:
        return []
    start = evidence.calls[0]["time"]
    spans = Counter(int((call["time"] - start) // seconds) for call in evidence.calls)
    return [round(spans[span] / seconds, 1) for span in range(max(spans) + 1)]


# ---- faults everywhere ----

MANY = 10_000


async def random_faults_30(stage: Stage) -> None:
    """10,000 messages while 30 % of all calls fail, in every way, and 1 % can never succeed."""
    # Each 429 holds up the whole process for a second: as often as the others, they would be all
    # that is measured.
    throttle = {"fault": "status", "status": 429, "code": "429", "retry_after": 1}
    await _random_faults(stage, MANY, {**throttle, "probability": 0.002, "method": "DELETE"})


async def random_faults_short(stage: Stage) -> None:
    """The same with 200 messages: what `make test` plays."""
    await _random_faults(stage, 200)


async def _random_faults(stage: Stage, count: int, *more: Mapping[str, Any]) -> None:
    never = stage.plan(count // 100, **rejected_end(400, "BadArgument"))
    messages = stage.plan(count - len(never)) + never
    stage.chance.shuffle(messages)
    await stage.break_face(
        *(rejected(each, 400, "BadArgument") for each in never), *more, transient(0.3)
    )
    await stage.publish(messages)


def effort_bar(_: Stage, evidence: Evidence) -> list[Bar]:
    """Calls that each message cost: at most 1 + its injected faults + 1 on average."""
    faults = sum(call["fault"] is not None for call in evidence.calls)
    messages = max(1, len(evidence.published))
    return [Bar("calls per message", len(evidence.calls) / messages, 2 + faults / messages)]


async def malformed_500(stage: Stage) -> None:
    """500 messages of random bytes and random JSON, among 50 good ones."""
    messages = [malformed(stage.chance, stage.id()) for _ in range(500)] + stage.plan(50)
    stage.chance.shuffle(messages)
    await stage.publish(messages)


def malformed(chance: random.Random, message_id: str) -> Published:
    """A message that is wrong in a random way, and what its description must say."""
    content_type: str | None = chance.choice(["application/json", "text/plain", None])
    match chance.randrange(8):
        case 0:
            body, says = b"\xff" + chance.randbytes(chance.randrange(300)), "not UTF-8|UTF-16"
        case 1:
            body, says = b" " * chance.randrange(5), "empty"
        case 2:
            body = bytes(chance.choices(range(32, 127), k=chance.randrange(1, 300)))
            body, says = b"~" + body, "^body: "
        case 3:
            body, says = json.dumps({"sessionId": _json_value(chance, 0)}).encode(), "sessionId"
        case 4:
            body, says = json.dumps({"session": _json_value(chance, 0)}).encode(), "sessionId"
        case 5:
            number = chance.randrange(65_537, 90_000)
            body, says = b'{"sessionId": "a", "x": "' + b"x" * number + b'"}', "bytes, at most"
        case 6:
            body, says = (
                json.dumps({"sessionId": "a" * 40}).encode()[: -chance.randrange(1, 40)],
                "",
            )
        case _:
            content_type = "application/cloudevents+json"
            body, says = json.dumps({"specversion": "1.0", "sessionID": "a"}).encode(), "data"
    return Published(
        message_id=message_id,
        body=body,
        content_type=content_type,
        ends=("MalformedMessage",),
        description=says,
    )


def _json_value(chance: random.Random, depth: int) -> object:
    """Anything but a session id."""
    values: list[object] = [None, True, chance.random(), chance.randrange(10**6), "", "a/b", "é"]
    if depth < 4:
        values += [[_json_value(chance, depth + 1)], {"k": _json_value(chance, depth + 1)}]
    return chance.choice(values)


async def publisher_sends_everything_twice(stage: Stage) -> None:
    """Every message is sent twice under its id, and once more under another one."""
    messages = stage.plan(150)
    await stage.publish(messages)
    await stage.publish(messages, again=True)
    again = [
        Published(message_id=stage.id(), body=each.body, session_id=each.session_id)
        for each in messages
    ]
    stage.published += again
    await stage.publish(again, again=True)


def duplicates_bar(_: Stage, evidence: Evidence) -> list[Bar]:
    """Every second message under the same id was dropped."""
    dropped = sum(event["event"] == "duplicate_dropped" for event in evidence.ledger)
    return [Bar("duplicates not dropped", len(evidence.published) / 2 - dropped, 0)]


# ---- processes that end ----


async def host_killed(stage: Stage) -> None:
    """The host is killed (SIGKILL) five times in mid-flight, with calls and retries under way."""
    await stage.break_face(transient(0.2))
    await stage.face("POST", "/_local/config", {"latency_seconds": 0.1})
    await stage.publish(stage.plan(250))
    [host] = stage.cloud.hosts
    for _ in range(5):
        await stage.until(lambda: _in_flight(stage, 4))
        await asyncio.sleep(stage.chance.uniform(0.2, 1.2))
        await stage.restart(host, kill=True)


async def _in_flight(stage: Stage, count: int) -> bool:
    return (await stage.queue())["locked"] >= count


async def broker_restarted(stage: Stage) -> None:
    """The broker is stopped twice and killed twice, and comes back on the same port."""
    await stage.break_face(transient(0.2))
    await stage.publish(stage.plan(300))
    for kill in (False, True, False, True):
        await asyncio.sleep(stage.chance.uniform(0.8, 1.6))
        await stage.restart(stage.cloud.broker, kill=kill)


async def two_instances(stage: Stage) -> None:
    """Two hosts share one queue, and one in five calls fails."""
    await stage.break_face(transient(0.2))
    await stage.publish(stage.plan(400))


async def four_fresh_hosts(stage: Stage) -> None:
    """Four hosts start together into a full queue, at a Face API that allows 10 calls/s in all."""
    await stage.publish(stage.plan(250))
    stage.most_hosts = 4
    await asyncio.gather(*(stage.add_host() for _ in range(4)))


def fresh_bars(_: Stage, evidence: Evidence) -> list[Bar]:
    """What newcomers may do to a quota: of the first ten seconds' calls, two seconds' worth."""
    start = evidence.calls[0]["time"] if evidence.calls else 0.0
    early = [call for call in evidence.calls if call["time"] < start + 10]
    throttled = sum(call["status"] == 429 for call in evidence.calls)
    seconds = (evidence.calls[-1]["time"] - start) if evidence.calls else float("inf")
    return [
        Bar("429 answers in the first 10 s", sum(x["status"] == 429 for x in early), 2 * QUOTA),
        Bar("429 answers ÷ messages", throttled / len(evidence.published), 0.15),
        # The shares are not equal, and the slowest host keeps the messages that it has in hand.
        Bar("seconds ÷ optimum", seconds / (len(evidence.published) / QUOTA), 3),
    ]


async def poison_kills_process(stage: Stage) -> None:
    """One message's processing kills the process each time; the platform starts it anew."""
    [poison] = stage.plan(
        1, ends=("MaxDeliveryCountExceeded",), description="could not be consumed after 10 "
    )
    await stage.publish([*stage.plan(40), poison, *stage.plan(40)])
    assert poison.session_id is not None
    host = await stage.add_host("local.soak.fatal_host", FATAL_SESSION_ID=poison.session_id)

    async def ended() -> bool:
        assert host.process is not None
        if host.process.returncode is not None:
            await stage.restart(host, kill=True)
        return await stage.left() == 0

    await stage.until(ended)


async def drain_on_sigterm(stage: Stage) -> None:
    """SIGTERM while calls are under way, some of them longer than the grace of 2 s allows."""
    slow = stage.plan(6)
    await stage.break_face(
        *({"fault": "latency", "seconds": 10, "session_id": x.session_id, "count": 1} for x in slow)
    )
    await stage.face("POST", "/_local/config", {"latency_seconds": 0.4})
    host = Service(
        "local.host",
        ["--app", str(stage.cloud.options.app.resolve()), "--drain-seconds", "2"],
        stage.cloud.folder / "host-0.log",
        {**stage.cloud.environment},
    )
    stage.cloud.hosts.append(host)
    stage.starts += 1
    await host.start()
    await stage.publish([*slow, *stage.plan(200)])
    await stage.ended(20)
    began = time.monotonic()
    await host.stop()
    stage.marks["stop"] = time.monotonic() - began
    # At this very moment: what the broker has seen completed must be gone at the Face API.
    evidence = await stage.evidence()
    sessions = {each.message_id: each.session_id for each in stage.published}
    stage.marks["completed, not deleted"] = sum(
        event["event"] == "completed" and sessions[event["message_id"]] in evidence.sessions
        for event in evidence.ledger
    )
    stage.marks["left at the stop"] = evidence.in_queue
    await host.start()
    stage.starts += 1


def drain_bars(stage: Stage, _: Evidence) -> list[Bar]:
    """What a shutdown may leave behind."""
    never = float("inf")
    not_deleted = stage.marks.get("completed, not deleted", never)
    return [
        Bar("seconds from SIGTERM to the end of the process", stage.marks.get("stop", never), 4),
        Bar("completed at that moment, but not deleted", not_deleted, 0),
    ]


# ---- the broker refuses ----


async def lock_expiry_during_hang(stage: Stage) -> None:
    """Locks cannot be renewed while the Face API takes longer to answer than a lock lasts."""
    never = stage.plan(8, **rejected_end(400, "BadArgument"))
    await stage.break_face(*(rejected(each, 400, "BadArgument") for each in never))
    await stage.break_broker(operation="renew-lock", count=None)
    await stage.face("POST", "/_local/config", {"latency_seconds": 3})
    await stage.publish([*never, *stage.plan(12)])
    await asyncio.sleep(5)
    await stage.face("POST", "/_local/config", {"latency_seconds": 0})
    await stage.mend_broker()


def locks_bar(_: Stage, evidence: Evidence) -> list[Bar]:
    """The scenario is worth nothing unless locks were lost."""
    lost = sum(event["event"] == "lock_expired" for event in evidence.ledger)
    return [Bar("no lock was lost", float(lost == 0), 0)]


async def scheduling_refused(stage: Stage) -> None:
    """The broker refuses to schedule retry copies for 8 s, then performs some without an answer."""
    messages = stage.plan(60)
    conflict = {"fault": "status", "status": 409, "code": "ConcurrentOperationConflict"}
    later = {**conflict, "retry_after": 1, "count": 2}
    await stage.break_face(*({**later, "session_id": each.session_id} for each in messages))
    await stage.break_broker(
        operation="schedule-message", count=None, condition="com.microsoft:server-busy"
    )
    await stage.publish(messages)
    await asyncio.sleep(8)
    await stage.mend_broker()
    await stage.break_broker(operation="schedule-message", count=3, performed=True, drop=True)


async def dead_letter_refused(stage: Stage) -> None:
    """The broker refuses to dead-letter for 8 s, then performs some without an answer."""
    never = stage.plan(20, **rejected_end(403, "UnsupportedFeature"))
    await stage.break_face(*(rejected(each, 403, "UnsupportedFeature") for each in never))
    await stage.break_broker(
        operation="update-disposition", count=None, condition="com.microsoft:server-busy"
    )
    bad = [malformed(stage.chance, stage.id()) for _ in range(20)]
    messages = [*never, *bad, *stage.plan(40)]
    stage.chance.shuffle(messages)
    await stage.publish(messages)
    await asyncio.sleep(8)
    await stage.mend_broker()
    await stage.break_broker(operation="update-disposition", count=3, performed=True, drop=True)


# ---- time ----


async def clock_step(stage: Stage) -> None:
    """The function's wall clock steps hours ahead and minutes back, and back to right."""
    await stage.break_face(transient(0.3))
    offset = stage.cloud.folder / "clock-offset"
    offset.write_text("0")
    await stage.add_host("local.soak.stepped_host", CLOCK_OFFSET_FILE=str(offset))
    publishing = asyncio.create_task(stage.publish(stage.plan(240), per_second=20))
    for minutes in (0, 120, -20, 3, -3, 0):
        offset.write_text(str(60 * minutes))
        await asyncio.sleep(2)
    await publishing


_REAL: dict[str, Any] = {"face_rate": QUOTA, "face_burst": 10, "queue_properties": {}}
_DEFAULTS = {"FACE_MAX_CALLS_PER_SECOND": "8"}

SCENARIOS: tuple[Scenario, ...] = (
    # The longest first: the others find their place beside them.
    Scenario(
        name="storm_steady",
        play=storm_steady,
        limit=300,
        settings=_DEFAULTS,
        options=_REAL,
        bars=storm_bars(0.02),
    ),
    Scenario(
        name="storm_poisson",
        play=storm_poisson,
        limit=300,
        settings=_DEFAULTS,
        options=_REAL,
        bars=storm_bars(0.04),
    ),
    Scenario(
        name="random_faults_30",
        play=random_faults_30,
        limit=420,
        settings=with_settings(FACE_MAX_CALLS_PER_SECOND=500),
        options={"queue_properties": {}, "hosts": 2},
        bars=effort_bar,
    ),
    Scenario(
        name="face_503_then_recovery",
        play=face_503_then_recovery,
        limit=150,
        settings=with_settings(
            FACE_MAX_CALLS_PER_SECOND=OUTAGE_RATE,
            CIRCUIT_BREAKER_COOL_DOWN_SECONDS=OUTAGE_COOL_DOWN,
            RETRY_IN_PLACE_MAX_SECONDS=0.5,
            RETRY_BACKOFF_BASE_SECONDS=0.2,
            RETRY_BACKOFF_CAP_SECONDS=90,
        ),
        options={"queue_properties": {"lockDuration": "PT6S"}},
        bars=drain_bar(OUTAGE_RATE, OUTAGE_COOL_DOWN),
    ),
    Scenario(
        name="four_fresh_hosts",
        play=four_fresh_hosts,
        limit=90,
        settings=_DEFAULTS,
        options={**_REAL, "hosts": 0},
        bars=fresh_bars,
    ),
    Scenario(
        name="poison_kills_process",
        play=poison_kills_process,
        limit=120,
        options={"hosts": 0},
    ),
    Scenario(
        name="token_endpoint_down_then_up",
        play=token_endpoint_down_then_up,
        limit=60,
        settings=with_settings(FACE_MAX_CALLS_PER_SECOND=OUTAGE_RATE),
        bars=drain_bar(OUTAGE_RATE, COOL_DOWN),
    ),
    Scenario(
        name="tokens_refused_then_accepted",
        play=tokens_refused_then_accepted,
        limit=60,
        settings=with_settings(FACE_MAX_CALLS_PER_SECOND=OUTAGE_RATE),
        bars=drain_bar(OUTAGE_RATE, COOL_DOWN),
    ),
    Scenario(
        name="host_killed",
        play=host_killed,
        limit=90,
        settings=with_settings(RETRY_IN_PLACE_MAX_SECONDS=COPIES),
    ),
    Scenario(
        name="broker_restarted",
        play=broker_restarted,
        limit=90,
        settings=with_settings(RETRY_IN_PLACE_MAX_SECONDS=COPIES),
        options={"durable_broker": True},
    ),
    Scenario(
        name="lock_expiry_during_hang",
        play=lock_expiry_during_hang,
        limit=60,
        settings=with_settings(FACE_TOTAL_TIMEOUT_SECONDS=5),
        options={"queue_properties": {"lockDuration": "PT2S"}},
        bars=locks_bar,
    ),
    Scenario(
        name="publisher_sends_everything_twice",
        play=publisher_sends_everything_twice,
        limit=60,
        bars=duplicates_bar,
    ),
    Scenario(name="scheduling_refused", play=scheduling_refused, limit=90),
    Scenario(name="dead_letter_refused", play=dead_letter_refused, limit=90),
    Scenario(
        name="clock_step",
        play=clock_step,
        limit=60,
        settings=with_settings(RETRY_IN_PLACE_MAX_SECONDS=COPIES),
        options={"hosts": 0},
    ),
    Scenario(name="malformed_500", play=malformed_500, limit=60),
    Scenario(
        name="two_instances",
        play=two_instances,
        limit=60,
        settings=with_settings(RETRY_IN_PLACE_MAX_SECONDS=COPIES),
        options={"hosts": 2},
    ),
    Scenario(
        name="drain_on_sigterm",
        play=drain_on_sigterm,
        limit=60,
        settings=with_settings(FACE_TOTAL_TIMEOUT_SECONDS=20),
        options={"hosts": 0},
        bars=drain_bars,
    ),
)

SHORT = Scenario(name="random_faults_short", play=random_faults_short, limit=50, bars=effort_bar)

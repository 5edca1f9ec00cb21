"""The fault suite's checker, which must be able to fail, and a few of its scenarios."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import local.soak.__main__ as soak
from local.soak.__main__ import main, play
from local.soak.invariants import (
    GONE,
    Evidence,
    LogLine,
    Published,
    Threshold,
    check,
    most_in_window,
    open_intervals,
)
from local.soak.results import Result
from local.soak.scenarios import SCENARIOS, SHORT, Scenario
from local.soak.scenarios.publishers import KINDS, types_thresholds

NAMES = {scenario.name: scenario for scenario in SCENARIOS}


def event(message_id: str, what: str) -> dict[str, Any]:
    return {"message_id": message_id, "event": what}


def outcome(message_id: str, what: str, time: float = 0.0) -> LogLine:
    record = {"event": "revocation", "message_id": message_id, "outcome": what}
    return LogLine(0, time, record)


def call(time: float, status: int | None = 200) -> dict[str, Any]:
    return {"time": time, "status": status}


GOOD = Evidence(
    published=[
        Published(message_id="a", body=b"", session_id="A"),
        Published(message_id="b", body=b"", session_id="B"),
        Published(message_id="c", body=b"", ends=("MalformedMessage",), description="^body: "),
    ],
    ledger=[
        *(event("a", "enqueued"), event("a", "completed")),
        # b was tried, and a copy of it brought it to its end.
        *(event("b", "enqueued"), event("b:1:1", "scheduled"), event("b", "completed")),
        *(event("b:1:1", "enqueued"), event("b:1:1", "completed")),
        *(event("c", "enqueued"), event("c", "dead_lettered")),
    ],
    dead_letters=[{"message_id": "c", "reason": "MalformedMessage", "description": "body: bad"}],
    in_queue=0,
    sessions=frozenset({"of another"}),
    calls=[call(1), call(2, 503), call(3)],
    lines=[
        outcome("a", "deleted"),
        outcome("b", "retry_scheduled"),
        outcome("b:1:1", "already_gone"),
        outcome("c", "dead_lettered"),
    ],
    calls_per_second=1,
    processes=1,
    starts=1,
)


def test_checker_accepts_what_is_right() -> None:
    """Evidence in which every revocation ended once, at the right place, passes."""
    verdict = check(GOOD)
    assert verdict.ok, verdict.problems
    assert (verdict.published, verdict.completed, verdict.dead_lettered) == (3, 2, 1)
    assert not verdict.problems


def without(evidence: Evidence, message_id: str, what: str) -> Evidence:
    kept = [each for each in evidence.ledger if each != event(message_id, what)]
    return replace(evidence, ledger=kept)


def also(evidence: Evidence, message_id: str, what: str) -> Evidence:
    return replace(evidence, ledger=[*evidence.ledger, event(message_id, what)])


def letter(evidence: Evidence, **changes: str | None) -> Evidence:
    return replace(evidence, dead_letters=[{**evidence.dead_letters[0], **changes}])


DOCTORED: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "vanished": ("lost", lambda e: replace(e, ledger=e.ledger[2:])),
    "copy never made": (
        "lost",
        lambda e: replace(e, ledger=[x for x in e.ledger if x["message_id"] != "b:1:1"]),
    ),
    "copy dropped by the broker": (
        "lost",
        lambda e: also(without(e, "b:1:1", "completed"), "b:1:1", "expired"),
    ),
    "still queued": ("stuck", lambda e: without(e, "a", "completed")),
    "copy still queued": ("stuck", lambda e: without(e, "b:1:1", "completed")),
    "queue not empty": ("stuck", lambda e: replace(e, in_queue=1)),
    "completed twice": ("ended twice", lambda e: also(e, "a", "completed")),
    "completed and dead-lettered": ("ended twice", lambda e: also(e, "c:1:1", "dead_lettered")),
    "dead-lettered as well": ("ended twice", lambda e: also(e, "a:1:1", "dead_lettered")),
    "dead letter removed": ("ended twice", lambda e: replace(e, dead_letters=[])),
    "message from nowhere": ("messages from nowhere", lambda e: also(e, "x", "enqueued")),
    "not deleted": (
        "completed although the session exists",
        lambda e: replace(e, sessions=frozenset({"B"})),
    ),
    "given up, though transient": (
        "ended where it should not",
        lambda e: replace(e, published=[*e.published[:2], replace(e.published[2], ends=(GONE,))]),
    ),
    "wrong reason": (
        "ended where it should not",
        lambda e: letter(e, reason="MaxDeliveryCountExceeded"),
    ),
    "completed, though malformed": (
        "ended where it should not",
        lambda e: replace(e, published=[replace(e.published[0], ends=("X",)), *e.published[1:]]),
    ),
    "wrong description": (
        "dead-lettered with an untrue reason",
        lambda e: letter(e, description="something"),
    ),
    "no description": (
        "dead-lettered with an untrue reason",
        lambda e: letter(e, description=None),
    ),
    "completed without a word": (
        "dead-lettered with an untrue reason",
        lambda e: replace(e, lines=e.lines[1:]),
    ),
    "too many calls": (
        "calls in the busiest 10 s",
        lambda e: replace(e, calls=[call(5 + number / 2) for number in range(20)]),
    ),
    "calls while open": (
        "calls while the breaker was open, but for probes",
        lambda e: replace(
            e,
            lines=[
                *e.lines,
                LogLine(0, 0.5, {"event": "circuit_open"}),
                LogLine(0, 1.9, {"event": "circuit_half_open"}),
                LogLine(0, 2.5, {"event": "circuit_closed"}),
            ],
        ),
    ),
}


@pytest.mark.parametrize("name", DOCTORED)
def test_checker_finds_what_is_wrong(name: str) -> None:
    """Evidence with one thing wrong fails the threshold that is about it."""
    threshold, doctor = DOCTORED[name]
    verdict = check(doctor(GOOD))
    assert not verdict.ok
    assert threshold in {each.name for each in verdict.thresholds if not each.ok}


def test_redundant_end_after_a_crash_is_harmless() -> None:
    """A copy that finds its session gone, after its original had deleted it, is counted and allowed."""
    again = replace(
        also(also(GOOD, "a:1:1", "scheduled"), "a:1:1", "completed"),
        lines=[*GOOD.lines, outcome("a:1:1", "already_gone")],
    )
    verdict = check(again)
    assert verdict.ok, verdict.problems
    assert verdict.redundant == 1


def test_busiest_window_is_found() -> None:
    """The window slides: a burst across a full second counts as one."""
    assert most_in_window([0.0, 0.9, 1.0, 1.1, 5.0], 1.0) == 3
    assert most_in_window([], 1.0) == 0


def test_open_breaker_ends_with_its_process() -> None:
    """An opening without a closing lasts until the last line of that process."""
    lines = [
        LogLine(0, 1.0, {"event": "circuit_open"}),
        LogLine(1, 1.5, {"event": "circuit_open"}),
        LogLine(1, 2.0, {"event": "circuit_half_open"}),
        LogLine(1, 2.5, {"event": "circuit_closed"}),
        LogLine(0, 9.0, {"event": "revocation"}),
    ]
    assert sorted(open_intervals(lines)) == [(1.0, 9.0, 0), (1.5, 2.5, 1)]


UNSTATED = replace(
    GOOD,
    published=[
        Published(message_id="a", body=b'{"sessionId": "A"}', session_id="A"),
        Published(
            message_id="b", body=b'{"sessionId": "B", "sessionType": "liveness"}', session_id="B"
        ),
    ],
    sessions=frozenset(f"of nobody {number}" for number in range(50)),
    calls=[
        {"session_id": "A", "path": "/detectLivenessWithVerify/A", "code": "SessionNotFound"},
        {"session_id": "A", "path": "/detectLiveness/A", "code": None},
        {"session_id": "B", "path": "/detectLiveness/B", "code": None},
    ],
    lines=[
        LogLine(0, 0.0, {"session_id": "A", "outcome": "already_gone", "asked": [*KINDS]}),
        LogLine(0, 0.0, {"session_id": "B", "outcome": "deleted", "asked": ["liveness"]}),
    ],
)
EARLY = LogLine(0, 0.0, {"session_id": "A", "outcome": "already_gone", "asked": [KINDS[0]]})


@pytest.mark.parametrize(
    ("broken", "changes"),
    [
        (None, {}),
        ("successes reported for a session that exists", {"sessions": UNSTATED.sessions | {"B"}}),
        ("successes reported before both types were asked", {"lines": [EARLY]}),
        ("calls for a type that need not be asked", {"calls": UNSTATED.calls[1:]}),
        (
            "calls for a type that need not be asked",
            {"calls": [{**UNSTATED.calls[0], "session_id": "B"}]},
        ),
        ("sessions deleted that no message named", {"sessions": frozenset()}),
    ],
)
def test_a_false_success_and_a_call_in_vain_are_found(
    broken: str | None, changes: dict[str, Any]
) -> None:
    """The thresholds of messages without a type can be missed, each by what it is about."""
    stage: Any = SimpleNamespace(marks={"hosts killed, stopped or drained": 3})
    thresholds = types_thresholds(stage, replace(UNSTATED, **changes))
    assert [each.name for each in thresholds if not each.ok] == ([broken] if broken else [])


async def test_scenario_holds() -> None:
    """Whatever fails on the way, each revocation ends once and has its receipt, and a true one."""
    result = await play(SHORT, seed=1, receipts=True)
    assert result.ok, (
        result.problems,
        [threshold for threshold in result.thresholds if not threshold.ok],
    )
    assert result.figures["receipts"]["enqueued"] == result.verdict.published
    assert "receipts missing" in {threshold.name for threshold in result.thresholds}


async def test_scenario_out_of_time_is_a_failure() -> None:
    """A scenario that does not come to its end within its limit is not ok, and says what is stuck."""

    async def never(stage: Any) -> None:
        await stage.break_face({"fault": "hang", "seconds": 30})
        await stage.publish(stage.plan(3))
        await asyncio.sleep(60)

    result = await play(Scenario(name="never", play=never, limit=2), seed=1)
    assert not result.ok
    assert result.verdict.stuck == 3
    assert result.as_json()["ok"] is False


async def test_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` says what each scenario does, and plays none."""
    assert await main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name[:20] in shown for name in NAMES)


@pytest.mark.parametrize("option", ["--json", "--html"])
async def test_an_output_file_is_checked_before_anything_is_played(
    capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """A file that cannot be written ends with code 2 and the reason."""
    with pytest.raises(SystemExit) as ended:
        await main([option, "/no/such/x"])
    assert ended.value.code == 2
    assert f"{option}: cannot write /no/such/x: No such file" in capsys.readouterr().err


async def test_soak_writes_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page and the JSON show the thresholds of all scenarios, and the page draws long ones."""
    calls = [0.1, 4.5, 5.0, 5.1, 4.9, 5.0, 0.4]
    played = Result(
        name="malformed_500",
        seconds=70,
        verdict=check(GOOD),
        thresholds=[
            Threshold("seconds ÷ optimum", 1.04, 1.15),
            Threshold("lost", 1, 0),
            Threshold("live", float("inf"), 1),
        ],
        problems=["b: <neither> completed nor [dead-lettered]"],
        figures={"calls": 300, "calls_per_second_by_10_s": calls},
    )

    async def play(*_: object, **__: object) -> Result:
        return played

    monkeypatch.setattr(soak, "play", play)
    page, document = tmp_path / "soak.html", tmp_path / "soak.json"
    arguments = ["--scenario", played.name, "--html", str(page), "--json", str(document)]
    assert await main(arguments) == 1
    html = page.read_text()
    assert html.count("<svg") == 2
    assert "b: &lt;neither&gt; completed nor [dead-lettered]" in html
    assert '<span class="bad">NOT all thresholds are met</span>' in html
    assert [threshold["ok"] for threshold in json.loads(document.read_text())["thresholds"]] == [
        True,
        False,
        False,
    ]
    shown = capsys.readouterr().out
    assert "b: <neither> completed nor [dead-lettered]" in shown
    assert "1 scenario, seed 1" in shown

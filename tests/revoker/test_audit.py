"""`revoker audit`: what the Face API says about many sessions."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from revoker.audit import Pace
from revoker.evidence import verify
from revoker.face import Face
from tests.revoker.clouds import CloudThread
from tests.revoker.conftest import Ran, revoker

LIVE = {"livenessWithVerify": "verify-lives", "liveness": "plain-lives"}


@pytest.fixture
def lives(cloud: CloudThread) -> CloudThread:
    """A cloud with one session of each type."""
    for kind, session_id in LIVE.items():
        cloud.ask(cloud.cloud.face, "POST", "/_local/sessions", {"ids": [session_id], "type": kind})
    return cloud


def audit(cloud: CloudThread, path: Path, *arguments: str, **more: str) -> Ran:
    how = ("audit", "--rate", "100", "--evidence", str(path), *arguments)
    return revoker({**cloud.cloud.environment, **more}, *how)


def asked(cloud: CloudThread) -> list[str]:
    """The paths of all GETs so far."""
    calls = cloud.ask(cloud.cloud.face, "GET", "/_local/calls")
    return [call["path"] for call in calls if call["method"] == "GET"]


def test_finds_what_lives_under_either_type(lives: CloudThread, tmp_path: Path) -> None:
    """The exit code is 1, and each session has a line with what was asked and answered, and who did."""
    path = tmp_path / "evidence"
    ran = audit(lives, path, "gone", *LIVE.values(), "--json")
    assert ran.code == 1
    assert ran.json["alive"] == {session_id: kind for kind, session_id in LIVE.items()}
    evidence = verify(path)
    assert ran.json["seal"] == evidence.seal
    gone, living = evidence.sessions["gone"], evidence.sessions["plain-lives"]
    assert [each["by"] for each in gone["asked"]] == ["id"] * 2
    assert [each["type"] for each in gone["asked"]] == ["livenessWithVerify", "liveness"]
    assert [each["code"] for each in gone["asked"]] == ["SessionNotFound"] * 2
    assert all(each["request_id"] for each in gone["asked"])
    assert (gone["answer"], living["answer"]) == ("not_found", "exists")
    assert living["session_type"] == "liveness"
    assert gone["api_version"] == lives.cloud.environment["FACE_API_VERSION"]
    assert (gone["who"]["name"], len(gone["who"])) == ("00000000-0000-0000-0000-000000000001", 4)


def test_is_content_if_nothing_lives(cloud: CloudThread, tmp_path: Path) -> None:
    """The exit code is 0, also of a verification; what was done is in the record."""
    record = tmp_path / "record"
    ran = audit(cloud, tmp_path / "evidence", "gone", "--record", str(record))
    assert ran.code == 0
    seal = ran.out.split()[-1]
    checked = revoker({}, "audit", "--verify", str(tmp_path / "evidence"))
    assert checked.code == 0
    assert seal in checked.out
    (line,) = [json.loads(each) for each in record.read_text().splitlines()]
    assert (line["done"], line["seal"], line["asked"]) == ("audited", seal, 1)


def test_a_verification_fails_for_what_lives_and_for_what_was_changed(
    lives: CloudThread, tmp_path: Path
) -> None:
    """The first ends with 1; the second is no evidence, and ends with 2, as any file that is wrong."""
    path = tmp_path / "evidence"
    audit(lives, path, *LIVE.values())
    true = revoker({}, "audit", "--verify", str(path), "--json")
    assert (true.code, true.json["verified"]) == (1, True)
    path.write_bytes(path.read_bytes().replace(b"exists", b"gone"))
    forged = revoker({}, "audit", "--verify", str(path))
    assert forged.code == 2
    assert "Line 1: it was changed" in forged.err


def test_an_interrupted_audit_asks_about_each_session_once(
    lives: CloudThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on where it was, and its lines belong to one operation."""
    ids = [*(f"once-{number}" for number in range(10)), *LIVE.values()]
    path, before = tmp_path / "evidence", len(asked(lives))
    call = Face.call
    left = 0

    async def interrupted(self: Face, *arguments: Any, **more: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            raise asyncio.CancelledError  # as Ctrl-C does
        return await call(self, *arguments, **more)

    monkeypatch.setattr(Face, "call", interrupted)
    for calls in (7, 9, 5):
        left = calls
        assert audit(lives, path, *ids, "--api-version", "v1.2").code == 130
    left = 0
    assert audit(lives, path, *ids, "--api-version", "v1.2").code == 1
    evidence = verify(path)
    assert list(evidence.sessions) == ids
    assert evidence.alive == {session_id: kind for kind, session_id in LIVE.items()}
    assert len({line["operation"] for line in evidence.sessions.values()}) == 1
    count = Counter(each.rpartition("/")[2] for each in asked(lives)[before:])
    # The second call of 4, 8 and 10 was interrupted, so that the first one was made again.
    assert {count[each] for each in ids} <= {1, 2, 3}
    assert count.total() <= 2 * len(ids) + 3


@pytest.fixture
def many(lives: CloudThread) -> Iterator[CloudThread]:
    """A cloud with more sessions than one call lists."""
    more = {"count": 1100, "seed": 1}
    lives.ask(lives.cloud.face, "POST", "/_local/sessions", more)
    yield lives
    lives.ask(lives.cloud.face, "DELETE", "/_local/sessions")


GONE = ("gone-1", "gone-2", "zone-3", "0-gone")


def test_many_sessions_are_looked_up_in_lists(many: CloudThread, tmp_path: Path) -> None:
    """Each type is listed to its end once, and each line names the page that speaks for it."""
    path, before = tmp_path / "evidence", len(asked(many))
    ran = audit(many, path, *GONE, *LIVE.values(), "--json")
    assert ran.json["alive"] == {session_id: kind for kind, session_id in LIVE.items()}
    calls = asked(many)[before:]
    assert len(calls) == 5
    assert all(each.endswith("/sessions") for each in calls)
    evidence = verify(path)
    pages = [line for line in evidence.lines if line["line"] == "list"]
    assert [page["sessions"] for page in pages] == [1000, 101, 0, 1, 0]
    gone, living = evidence.sessions["gone-1"], evidence.sessions["plain-lives"]
    assert [each["by"] for each in gone["asked"]] == ["list", "list"]
    ids = [page["request_id"] for page in pages]
    assert [each["request_id"] for each in gone["asked"]] == [ids[2], ids[4]]
    assert [each["request_id"] for each in living["asked"]] == [ids[2], ids[3]]


@pytest.mark.parametrize("why", ["refused", "too long", "not in this version"])
def test_without_a_whole_list_each_session_is_asked_about(
    why: str, many: CloudThread, tmp_path: Path
) -> None:
    """No session counts as not found because a list was not read to its end."""
    path, before = tmp_path / "evidence", len(asked(many))
    ids, more = [*GONE, *LIVE.values()], {"refused": 1, "too long": 4, "not in this version": 0}
    if why == "refused":
        rule = {"fault": "status", "status": 400, "code": "BadArgument", "count": 1}
        many.ask(many.cloud.face, "POST", "/_local/faults", rule)
    if why == "too long":
        ids = [*GONE[:2], *LIVE.values()]
    version = "v1.2" if why == "not in this version" else "v1.2-preview.1"
    ran = audit(many, path, *ids, "--json", "--api-version", version)
    many.ask(many.cloud.face, "DELETE", "/_local/faults")
    assert ran.json["alive"] == {session_id: kind for kind, session_id in LIVE.items()}
    assert len(asked(many)) - before == more[why] + 2 * len(ids) - 1
    lines = verify(path).sessions.values()
    assert {each["by"] for line in lines for each in line["asked"]} == {"id"}


def test_an_answer_that_leaves_it_open_is_asked_for_again(
    lives: CloudThread, tmp_path: Path
) -> None:
    """A 429, a 503 and a proxy's success are waited out, and no false line is written."""
    for status in (200, 429, 503):
        fault = "html" if status == 200 else "status"
        rule = {"fault": fault, "status": status, "count": 1, "retry_after": 0.1}
        lives.ask(lives.cloud.face, "POST", "/_local/faults", rule)
    ran = audit(lives, tmp_path / "evidence", "plain-lives", "--json")
    lives.ask(lives.cloud.face, "DELETE", "/_local/faults")
    assert ran.json["alive"] == {"plain-lives": "liveness"}


def test_who_may_not_read_gets_no_evidence(cloud: CloudThread, tmp_path: Path) -> None:
    """It ends with what to do, and the file stays open for another try."""
    with cloud.configured(cloud.cloud.face, deny_role=True):
        ran = audit(cloud, tmp_path / "evidence", "gone")
    assert ran.code == 3
    assert "may not read sessions" in ran.err
    assert (tmp_path / "evidence").read_text() == ""


def test_another_version_is_not_mixed_in(cloud: CloudThread, tmp_path: Path) -> None:
    """One file is about one endpoint and one version."""
    path = tmp_path / "evidence"
    audit(cloud, path, "gone")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0])
    ran = audit(cloud, path, "gone", "more", "--api-version", "v1.2")
    assert ran.code == 2
    assert "begun for" in ran.err


def test_takes_the_sessions_of_the_record_and_publishes_what_lives(
    lives: CloudThread, tmp_path: Path
) -> None:
    """The publication has the type under which the session was found, and joins the audit."""
    record, path = str(tmp_path / "record"), tmp_path / "evidence"
    published = revoker(lives.cloud.environment, "publish", "plain-lives", "--record", record)
    assert published.code == 0  # under the wrong type
    whole = Path(record).read_text()
    Path(record).write_text('{"session_id": "../x"}\n' + "[" * 100_000 + "\n" + whole)
    ran = audit(lives, path, "--of-record", "--publish", "--record", record, "--json")
    assert (ran.code, ran.json["published"]) == (1, 1)
    assert ran.json["unreadable"] == ["line 2 of the record", "as a session id: '../x'"]
    assert "2 could not be read" in ran.err
    Path(record).write_text(Path(record).read_text().partition("[\n")[2])
    lines = [json.loads(each) for each in Path(record).read_text().splitlines()]
    *_, last, audited = lines
    assert (last["done"], last["session_type"]) == ("published", "liveness")
    assert last["operation"] == audited["operation"] == verify(path).lines[0]["operation"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("a",), "No file for the evidence"),
        (("--evidence", "e"), "No session id"),
        (("--of-receipts", "--evidence", "e"), "OUTCOME_QUEUE is not set"),
    ],
)
def test_says_what_is_missing(
    cloud: CloudThread, arguments: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    """Nothing is asked."""
    environment = cloud.cloud.environment | {"OUTCOME_QUEUE": ""}
    found = [str(tmp_path / each) if each == "e" else each for each in arguments]
    ran = revoker(environment, "audit", *found)
    assert ran.code == 2
    assert why in ran.err


def test_a_pace_is_never_exceeded() -> None:
    """The first call is made at once; a pause is not made up for by faster calls."""
    pace = Pace(2.0)
    assert [pace.wait(100.0), pace.wait(100.0), pace.wait(100.2)] == pytest.approx([0, 0.5, 0.8])
    assert [pace.wait(200.0), pace.wait(200.0)] == pytest.approx([0, 0.5])

"""`revoker trial` on the local cloud: green as it is, and each seeded fault red at one question."""

import asyncio
import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient

from delete_session.message import History
from local.cloud import Options
from revoker.doctor.runner import State
from revoker.trial.questions import REFUSED_ID, Question, questions
from revoker.trial.report import Report, play
from revoker.trial.stage import LIMIT, PREFIX, Stage
from tests.revoker.clouds import CloudThread
from tests.revoker.conftest import revoker

nightly = pytest.mark.skipif("NIGHTLY" not in os.environ, reason="set NIGHTLY")
OUTCOMES = "session-outcomes"
REFUSED = {"fault": "status", "status": 400, "code": "BadArgument", "method": "DELETE"}
ODD_ID = REFUSED | {"session_id": REFUSED_ID}
"""So that there is an answer that no retry can change."""
FAMILIES = tuple(
    f"{kind} by {version}"
    for version in ("v1.2-preview.1", "v1.2")
    for kind in ("livenessWithVerify", "liveness")
)

# An Azure CLI: its workspace has what the local host has logged since the start of the test, its app is
# that host, and the app's role is what the local Face API does not refuse.
AZ = """\
#!PYTHON
import json, os, signal, sys, urllib.request
LOG, START, HOST, FACE = WHERE
def face(method, *rules):
    body, headers = json.dumps(rules).encode(), {"content-type": "application/json"}
    request = urllib.request.Request(FACE + "/_local/faults", body, headers, method=method)
    urllib.request.urlopen(request)
rows = None
match sys.argv[1:4]:
    case ["functionapp", "list", _]:
        rows = [{"id": "/app", "identity": {"userAssignedIdentities": {"/i": {"principalId": "p"}}}}]
    case ["functionapp", "restart", _]:
        os.kill(HOST, signal.SIGTERM)
    case ["role", "assignment", "list"]:
        row = {"name": "n", "principalId": "p", "roleDefinitionId": "/r"}
        rows = [row | {"id": each, "scope": "/accounts/" + each} for each in ("face", "other")]
    case ["role", "assignment", "delete"]:
        assert sys.argv[4:6] == ["--ids", "face"] and sys.argv[6] == "--output", sys.argv
        face("POST", {"fault": "role_missing", "method": "DELETE"})
    case ["role", "assignment", "create"]:
        face("DELETE")
    case _:
        with open(LOG, errors="replace") as log:
            log.seek(START)
            lines = [each[each.index("{"):] for each in log if " delete_session {" in each]
        if "deployment_fault" in sys.argv[-3]:
            rows = [each for each in lines if "deployment_fault" in each]
        else:
            roots = {json.loads(each).get("root_id", "") for each in lines}
            rows = [{"root_id": root, "seconds": "2.5"} for root in sorted(roots)]
print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def deployed() -> Iterator[CloudThread]:
    """A cloud with a host, receipts, and retries and redeliveries that come soon."""
    options = Options(
        outcome_queue=OUTCOMES,
        settings={"RETRY_INITIAL_DELAY_SECONDS": "0.2", "CIRCUIT_BREAKER_BREAK_SECONDS": "2"},
        queue_properties={"lockDuration": "PT5S"},
    )
    with CloudThread.running(options) as running:
        yield running


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG_WORKSPACE_ID", "00000000-0000-4000-8000-000000000001")
    monkeypatch.setenv("AZURE_FUNCTION_APP_NAME", "app")
    monkeypatch.setenv("FACE_ACCOUNT", "face")


def prepare(deployed: CloudThread, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the faults of an earlier test, and log in."""
    cloud = deployed.cloud
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    if cloud.hosts:
        az = folder / "bin" / "az"
        [host] = cloud.hosts
        assert host.process is not None
        size, endpoint = host.log.stat().st_size, cloud.face.facts["endpoint"]
        where = (str(host.log), size, host.process.pid, endpoint)
        az.write_text(AZ.replace("PYTHON", sys.executable).replace("WHERE", repr(where)))
        az.chmod(stat.S_IRWXU)
    deployed.ask(cloud.broker, "DELETE", "/faults")
    deployed.ask(cloud.face, "DELETE", "/_local/faults")
    deployed.ask(cloud.face, "POST", "/_local/faults", ODD_ID)


type Seed = Callable[[CloudThread, Stage, Path], Any]


def play_seeded(
    deployed: CloudThread,
    folder: Path,
    asked: tuple[str, ...],
    red: str,
    seed: Seed,
    **agreed: bool,
) -> Report:
    """Ask some of the questions; sow the fault when the question that should find it is asked."""

    def sown(question: Question, stage: Stage) -> Question:
        async def probe() -> str:
            await asyncio.to_thread(seed, deployed, stage, folder)
            return await question.probe()

        return replace(question, probe=probe) if question.name == red else question

    async def play_it() -> Report:
        image = folder / "face.jpg"
        image.write_bytes(b"\xff\xd8")
        async with Stage.open(os.environ, patience=5, verify_image=image) as stage:
            every = questions(stage, sessions=3, **{"burst": False, **agreed})
            some = [sown(each, stage) for each in every if each.name in asked]
            return await play(stage, some, folder / "record.jsonl")

    return asyncio.run(play_it())


def tell_face(*rules: dict[str, Any]) -> Seed:
    def sow(deployed: CloudThread, _stage: Stage, _folder: Path) -> None:
        deployed.ask(deployed.cloud.face, "DELETE", "/_local/faults")
        deployed.ask(deployed.cloud.face, "POST", "/_local/faults", list(rules))

    return sow


def refuse(operation: str) -> Seed:
    fault = {"operation": operation, "count": None}
    return lambda deployed, _stage, _folder: deployed.ask(
        deployed.cloud.broker, "POST", "/faults", fault
    )


def take_receipts(deployed: CloudThread, _stage: Stage, _folder: Path) -> None:
    with (
        ServiceBusClient.from_connection_string(deployed.cloud.connection_string) as client,
        client.get_queue_receiver(OUTCOMES) as receiver,
    ):
        while some := receiver.receive_messages(100, max_wait_time=1):
            for each in some:
                receiver.complete_message(each)


def forget_sessions(deployed: CloudThread, _stage: Stage, _folder: Path) -> None:
    deployed.ask(deployed.cloud.face, "DELETE", "/_local/sessions")


def lose_a_line(_deployed: CloudThread, stage: Stage, folder: Path) -> None:
    az = folder / "bin" / "az"
    az.write_text(az.read_text().replace("sorted(roots)", f"sorted(roots - {{'{stage.run}1'}})"))
    stage.patience = 0.2


FAULTS: dict[str, tuple[tuple[str, ...], Seed]] = {
    # the question that finds it: what is asked besides, and the fault
    "revocation": (
        (*FAMILIES, "retry copy"),
        tell_face({"fault": "role_missing", "method": "DELETE"}),
    ),
    "malformed": (("revocation", "not retryable"), refuse("update-disposition")),
    "not retryable": (("malformed",), tell_face(ODD_ID | {"count": 1})),
    "retry copy": (("revocation", "duplicate", "many at once"), tell_face(REFUSED | {"count": 1})),
    "many at once": (("revocation", "live session"), tell_face(REFUSED | {"count": 1})),
    "receipts": (("revocation", "malformed", "audit lines"), take_receipts),
    "live session": (("revocation", "audit lines"), forget_sessions),
    "audit lines": (("revocation", "receipts"), lose_a_line),
}
CHEAP = ("revocation", "not retryable", "receipts", "live session")


@pytest.mark.parametrize(
    "red", [pytest.param(each, marks=() if each in CHEAP else nightly) for each in FAULTS]
)
def test_a_fault_turns_its_question_red_and_no_other(
    red: str, deployed: CloudThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails later because of it is not asked."""
    others, seed = FAULTS[red]
    prepare(deployed, tmp_path, monkeypatch)
    report = play_seeded(deployed, tmp_path, ("login", red, *others), red, seed)
    assert report.states(State.FAILED) == [red], report.markdown()


def test_other_family_that_is_unseen_names_the_right_version(
    deployed: CloudThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sessions of the other version are red, and the report begins with what to do."""
    prepare(deployed, tmp_path, monkeypatch)
    with deployed.configured(deployed.cloud.face, separate_families=True):
        report = play_seeded(deployed, tmp_path, ("login", *FAMILIES), FAMILIES[0], lambda *_: None)
    assert report.states(State.FAILED) == list(FAMILIES[2:])
    advice = report.markdown().partition("\n> ")[2].partition("\n")[0]
    assert "FACE_API_VERSION must match the service that creates sessions" in advice
    assert "Set it to v1.2" in advice


def test_what_the_login_may_not_ask_is_not_red(
    deployed: CloudThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a right on the Face resource, nothing is asked, and the report says why."""
    prepare(deployed, tmp_path, monkeypatch)
    asked = ("login", "revocation", "malformed")
    with deployed.configured(deployed.cloud.face, deny_role=True):
        report = play_seeded(deployed, tmp_path, asked, "", lambda *_: None)
    assert report.states(State.SKIPPED) == list(asked)
    assert "you cannot create a liveness session" in report.markdown()
    assert "PermissionDenied" in report.markdown()


def test_an_error_that_was_not_foreseen_does_not_prevent_the_report(
    deployed: CloudThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question is red, and the rest goes on."""
    prepare(deployed, tmp_path, monkeypatch)

    def fail(*_: object) -> None:
        raise KeyError("sessionId")

    report = play_seeded(deployed, tmp_path, ("login", "malformed"), "login", fail)
    assert report.states(State.FAILED) == ["login"]
    assert "KeyError: 'sessionId'" in report.markdown()


@nightly
def test_queue_without_duplicate_detection_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold two scheduled copies of one message."""
    options = Options(hosts=0, queue_properties={"requiresDuplicateDetection": False})
    with CloudThread.running(options) as cloud:
        prepare(cloud, tmp_path, monkeypatch)
        asked = ("login", "duplicate", "live session")
        report = play_seeded(cloud, tmp_path, asked, "duplicate", lambda *_: None)
    assert report.states(State.FAILED) == ["duplicate"]
    assert not report.left


@nightly
@pytest.mark.parametrize("can_schedule", [True, False])
def test_a_burst_of_live_calls_provokes_a_retry(
    can_schedule: bool, deployed: CloudThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is scheduled and finished, or found to be refused."""
    prepare(deployed, tmp_path, monkeypatch)
    if not can_schedule:
        monkeypatch.setattr("revoker.trial.questions._BURST_SECONDS", 10.0)
    seed = (lambda *_: None) if can_schedule else refuse("schedule-message")
    with deployed.configured(deployed.cloud.face, limit="10/1"):
        asked = ("login", "revocation", "throttled", "live session")
        report = play_seeded(deployed, tmp_path, asked, "throttled", seed, burst=True)
    assert report.states(State.FAILED) == ([] if can_schedule else ["throttled"])
    assert len(report.states(State.OK)) == (4 if can_schedule else 3), report.markdown()


def change_az(folder: Path, before: str, after: str) -> None:
    az = folder / "bin" / "az"
    assert before in az.read_text()
    az.write_text(az.read_text().replace(before, after))


def test_disturbances_are_announced_first(
    deployed: CloudThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked of a deployment whose operator does not agree."""
    prepare(deployed, tmp_path, monkeypatch)
    calls = len(deployed.ask(deployed.cloud.face, "GET", "/_local/calls"))
    ran = revoker({**os.environ}, "trial", "--disturb", stdin="n\n")
    assert ran.code == 1
    assert "removes the app's role" in ran.err
    assert len(deployed.ask(deployed.cloud.face, "GET", "/_local/calls")) == calls


@nightly
@pytest.mark.parametrize("starts", [True, False])
def test_a_restart_loses_nothing_unless_the_app_stays_away(
    starts: bool, deployed: CloudThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app is restarted while revocations are under way."""
    prepare(deployed, tmp_path, monkeypatch)
    monkeypatch.setattr("revoker.trial.disturbances._RESTART_SECONDS", 25.0 if starts else 2.0)
    [host] = deployed.cloud.hosts
    process = host.process
    assert process is not None

    async def started() -> None:
        await process.wait()
        await host.start()

    starting = threading.Thread(target=deployed.run, args=(started(),))
    if starts:
        starting.start()
    asked = ("login", "restart")
    report = play_seeded(deployed, tmp_path, asked, "", lambda *_: None, disturb=True)
    if not starts:
        starting.start()
    starting.join()
    assert report.states(State.FAILED) == ([] if starts else ["restart"]), report.markdown()
    assert len(report.states(State.OK)) == (2 if starts else 1)


NOT_RESTORED = ('"create"]:\n        face("DELETE")', '"create"]:\n        pass')
NOT_REPORTED = ('if "deployment_fault" in each', "if False")
REFUSED_BY_AZURE = ('face("DELETE")', "sys.exit('no right')")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("sown", "said"),
    [
        (None, "deployment_fault was logged"),
        pytest.param(
            NOT_RESTORED, "have not ended in time. HTTP 401 PermissionDenied", marks=nightly
        ),
        pytest.param(NOT_REPORTED, "No deployment_fault was logged", marks=nightly),
        pytest.param(REFUSED_BY_AZURE, "is still removed", marks=nightly),
    ],
)
def test_a_role_that_was_missing_loses_nothing(
    sown: tuple[str, str] | None,
    said: str,
    deployed: CloudThread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is removed until a revocation is refused; what goes wrong then is found."""
    prepare(deployed, tmp_path, monkeypatch)
    seconds = 1.0 if sown == NOT_RESTORED else 60.0
    monkeypatch.setattr("revoker.trial.disturbances._RETURN_SECONDS", seconds)
    if sown:
        change_az(tmp_path, *sown)
    asked = ("login", "role removed")
    report = play_seeded(deployed, tmp_path, asked, "", lambda *_: None, disturb=True)
    assert report.states(State.FAILED) == (["role removed"] if sown else []), report.markdown()
    assert said in report.markdown()


@pytest.mark.parametrize("sessions", ["3", pytest.param("50", marks=nightly)])
def test_a_deployment_that_works_is_green(
    sessions: str, deployed: CloudThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that may be asked passes, the report has the evidence, and nothing is left behind."""
    prepare(deployed, tmp_path, monkeypatch)
    forget_sessions(deployed, *[None] * 2)  # type: ignore[arg-type]
    name = tmp_path / "report"
    ran = revoker(
        {**os.environ}, "trial", "--yes", "--json", "--sessions", sessions, "--report", str(name)
    )
    assert ran.code == 0, ran.err
    assert ran.json == json.loads(name.with_suffix(".json").read_text())
    states = {each["result"]["name"]: each["result"]["state"] for each in ran.json["answers"]}
    assert [each for each, state in states.items() if state != "ok"] == [
        *("throttled", "restart", "role removed")
    ]
    assert "Cognitive Services Face Recognizer" in ran.err
    assert "request id" in name.with_suffix(".md").read_text()
    assert not ran.json["left"]
    assert deployed.ask(deployed.cloud.face, "GET", "/_local/sessions") == []


def test_an_interrupted_trial_cleans_up_what_it_and_an_older_one_left(
    deployed: CloudThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report has the answers so far, and says why the others are missing."""
    prepare(deployed, tmp_path, monkeypatch)
    forget_sessions(deployed, *[None] * 2)  # type: ignore[arg-type]

    async def interrupted() -> Report:
        async with Stage.open(os.environ, patience=5) as stage:
            before = History(
                copies=1, root_id=f"{PREFIX}older-1", first_enqueued_at=datetime.now(UTC) - LIMIT
            )
            left = stage.message(
                {"sessionId": "a"},
                message_id=before.copy_id,
                application_properties=before.write(),
                scheduled_enqueue_time_utc=datetime.now(UTC) + LIMIT,
            )
            await stage.send(left)
            some = questions(stage, sessions=3, burst=False)[:3]
            trial = asyncio.create_task(play(stage, some, tmp_path / "record.jsonl"))
            while not stage.ended:
                await asyncio.sleep(0.01)
            trial.cancel()
            return await trial

    report = asyncio.run(interrupted())
    assert report.interrupted
    assert report.states(State.OK) == ["login"]
    assert "the trial was interrupted" in report.markdown()
    assert not report.left
    cloud = deployed.cloud
    assert deployed.ask(cloud.face, "GET", "/_local/sessions") == []
    assert deployed.ask(cloud.broker, "GET", "/queues")[cloud.options.queue]["scheduled"] == 0

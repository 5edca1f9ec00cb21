"""The on-call engineer's story, from the outage to the last session gone."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.cloud import Options
from revoker.publish import message_id, new_run
from tests.revoker.clouds import CloudThread
from tests.revoker.conftest import revoker

MESSAGES = int(os.environ.get("OUTAGE_MESSAGES", "20"))
DEADLINE_SECONDS = 30 + MESSAGES / 10
SETTINGS = {
    # A new process starts with a small part of its rate, and raises it with successes only.
    "FACE_MAX_CALLS_PER_SECOND": "10000",
    # Much shorter than the horizon, or what is resubmitted would be given up before it closes.
    "CIRCUIT_BREAKER_BREAK_SECONDS": "0.1",
    "RETRY_DEADLINE_HOURS": "0.0002",  # 0.7 s: the outage outlasts it
    "RETRY_INITIAL_DELAY_SECONDS": "0.05",
    "RETRY_MAX_DELAY_SECONDS": "0.2",
}


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; fail if it does not become true in time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.05)


def test_an_outage_is_found_remedied_and_put_right(tmp_path: Path) -> None:
    """The role is lost, all messages are dead-lettered, the role is assigned again, and resubmit
    --all, killed half-way and run again, has every session deleted: none lost, one sent twice."""
    options = Options(settings=SETTINGS, queue_properties={"lockDuration": "PT2S"})
    with CloudThread.running(options) as cloud:
        face, broker = cloud.cloud.face, cloud.cloud.broker
        environment = cloud.cloud.environment

        def counts() -> dict[str, int]:
            found: dict[str, int] = cloud.ask(broker, "GET", "/queues")[cloud.cloud.options.queue]
            return found

        cloud.ask(face, "POST", "/_local/config", {"deny_role": True})
        ids = cloud.ask(face, "POST", "/_local/sessions", {"count": MESSAGES})
        run = new_run()
        how = ("--file", "-", "--resume", str(run))
        ran = revoker(environment, "publish", *how, stdin="\n".join(ids))
        roots = [message_id(run, each, None) for each in ids]
        assert ran.code == 0, ran.err
        until(lambda: counts()["dead_lettered"] == MESSAGES, "all dead-lettered")

        seen = revoker(environment, "status", "--json")
        assert seen.code == 1
        assert seen.json["dead_letter_reasons"] == {"RetriesExhausted": MESSAGES}
        diagnosis = revoker(environment, "doctor", "--json").json
        wrong = [each["name"] for each in diagnosis["checks"] if each["state"] == "failed"]
        assert wrong == ["Face right to delete"]

        cloud.ask(face, "POST", "/_local/config", {"deny_role": False})
        # Half of it is completed, the next one sent and never completed: there it is killed.
        half = MESSAGES // 2
        dead_letters = f"{cloud.cloud.options.queue}/$deadletterqueue"
        completing = {"operation": "complete", "queue": dead_letters}
        cloud.ask(broker, "POST", "/faults", {**completing, "count": half, "delay_seconds": 0.001})
        cloud.ask(broker, "POST", "/faults", {**completing, "count": None, "drop": True})
        process = subprocess.Popen(
            [sys.executable, "-m", "revoker", "dead-letters", "resubmit", "--all"],
            env={**os.environ, **environment},
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        until(lambda: _resubmitted(cloud) > half, "half of it resubmitted, and one more sent")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        left = counts()["dead_lettered"]
        assert left == MESSAGES - half
        cloud.ask(broker, "DELETE", "/faults")

        again = revoker(environment, "dead-letters", "resubmit", "--all", "--json", "--wait", "15")
        assert (again.code, again.json["resubmitted"]) == (0, left)
        until(lambda: not any(counts().values()), "the queue is empty")
        assert cloud.ask(face, "GET", "/_local/sessions") == []
        assert revoker(environment, "status").code == 0

        of_each = _outcomes(cloud)
        completed = Counter(of_each[root]["completed"] for root in roots)
        assert completed == {1: MESSAGES - 1, 2: 1}  # the one that was under way at the kill
        deleted = Counter(
            line["root_id"].partition(":resubmit:")[0]
            for line in cloud.cloud.log_lines()
            if line.get("outcome") in ("deleted", "already_gone")
        )
        assert set(deleted) == set(roots)


def _resubmitted(cloud: CloudThread) -> int:
    """Return how many copies the broker has accepted."""
    ledger: list[dict[str, Any]] = cloud.ask(cloud.cloud.broker, "GET", "/ledger")
    return len(
        {event["message_id"] for event in ledger if ":resubmit:" in (event["message_id"] or "")}
    )


def _outcomes(cloud: CloudThread) -> dict[str, Counter[str]]:
    """Return the events of the resubmitted copies in the broker's ledger, by root id."""
    ledger: list[dict[str, Any]] = cloud.ask(cloud.cloud.broker, "GET", "/ledger")
    found: dict[str, Counter[str]] = {}
    for event in ledger:
        root, resubmitted, _ = (event["message_id"] or "").partition(":resubmit:")
        if resubmitted and not event["queue"].endswith("deadletterqueue"):
            found.setdefault(root, Counter())[event["event"]] += 1
    return found

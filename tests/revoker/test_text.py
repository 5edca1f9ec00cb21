"""Text from elsewhere on a terminal, in any encoding, and as JSON."""

import ast
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from revoker.text import as_json, from_json, visible
from tests.revoker.conftest import OneQueue

ROOT = Path(__file__).parents[2]
EVIL = "\x1b]0;owned\x07\x1b[2J\r\n\u202eALL IS WELL\u2066\u200b\ud800"


def test_json_that_is_nested_too_deeply_is_no_json() -> None:
    """Readers of JSON from elsewhere need to expect one error only."""
    with pytest.raises(ValueError, match="nested too deeply"):
        from_json("[" * 100_000)


def test_what_a_terminal_obeys_is_shown_instead() -> None:
    """Control characters, escapes, line ends, marks of direction and halves of pairs become visible."""
    shown = visible(EVIL)
    assert shown.isprintable()
    assert "ALL IS WELL" in shown
    assert "\\x1b]0;owned\\x07" in shown
    assert "\\u202e" in shown
    assert visible("Müller, 名前, 🙂") == "Müller, 名前, 🙂"


def test_a_line_is_never_endless() -> None:
    """What is too long is cut, and the line says by how much."""
    assert visible("x" * 50, 10) == "xxxxxxxxxx … (40 more characters)"


def test_json_is_valid_whatever_is_in_it() -> None:
    """Numbers that JSON does not know, bytes and halves of pairs do not break it."""
    value = {
        "nan": float("nan"),
        "inf": [float("inf")],
        "bytes": b"\xff",
        "half": "\ud800",
        7: EVIL,
    }
    text = as_json(value | {"at": datetime(2026, 1, 2, tzinfo=UTC)})
    assert text.isascii()
    assert "\n" not in text
    read = json.loads(text, parse_constant=pytest.fail)
    assert read["nan"] == "nan"
    assert read["7"] == EVIL


PRINTERS = {"echo", "secho", "print", "write", "writelines"}
ALLOWED = {
    ("revoker/output.py", "_line"),
    ("revoker/output.py", "_json"),
    ("revoker/output.py", "status"),
}
"""The one function for people, the one for programs, and the table of `status`, which has its title
made visible and otherwise holds numbers."""


def test_nothing_prints_but_through_the_one_function() -> None:
    """Whatever the command prints goes through `output`, which makes foreign text visible."""
    found = set()
    for path in [ROOT / "revoker" / "output.py", *(ROOT / "revoker" / "cli").glob("*.py")]:
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if not isinstance(call, ast.Call):
                    continue
                name = getattr(call.func, "attr", getattr(call.func, "id", ""))
                if name in PRINTERS:
                    found.add((path.relative_to(ROOT).as_posix(), function.name))
    assert found - {("revoker/cli/app.py", "_print_version")} == ALLOWED


@pytest.fixture
def hostile(queue: OneQueue) -> OneQueue:
    """A queue with a dead letter whose every text is hostile."""
    connection_string = queue.environment["ServiceBusConnection"]
    evil = EVIL.replace("\ud800", "")
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_sender(queue.name) as sender,
        client.get_queue_receiver(queue.name) as receiver,
    ):
        sender.send_messages(
            ServiceBusMessage(
                json.dumps({"sessionId": "s", "reason": evil}, ensure_ascii=False),
                message_id="m" + evil,
                content_type="application/json",
                application_properties={"p" + evil: evil, "nan": float("nan")},
            )
        )
        (message,) = receiver.receive_messages(1, max_wait_time=10)
        receiver.dead_letter_message(message, reason="r" + evil, error_description=evil + "名")
    return queue


VERBS = (
    ("status",),
    ("dead-letters", "list"),
    ("dead-letters", "show", "1", "--body"),
    ("dead-letters", "resubmit", "--all", "--dry-run"),
    ("publish", "s"),
)


def test_no_verb_lets_a_message_speak_to_the_terminal(hostile: OneQueue) -> None:
    """No control character of a message reaches the terminal, and JSON stays JSON."""
    for verb in VERBS:
        ran = hostile.revoker(*verb)
        assert ran.code in (0, 1), verb
        for line in (ran.out + ran.err).splitlines():
            assert line.isprintable(), (verb, line)
    shown = hostile.revoker("dead-letters", "show", "1", "--json")
    assert shown.json["properties"]["nan"] == "nan"
    assert "\x1b" in shown.json["description"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_output_survives_any_encoding(hostile: OneQueue, encoding: str) -> None:
    """What the terminal's encoding lacks is replaced, and the command ends as ever."""
    for verb in (("dead-letters", "list"), ("status",)):
        ran = subprocess.run(
            [sys.executable, "-m", "revoker", *verb],
            cwd=ROOT,
            env={**os.environ, **hostile.environment, "PYTHONIOENCODING": encoding},
            capture_output=True,
            timeout=30,
        )
        assert (ran.returncode, b"Traceback" in ran.stderr) == (int(verb == ("status",)), False)
        assert b"ALL IS WELL" in ran.stdout

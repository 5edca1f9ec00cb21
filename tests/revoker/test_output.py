"""How the command prints: on a terminal, on a narrow one, without colour, and into a pipe."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from delete_session import __version__
from revoker.cli.app import app
from revoker.failure import first_line
from tests.revoker.conftest import OneQueue, revoker

pty = pytest.importorskip("pty", reason="this platform has no pseudo-terminals")
ROOT = Path(__file__).parents[2]
COLOUR = re.compile(r"\x1b\[(?:[\d;]*;)?(?:3[0-8]|4[0-8]|9[0-7])(?:;[\d;]*)?m")
ESCAPE = "\x1b"


def on_terminal(queue: OneQueue, *arguments: str, columns: int = 100, **more: str) -> str:
    """Return what the command prints on a terminal of this width."""
    theirs, ours = pty.openpty()
    environment = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI")
    }
    environment |= queue.environment | more
    environment |= {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, "-m", "revoker", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=ours,
        stdout=ours,
        stderr=ours,
    )
    os.close(ours)
    printed = b""
    try:
        while part := os.read(theirs, 4096):
            printed += part
    except OSError:
        pass  # on Linux, the end of a terminal is an error
    os.close(theirs)
    process.wait(30)
    return printed.decode().replace("\r\n", "\n")


@pytest.mark.timeout(180)
def test_colour_is_for_terminals_that_want_it(seeded: OneQueue) -> None:
    """A terminal gets colour, one with NO_COLOR gets none, and a pipe gets no escapes at all."""
    assert COLOUR.search(on_terminal(seeded, "doctor"))
    for arguments in (["status"], ["dead-letters", "show", "999"]):
        assert not COLOUR.search(on_terminal(seeded, *arguments, NO_COLOR="1")), arguments
        ran = seeded.revoker(*arguments)
        assert ESCAPE not in ran.out + ran.err, arguments


def test_tables_keep_their_shape_on_a_narrow_terminal(seeded: OneQueue) -> None:
    """No line of a table is wider than the terminal, and no number is lost."""
    printed = re.sub(r"\x1b\[[\d;]*m", "", on_terminal(seeded, "status", columns=40))
    table = [line for line in printed.splitlines() if line.startswith(("┏", "┃", "┡", "│", "└"))]
    assert len(table) >= 7
    assert max(map(len, table)) <= 40
    assert any(re.search(r"dead.*│ *4 │", line) for line in table)


def test_lines_wrap_at_words(seeded: OneQueue) -> None:
    """On a terminal of 80 columns, no line of the doctor is longer, and no word is cut."""
    printed = on_terminal(seeded, "doctor", columns=80, NO_COLOR="1")
    assert max(map(len, printed.splitlines())) <= 80
    assert "FACE_ENDPOINT" in printed
    assert re.search(r"\n {9,}\S", printed)


def test_a_pipe_is_not_cut_to_any_width(seeded: OneQueue) -> None:
    """What another program reads has one line for each dead letter, however long."""
    ran = seeded.revoker("dead-letters", "list")
    lines = ran.out.splitlines()
    assert len(lines) == 8
    assert all("…" not in line for line in lines)


def test_tells_its_version() -> None:
    """It is the version of what is deployed beside it."""
    assert revoker({}, "--version").out == f"revoker {__version__}\n"


@pytest.mark.parametrize(
    ("words", "offered"),
    [("revoker d", {"dead-letters", "desk", "doctor"}), ("revoker dead-letters res", {"resubmit"})],
)
def test_the_shell_completes_verbs(words: str, offered: set[str]) -> None:
    """Installed with --install-completion, the shell offers the verbs that fit."""
    ran = subprocess.run(
        [sys.executable, "-m", "revoker"],
        cwd=ROOT,
        env={
            **os.environ,
            "_REVOKER_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert set(ran.stdout.split()) == offered, ran.stderr


def test_a_verb_that_only_reads_the_record_does_not_claim_to_write_it() -> None:
    """`session` shows what the record says, and adds nothing to it."""
    said = revoker({}, "session", "--help").out
    assert "file of the record" in said
    assert "added" not in said


def test_every_verb_has_a_line_of_help() -> None:
    """The list of verbs says what each is for."""
    for command in app.registered_commands:
        assert command.callback is not None
        assert command.callback.__doc__, command.callback.__name__


@pytest.mark.parametrize("answer", ['{"accessToken":"eyJhbGci.eyJh.s",', "eyJhbGci.eyJh.s", "x"])
def test_no_error_of_the_login_shows_a_token(answer: str) -> None:
    """Whatever the Azure CLI prints, the SDK repeats it in its error."""
    assert "eyJ" not in first_line(ValueError(f"Unexpected output: {answer}"))

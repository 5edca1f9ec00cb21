"""The tutorials: every command works as printed, and shows what the page shows."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"^```bash\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
"""The commands of a block, and what the page shows as their output."""

ONLY_LOOKS = re.compile(r"revoker (status|session|doctor|dead-letters list)|grep")
"""A reader may run these again until they show what the page shows: the function takes a moment."""

PATIENCE = 60  # seconds: a circuit stays open for half of them


@contextmanager
def cloud(command: str) -> Iterator[str]:
    """Run the page's first command until the end; the value is the `export` lines that it prints."""
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "COLUMNS": "300"},
    )
    assert process.stdout is not None
    try:
        exports = []
        for line in process.stdout:
            if line.startswith("export "):
                exports.append(line)
            if line.startswith("export LOGS="):
                break
        yield "".join(exports)
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.communicate(timeout=30)


class Terminal:
    """A shell that runs one block after another."""

    def __init__(self) -> None:
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"},
        )

    def run(self, block: str) -> str:
        """Return what the block prints."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{block}\necho; echo END-OF-BLOCK\n")
        self._shell.stdin.flush()
        lines = iter(self._shell.stdout.readline, "END-OF-BLOCK\n")
        return "".join(lines)

    def close(self) -> None:
        """End the shell."""
        self._shell.communicate(timeout=10)


def shows(output: str, page: str) -> bool:
    """Whether each line of the page is in the output, in this order; … stands for anything."""
    pattern = ".*".join(re.escape(part) for part in page.strip().split("…"))
    return re.search(pattern, output, re.DOTALL) is not None


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", ["tutorial.md", "tutorial-on-call.md"])
def test_a_tutorial_works_as_printed(page: str) -> None:
    """Each block of commands, in order, shows what the page shows."""
    (start, _), *steps = STEP.findall((ROOT / "docs" / page).read_text())
    assert len(steps) >= 12
    with cloud(start) as exports:
        terminal = Terminal()
        terminal.run(exports)
        for block, shown in steps:
            ends = time.monotonic() + PATIENCE
            output = terminal.run(block)
            while ONLY_LOOKS.match(block) and not shows(output, shown) and time.monotonic() < ends:
                output = terminal.run(block)
            assert "not found" not in output.lower(), (block, output)
            assert shows(output, shown), f"{block}\nshould show:\n{shown}\nbut shows:\n{output}"
        terminal.close()

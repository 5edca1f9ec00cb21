"""Ctrl-C and SIGTERM end a command at any moment: quickly, quietly, and with all that it started."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = ("local.run", "--messages", "500")
PREPARE = ("local.run", "--messages", "1000000")
SERVE = ("local.run", "--messages", "0", "--serve")
SOAK = ("local.soak", "--scenario", "host_killed", "--scenario", "two_instances")
MOMENTS = int(os.environ.get("CTRL_C_MOMENTS", "1"))  # of each command

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")


class Started:
    """A command, whose processes and folders can be told from all others."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process, mark: str) -> None:
        self.folder, self.process, self._mark = folder, process, mark

    @classmethod
    async def start(cls, folder: Path, *arguments: str) -> "Started":
        mark = f"CTRL_C={uuid.uuid4()}"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *arguments),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                "TMPDIR": str(folder),
                mark.partition("=")[0]: mark.partition("=")[2],
            },
            start_new_session=True,
        )
        return cls(folder, process, mark)

    def press(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def left(self) -> list[str]:
        """Return the command lines of its processes that still run."""
        found = []
        for each in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if each.name.isdigit() and self._mark in (each / "environ").read_text():
                    found.append((each / "cmdline").read_text().replace("\0", " "))
        return found


@pytest.mark.parametrize("moment", range(MOMENTS))
@pytest.mark.parametrize("arguments", [RUN, PREPARE, SERVE, SOAK])
async def test_nothing_is_left(tmp_path: Path, arguments: tuple[str, ...], moment: int) -> None:
    """At a random moment, once or twice: within two seconds no process, folder or traceback is left."""
    chance = random.Random(f"{arguments} {moment}")
    started = await Started.start(tmp_path, *arguments)
    await asyncio.sleep(chance.uniform(0.3, 4))
    pressed = time.monotonic()
    started.press(chance.choice((signal.SIGINT, signal.SIGTERM)))
    if chance.random() < 0.5:
        await asyncio.sleep(chance.uniform(0, 0.05))
        started.press(signal.SIGINT)
    output, _ = await started.process.communicate()
    assert time.monotonic() - pressed < 2
    assert started.left() == []
    assert os.listdir(tmp_path) == []
    assert "Traceback" not in output.decode()


@pytest.mark.parametrize(("module", "slow"), [("revoker", "typer"), ("local.run", "secrets")])
def test_the_imports_end_quietly(tmp_path: Path, module: str, slow: str) -> None:
    """Ctrl-C in the first moments, while a library is imported, prints nothing and ends with 130."""
    (tmp_path / f"{slow}.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    ran = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        timeout=30,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, b"", b"")


async def test_it_says_what_was_done(tmp_path: Path) -> None:
    """An interrupted run says how many messages are done, and what the others wait for."""
    started = await Started.start(tmp_path, *RUN, "--face-rate", "2")
    assert started.process.stdout is not None
    async with asyncio.timeout(40):
        await started.process.stdout.readuntil(b" of 500")
    started.press(signal.SIGINT)
    output = (await started.process.communicate())[0].decode()
    [words] = [line for line in output.splitlines() if line.startswith("stopped: ")]
    assert " of 500 messages done; " in words
    assert " in the queue" in words
    assert started.left() == []
    assert os.listdir(tmp_path) == []


async def test_what_a_killed_command_started_ends_with_it(tmp_path: Path) -> None:
    """SIGKILL cannot be handled: the servers notice by themselves that their starter is gone."""
    started = await Started.start(tmp_path, *SERVE)
    assert started.process.stdout is not None
    async with asyncio.timeout(40):
        await started.process.stdout.readuntil(b"The local cloud is up")
    assert len(started.left()) > 4
    started.press(signal.SIGKILL)
    await started.process.wait()
    async with asyncio.timeout(5):
        while started.left():
            await asyncio.sleep(0.05)

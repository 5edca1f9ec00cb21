"""Programs for Node.js that tests run beside pinned packages of the npm registry."""

import fcntl
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[1] / "build"


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in the folder."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=140)


def installed(name: str, sources: Iterable[Path], build: list[str] | None = None) -> Path:
    """Return a folder with the sources and the packages that they need; made once.

    Skip the test where Node.js or the registry is missing. `build` is a command that must succeed
    after the installation.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip(f"Node.js is missing: {name} is not checked")
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    sources = sorted(sources)
    made_of = "".join(path.read_text() for path in sources)
    ready = folder / ".ready"
    with (folder / ".lock").open("w") as lock:  # tests of several workers need it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists() or ready.read_text() != made_of:
            _install(name, folder, sources, [npm, "ci"], [node, *build] if build else None)
            ready.write_text(made_of)
    return folder


def _install(
    name: str, folder: Path, sources: Iterable[Path], install: list[str], build: list[str] | None
) -> None:
    for source in sources:
        shutil.copy(source, folder)
    done = run([*install, "--no-audit", "--no-fund", "--ignore-scripts"], folder)
    if done.returncode:
        pytest.skip(f"npm cannot install what {name} needs: {done.stderr[-300:]}")
    if build is not None:
        built = run(build, folder)
        assert built.returncode == 0, built.stdout

"""The checks before a commit are those of `make lint`."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRE_COMMIT = (ROOT / ".pre-commit-config.yaml").read_text()


@pytest.mark.parametrize(
    ("repository", "package"),
    [
        ("astral-sh/ruff-pre-commit", "ruff"),
        ("codespell-project/codespell", "codespell"),
        ("zizmorcore/zizmor-pre-commit", "zizmor"),
    ],
)
def test_pre_commit_runs_the_versions_of_make_lint(repository: str, package: str) -> None:
    """A hook has the version that requirements-dev.txt pins, so that both say the same."""
    hook = re.search(rf"repo: https://github\.com/{repository}\n +rev: v(\S+)", PRE_COMMIT)
    pin = re.search(
        rf"^{package}==(\S+)", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE
    )
    assert hook is not None
    assert pin is not None
    assert hook[1] == pin[1]


def test_the_table_of_contributing_names_files_that_exist() -> None:
    """Who wants to change something finds the file and its test under the names of the table."""
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Before")[0]
    paths = re.findall(r"`((?:delete_session|tests)/[\w/.]+)`", table)
    assert len(paths) >= 12
    for path in paths:
        assert (ROOT / path).exists(), path


def test_lint_ends_with_interrupted_tests(tmp_path: Path) -> None:
    """Ctrl-C in `make test` ends all that it started, also lint in the background."""
    for name in ("Makefile", "requirements-dev.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "ruff"):
        (folder / name).write_text(f"#!/bin/sh\ntouch {name}.began; exec sleep 30\n")
        (folder / name).chmod(0o700)
    (tmp_path / ".venv" / ".ready").touch()
    make = ["make", "test", f"PYTHON={sys.executable}"]
    read, write = os.pipe()  # it ends with the last process that has it
    with subprocess.Popen(make, cwd=tmp_path, pass_fds=[write], start_new_session=True) as ran:
        os.close(write)
        while len(list(tmp_path.glob("*.began"))) < 2:
            time.sleep(0.01)
        os.killpg(ran.pid, signal.SIGINT)
    assert select.select([read], [], [], 5)[0]
    os.close(read)


def test_make_does_not_empty_what_a_linked_environment_leads_to(tmp_path: Path) -> None:
    """Where .venv is a symbolic link, setting it up stops with one line that says why."""
    for name in ("Makefile", "requirements-dev.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    kept = tmp_path / "elsewhere" / "kept"
    kept.parent.mkdir()
    kept.touch()
    (tmp_path / ".venv").symlink_to(kept.parent)
    ran = subprocess.run(
        ["make", "format", f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    assert ".venv is a symbolic link" in ran.stdout
    assert kept.exists()

"""What `pip install .[ops]` installs."""

import runpy
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from revoker.__main__ import main

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_installs_the_command_under_its_name() -> None:
    """`revoker` is the only command, and it is the one tested here."""
    assert list(PROJECT["project"]["scripts"]) == ["revoker"]
    target = PROJECT["project"]["scripts"]["revoker"]
    assert EntryPoint("revoker", target, "console_scripts").load() is main


def test_installs_the_function_and_the_command_and_no_other_package() -> None:
    """Only those two top-level packages are installed, with all of their modules."""
    patterns = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]

    def installed(path: Path) -> bool:
        return any(
            fnmatchcase(".".join(path.relative_to(ROOT).parts), pattern) for pattern in patterns
        )

    top = {path.parent for path in ROOT.glob("*/__init__.py")}
    assert {path.name for path in top if installed(path)} == {"delete_session", "revoker"}
    for path in [*ROOT.glob("revoker/**/*.py"), *ROOT.glob("delete_session/**/*.py")]:
        assert installed(path.parent), path
        assert (path.parent / "__init__.py").exists(), path


def test_installs_every_page_and_asset_of_the_desk() -> None:
    """What is no module, such as a template, is installed with the package that it lies in."""
    data = PROJECT["tool"]["setuptools"]["package-data"]
    assets = [
        path
        for path in ROOT.glob("revoker/**/*.*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert len(assets) > 10
    for path in assets:
        package = ".".join(path.relative_to(ROOT).parts[:2])
        inside = path.relative_to(ROOT / package.replace(".", "/"))
        assert any(fnmatchcase(str(inside), pattern) for pattern in data.get(package, [])), path


def test_an_older_python_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, which names both versions, before anything is built or downloaded."""
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    with pytest.raises(SystemExit, match=r"needs Python 3\.13, and this is 3\.11: [^\n]*\Z"):
        runpy.run_path(str(ROOT / "setup.py"))


@pytest.mark.parametrize("output", ["full", "closed"])
def test_an_output_that_cannot_be_written_is_reported_before_anything_is_done(output: str) -> None:
    """In one line, with the exit code of what cannot be reached."""
    arguments = [sys.executable, "-m", "revoker", "--version"]
    if output == "closed":
        arguments = ["/bin/sh", "-c", '"$@" >&-', "sh", *arguments]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 3
    assert ran.stderr.startswith("The output cannot be written: ")
    assert ran.stderr.count("\n") == 1

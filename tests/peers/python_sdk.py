"""Run azure-servicebus's own queue tests, from its source distribution, against the broker.

Nothing of the distribution is committed: it is downloaded, in the version that the lock file pins,
into `build/peers/`. `stand_ins/` takes the place of the tooling that its tests import.
"""

import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers.not_claimed import NOT_CLAIMED

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "peers"
LIMIT_SECONDS = 400  # some sleep for five minutes, longer than a connection may be idle
WORKERS = 8  # most of a test's time is spent waiting
_KINDS = {
    "sync": "test_queues.py::TestServiceBusQueue",
    "async": "async_tests/test_queues_async.py::TestServiceBusQueueAsync",
}

# pytest's settings here are for our own tests; theirs need none.
_OPTIONS = (
    *("-c", str(ROOT / "pyproject.toml"), "-o", "addopts=", "-o", "pythonpath="),
    *("--noconftest", "--import-mode=append", "-p", "no:cacheprovider", "-W", "ignore"),
    *("-q", "--tb=short", f"--timeout={LIMIT_SECONDS}"),
)


@dataclass(slots=True)
class Result:
    """Results of the tests, by kind and name; a skipped test counts as failed."""

    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    """The first line of each failure's text."""


def fetch() -> Path:
    """Return the folder with the tests of the pinned version; download them if need be."""
    lock = (ROOT / "requirements-dev.txt").read_text()
    pinned = re.search(r"^azure-servicebus==(\S+)", lock, re.MULTILINE)
    assert pinned is not None
    folder = CACHE / f"azure_servicebus-{pinned[1]}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = f"-m pip download --quiet --no-deps --no-binary azure-servicebus --dest {CACHE}"
        package = f"azure-servicebus=={pinned[1]}"
        subprocess.run([sys.executable, *command.split(), package], check=True)
        with tarfile.open(folder.with_name(folder.name + ".tar.gz")) as archive:
            archive.extractall(CACHE, filter="data")
    return folder / "tests"


def run(expression: str | None = None) -> Result:
    """Run the tests that are claimed, or those that an expression selects.

    What fails gets a second chance, alone.
    """
    tests = fetch()
    _check_names(tests)
    chosen = (
        [f"--deselect={_node_id(name)}" for name in NOT_CLAIMED]
        if expression is None
        else ["-k", expression]
    )
    files = [str(tests / kind.partition("::")[0]) for kind in _KINDS.values()]
    result = _pytest(tests, [*files, *chosen, "-n", str(WORKERS), "--dist", "worksteal"])
    if result.failed:
        print(f"running {len(result.failed)} once more, alone: they may have lacked time")
        again = _pytest(tests, [str(tests.parent / _node_id(name)) for name in result.failed])
        result.passed |= again.passed
        result.failed = again.failed
    return result


def _node_id(name: str) -> str:
    kind, _, test = name.partition(" ")
    return f"tests/{_KINDS[kind]}::{test}"


def _check_names(tests: Path) -> None:
    """Raise ValueError if a test that is not claimed does not exist (any more)."""
    for name in NOT_CLAIMED:
        kind, _, test = name.partition(" ")
        file = tests / _KINDS[kind].partition("::")[0]
        if f"def {test}(" not in file.read_text():
            raise ValueError(f"not_claimed.py: {name} does not exist")


def _pytest(tests: Path, arguments: Sequence[str]) -> Result:
    report = CACHE / "report.xml"
    report.unlink(missing_ok=True)
    where = [f"--rootdir={tests.parent}", f"--junitxml={report}"]
    paths = (ROOT / "tests" / "peers" / "stand_ins", ROOT, tests)
    subprocess.run(
        [sys.executable, "-m", "pytest", *_OPTIONS, *where, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        cwd=CACHE,
        stdout=(CACHE / "pytest.log").open("w"),
        check=False,
    )
    if not report.exists():
        raise RuntimeError(f"pytest did not run: see {CACHE / 'pytest.log'}")
    return _read(report)


def _read(report: Path) -> Result:
    result = Result()
    for case in ET.parse(report).iter("testcase"):
        problems = [child for child in case if child.tag in ("failure", "error", "skipped")]
        kind = "async" if "async" in case.get("classname", "") else "sync"
        name = f"{kind} {case.get('name')}"
        if problems:
            text = problems[0].get("message") or problems[0].text or problems[0].tag
            result.failed[name] = text.strip().partition("\n")[0][:200]
        else:
            result.passed.add(name)
    return result

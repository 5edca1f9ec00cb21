"""What SECURITY.md promises is tested."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_each_promise_names_tests_that_exist() -> None:
    """Each item of the list names one at least."""
    page = (ROOT / "SECURITY.md").read_text()
    promises = page.partition("## What is promised")[2].partition("\n## ")[0].split("\n- ")[1:]
    assert len(promises) >= 7
    for promise in promises:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", promise)
        assert named, promise
        for path, name in named:
            assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.M), name


@pytest.mark.parametrize("pins", ["requirements.txt", "requirements-dev.txt"])
def test_dependencies_are_pinned_and_watched(pins: str) -> None:
    """Each has one version and its hashes, and Dependabot looks at the folder."""
    logical = re.sub(r"\\\n\s*", "", (ROOT / pins).read_text()).splitlines()
    lines = [line for line in logical if line.strip() and not line.strip().startswith("#")]
    assert lines
    for line in lines:
        assert re.match(r"[\w.\[\]-]+==\S+.*--hash=sha256:", line), line[:80]
    watched = (ROOT / ".github" / "dependabot.yml").read_text()
    assert re.search(r"package-ecosystem: pip\n +directories: \[/,", watched)

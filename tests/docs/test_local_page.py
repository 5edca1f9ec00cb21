"""What the pages say of the local cloud: its faults, and the output of a run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from local.face.faults import FAULTS, Rule

ROOT = Path(__file__).parents[2]
LOCAL = (ROOT / "docs" / "local.md").read_text()


def test_page_lists_every_fault() -> None:
    """docs/local.md has a row for each fault of the local Face API, and no other."""
    table = LOCAL.partition("<!-- faults -->")[2].partition("<!-- /faults -->")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)[1:] == list(FAULTS)


def test_page_names_every_member_of_a_rule() -> None:
    """docs/local.md names each member that a rule of faults may have."""
    section = LOCAL.partition("## Break the Face API")[2].partition("\n## ")[0]
    assert set(Rule.__dataclass_fields__) <= set(re.findall(r"[a-z_]+", section))


@pytest.mark.timeout(120)
def test_sample_in_the_readme_is_real() -> None:
    """The README's sample is the output of `make run`, but for the time that it took."""

    def timeless(text: str) -> list[str]:
        return re.sub(r" in [\d.]+ s,", " in … s,", text).splitlines()

    blocks = re.findall(
        r"^```\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    [sample] = [block for block in blocks if "every message ended where it should" in block]
    run = subprocess.run(
        [sys.executable, "-m", "local.run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = iter(timeless(run.stdout))
    for line in timeless(sample):
        assert line == "…" or line in lines, line

"""docs/architecture.md: the pictures name what is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
CODE = "".join(
    (ROOT / "delete_session" / name).read_text() for name in ("decision.py", "handler.py")
)
OUTCOMES = {"deleted", "already_gone", "retry_scheduled", "dead_lettered", "settlement_failed"}


def test_the_states_have_the_outcomes_that_are_logged() -> None:
    """The arrows between the states name each outcome of the log line, and no other."""
    states = PAGE.partition("stateDiagram-v2")[2].partition("```")[0]
    labels = ", ".join(re.findall(r"--> \w+: (.*)", states))
    assert set(re.findall(r"\b[a-z]+_[a-z]+\b|\bdeleted\b", labels)) == OUTCOMES
    assert set(re.findall(r'(?:Done|_record)\("(\w+)"', CODE)) == OUTCOMES


def test_the_modules_that_answer_the_questions_exist() -> None:
    """Each module of the table is a file of the deployed package."""
    modules = set(re.findall(r"`(\w+\.py)`", PAGE))
    assert len(modules) >= 7
    for module in modules:
        assert (ROOT / "delete_session" / module).exists(), module

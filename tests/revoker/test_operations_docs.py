"""docs/operations.md: everything it names exists, and it names everything it should."""

import re
from pathlib import Path

import pytest

from revoker.cli.app import app
from revoker.cli.dead_letters import dead_letters
from revoker.failure import Exit

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()


def test_every_alert_of_the_infrastructure_has_its_section() -> None:
    """Each alert has a section whose heading is its name."""
    alerts = (ROOT / "infra" / "modules" / "alerts.bicep").read_text()
    names = re.findall(r"\n    name: '([a-z-]+)'\n    description:", alerts)
    assert len(names) >= 5
    for name in names:
        assert f"\n### {name}\n" in RUNBOOK, name


def test_every_verb_is_explained() -> None:
    """The runbook's table has a row for each verb of the command."""
    verbs = [f"{each.name or each.callback.__name__}" for each in app.registered_commands]  # type: ignore[union-attr]
    verbs += [
        f"dead-letters {each.name or each.callback.__name__}"  # type: ignore[union-attr]
        for each in dead_letters.registered_commands
    ]
    assert len(verbs) == 13
    for verb in verbs:
        assert f"\n| `{verb}" in RUNBOOK, verb


def test_every_exit_code_is_explained() -> None:
    """The runbook's table has a row for each exit code."""
    for code in Exit:
        assert f"\n| {code.value} | " in RUNBOOK, code


@pytest.mark.parametrize("link", re.findall(r"\]\((#[a-z-]+)\)", RUNBOOK))
def test_every_link_within_leads_somewhere(link: str) -> None:
    """A link's heading exists."""
    headings = re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)
    anchors = {"#" + re.sub(r"[^a-z -]", "", each.lower()).replace(" ", "-") for each in headings}
    assert link in anchors


def test_what_the_queries_look_for_is_what_the_function_logs() -> None:
    """Each field and each event that the runbook's queries and tables name is in the code."""
    code = "".join(path.read_text() for path in (ROOT / "delete_session").glob("*.py"))
    fields = set(re.findall(r"line\.([a-z_]+)", RUNBOOK)) - {"event"}
    assert {"session_id", "request_id", "last_failure"} <= fields
    for name in fields:
        assert f'"{name}"' in code or f"{name}=" in code, name
    for event in (
        "deployment_fault",
        "circuit_",
        "rate_changed",
        "retry_scheduled",
        "settlement_failed",
    ):
        assert event in code

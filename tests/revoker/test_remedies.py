"""What the command and the desk say to do about dead letters and errors."""

from pathlib import Path

import pytest

from revoker.remedies import REASONS, Reason, for_error, for_reason, plain
from tests.unit.fakes import verdict

RUNBOOK = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("reason", REASONS, ids=lambda each: (*each.names, "any other")[0])
def test_the_runbook_has_the_same_remedies(reason: Reason) -> None:
    """Each reason is a row of the runbook's table, word for word."""
    names = ", ".join([*(f"`{name}`" for name in reason.names), *filter(None, [reason.others])])
    assert f"\n| {names} | {reason.cause} | {reason.remedy} |\n" in RUNBOOK


def test_the_runbook_has_no_other_reasons() -> None:
    """The runbook's table has as many rows as there are reasons."""
    table = RUNBOOK.partition("\n## Dead-letter messages\n")[2].partition("\n\n`resubmit`")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(REASONS)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("UnsupportedFeature", "not approved"),
        ("BadArgument", "never accept"),
        ("HeaderSizeExceeded", "properties too large"),
        ("SomebodysOwnReason", "by hand"),
        ("(none)", "by hand"),
    ],
)
def test_every_reason_has_a_remedy(name: str, cause: str) -> None:
    """An unknown reason was given by hand."""
    assert cause in for_reason(name).cause


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "PermissionDenied", "Principal does not have access to API/Operation."),
        (401, "401", "Access denied due to invalid subscription key."),
        (404, "404", "Resource not found"),
        (302, "HTTP 302", ""),
        (403, "AccessDenied", "Access denied due to Virtual Network/Firewall rules."),
        (503, "ServiceUnavailable", "Try later."),
        (429, "429", "Please retry after 1 second"),
    ],
)
def test_an_error_has_the_functions_own_remedy(status: int, code: str, message: str) -> None:
    """Read back from what the function wrote, an error has the remedy that the function logs."""
    answer = verdict(status, code, message=message, request_id="r-1")
    for text in (answer.describe(), f"after 7 attempts, the last: {answer.describe()}"):
        assert for_error(text) == answer.remedy


@pytest.mark.parametrize("text", [None, "", "Timeout: no answer", "<script>HTTP</script>"])
def test_an_error_without_an_answer_has_no_remedy(text: str | None) -> None:
    """A text that is not an answer of the Face API has no remedy."""
    assert for_error(text) is None


def test_plain_text_has_no_marks() -> None:
    """Links and code are their texts."""
    assert plain("see `a b` ([here](#x)).") == "see a b (here)."

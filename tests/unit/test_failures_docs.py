"""The table of answers in docs/failures.md against the code that decides."""

import re
from pathlib import Path

import pytest

from delete_session.decision import (
    Attempt,
    DeadLetter,
    Decision,
    Done,
    RetryLater,
    RetryPolicy,
    decide,
)
from delete_session.settings import TABLE
from delete_session.verdict import Meaning

from .fakes import verdict

PAGE = (Path(__file__).parents[2] / "docs" / "failures.md").read_text()
POLICY = RetryPolicy(initial_delay=2, max_delay=900, return_spread=30)

EXAMPLES = {
    Meaning.DELETED: verdict(200, "HTTP 200", request_id="r"),
    Meaning.UNCONFIRMED: verdict(200, "HTTP 200"),
    Meaning.ALREADY_GONE: verdict(404, "SessionNotFound"),
    Meaning.REJECTED: verdict(400, "BadArgument", listed=True),
    Meaning.MISCONFIGURED: verdict(403, "403"),
    Meaning.UNKNOWN_CODE: verdict(400, "Brandnew"),
    Meaning.CONFLICT: verdict(409, "ConcurrentOperationConflict"),
    Meaning.THROTTLED: verdict(429, "429"),
    Meaning.UNAVAILABLE: verdict(503, "ServiceUnavailable"),
}
WORDS: dict[type[Decision], str] = {
    Done: "completed",
    RetryLater: "retried",
    DeadLetter: "dead-lettered",
}


def rows() -> dict[str, str]:
    """The first word of the last cell of each row, by the meaning that the row names."""
    table = PAGE.partition("<!-- answers -->")[2].partition("<!-- /answers -->")[0]
    found = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 3 and (name := re.match(r"`(\w+)`", cells[1])):
            found[name[1]] = re.split(r"[:;]", cells[2])[0]
    return found


def test_every_meaning_has_a_row() -> None:
    """The table holds each meaning of an answer exactly once, and none that does not exist."""
    assert set(rows()) == {each.name.lower() for each in Meaning}


@pytest.mark.parametrize("what", Meaning)
def test_row_says_what_becomes_of_the_message(what: Meaning) -> None:
    """What the table says of a meaning is what is decided for such an answer."""
    assert EXAMPLES[what].meaning is what
    attempt = Attempt(verdict=EXAMPLES[what], attempts=1, seconds_left=99, jitter=0.5)
    assert rows()[what.name.lower()] == WORDS[type(decide(attempt, POLICY))]


def test_page_names_the_codes_that_are_on_the_list() -> None:
    """The page names the codes that dead-letter a message by default."""
    default = TABLE["face_codes_not_retryable"].default or ""
    assert [code for code in default.split(",") if f"`{code}`" not in PAGE] == []

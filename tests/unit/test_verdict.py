"""What an answer says, what it means, and what to do about a fault of the deployment."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delete_session.verdict import Meaning, retry_after_seconds

from .fakes import verdict


@pytest.mark.parametrize(
    ("status", "code", "message", "names"),
    [
        (401, "PermissionDenied", "Principal does not have access to API/Operation.", "role"),
        (403, "403", "Access denied due to Virtual Network/Firewall rules.", "network rules"),
        (403, "AccessDenied", "Public access is disabled.", "private endpoint"),
        (403, "Forbidden", "Traffic is not from an approved private endpoint.", "private endpoint"),
        (400, "BadRequest", "Tenant provided in token does not match resource token.", "tenant"),
        (400, "BadRequest", "Please provide a custom subdomain for token.", "custom subdomain"),
        (403, "HTTP 403", "Out of call volume quota. Quota will be replenished.", "call volume"),
        (407, "HTTP 407", "", "proxy"),
        (401, "401", "Access denied due to invalid subscription key.", "token"),
        (404, "404", "Resource not found", "FACE_API_VERSION"),
        (307, "HTTP 307", "", "redirect"),
    ],
)
def test_fault_of_the_deployment_names_its_remedy(
    status: int, code: str, message: str, names: str
) -> None:
    """The remedy follows from the text, whichever code came with it."""
    given_verdict = verdict(status, code, message=message)
    assert given_verdict.meaning is Meaning.MISCONFIGURED
    assert names in (given_verdict.remedy or "")


def test_known_fault_is_no_rejection_whatever_its_code() -> None:
    """A listed code with the text of a network rule is still about the deployment."""
    firewall = verdict(403, "x", message="Denied by Firewall rules", listed=True)
    assert firewall.meaning is Meaning.MISCONFIGURED


@pytest.mark.parametrize(
    ("code", "message", "another_helps"),
    [
        ("401", "The token is expired.", True),
        ("PermissionDenied", "Principal does not have access to API/Operation.", False),
        ("401", "Tenant provided in token does not match resource token.", False),
    ],
)
def test_only_a_refused_token_is_replaced(code: str, message: str, another_helps: bool) -> None:
    """A missing role and a wrong tenant stay what they are with any token."""
    assert verdict(401, code, message).refuses_token is another_helps


@pytest.mark.parametrize(
    ("code", "said"),
    [("429", "HTTP 429: slow"), ("HTTP 429", "HTTP 429: slow"), ("Busy", "HTTP 429 Busy: slow")],
)
def test_the_status_is_said_once(code: str, said: str) -> None:
    """A gateway's code may be the status itself."""
    assert verdict(429, code, message="slow").describe() == said


def test_only_faults_of_the_deployment_have_a_remedy() -> None:
    """Every misconfiguration says what to do; nothing else does."""
    for status in (None, *range(200, 600)):
        for code in ("PermissionDenied", "SessionNotFound", "x"):
            given_verdict = verdict(status, code)
            wrong = given_verdict.meaning is Meaning.MISCONFIGURED
            assert bool(given_verdict.remedy) is wrong


@pytest.mark.parametrize(
    ("header", "message", "seconds"),
    [
        (None, "", None),
        ("7", "", 7),
        ("1.5", "", 1.5),
        (" 3 ", "", 3),
        ("-7", "", None),
        ("soon", "", None),
        ("9" * 400, "", None),
        ("Fri, 02 Jan 2026 03:04:35 GMT", "", None),
        (None, "Rate limit is exceeded. Please retry after 12 seconds.", 12),
        (None, "Please retry after 86,400 seconds.", 86_400),
        ("5", "Please retry after 1 second.", 5),
        (None, "Please retry after a while.", None),
        (None, "Please retry after , seconds.", None),
    ],
)
def test_retry_after_is_read_from_header_and_message(
    header: str | None, message: str, seconds: float | None
) -> None:
    """The longer of the two counts."""
    assert retry_after_seconds(header, message) == seconds


@settings(max_examples=30)
@given(st.none() | st.text("0,.- ٣x"), st.text("0,.٣").map("retry after {} second".format))
def test_no_header_breaks_retry_after(header: str | None, message: str) -> None:
    """Any text gives a number of seconds that is not negative, or none."""
    seconds = retry_after_seconds(header, message)
    assert seconds is None or seconds >= 0

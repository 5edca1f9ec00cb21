"""What an answer means: the table of docs/failures.md, row by row."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delete_session.decision import (
    Attempt,
    DeadLetter,
    Decision,
    Done,
    RetryLater,
    RetryPolicy,
    decide,
    retry_delay,
)
from delete_session.verdict import Meaning, Verdict

from .fakes import verdict

POLICY = RetryPolicy(initial_delay=2, max_delay=900, return_spread=30)


def attempt(
    given_verdict: Verdict | None,
    *,
    attempts: int = 1,
    seconds_left: float = 1000,
    chance: float = 0.5,
    blocked_for: float = 0,
) -> Attempt:
    return Attempt(
        verdict=given_verdict,
        attempts=attempts,
        seconds_left=seconds_left,
        blocked_for=blocked_for,
        last_error="no call was made" if given_verdict is None else given_verdict.describe(),
        jitter=chance,
    )


def decided(given_verdict: Verdict, **fields: float) -> Decision:
    return decide(attempt(given_verdict, **fields), POLICY)  # type: ignore[arg-type]


def delay(attempts: int, floor: float | None, chance: float) -> float:
    """The delay after an attempt that was answered while calls are not blocked."""
    given_verdict = verdict(503, "x", retry_after=floor)
    return retry_delay(attempt(given_verdict, attempts=attempts, chance=chance), POLICY)


@pytest.mark.parametrize("status", [200, 204])
def test_success_is_done(status: int) -> None:
    """An empty success that the API has signed means that the session was deleted."""
    assert decided(verdict(status, request_id="r")) == Done("deleted")


def test_unknown_session_is_done() -> None:
    """SessionNotFound means that the goal is reached."""
    assert decided(verdict(404, "SessionNotFound")) == Done("already_gone")


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "BadArgument"), (403, "UnsupportedFeature"), (404, "x"), (422, "InvalidRequestBody")],
)
def test_what_is_on_the_list_is_dead_lettered_with_its_code(status: int, code: str) -> None:
    """The reason is the FaceError code; the description has status, message and request id."""
    listed = verdict(status, code, message="because", request_id="r-1", listed=True)
    decision = decided(listed)
    assert isinstance(decision, DeadLetter)
    assert decision.reason == code
    assert f"HTTP {status}" in decision.description
    assert decision.description.endswith(": because (request id r-1)")


@pytest.mark.parametrize(
    ("status", "code", "what"),
    [
        (401, "401", Meaning.MISCONFIGURED),
        (403, "PermissionDenied", Meaning.MISCONFIGURED),
        (401, "PermissionDenied", Meaning.MISCONFIGURED),
        (403, "403", Meaning.MISCONFIGURED),
        (403, "AccessDenied", Meaning.MISCONFIGURED),
        (403, "Forbidden", Meaning.MISCONFIGURED),
        (400, "BadRequest", Meaning.MISCONFIGURED),
        (400, "HTTP 400", Meaning.MISCONFIGURED),
        (402, "HTTP 402", Meaning.MISCONFIGURED),
        (405, "MethodNotAllowed", Meaning.MISCONFIGURED),
        (407, "HTTP 407", Meaning.MISCONFIGURED),
        (410, "Gone", Meaning.MISCONFIGURED),
        (421, "HTTP 421", Meaning.MISCONFIGURED),
        (425, "HTTP 425", Meaning.MISCONFIGURED),
        (431, "HTTP 431", Meaning.MISCONFIGURED),
        (499, "HTTP 499", Meaning.MISCONFIGURED),
        (400, "SessionNotFound", Meaning.UNKNOWN_CODE),
        (400, "Brandnew", Meaning.UNKNOWN_CODE),
        (403, "Brandnew", Meaning.UNKNOWN_CODE),
        (422, "Brandnew", Meaning.UNKNOWN_CODE),
        (404, "404", Meaning.MISCONFIGURED),
        (404, "ResourceNotFound", Meaning.MISCONFIGURED),
        (404, "HTTP 404", Meaning.MISCONFIGURED),
        (302, "HTTP 302", Meaning.MISCONFIGURED),
        (408, "x", Meaning.UNAVAILABLE),
        (409, "ConcurrentOperationConflict", Meaning.CONFLICT),
        (429, "429", Meaning.THROTTLED),
        (500, "Unspecified", Meaning.UNAVAILABLE),
        (502, "HTTP 502", Meaning.UNAVAILABLE),
        (503, "x", Meaning.UNAVAILABLE),
        (504, "x", Meaning.UNAVAILABLE),
        (599, "x", Meaning.UNAVAILABLE),
        (202, "HTTP 202", Meaning.UNAVAILABLE),
        (200, "HTTP 200", Meaning.UNCONFIRMED),
        (204, "HTTP 204", Meaning.UNCONFIRMED),
        (None, "Timeout", Meaning.UNAVAILABLE),
        (None, "ConnectionFailed", Meaning.UNAVAILABLE),
        (None, "TokenUnavailable", Meaning.UNAVAILABLE),
    ],
)
def test_anything_else_is_retried(status: int | None, code: str, what: Meaning) -> None:
    """An error that is not about the message is retried, whatever its cause."""
    assert verdict(status, code).meaning is what
    assert isinstance(decided(verdict(status, code)), RetryLater)


def test_success_with_a_page_in_it_is_not_believed() -> None:
    """A 200 with a body did not come from the Face API, and the message is not completed."""
    assert isinstance(decided(verdict(200, has_body=True)), RetryLater)


@pytest.mark.parametrize(
    "given_verdict",
    [
        *(verdict(503, "x"), verdict(401, "401"), verdict(429, "429"), verdict(None, "Timeout")),
        *(verdict(403, "403"), verdict(400, "Brandnew")),
    ],
)
def test_effort_that_has_ended_is_dead_lettered(given_verdict: Verdict) -> None:
    """At the horizon the message is given up, with the last code and the number of attempts."""
    decision = decided(given_verdict, seconds_left=0, attempts=7)
    assert isinstance(decision, DeadLetter)
    assert decision.reason == "RetriesExhausted"
    assert "7 attempts" in decision.description
    assert given_verdict.code in decision.description


@pytest.mark.parametrize(
    "given_verdict", [verdict(200, request_id="r"), verdict(404, "SessionNotFound")]
)
def test_success_counts_even_after_the_end(given_verdict: Verdict) -> None:
    """A session that is gone is gone, however late."""
    assert isinstance(decided(given_verdict, seconds_left=-1), Done)


answers = st.builds(
    verdict,
    st.none() | st.integers(100, 599),
    st.sampled_from(["", "SessionNotFound", "PermissionDenied", "UnsupportedFeature", "x"]),
    retry_after=st.none() | st.floats(0, 1e9),
    has_body=st.booleans(),
)
chances = st.floats(0, 1, exclude_max=True)


@settings(max_examples=50)
@given(
    st.none() | answers,
    st.integers(1, 10_000),
    st.floats(0.001, 200_000),
    chances,
    st.just(0.0) | st.floats(0, 1e6),
)
def test_no_wait_is_negative_or_ends_after_the_effort(
    given_verdict: Verdict | None,
    attempts: int,
    seconds_left: float,
    chance: float,
    blocked_for: float,
) -> None:
    """Whatever the answer, the next attempt lies between now and the end of the effort."""
    decision = decide(
        attempt(
            given_verdict,
            attempts=attempts,
            seconds_left=seconds_left,
            chance=chance,
            blocked_for=blocked_for,
        ),
        POLICY,
    )
    if isinstance(decision, RetryLater):
        assert 0 <= decision.delay_seconds <= seconds_left


@settings(max_examples=50)
@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e6), chances)
def test_wait_is_never_less_than_asked_for_and_never_above_the_cap(
    attempts: int, floor: float | None, chance: float
) -> None:
    """Retry-After is a floor, and the cap holds for it as well."""
    wait = delay(attempts, floor, chance)
    assert min(floor or 0, POLICY.max_delay) <= wait <= POLICY.max_delay


def test_jitter_covers_the_whole_window() -> None:
    """The window doubles from the base to the cap, and the wait is anywhere in it."""
    windows = [delay(attempts, None, 1.0) for attempts in range(1, 12)]
    assert windows[:4] == [2, 4, 8, 16]
    assert windows[-1] == 900
    assert delay(5, None, 0.0) == 0


@pytest.mark.parametrize("given_verdict", [None, verdict(503, "x"), verdict(409, "x")])
@pytest.mark.parametrize(("chance", "wait"), [(0.0, 20), (0.5, 35)])
def test_message_that_meets_blocked_calls_comes_back_after_them(
    given_verdict: Verdict | None, chance: float, wait: float
) -> None:
    """It waits until calls are made again, and some more, so that not all come back at once."""
    decision = decide(attempt(given_verdict, blocked_for=20, chance=chance), POLICY)
    assert decision == RetryLater(wait)


def test_wait_that_is_asked_for_holds_while_calls_are_blocked() -> None:
    """Retry-After is the minimum delay of its message, even while calls are blocked."""
    asked = verdict(503, "x", retry_after=300)
    assert decide(attempt(asked, blocked_for=20), POLICY) == RetryLater(300)


def test_message_without_a_call_is_given_up_with_what_stood_in_the_way() -> None:
    """When calls are blocked until its deadline, it is not kept, and the description says why."""
    decision = decide(attempt(None, seconds_left=20, blocked_for=20, attempts=0), POLICY)
    assert decision == DeadLetter(
        "RetriesExhausted", "after 0 attempts, the last: no call was made"
    )

"""What an answer means: the table of docs/failures.md, row by row."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delete_session.decision import (
    DeadLetter,
    Decision,
    Done,
    FaceAnswer,
    Meaning,
    RetryLater,
    RetryPolicy,
    decide,
    meaning,
    remedy,
    retry_after_seconds,
    retry_delay,
)

POLICY = RetryPolicy(backoff_base=2, backoff_cap=900)
NOW = 1_767_323_045.0  # Fri, 02 Jan 2026 03:04:05 GMT


def answer(status: int | None, code: str = "", **fields: object) -> FaceAnswer:
    return FaceAnswer(status=status, code=code or f"HTTP {status}", **fields)  # type: ignore[arg-type]


def decided(given_answer: FaceAnswer, *, seconds_left: float = 1000, attempt: int = 1) -> Decision:
    return decide(
        given_answer, attempt=attempt, seconds_left=seconds_left, random=0.5, policy=POLICY
    )


@pytest.mark.parametrize("status", [200, 204])
def test_success_is_done(status: int) -> None:
    """A success with an empty body means that the session was deleted."""
    assert decided(answer(status)) == Done("deleted")


def test_unknown_session_is_done() -> None:
    """SessionNotFound means that the goal is reached."""
    assert decided(answer(404, "SessionNotFound")) == Done("already_gone")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "BadArgument"),
        (400, "HTTP 400"),
        (403, "UnsupportedFeature"),
        (403, "HTTP 403"),
        (400, "SessionNotFound"),
        (402, "x"),
        (405, "x"),
        (410, "x"),
        (422, "InvalidRequestBody"),
        (451, "x"),
        (499, "x"),
    ],
)
def test_what_can_never_work_is_dead_lettered_with_its_code(status: int, code: str) -> None:
    """The reason is the FaceError code; the description has status, message and request id."""
    decision = decided(answer(status, code, message="because", request_id="r-1"))
    assert isinstance(decision, DeadLetter)
    assert decision.reason == code
    assert f"HTTP {status}" in decision.description
    assert decision.description.endswith(": because (request id r-1)")


@pytest.mark.parametrize(
    ("status", "code", "what"),
    [
        (401, "401", Meaning.MISCONFIGURED),
        (403, "PermissionDenied", Meaning.MISCONFIGURED),
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
        (None, "Timeout", Meaning.UNAVAILABLE),
        (None, "ConnectionFailed", Meaning.UNAVAILABLE),
        (None, "TokenUnavailable", Meaning.UNAVAILABLE),
    ],
)
def test_anything_else_is_retried(status: int | None, code: str, what: Meaning) -> None:
    """What is not about the message is retried, whoever is at fault."""
    assert meaning(answer(status, code)) is what
    assert isinstance(decided(answer(status, code)), RetryLater)


def test_success_with_a_page_in_it_is_not_believed() -> None:
    """A 200 with a body did not come from the Face API, and the message is not completed."""
    assert isinstance(decided(answer(200, has_body=True)), RetryLater)


@pytest.mark.parametrize(
    "given_answer",
    [answer(503, "x"), answer(401, "401"), answer(429, "429"), answer(None, "Timeout")],
)
def test_effort_that_has_ended_is_dead_lettered(given_answer: FaceAnswer) -> None:
    """At the horizon the message is given up, with the last code and the number of attempts."""
    decision = decided(given_answer, seconds_left=0, attempt=7)
    assert isinstance(decision, DeadLetter)
    assert decision.reason == "RetriesExhausted"
    assert "7 attempts" in decision.description
    assert given_answer.code in decision.description


@pytest.mark.parametrize("given_answer", [answer(200), answer(404, "SessionNotFound")])
def test_success_counts_even_after_the_end(given_answer: FaceAnswer) -> None:
    """A session that is gone is gone, however late."""
    assert isinstance(decided(given_answer, seconds_left=-1), Done)


def test_only_faults_of_the_deployment_have_a_remedy() -> None:
    """Every misconfiguration says what to mend; nothing else does."""
    for status in (None, *range(200, 600)):
        for code in ("PermissionDenied", "SessionNotFound", "x"):
            given_answer = answer(status, code)
            wrong = meaning(given_answer) is Meaning.MISCONFIGURED
            assert bool(remedy(given_answer)) is wrong


answers = st.builds(
    answer,
    st.none() | st.integers(100, 599),
    st.sampled_from(["", "SessionNotFound", "PermissionDenied", "UnsupportedFeature", "x"]),
    retry_after=st.none() | st.floats(0, 1e9),
    has_body=st.booleans(),
)
chances = st.floats(0, 1, exclude_max=True)


@given(answers, st.integers(1, 10_000), st.floats(0.001, 200_000), chances)
def test_no_wait_is_negative_or_ends_after_the_effort(
    given_answer: FaceAnswer, attempt: int, seconds_left: float, chance: float
) -> None:
    """Whatever the answer, the next attempt lies between now and the end of the effort."""
    decision = decide(
        given_answer, attempt=attempt, seconds_left=seconds_left, random=chance, policy=POLICY
    )
    if isinstance(decision, RetryLater):
        assert 0 <= decision.delay_seconds <= seconds_left


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e6), chances)
def test_wait_is_never_less_than_asked_for_and_else_never_above_the_cap(
    attempt: int, floor: float | None, chance: float
) -> None:
    """Retry-After is a floor; without it the cap holds."""
    delay = retry_delay(attempt, floor, chance, POLICY)
    assert delay >= (floor or 0)
    assert delay <= max(floor or 0, POLICY.backoff_cap)


@given(st.integers(1, 1000), st.none() | st.floats(0, 1e6), chances, st.floats(0, 1e6))
def test_wait_rises_with_attempts_and_with_the_floor(
    attempt: int, floor: float | None, chance: float, more: float
) -> None:
    """For the same chance, a later attempt or a longer Retry-After never waits less."""
    delay = retry_delay(attempt, floor, chance, POLICY)
    assert retry_delay(attempt + 1, floor, chance, POLICY) >= delay
    assert retry_delay(attempt, (floor or 0) + more, chance, POLICY) >= delay


def test_jitter_covers_the_whole_window() -> None:
    """The window doubles from the base to the cap, and the wait is anywhere in it."""
    windows = [retry_delay(attempt, None, 1.0, POLICY) for attempt in range(1, 12)]
    assert windows[:4] == [2, 4, 8, 16]
    assert windows[-1] == 900
    assert retry_delay(5, None, 0.0, POLICY) == 0


@pytest.mark.parametrize(
    ("retry_after", "retry_after_ms", "message", "seconds"),
    [
        (None, None, "", None),
        ("7", None, "", 7),
        ("1.5", None, "", 1.5),
        (" 3 ", None, "", 3),
        ("-7", None, "", None),
        ("soon", None, "", None),
        ("9" * 400, None, "", None),
        ("Fri, 02 Jan 2026 03:04:35 GMT", None, "", 30),
        ("Fri, 02 Jan 2026 03:04:35 -0000", None, "", 30),
        ("Fri, 02 Jan 2026 03:00:00 GMT", None, "", 0),
        ("Fri, 99 Jan 2026 03:00:00 GMT", None, "", None),
        (None, "1500", "", 1.5),
        ("1", "2500", "", 2.5),
        (None, None, "Rate limit is exceeded. Please retry after 12 seconds.", 12),
        (None, None, "Please retry after 1 second.", 1),
        ("5", None, "Please retry after 1 second.", 5),
        (None, None, "Please retry after a while.", None),
    ],
)
def test_every_form_of_retry_after_is_understood(
    retry_after: str | None, retry_after_ms: str | None, message: str, seconds: float | None
) -> None:
    """Seconds, an HTTP date, milliseconds and the message's own hint: the longest one counts."""
    assert retry_after_seconds(retry_after, retry_after_ms, message, NOW) == seconds


@given(st.none() | st.text(), st.none() | st.text(), st.text())
def test_no_header_whatever_breaks_the_wait(
    retry_after: str | None, retry_after_ms: str | None, message: str
) -> None:
    """Any text in the headers gives a wait that is not negative, or none."""
    seconds = retry_after_seconds(retry_after, retry_after_ms, message, NOW)
    assert seconds is None or seconds >= 0


def test_decision_imports_nothing_that_does_input_or_output() -> None:
    """The decision is pure: it knows no clock, no network and no randomness."""
    import delete_session.decision as module

    modules = {
        getattr(value, "__module__", None) or getattr(value, "__name__", "")
        for value in vars(module).values()
        if isinstance(value, Callable)  # type: ignore[arg-type]
    }
    assert not modules & {"time", "random", "asyncio", "httpx", "aiohttp", "os"}

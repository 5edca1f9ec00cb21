"""What a retry copy carries from delivery to delivery, and what is believed of it."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from delete_session.message import (
    FIRST_ATTEMPT,
    LAST_ATTEMPT,
    PROPERTIES,
    PUBLISHED_ID,
    History,
    published_id,
)

FIRST = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)

times = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
histories = st.builds(
    History,
    root_id=st.text("a:é😀", min_size=1, max_size=128),
    first_enqueued_at=times,
    first_attempt_at=times,
    last_attempt_at=times,
    attempts=st.integers(0, 999_999),
    copies=st.integers(1, 999_999),
    last_error=st.text("a \n", max_size=500),
)


@settings(max_examples=30)
@given(histories)
def test_what_is_written_reads_back(history: History) -> None:
    """The history survives the way through the queue as it was."""
    assert set(history.write()) == set(PROPERTIES)
    assert History.read(history.write(), history.copy_id) == history


def test_copy_of_an_older_version_is_read() -> None:
    """A history without the times of the attempts is still read."""
    older = History(root_id="m", first_enqueued_at=FIRST, attempts=3, copies=2)
    assert set(PROPERTIES) - set(older.write()) == {FIRST_ATTEMPT, LAST_ATTEMPT}
    assert History.read(older.write(), older.copy_id) == older


@settings(max_examples=30)
@given(histories, st.text("a:0"))
def test_history_under_another_message_id_is_not_believed(history: History, other: str) -> None:
    """A copy that is sent again under another id restarts its history."""
    if other != history.copy_id:
        assert History.read(history.write(), other) is None


@pytest.mark.parametrize(
    "garbage", [None, "", "x", -1, 0, 1.5, True, [], {}, "2026-13-99", 10**12, "9999999"]
)
@pytest.mark.parametrize("name", PROPERTIES)
def test_garbage_in_a_property_breaks_nothing(name: str, garbage: object) -> None:
    """A publisher that uses our property names gets no history, or one within bounds."""
    own = History(root_id="m", first_enqueued_at=FIRST, attempts=3, copies=2)
    history = History.read({**own.write(), name: garbage}, own.copy_id)
    assert history is None or (0 <= history.attempts < 1_000_000 and history.copies == 2)


@settings(max_examples=30)
@given(histories, st.integers(0, 10**6), st.text("a:0"))
def test_copy_id_fits_and_differs_from_the_one_before(
    history: History, attempts: int, error: str
) -> None:
    """Service Bus takes 128 characters; a copy must not be dropped as its own original."""
    following = replace(history, copies=history.copies + 1, attempts=attempts, last_error=error)
    assert len(following.copy_id) <= 128
    assert following.copy_id not in (history.copy_id, history.root_id)
    assert following.copy_id == replace(following, attempts=attempts + 1, last_error="x").copy_id


def test_copies_of_two_messages_with_the_same_id_differ() -> None:
    """A publisher may use an id again, after the duplicate window: neither's copies are dropped."""
    one = History(root_id="m", first_enqueued_at=FIRST, copies=1)
    other = History(root_id="m", first_enqueued_at=FIRST + timedelta(hours=1), copies=1)
    assert one.copy_id != other.copy_id


def test_a_root_id_longer_than_any_message_id_is_not_believed() -> None:
    """Looking for the id as published takes quadratic time, which a long one would make seconds."""
    forged = History(root_id=":resubmit:1" * 5_900 + "x", first_enqueued_at=FIRST, copies=1)
    assert History.read(forged.write(), forged.copy_id) is None
    root_id = (":resubmit:1" * 12)[:127] + "x"
    started = time.process_time()
    assert published_id(forged.root_id, {}) == forged.root_id
    assert published_id(root_id, {PUBLISHED_ID: ":resubmit:1" * 5_900}) == root_id
    assert time.process_time() - started < 0.05

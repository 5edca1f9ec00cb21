"""What is read from the host's message, whatever a publisher put into it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delete_session.delivery import Delivery, Work

from .fakes import ENQUEUED, message, retry_copy


def delivery(**fields: Any) -> Delivery:
    return Delivery.from_trigger(message(**fields), ENQUEUED)


@pytest.mark.parametrize(
    "garbage", [None, "", "x", -1, 1.5, True, [], {}, "2026-13-99", 10**12, "9999999"]
)
def test_garbage_in_our_properties_counts_as_absent(garbage: object) -> None:
    """A publisher that uses our property names breaks nothing."""
    names = ("root-id", "first-enqueued", "attempt", "copy", "last-error")
    read = delivery(properties={f"revoker-{name}": garbage for name in names})
    assert read.first_enqueued_at == ENQUEUED
    assert read.attempts in (0, 1)
    assert read.copies in (0, 1)


def test_first_enqueue_in_the_future_is_not_believed() -> None:
    """Nobody can prolong the effort by claiming a later first enqueue."""
    later = (ENQUEUED + timedelta(days=9)).isoformat()
    assert delivery(properties={"revoker-first-enqueued": later}).first_enqueued_at == ENQUEUED


def test_times_without_an_offset_are_utc() -> None:
    """The host leaves the offset out; the times are UTC all the same."""
    assert delivery(enqueued_time_utc=ENQUEUED.replace(tzinfo=None)).enqueued_at == ENQUEUED


def test_no_expiry_is_none() -> None:
    """The last instant that .NET knows stands for a message that never expires."""
    assert delivery(expires_at_utc=datetime(9999, 12, 31, 23, 59, 59)).expires_at is None


@given(st.text(min_size=1, max_size=200), st.integers(0, 999_999))
def test_copy_id_fits_and_differs_from_the_original(root: str, copies: int) -> None:
    """Service Bus takes 128 characters; a copy must not be dropped as its own original."""
    read = delivery(message_id=root, properties={"revoker-copy": copies})
    assert len(read.copy_id()) <= 128
    assert read.copy_id() != root
    assert (
        read.copy_id() == delivery(message_id=root, properties={"revoker-copy": copies}).copy_id()
    )


def test_copies_of_two_messages_with_the_same_id_differ() -> None:
    """A publisher may use an id again, after the duplicate window: neither's copies are dropped."""
    again = delivery(enqueued_time_utc=ENQUEUED + timedelta(hours=1))
    assert delivery().copy_id() != again.copy_id()


@given(
    st.timedeltas(timedelta(0), timedelta(days=14)),
    st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=14)),
    st.floats(0.001, 336),
)
def test_effort_never_outlasts_horizon_or_message(
    waited: timedelta, lifetime: timedelta | None, horizon_hours: float
) -> None:
    """The effort ends at the horizon at the latest, and before the message expires."""
    now = ENQUEUED + waited
    given = retry_copy(
        ENQUEUED, enqueued_time_utc=now, expires_at_utc=now + lifetime if lifetime else None
    )
    read = Delivery.from_trigger(given, now)
    seconds = read.effort_seconds(timedelta(hours=horizon_hours))
    assert seconds <= horizon_hours * 3600 - waited.total_seconds() + 1e-3
    if lifetime:
        assert seconds <= lifetime.total_seconds()


def test_last_error_survives_from_delivery_to_delivery() -> None:
    """Before a call is made, the error is the one that the copy carries."""
    read = delivery(properties={"revoker-last-error": "HTTP 503"})
    assert Work(read, 48, lambda: 0.0).last_error == "HTTP 503"
    assert Work(delivery(), 48, lambda: 0.0).last_error == ""


def test_aware_times_are_kept() -> None:
    """An offset that is given is respected."""
    east = datetime(2026, 1, 2, 5, 4, 5, tzinfo=UTC).astimezone()
    assert delivery(enqueued_time_utc=east).enqueued_at == east

"""What is read from the host's message, whatever a publisher put into it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from delete_session.delivery import Delivery, RetryCopy, Revocation

from .fakes import ENQUEUED, message, retry_copy


def delivery(**fields: Any) -> Delivery:
    return Delivery.from_trigger(message(**fields), ENQUEUED)


def test_times_without_an_offset_are_utc() -> None:
    """The host leaves the offset out; the times are UTC all the same."""
    assert delivery(enqueued_time_utc=ENQUEUED.replace(tzinfo=None)).enqueued_at == ENQUEUED


def test_no_expiry_is_none() -> None:
    """The last instant that .NET knows stands for a message that never expires."""
    assert delivery(expires_at_utc=datetime(9999, 12, 31, 23, 59, 59)).expires_at is None


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
    copied = Revocation(delivery(), 48, lambda: 0.0).copy(9, "HTTP 503")
    assert Revocation(read(copied), 48, lambda: 0.0).last_error == "HTTP 503"
    assert Revocation(delivery(), 48, lambda: 0.0).last_error == ""


def read(copied: RetryCopy) -> Delivery:
    return delivery(properties=copied.properties, message_id=copied.message_id)


def test_copy_keeps_what_the_publisher_set() -> None:
    """Body, properties and correlation come through; a bare copy leaves the properties out."""
    revocation = Revocation(delivery(properties={"tenant": "blue"}), 48, lambda: 0.0)
    copied = revocation.copy(9, "x")
    assert (copied.body, copied.correlation_id) == (revocation.delivery.body, "c-1")
    assert copied.properties["tenant"] == "blue"
    bare = revocation.copy(9, "x", bare=True)
    assert "tenant" not in bare.properties
    assert read(bare).history == read(copied).history


def test_aware_times_are_kept() -> None:
    """An offset that is given is respected."""
    east = datetime(2026, 1, 2, 5, 4, 5, tzinfo=UTC).astimezone()
    assert delivery(enqueued_time_utc=east).enqueued_at == east

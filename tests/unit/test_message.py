"""What is read from the host's message, whatever a publisher put into it."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delete_session.message import LAST_ERROR, PUBLISHED_ID, Delivery, Revocation, published_id

from .fakes import ENQUEUED, GONE, UNAVAILABLE, message, retry_copy


def delivery(**fields: Any) -> Delivery:
    return Delivery.from_trigger(message(**fields), ENQUEUED)


def test_times_without_an_offset_are_utc() -> None:
    """The host leaves the offset out; the times are UTC."""
    assert delivery(enqueued_time_utc=ENQUEUED.replace(tzinfo=None)).enqueued_at == ENQUEUED


@settings(max_examples=50)
@given(
    st.timedeltas(timedelta(0), timedelta(days=14)),
    st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=14)),
    st.floats(0.001, 336),
)
def test_retry_deadline_comes_before_the_message_expires(
    waited: timedelta, lifetime: timedelta | None, deadline_hours: float
) -> None:
    """It is never later than configured, and lies before the expiry."""
    now = ENQUEUED + waited
    given = retry_copy(
        ENQUEUED, enqueued_time_utc=now, expires_at_utc=now + lifetime if lifetime else None
    )
    read = Delivery.from_trigger(given, now)
    seconds = read.seconds_to_deadline(timedelta(hours=deadline_hours))
    assert seconds <= deadline_hours * 3600 - waited.total_seconds() + 1e-3
    if lifetime:
        assert seconds <= lifetime.total_seconds()


@pytest.mark.parametrize(
    ("lifetime", "margin"),
    [(timedelta(hours=48), timedelta(hours=1)), (timedelta(minutes=1), timedelta(seconds=15))],
)
def test_a_burst_has_time_to_end_before_it_expires(lifetime: timedelta, margin: timedelta) -> None:
    """All its messages reach their deadline together, and end at the rate of the calls."""
    read = delivery(expires_at_utc=ENQUEUED + lifetime)
    assert read.seconds_to_deadline(timedelta(hours=48)) == (lifetime - margin).total_seconds()


def test_last_error_survives_from_delivery_to_delivery() -> None:
    """Before a call is made, the error is the one that the copy carries."""
    revocation = Revocation(delivery(), 48, lambda: 0.0)
    revocation.record_call(UNAVAILABLE, "liveness", 0.0)
    copied = revocation.copy(9)
    assert Revocation(read(copied), 48, lambda: 0.0).last_error == UNAVAILABLE.describe()
    assert Revocation(delivery(), 48, lambda: 0.0).last_error == ""


def test_not_found_under_one_type_is_no_error() -> None:
    """If the other type could not be asked, the reason for that is the last error."""
    revocation = Revocation(delivery(), 48, lambda: 0.0)
    revocation.record_call(GONE, "livenessWithVerify", 0.0)
    revocation.record_obstacle("no call was made")
    assert revocation.last_error == "no call was made"
    assert revocation.verdict is None  # so that no log line or receipt says SessionNotFound


def read(copied: Delivery) -> Delivery:
    return delivery(properties=copied.properties, message_id=copied.message_id)


def test_copy_keeps_what_the_publisher_set() -> None:
    """Body, properties and correlation come through."""
    revocation = Revocation(delivery(properties={"tenant": "blue"}), 48, lambda: 0.0)
    copied = revocation.copy(9)
    assert (copied.body, copied.correlation_id) == (revocation.delivery.body, "c-1")
    assert copied.properties["tenant"] == "blue"


def test_a_bare_copy_always_fits() -> None:
    """Nothing that the publisher set makes it too large, except the body, which has a limit; what was
    done before stays, and so does the id as published."""
    long, large = "m" * 128, "x" * 262_144
    given = delivery(
        message_id=f"{hashlib.sha256(long.encode()).hexdigest()}:resubmit:7",
        properties={"tenant": large, PUBLISHED_ID: long, LAST_ERROR: large},
        correlation_id=large,
        subject=large,
        content_type="\ud800" + large,
    )
    revocation = Revocation(given, 48, lambda: 0.0)
    bare = revocation.copy(9, bare=True)
    assert read(bare).history == read(revocation.copy(9)).history
    assert published_id(bare.history.root_id, bare.properties) == long
    assert len(msgspec.json.encode(bare)) < 2_000
    forged = delivery(message_id="m-1", properties={PUBLISHED_ID: large})
    assert Revocation(forged, 48, lambda: 0.0).copy(9, bare=True).properties[PUBLISHED_ID] == "m-1"


def test_copy_leaves_out_what_no_receiver_could_read() -> None:
    """A property whose name is not text is not sent on."""
    given = message(application_properties={1: 2, "tenant": "blue"})
    copied = Revocation(Delivery.from_trigger(given, ENQUEUED), 48, lambda: 0.0).copy(9)
    assert all(isinstance(name, str) for name in copied.properties)
    assert copied.properties["tenant"] == "blue"


def test_aware_times_are_kept() -> None:
    """An offset that is given is respected."""
    east = datetime(2026, 1, 2, 5, 4, 5, tzinfo=UTC).astimezone()
    assert delivery(enqueued_time_utc=east).enqueued_at == east


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"expires_at_utc": datetime(9999, 12, 31, 23, 59, 59, 999999)},
        {"enqueued_time_utc": None},
        {"enqueued_time_utc": datetime.max},
        {"enqueued_time_utc": datetime.max.replace(tzinfo=UTC)},
        {"enqueued_time_utc": datetime.min},
        {"enqueued_time_utc": ENQUEUED + timedelta(days=99)},
        {"expires_at_utc": None},
        {"expires_at_utc": datetime.min},
        {"expires_at_utc": ENQUEUED},
        {"expires_at_utc": ENQUEUED + timedelta(days=50)},
        {"delivery_count": None},
        {"delivery_count": 0},
        {"delivery_count": 10**30},
        {"lock_token": None},
        {"application_properties": None, "user_properties": None},
        {"application_properties": ["x"]},
    ],
)
def test_implausible_host_metadata_count_as_missing(fields: dict[str, Any]) -> None:
    """The message is handled with the time of its arrival, a first delivery and no expiry."""
    given = message(**fields)
    read = Delivery.from_trigger(given, ENQUEUED)
    assert (read.received_at, read.enqueued_at) == (ENQUEUED, ENQUEUED)
    assert read.delivery_count == 1
    assert read.expires_at in (None, ENQUEUED + timedelta(hours=48))
    revocation = Revocation(read, 48, lambda: 0.0)
    assert 47 * 3600 <= revocation.seconds_left <= 48 * 3600


ZONES = st.sampled_from([None, UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))])


@settings(max_examples=50)
@given(
    *(st.none() | st.datetimes(timezones=ZONES) for _ in range(2)),
    st.none() | st.integers(),
    st.none() | st.integers(),
    st.floats(0.001, 336),
)
def test_no_host_data_overflow(
    enqueued: datetime | None,
    expires: datetime | None,
    count: int | None,
    number: int | None,
    hours: float,
) -> None:
    """Whatever the times and numbers are, the retry deadline is never later than configured."""
    given = message(
        enqueued_time_utc=enqueued,
        expires_at_utc=expires,
        delivery_count=count,
        sequence_number=number,
        message_id="",
    )
    read = Delivery.from_trigger(given, ENQUEUED)
    revocation = Revocation(read, hours, lambda: 0.0)
    assert revocation.seconds_left <= hours * 3600 + 1e-3
    assert read.received_at <= ENQUEUED + timedelta(days=30)
    assert revocation.copy(60).enqueued_at.tzinfo is not None


def test_message_without_an_id_is_known_by_its_sequence_number() -> None:
    """The substitute is the same at each delivery."""
    assert delivery(message_id=None).message_id == "sequence-7"

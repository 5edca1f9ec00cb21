"""The quick reading of the host's times against the library's own."""

from datetime import datetime

import pytest
from azure.functions import meta
from azure.functions.servicebus import ServiceBusMessageInConverter
from hypothesis import given
from hypothesis import strategies as st

from delete_session import trigger

own = meta._BaseConverter._parse_datetime
quick = trigger.first_iso(own)


def outcome(parse: trigger._Parse, text: str | None) -> datetime | type[Exception] | None:
    try:
        return parse(text)
    except ValueError as error:
        return type(error)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "2026-11-22T23:33:09",
        "2026-11-22T23:33:09.1",
        "2026-11-22T23:33:09.123",
        "2026-11-22T23:33:09.1234567",
        "2026-11-22T23:33:09Z",
        "2026-11-22T23:33:09.1234567Z",
        "2026-11-22T23:33:09+00:00",
        "2026-11-22T23:33:09.123-00:00",
        "2026-11-22T23:33:09+02:00",
        "9999-12-31T23:59:59.9999999",
        "9999-12-31T23:59:59.9999999Z",
        "11/22/2026 23:33:09",
        "11/22/2026 23:33:09.5Z",
        "2026-11-22 23:33:09",
        "2026-13-22T23:33:09",
        "20261122T233309",
        "2026-11-22T23:33",
        "12/18/2020",
        "soon",
    ],
)
def test_reads_what_the_library_reads(text: str | None) -> None:
    """The result is the library's own, also where that is an error."""
    assert outcome(quick, text) == outcome(own, text)


@given(
    st.datetimes(min_value=datetime(1000, 1, 1)),
    st.sampled_from(["auto", "seconds", "milliseconds", "microseconds"]),
    st.sampled_from(["", "Z", "+00:00"]),
)
def test_reads_any_time_of_the_host_alike(time: datetime, precision: str, offset: str) -> None:
    """Any time in the host's form is read as the library reads it, zone included."""
    text = time.isoformat(timespec=precision) + offset
    quickly, slowly = quick(text), own(text)
    assert quickly == slowly
    assert quickly is not None
    assert slowly is not None
    assert quickly.tzinfo == slowly.tzinfo


def test_the_trigger_reads_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pinned azure.functions has the method that is replaced, and takes the replacement once."""
    monkeypatch.setattr(ServiceBusMessageInConverter, "_parse_datetime", own, raising=False)
    trigger.patch_time_parsing()
    replaced = ServiceBusMessageInConverter._parse_datetime
    assert replaced.__module__ == trigger.__name__
    trigger.patch_time_parsing()
    assert ServiceBusMessageInConverter._parse_datetime is replaced


def test_a_release_without_the_method_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is nothing to replace, nothing is added."""
    converter = type("ConverterOfALaterRelease", (), {})
    monkeypatch.setattr(trigger, "ServiceBusMessageInConverter", converter)
    trigger.patch_time_parsing()
    assert not hasattr(converter, "_parse_datetime")

"""What is replaced in the library's binding, against the library's own."""

from datetime import UTC, datetime
from typing import Any

import pytest
from azure.functions import meta
from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessage, ServiceBusMessageInConverter

from delete_session import binding
from delete_session.message import Delivery

from .fakes import ENQUEUED

own = meta._BaseConverter._parse_datetime
own_decode = ServiceBusMessageInConverter.decode
quick = binding.with_iso_first(own)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "2025-04-11T01:10:50.251",
        "2026-11-22T23:33:09",
        "2026-11-22T23:33:09.1",
        "2026-11-22T23:33:09.123",
        "2026-11-22T23:33:09.1234567",
        "2026-11-22T23:33:09Z",
        "2026-11-22T23:33:09.1234567Z",
        "2026-11-22T23:33:09+00:00",
        "2026-11-22T23:33:09.123-00:00",
        "9999-12-31T23:59:59.9999999",
        "9999-12-31T23:59:59.9999999Z",
        "11/22/2026 23:33:09Z",
        "11/22/2026 23:33:09.5Z",
        "11/22/2026T23:33:09",
    ],
)
def test_reads_what_the_library_reads(text: str | None) -> None:
    """The result is the library's own where it reads a time."""
    assert quick(text) == own(text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-22T23:33:09+02:00", datetime(2026, 11, 22, 21, 33, 9, tzinfo=UTC)),
        ("2026-11-22 23:33:09", datetime(2026, 11, 22, 23, 33, 9)),
        ("11/22/2026 23:33:09", None),
        ("2026-13-22T23:33:09", None),
        ("0001-01-01T00:00:00+10:00", None),
        ("12/18/2020", None),
        ("nonsense", None),
        ("\ud800", None),
    ],
)
def test_what_the_library_refuses_is_read_or_unknown(text: str, time: datetime | None) -> None:
    """A time in a form that the library does not know is read if it is ISO 8601; nothing raises."""
    with pytest.raises((ValueError, OverflowError)):
        own(text)
    assert quick(text) == time


def test_the_trigger_has_what_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pinned azure.functions has the methods that are replaced, and each is replaced once."""
    monkeypatch.setattr(ServiceBusMessageInConverter, "_parse_datetime", own, raising=False)
    monkeypatch.setattr(ServiceBusMessageInConverter, "decode", own_decode)
    for _ in range(2):
        binding.patch_binding()
        replaced = (
            ServiceBusMessageInConverter._parse_datetime,
            ServiceBusMessageInConverter.decode,
        )
        assert {each.__module__ for each in replaced} == {binding.__name__}
        assert [each.__qualname__.count("<locals>") for each in replaced] == [1, 1]


def test_a_release_without_the_methods_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is nothing to replace, nothing is added."""
    converter = type("ConverterOfALaterRelease", (), {})
    monkeypatch.setattr(binding, "ServiceBusMessageInConverter", converter)
    binding.patch_binding()
    assert not hasattr(converter, "_parse_datetime")
    assert not hasattr(converter, "decode")


METADATA = {
    "MessageId": Datum("m-1", "string"),
    "LockToken": Datum("t-1", "string"),
    "DeliveryCount": Datum("3", "json"),
    "EnqueuedTimeUtc": Datum('"2026-01-02T03:04:05"', "json"),
    "ExpiresAtUtc": Datum('"9999-12-31T23:59:59.9999999"', "json"),
    "SequenceNumber": Datum("7", "json"),
    "ContentType": Datum("application/json", "string"),
    "ApplicationProperties": Datum('{"tenant": "blue"}', "json"),
    "UserProperties": Datum('{"tenant": "blue"}', "json"),
}


@pytest.fixture
def decode(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The binding's decoder, as the function's process has it."""
    monkeypatch.setattr(ServiceBusMessageInConverter, "_parse_datetime", own, raising=False)
    monkeypatch.setattr(ServiceBusMessageInConverter, "decode", own_decode)
    binding.patch_binding()
    return ServiceBusMessageInConverter.decode


def test_what_the_binding_reads_is_its_own(decode: Any) -> None:
    """With usual metadata the message is the one that the library makes."""
    for read in (decode, own_decode):
        message = read(Datum(b"x", "bytes"), trigger_metadata=METADATA)
        assert isinstance(message, ServiceBusMessage)
        assert message.get_body() == b"x"
        assert (message.message_id, message.delivery_count) == ("m-1", 3)
        assert message.application_properties == {"tenant": "blue"}


@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize(
    "value",
    [
        None,
        Datum(None, None),
        Datum("nonsense", "string"),
        Datum("", "string"),
        Datum("{", "json"),
        Datum("null", "json"),
        Datum("[1, 2]", "json"),
        Datum("[[1, 2]]", "json"),
        Datum("1e999", "json"),
        Datum(b"x", "bytes"),
        Datum(float("nan"), "double"),
        Datum("x", "of a later release"),
        "no datum",
    ],
    ids=str,
)
def test_one_odd_value_keeps_no_message_back(decode: Any, name: str, value: Any) -> None:
    """The message is handed over with all that can be read beside it, or the value is missing."""
    given = {**METADATA, name: value}
    if value is None:
        del given[name]
    message = decode(Datum(b"x", "bytes"), trigger_metadata=given)
    assert message.get_body() == b"x"
    assert name == "MessageId" or message.message_id == "m-1"
    assert name == "SequenceNumber" or message.sequence_number == 7
    assert name == "ApplicationProperties" or message.application_properties == {"tenant": "blue"}
    Delivery.from_trigger(message, ENQUEUED)


def test_missing_metadata_keep_no_message_back(decode: Any) -> None:
    """If the host tells nothing of a message, the function gets the body."""
    message = decode(Datum(b"x", "bytes"), trigger_metadata=None)
    assert Delivery.from_trigger(message, ENQUEUED).body == b"x"

"""Patches of two methods of azure.functions: docs/decisions/library-patches.md."""

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessageInConverter

type _Parse = Callable[[str | None], datetime | None]
type _Decode = Callable[..., object]


def patch_binding() -> None:
    """Wrap both methods of the trigger's binding, each once, if this release has them."""
    wrappers: dict[str, Callable[[Any], Callable[..., object]]] = {
        "_parse_datetime": with_iso_first,
        "decode": despite_unreadable_metadata,
    }
    for name, wrapper in wrappers.items():
        original = getattr(ServiceBusMessageInConverter, name, None)
        if original is not None and getattr(original, "__module__", "") != __name__:
            setattr(ServiceBusMessageInConverter, name, staticmethod(wrapper(original)))


def with_iso_first(original: _Parse) -> _Parse:
    """Return a parser that tries ISO 8601 before the 26 formats of `original`, and never raises."""

    def parse(text: str | None) -> datetime | None:
        if not text:
            return None
        try:
            time = datetime.fromisoformat(text)
            return time.astimezone(UTC) if time.tzinfo else time
        except (ValueError, OverflowError):
            pass
        try:
            return original(text)
        except Exception:
            return None

    return parse


def despite_unreadable_metadata(original: _Decode) -> _Decode:
    """Return a decoder that leaves out the metadata that `original` cannot read.

    If the binding raises, the function is not called, and after twenty deliveries the message is
    dead-lettered.
    """

    def decode(data: object, *, trigger_metadata: Mapping[str, object]) -> object:
        try:
            return original(data, trigger_metadata=trigger_metadata)
        except Exception:
            readable = _readable(original, trigger_metadata or {})
            return original(data, trigger_metadata=readable)

    return decode


def _readable(original: _Decode, metadata: Mapping[str, object]) -> dict[str, object]:
    readable: dict[str, object] = {"UserProperties": Datum(None, None)}  # the decoder requires it
    for name, value in metadata.items():
        with contextlib.suppress(Exception):
            original(Datum(b"", "bytes"), trigger_metadata={**readable, name: value})
            readable[name] = value
    return readable

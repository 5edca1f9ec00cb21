"""Patches of two methods of azure.functions: docs/decisions/library-patches.md.

Replacing them twice is harmless. If a release no longer has them, nothing happens.
"""

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessageInConverter

type _Parse = Callable[[str | None], datetime | None]
type _Decode = Callable[..., object]


def patch_time_parsing() -> None:
    """Have the trigger's binding try ISO 8601 before its own 26 formats, and never raise."""
    _replace("_parse_datetime", first_iso)


def patch_decoding() -> None:
    """Have the trigger's binding hand over a message even if some of its metadata is unreadable.

    If the binding raises, the function is not called, and after twenty deliveries the message is
    dead-lettered.
    """
    _replace("decode", despite_unreadable_metadata)


def _replace(name: str, wrapped: Callable[[Any], Callable[..., object]]) -> None:
    own = getattr(ServiceBusMessageInConverter, name, None)
    if own is not None and getattr(own, "__module__", "") != __name__:
        setattr(ServiceBusMessageInConverter, name, staticmethod(wrapped(own)))


def first_iso(own: _Parse) -> _Parse:
    """Return a parser like `own` that reads ISO 8601 faster, and returns None for other text."""

    def parse(text: str | None) -> datetime | None:
        if not text:
            return None
        try:
            time = datetime.fromisoformat(text)
            return time.astimezone(UTC) if time.tzinfo else time
        except (ValueError, OverflowError):
            pass
        try:
            return own(text)
        except Exception:
            return None

    return parse


def despite_unreadable_metadata(own: _Decode) -> _Decode:
    """Return a decoder like `own` that leaves out the metadata that `own` cannot read."""

    def decode(data: object, *, trigger_metadata: Mapping[str, object]) -> object:
        try:
            return own(data, trigger_metadata=trigger_metadata)
        except Exception:
            readable: dict[str, object] = {"UserProperties": Datum(None, None)}  # required
        for name, value in (trigger_metadata or {}).items():
            with contextlib.suppress(Exception):
                own(Datum(b"", "bytes"), trigger_metadata={**readable, name: value})
                readable[name] = value
        return own(data, trigger_metadata=readable)

    return decode

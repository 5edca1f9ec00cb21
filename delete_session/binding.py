"""Two methods of azure.functions are replaced here: docs/decisions/library-patches.md.

Replacing them twice is harmless. If a release no longer has them, nothing happens.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessageInConverter

type _Parse = Callable[[str | None], datetime | None]
type _Decode = Callable[..., object]


def patch_time_parsing() -> None:
    """Have the trigger's binding try ISO 8601 before its own 26 formats, and never raise."""
    own: _Parse | None = getattr(ServiceBusMessageInConverter, "_parse_datetime", None)
    if own is not None and getattr(own, "__module__", "") != __name__:
        setattr(ServiceBusMessageInConverter, "_parse_datetime", staticmethod(first_iso(own)))  # noqa: B010


def first_iso(own: _Parse) -> _Parse:
    """Return a parser like `own` that reads ISO 8601 faster, and returns None for what is no time."""

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


def patch_decoding() -> None:
    """Have the trigger's binding hand over a message whatever is odd about its metadata.

    When it raises, the function is not called, and after twenty deliveries the message is
    dead-lettered.
    """
    own: _Decode | None = getattr(ServiceBusMessageInConverter, "decode", None)
    if own is not None and getattr(own, "__module__", "") != __name__:
        setattr(ServiceBusMessageInConverter, "decode", staticmethod(despite_odd_metadata(own)))  # noqa: B010


def despite_odd_metadata(own: _Decode) -> _Decode:
    """Return a decoder like `own` that leaves out the metadata that `own` cannot read."""
    needed = {"UserProperties": Datum(None, None)}  # its sign of a trigger for single messages
    nothing = Datum(b"", "bytes")

    def is_readable(name: str, value: object) -> bool:
        try:
            own(nothing, trigger_metadata={**needed, name: value})
        except Exception:
            return False
        return True

    def decode(data: object, *, trigger_metadata: Mapping[str, object]) -> object:
        try:
            return own(data, trigger_metadata=trigger_metadata)
        except Exception:
            readable = {
                name: value
                for name, value in (trigger_metadata or {}).items()
                if is_readable(name, value)
            }
            return own(data, trigger_metadata=needed | readable)

    return decode

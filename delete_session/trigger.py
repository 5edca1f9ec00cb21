"""Where the platform comes in: the Service Bus trigger, and the one Revoker of this process."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import azure.functions as func
from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessageInConverter

from .breaker import BreakerState
from .clock import BrokerTime, Clock
from .connection import CONNECTION
from .decision import RetryPolicy
from .face import FaceClient
from .gate import Gate
from .identity import TokenSource
from .log import FaultLog, record_circuit
from .metrics import telemetry_for
from .revoker import Revoker
from .settings import Settings
from .settlement import Settlement

if TYPE_CHECKING:
    from .receipt import Receipts


def create_blueprint(settings: Settings) -> func.Blueprint:
    """Return the trigger, bound to the one Revoker of this process."""
    patch_time_parsing()
    patch_decoding()
    blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
    revoker = create_revoker(settings)
    if revoker.receipts is not None:
        revoker.receipts.open_soon()

    @blueprint.service_bus_queue_trigger(
        arg_name="message",
        queue_name="%SESSION_REVOKED_QUEUE%",
        connection=CONNECTION,
        # As text, the host would replace whatever is not UTF-8.
        data_type=func.DataType.BINARY,
    )
    async def delete_session(message: func.ServiceBusMessage) -> None:
        await revoker.handle(message)

    return blueprint


def create_revoker(settings: Settings, clock: Clock | None = None) -> Revoker:
    """Put together what one process holds."""
    clock = clock or Clock()
    gate = Gate(
        most_calls=settings.max_calls_per_second,
        least_calls=settings.min_calls_per_second,
        instances=settings.maximum_instance_count,
        breaker_failures=settings.breaker_failures,
        cool_down=settings.breaker_cool_down,
        patience=settings.retry_in_place_max,
        longest_wait=settings.backoff_cap,
        clock=clock,
        on_change=record_circuit,
    )
    gauges = {
        "rate": lambda: gate.rate,
        "waiting": lambda: gate.waiting,
        "circuit": lambda: list(BreakerState).index(gate.circuit),
    }
    return Revoker(
        face=_face_client(settings),
        gate=gate,
        settlement=Settlement(settings.service_bus, settings.queue, settings.settle_timeout),
        receipts=_receipts(settings),
        telemetry=telemetry_for(settings.queue, settings.face_endpoint, gauges),
        policy=RetryPolicy(
            backoff_base=settings.backoff_base,
            backoff_cap=settings.backoff_cap,
            return_spread=settings.breaker_cool_down,
        ),
        horizon_hours=settings.retry_horizon,
        in_place_max=settings.retry_in_place_max,
        clock=clock,
        time=BrokerTime(clock),
        faults=FaultLog(),
    )


def _receipts(settings: Settings) -> "Receipts | None":
    if settings.outcome_queue is None:
        return None
    # Not loaded where nobody wants receipts. Where they are wanted, every message needs the library:
    # loaded with the first ones, it would hold them for as long as a redelivery takes to hurt.
    import azure.servicebus.aio  # noqa: F401

    from .receipt import Receipts

    outcomes = Settlement(settings.service_bus, settings.outcome_queue, settings.settle_timeout)
    return Receipts(settings.queue, outcomes)


def _face_client(settings: Settings) -> FaceClient:
    return FaceClient(
        settings.face_endpoint,
        settings.face_api_version,
        TokenSource(settings.client_id, settings.face_token_scope, settings.token_timeout),
        connect_timeout=settings.connect_timeout,
        total_timeout=settings.total_timeout,
        not_retryable=settings.face_codes_not_retryable,
        proxy=settings.face_proxy,
    )


# Two methods of azure.functions are replaced here; docs/decisions.md says why, and how the tests would
# notice a change. Doing it twice is harmless. Should a release not have them any more, nothing happens.

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

"""Where the platform comes in: the Service Bus trigger, and the one Revoker of this process."""

from collections.abc import Callable
from datetime import datetime, timedelta

import azure.functions as func
from azure.functions.servicebus import ServiceBusMessageInConverter

from .clock import BrokerTime, Clock
from .decision import RetryPolicy
from .face import FaceClient
from .gate import Gate
from .identity import TokenSource
from .log import FaultLog, record_circuit
from .metrics import telemetry_for
from .pacing import BreakerState
from .revoker import Revoker
from .settings import CONNECTION, Settings
from .settlement import Settlement


def create_blueprint(settings: Settings) -> func.Blueprint:
    """Return the trigger, bound to the one Revoker of this process."""
    patch_time_parsing()
    blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
    revoker = create_revoker(settings)

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
        face=FaceClient(
            settings.face_endpoint,
            settings.face_api_version,
            TokenSource(settings.client_id, settings.token_timeout),
            connect_timeout=settings.connect_timeout,
            total_timeout=settings.total_timeout,
            not_retryable=settings.face_codes_not_retryable,
        ),
        gate=gate,
        settlement=Settlement(settings.service_bus, settings.queue, settings.settle_timeout),
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


# A private method of azure.functions is replaced here; docs/decisions.md says why, and how the tests
# would notice a change.

type _Parse = Callable[[str | None], datetime | None]


def patch_time_parsing() -> None:
    """Have the trigger's binding try ISO 8601 before its own 26 formats.

    Doing it twice is harmless. Should a release not have the method any more, nothing happens.
    """
    own: _Parse | None = getattr(ServiceBusMessageInConverter, "_parse_datetime", None)
    if own is not None and getattr(own, "__module__", "") != __name__:
        setattr(ServiceBusMessageInConverter, "_parse_datetime", staticmethod(first_iso(own)))  # noqa: B010


def first_iso(own: _Parse) -> _Parse:
    """Return a parser with the results of `own` that reads ISO 8601 in UTC faster."""

    def parse(text: str | None) -> datetime | None:
        # Those forms only that `own` knows, too: 2026-01-31T23:59:59, with a fraction or without.
        if text and len(text) >= 19 and text[10] == "T" and text[4] == text[7] == "-":
            try:
                time = datetime.fromisoformat(text)
            except ValueError:
                return own(text)
            if time.tzinfo is None or time.utcoffset() == timedelta():
                return time
        return own(text)

    return parse

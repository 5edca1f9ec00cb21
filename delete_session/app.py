"""Where the platform comes in: the Service Bus trigger, and the one Handler of this process."""

from typing import TYPE_CHECKING

import azure.functions as func

from .binding import patch_decoding, patch_time_parsing
from .breaker import BreakerState
from .clock import BrokerTime, Clock
from .connection import CONNECTION
from .decision import RetryPolicy
from .face import FaceClient
from .gate import Gate
from .handler import Handler
from .identity import TokenSource
from .log import FaultLog, record_circuit, record_rate
from .queue import ServiceBusQueue
from .settings import Settings
from .telemetry import telemetry_for

if TYPE_CHECKING:
    from .receipt import Receipts


def create_blueprint(settings: Settings) -> func.Blueprint:
    """Return the trigger, bound to the one Handler of this process."""
    patch_time_parsing()
    patch_decoding()
    blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
    revoker = create_handler(settings)
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


def create_handler(settings: Settings, clock: Clock | None = None) -> Handler:
    """Put together what one process holds."""
    clock = clock or Clock()
    gate = Gate(
        max_rate=settings.max_calls_per_second,
        min_rate=settings.min_calls_per_second,
        breaker_failures=settings.breaker_failures,
        break_duration=settings.breaker_cool_down,
        max_wait=settings.retry_in_place_max,
        max_delay=settings.backoff_cap,
        clock=clock,
        on_change=record_circuit,
        on_rate=record_rate,
    )
    gauges = {
        "rate": lambda: gate.rate,
        "waiting": lambda: gate.waiting,
        "circuit": lambda: list(BreakerState).index(gate.circuit),
    }
    return Handler(
        face=_face_client(settings),
        gate=gate,
        settlement=ServiceBusQueue(settings.service_bus, settings.queue, settings.settle_timeout),
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

    outcomes = ServiceBusQueue(
        settings.service_bus, settings.outcome_queue, settings.settle_timeout
    )
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

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
from .log import FaultLog, record_circuit, record_event
from .queue import ServiceBusQueue
from .settings import Settings
from .telemetry import telemetry_for

if TYPE_CHECKING:
    from .receipt import Receipts

BREAKER_FAILURES = 10
"""Failures in a row that open the circuit breaker: more than chance gives at 30 % faults."""
IN_PLACE_DELAYS = 2.5
"""A delay of up to this many initial delays (5 s) is waited out in the function, which is cheaper than
a scheduled copy; the message stays locked meanwhile."""


def create_blueprint(settings: Settings) -> func.Blueprint:
    """Return the trigger, bound to the one Handler of this process."""
    patch_time_parsing()
    patch_decoding()
    if settings.ignored:
        record_event("settings_ignored", names=settings.ignored)
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
    in_place_max = IN_PLACE_DELAYS * settings.initial_delay
    gate = Gate(
        most_calls=settings.max_rate,
        least_calls=settings.min_rate,
        breaker_failures=BREAKER_FAILURES,
        cool_down=settings.break_duration,
        patience=in_place_max,
        longest_wait=settings.max_delay,
        clock=clock,
        on_change=record_circuit,
    )
    gauges = {
        "rate": lambda: gate.rate,
        "waiting": lambda: gate.waiting,
        "circuit": lambda: list(BreakerState).index(gate.circuit),
    }
    return Handler(
        face=_face_client(settings),
        gate=gate,
        settlement=ServiceBusQueue(settings.service_bus, settings.queue, settings.call_timeout / 2),
        receipts=_receipts(settings),
        telemetry=telemetry_for(settings.queue, settings.face_endpoint, gauges),
        policy=RetryPolicy(
            initial_delay=settings.initial_delay,
            max_delay=settings.max_delay,
            return_spread=settings.break_duration,
        ),
        retry_deadline_hours=settings.retry_deadline,
        in_place_max=in_place_max,
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
        settings.service_bus, settings.outcome_queue, settings.call_timeout / 2
    )
    return Receipts(settings.queue, outcomes)


def _face_client(settings: Settings) -> FaceClient:
    return FaceClient(
        settings.face_endpoint,
        settings.face_api_version,
        TokenSource(settings.client_id, settings.face_token_scope, settings.call_timeout / 2),
        timeout=settings.call_timeout,
        not_retryable=settings.face_codes_not_retryable,
        proxy=settings.face_proxy,
    )

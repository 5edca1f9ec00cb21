"""The Service Bus trigger, and everything that one process holds."""

import azure.functions as func

from .binding import patch_binding
from .clock import BrokerTime, Clock
from .connection import CONNECTION
from .decision import RetryPolicy
from .face import FaceClient
from .gate import Gate
from .handler import Handler
from .identity import TokenSource
from .log import FaultLog, record_event
from .queue import ServiceBusQueue
from .receipt import NoReceipts, Receipts
from .settings import Settings
from .telemetry import Telemetry

BREAKER_FAILURES = 10
"""Failures in a row that open the circuit breaker: at 30 % random faults, ten in a row are rare."""
MAX_WAIT_FACTOR = 2.5
"""Longest wait in the function, as a multiple of the initial delay (5 s by default). It is cheaper than
a scheduled copy, but the message stays locked meanwhile."""


def create_blueprint(settings: Settings) -> func.Blueprint:
    """Return the trigger, bound to the handler of this process."""
    patch_binding()
    if settings.ignored:
        record_event("settings_ignored", names=settings.ignored)
    blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
    handler = create_handler(settings)

    @blueprint.service_bus_queue_trigger(
        arg_name="message",
        queue_name="%SESSION_REVOKED_QUEUE%",
        connection=CONNECTION,
        # As text, the host would replace bytes that are not UTF-8.
        data_type=func.DataType.BINARY,
    )
    async def delete_session(message: func.ServiceBusMessage) -> None:
        await handler.handle(message)

    return blueprint


def create_handler(settings: Settings, clock: Clock | None = None) -> Handler:
    """Put together what one process holds."""
    clock = clock or Clock()
    max_wait = MAX_WAIT_FACTOR * settings.initial_delay
    # Fetching a token is only a part of a call. A Service Bus operation gets as much time.
    half_timeout = settings.call_timeout / 2
    gate = Gate(
        max_rate=settings.max_rate,
        min_rate=settings.min_rate,
        breaker_failures=BREAKER_FAILURES,
        break_duration=settings.break_duration,
        max_wait=max_wait,
        max_delay=settings.max_delay,
        clock=clock,
    )
    face = FaceClient(
        settings.face_endpoint,
        settings.face_api_version,
        TokenSource(settings.client_id, settings.face_token_scope, half_timeout),
        timeout=settings.call_timeout,
        not_retryable=settings.face_codes_not_retryable,
        proxy=settings.face_proxy,
    )

    def open_queue(name: str) -> ServiceBusQueue:
        return ServiceBusQueue(settings.service_bus, name, half_timeout, clock)

    outcomes = settings.outcome_queue
    return Handler(
        face=face,
        gate=gate,
        queue=open_queue(settings.queue),
        receipts=Receipts(settings.queue, open_queue(outcomes)) if outcomes else NoReceipts(),
        telemetry=Telemetry(gate),
        policy=RetryPolicy(
            initial_delay=settings.initial_delay,
            max_delay=settings.max_delay,
            return_spread=settings.break_duration,
        ),
        retry_deadline_hours=settings.retry_deadline_hours,
        max_wait=max_wait,
        clock=clock,
        broker_time=BrokerTime(clock),
        faults=FaultLog(),
    )

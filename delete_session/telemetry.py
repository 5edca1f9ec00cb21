"""Metrics and traces by OpenTelemetry: vendor-neutral, and nothing at all where nobody listens.

The platform's Python worker sets OpenTelemetry up before it loads the app, if one of its two app
settings says so (SWITCHES). Without them nothing of it is imported. Names and units follow the
OpenTelemetry semantic conventions for messaging and HTTP; no attribute holds a session id.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from . import __version__
from .message import Revocation
from .verdict import Answer

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, Observation

SWITCHES = ("PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY", "PYTHON_ENABLE_OPENTELEMETRY")
"""App settings of the platform's worker; `true` or `1` switches OpenTelemetry on."""

type Gauges = Mapping[str, Callable[[], float]]
"""What is observed now: `rate` in calls per second, `waiting` calls, and the `circuit`'s state."""


class Telemetry(Protocol):
    """What is told of the revocation."""

    def message(self, revocation: Revocation) -> AbstractContextManager[object]:
        """Span the handling of one message."""

    def call(self) -> AbstractContextManager[object]:
        """Span one call of the Face API, inside `message`."""

    def called(self, answer: Answer, seconds: float) -> None:
        """Record a call that has ended."""

    def ended(self, outcome: str, revocation: Revocation) -> None:
        """Record what became of the message."""


class NoTelemetry:
    """What is used when nobody listens; it does nothing."""

    _nothing = contextlib.nullcontext()

    def message(self, revocation: Revocation) -> AbstractContextManager[object]:  # noqa: ARG002
        """Do nothing."""
        return self._nothing

    def call(self) -> AbstractContextManager[object]:
        """Do nothing."""
        return self._nothing

    def called(self, answer: Answer, seconds: float) -> None:
        """Do nothing."""

    def ended(self, outcome: str, revocation: Revocation) -> None:
        """Do nothing."""


def telemetry_for(
    queue: str, face_endpoint: str, gauges: Gauges, environment: Mapping[str, str] = os.environ
) -> Telemetry:
    """Return the telemetry that the platform's switches ask for."""
    if any(environment.get(name, "").strip().lower() in ("1", "true") for name in SWITCHES):
        return OpenTelemetry(queue, face_endpoint, gauges)
    return NoTelemetry()


class OpenTelemetry:
    """Instruments and spans, through whatever provider the worker has set up."""

    def __init__(self, queue: str, face_endpoint: str, gauges: Gauges) -> None:
        # Imported here: a process that nobody listens to starts without it.
        from opentelemetry import metrics, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        self._tracer = trace.get_tracer("delete_session", __version__)
        self._queue = queue
        self._server = face_endpoint.partition("://")[2].partition(":")[0]
        meter = metrics.get_meter("delete_session", __version__)
        self._revocations = meter.create_counter(
            "revoker.revocations", "{revocation}", "Delivered messages by outcome and code"
        )
        self._latency = meter.create_histogram(
            "revoker.revocation.duration", "s", "From the first enqueue until the session was gone"
        )
        self._attempts = meter.create_histogram(
            "revoker.revocation.attempts", "{attempt}", "Calls made until the end of a revocation"
        )
        self._copies = meter.create_counter(
            "revoker.retries.scheduled", "{message}", "Retry copies scheduled"
        )
        self._calls = meter.create_histogram(
            "http.client.request.duration", "s", "Calls of the Face API by status"
        )

        def observe(name: str) -> "Callable[[CallbackOptions], Iterator[Observation]]":
            return lambda _: iter([metrics.Observation(gauges[name]())])

        meter.create_observable_gauge(
            "revoker.face.rate", [observe("rate")], "{call}/s", "Calls per second allowed now"
        )
        meter.create_observable_gauge(
            "revoker.face.waiting", [observe("waiting")], "{call}", "Calls waiting for their turn"
        )
        meter.create_observable_gauge(
            "revoker.circuit.state", [observe("circuit")], "1", "0 closed, 1 half-open, 2 open"
        )

    def message(self, revocation: Revocation) -> AbstractContextManager[object]:
        """Open a span in the publisher's trace; in the host's one if the publisher began none.

        Retry copies carry the trace on: in the publisher's property, or in one set here.
        """
        delivery = revocation.delivery
        published = self._published(delivery.properties)
        here = self._trace.get_current_span().get_span_context()
        links = [self._trace.Link(here)] if published is not None and here.is_valid else []

        @contextlib.contextmanager
        def span() -> Iterator[None]:
            with self._tracer.start_as_current_span(
                f"process {self._queue}",
                context=published,
                kind=self._trace.SpanKind.CONSUMER,
                links=links,
                attributes={
                    "messaging.system": "servicebus",
                    "messaging.operation.type": "process",
                    "messaging.operation.name": "process",
                    "messaging.destination.name": self._queue,
                    "messaging.message.id": delivery.message_id,
                    "messaging.servicebus.message.delivery_count": delivery.delivery_count,
                },
            ):
                if published is None:
                    self._propagator.inject(revocation.trace)
                yield

        return span()

    def _published(self, properties: Mapping[str, object]) -> "Context | None":
        """Return the trace context that a publisher's SDK has put into the application properties."""
        parent = properties.get("traceparent") or properties.get("Diagnostic-Id")
        if not isinstance(parent, str):
            return None
        state = properties.get("tracestate")
        carrier = {"traceparent": parent, "tracestate": state if isinstance(state, str) else ""}
        context = self._propagator.extract(carrier)
        span = self._trace.get_current_span(context)
        return context if span.get_span_context().is_valid else None

    def call(self) -> AbstractContextManager[object]:
        """Return a span for one call, inside the message's span."""
        return self._tracer.start_as_current_span(
            "DELETE",
            kind=self._trace.SpanKind.CLIENT,
            attributes={"http.request.method": "DELETE", "server.address": self._server},
        )

    def called(self, answer: Answer, seconds: float) -> None:
        """Record how long a call took and how it was answered."""
        attributes: dict[str, str | int] = {
            "http.request.method": "DELETE",
            "server.address": self._server,
        }
        if answer.status is not None:
            attributes["http.response.status_code"] = answer.status
        if answer.status not in (200, 204):
            attributes["error.type"] = answer.code
        self._calls.record(seconds, attributes)
        span = self._trace.get_current_span()
        span.set_attributes(attributes)
        if "error.type" in attributes and answer.code != "SessionNotFound":
            span.set_status(self._trace.StatusCode.ERROR)

    def ended(self, outcome: str, revocation: Revocation) -> None:
        """Count the outcome, and how long the revocation took."""
        answer = revocation.answer
        succeeded = outcome in ("deleted", "already_gone")
        attributes = {"outcome": outcome}
        if answer is not None and not succeeded:
            attributes["code"] = answer.code
        self._revocations.add(1, attributes)
        self._trace.get_current_span().set_attributes(attributes)
        if outcome == "retry_scheduled":
            self._copies.add(1)
        elif outcome != "settlement_failed":
            self._attempts.record(revocation.attempts, {"outcome": outcome})
        if succeeded:
            since = revocation.now - revocation.delivery.history.first_enqueued_at
            self._latency.record(since.total_seconds(), attributes)

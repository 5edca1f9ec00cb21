"""Metrics and traces by the OpenTelemetry API, a no-op unless the worker has set up a provider.

The platform's Python worker does so if PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY is true. Names and
units follow the semantic conventions for messaging. No attribute holds a session id.
"""

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from . import __version__
from .breaker import BreakerState
from .gate import Gate
from .limiter import RateCause
from .message import Revocation, trace_context

_propagator = TraceContextTextMapPropagator()
_FLUSH_SECONDS = 1.0


def prepare_worker() -> None:
    """Export our log lines and the warnings of others; at SIGTERM, export what is left.

    The worker puts its exporter on our logger, or on the root logger at INFO, where the exporter
    would export its own lines about exports for ever.
    """
    root, ours = logging.getLogger(), logging.getLogger("delete_session")
    root.setLevel(logging.WARNING)
    for handler in tuple(ours.handlers):
        ours.removeHandler(handler)
        root.addHandler(handler)
    signal.signal(signal.SIGTERM, _flush_and_end)


def _flush_and_end(number: int, _: object) -> None:
    """Export the last second's log lines, and end as the platform's worker does without a handler."""
    # In a thread and for a limited time: the code interrupted here may hold a lock that it needs.
    force_flush = getattr(get_logger_provider(), "force_flush", bool)
    flush = threading.Thread(target=force_flush, daemon=True)
    flush.start()
    flush.join(_FLUSH_SECONDS)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


class Telemetry:
    """Instruments and spans of one process."""

    def __init__(self, queue: str, gate: Gate) -> None:
        self._queue = queue
        self._tracer = trace.get_tracer("delete_session", __version__)
        # Without a provider, the API's no-op spans would cost 40 function calls per message.
        self._traces = not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        meter = metrics.get_meter("delete_session", __version__)
        self._revocations = meter.create_counter(
            "revoker.revocations", "{revocation}", "Delivered messages by outcome and code"
        )
        self._latency = meter.create_histogram(
            "revoker.revocation.duration", "s", "From the first enqueue until the session was gone"
        )
        circuit, cause = list(BreakerState).index, list(RateCause).index
        gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("revoker.face.rate", "{call}/s", lambda: gate.rate),
            ("revoker.face.rate.cause", "1", lambda: cause(gate.rate_cause)),
            ("revoker.face.waiting", "{call}", lambda: gate.waiting),
            ("revoker.circuit.state", "1", lambda: circuit(gate.circuit)),
        )
        for name, unit, observe in gauges:
            meter.create_observable_gauge(name, [_observer(observe)], unit)

    def message(self, revocation: Revocation) -> AbstractContextManager[object]:
        """Return a span for one message: in the publisher's trace if there is one, else in the host's.

        Retry copies continue the trace, in the publisher's property or in one set here.
        """
        if not self._traces:
            return nullcontext()
        delivery = revocation.delivery
        carrier = trace_context(delivery.properties)
        published = _propagator.extract(carrier) if carrier else None
        here = trace.get_current_span().get_span_context()
        span = self._tracer.start_span(
            f"process {self._queue}",
            context=published,
            kind=trace.SpanKind.CONSUMER,
            links=[trace.Link(here)] if published is not None and here.is_valid else [],
            attributes={
                "messaging.system": "servicebus",
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "messaging.destination.name": self._queue,
                "messaging.message.id": delivery.message_id,
                "messaging.servicebus.message.delivery_count": delivery.delivery_count,
            },
        )
        if published is None and span.is_recording():
            _propagator.inject(revocation.trace, trace.set_span_in_context(span))
        return trace.use_span(span, end_on_exit=True)

    def ended(self, outcome: str, revocation: Revocation) -> None:
        """Record the outcome of one delivery."""
        verdict = revocation.verdict
        attributes = {"outcome": outcome}
        if outcome in ("deleted", "already_gone"):
            since = revocation.now - revocation.delivery.history.first_enqueued_at
            self._latency.record(since.total_seconds(), attributes)
        elif verdict is not None:
            attributes["code"] = verdict.code
        self._revocations.add(1, attributes)
        if not self._traces:
            return
        span = trace.get_current_span()
        span.set_attributes({**attributes, "attempts": revocation.attempts})
        if outcome not in ("deleted", "already_gone"):
            span.set_status(trace.StatusCode.ERROR)


def _observer(gauge: Callable[[], float]) -> metrics.CallbackT:
    return lambda _: [metrics.Observation(gauge())]

"""Metrics by the OpenTelemetry API, a no-op unless the worker has set up a provider.

The platform's Python worker does so if PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY is true. Names and
units follow the semantic conventions for messaging. No attribute holds a session id.
"""

import logging
import signal
import threading
from collections.abc import Callable

from opentelemetry import metrics
from opentelemetry._logs import get_logger_provider

from . import __version__
from .breaker import BreakerState
from .gate import Gate
from .limiter import RateCause
from .message import Revocation

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
    force_flush = getattr(get_logger_provider(), "force_flush", None)  # None without telemetry
    flush = threading.Thread(target=force_flush, daemon=True)
    flush.start()
    flush.join(_FLUSH_SECONDS)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


class Telemetry:
    """Instruments of one process."""

    def __init__(self, gate: Gate) -> None:
        meter = metrics.get_meter("delete_session", __version__)
        # Its count is the number of deliveries, so no counter is needed besides.
        self._duration = meter.create_histogram(
            "revoker.revocation.duration", "s", "From the first enqueue until a delivery ended"
        )
        states, causes = list(BreakerState), list(RateCause)
        gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("revoker.face.rate", "{call}/s", lambda: gate.rate),
            ("revoker.face.rate.cause", "1", lambda: causes.index(gate.rate_cause)),
            ("revoker.face.waiting", "{call}", lambda: gate.waiting),
            ("revoker.circuit.state", "1", lambda: states.index(gate.circuit)),
        )
        for name, unit, observe in gauges:
            meter.create_observable_gauge(name, [_observer(observe)], unit)

    def ended(self, outcome: str, revocation: Revocation) -> None:
        """Record the outcome of one delivery."""
        attributes = {"outcome": outcome}
        if revocation.verdict is not None and outcome not in ("deleted", "already_gone"):
            attributes["code"] = revocation.verdict.code
        since = revocation.now - revocation.delivery.history.first_enqueued_at
        self._duration.record(since.total_seconds(), attributes)


def _observer(gauge: Callable[[], float]) -> metrics.CallbackT:
    return lambda _: [metrics.Observation(gauge())]

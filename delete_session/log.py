"""The log: one line for each message, and a few about the deployment, each a JSON object.

They never hold tokens, message bodies or connection strings.
"""

import json
import logging
from datetime import UTC, datetime

import msgspec

from .breaker import BreakerState
from .limiter import RateCause
from .message import Revocation
from .verdict import Meaning, Verdict

_logger = logging.getLogger("delete_session")
# Its lines must pass although the root logger is at WARNING (telemetry.py).
_logger.setLevel(logging.INFO)
_MAX_TEXT = 1000  # characters of one text: Application Insights accepts lines of 32 KiB
_UNKNOWN_CODE_REMEDY = (
    "Messages with this code are retried until the retry deadline. If the request can never succeed, "
    "add the code to FACE_CODES_NOT_RETRYABLE, and they are dead-lettered with it at once."
)

# Warnings of these libraries may repeat an answer of the identity endpoint, and with it a token.
for _name in ("azure.core", "azure.identity"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


def record(outcome: str, revocation: Revocation, **facts: object) -> None:
    """Log the outcome of one delivered message: the decision's, retry_scheduled or settlement_failed.

    `facts` are the `reason` of a dead-lettering or failed settlement, or the `delay_seconds` of a copy.
    """
    delivery, verdict = revocation.delivery, revocation.verdict
    now = revocation.now
    line: dict[str, object] = {
        "event": "revocation",
        "outcome": outcome,
        "session_id": revocation.session_id,
        "session_type": revocation.session_type,
        "asked": revocation.asked or None,
        "message_id": delivery.message_id,
        "root_id": delivery.history.root_id,
        "publisher": delivery.publisher,
        "delivery_count": delivery.delivery_count,
        "attempts": revocation.attempts,
        "code": verdict.code if verdict and verdict.meaning is not Meaning.DELETED else None,
        "status": verdict.status if verdict else None,
        "request_id": verdict.request_id if verdict else None,
        **facts,
        "ms_since_enqueued": _milliseconds(delivery.enqueued_at, now),
        "ms_since_first_enqueued": _milliseconds(delivery.history.first_enqueued_at, now),
        "ms_in_call": round(revocation.seconds_in_call * 1000, 1),
    }
    level = logging.INFO if outcome in ("deleted", "already_gone") else logging.WARNING
    _log(level, line)


def record_event(event: str, **facts: object) -> None:
    """Log a change of state, e.g. of the circuit breaker, or a fault of the deployment."""
    _log(logging.WARNING, {"event": event, **facts})


def record_circuit(state: BreakerState, last_failure: str) -> None:
    """Log a change of the circuit breaker's state, with the failure that opened it."""
    record_event(
        f"circuit_{state}", last_failure=last_failure if state is BreakerState.OPEN else None
    )


def record_rate(rate: float, cause: RateCause, retry_after: float) -> None:
    """Log that a 429 cut the rate, to these calls per second, after a pause of these seconds."""
    to_floor = " to the floor" if cause is RateCause.FLOOR else ""
    cause_text = f"cut{to_floor} by a 429 at {datetime.now(UTC):%H:%M:%SZ}"
    record_event("rate_changed", rate=round(rate, 2), cause=cause_text, retry_after=retry_after)


class FaultLog:
    """Logs each misconfiguration and each unknown code once, when it first appears."""

    def __init__(self) -> None:
        self._remedies: set[str] = set()
        self._codes: set[str] = set()

    def report(self, verdict: Verdict) -> None:
        """Record a verdict; a success ends the misconfigurations so far."""
        match verdict.meaning:
            case Meaning.DELETED | Meaning.ALREADY_GONE:
                self._remedies.clear()
            case Meaning.MISCONFIGURED if verdict.remedy and verdict.remedy not in self._remedies:
                self._remedies.add(verdict.remedy)
                self._record("deployment_fault", verdict, verdict.remedy)
            case Meaning.UNKNOWN_CODE if verdict.code not in self._codes:
                self._codes.add(verdict.code)
                self._record("unknown_code", verdict, _UNKNOWN_CODE_REMEDY)

    def _record(self, event: str, verdict: Verdict, remedy: str) -> None:
        # It concerns all messages, and the request id belongs to this one.
        failure = verdict.describe(request_id=False)
        record_event(event, code=verdict.code, failure=failure, remedy=remedy)


def _milliseconds(since: datetime, now: datetime) -> float:
    return round((now - since).total_seconds() * 1000, 1)


def _log(level: int, line: dict[str, object]) -> None:
    present = {
        name: value[:_MAX_TEXT] if isinstance(value, str) else value
        for name, value in line.items()
        if value is not None
    }
    encoded = msgspec.json.encode(present)  # a sixth of the time of the standard library
    # ASCII, so that no character of a message id can end a line.
    text = encoded.decode() if encoded.isascii() else json.dumps(present, separators=(",", ":"))
    _logger.log(level, "%s", text)

"""The one log line per message, and the few about the deployment: JSON, one object a line.

They never hold tokens, message bodies or connection strings.
"""

import json
import logging
from datetime import datetime

import msgspec
from msgspec.structs import replace

from .breaker import BreakerState
from .message import Revocation
from .verdict import Answer, Meaning, describe, meaning, remedy

_logger = logging.getLogger("delete_session")
# The audit lines must pass whatever the root logger lets through.
_logger.setLevel(logging.INFO)
_MOST_UNKNOWN = 100  # codes to remember: the server may make up any number
_JUDGE_IT = (
    "Messages with this code are retried until the retry horizon. If the request can never succeed, "
    "add the code to FACE_CODES_NOT_RETRYABLE, and they are dead-lettered with it at once."
)

# Their INFO lines name every request, with its URL, and every settlement. One line per message is
# enough, and it is ours.
for _name in ("httpx", "azure.core", "azure.identity", "azure.servicebus"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def record(
    outcome: str,
    revocation: Revocation,
    *,
    reason: str | None = None,
    delay_seconds: float | None = None,
) -> None:
    """Log what became of one delivered message.

    Args:
        outcome: deleted, already_gone, dead_lettered, retry_scheduled or settlement_failed.
        revocation: the message, and what was done for it.
        reason: of a dead-lettering or of a failed settlement.
        delay_seconds: until the retry copy is enqueued.
    """
    delivery, revoked, answer = revocation.delivery, revocation.revoked, revocation.answer
    now = revocation.now
    facts: dict[str, object] = {
        "event": "revocation",
        "outcome": outcome,
        "session_id": revocation.session_id,
        "session_type": revoked.session_type if revoked else None,
        "message_id": delivery.message_id,
        "root_id": delivery.history.root_id,
        "delivery_count": delivery.delivery_count,
        "attempts": revocation.attempts,
        "code": answer.code if answer and answer.status not in (200, 204) else None,
        "status": answer.status if answer else None,
        "request_id": answer.request_id if answer else None,
        "path": answer.path if answer else None,
        "reason": reason,
        "delay_seconds": None if delay_seconds is None else round(delay_seconds, 3),
        "ms_since_enqueued": _milliseconds(delivery.enqueued_at, now),
        "ms_since_first_enqueued": _milliseconds(delivery.history.first_enqueued_at, now),
        "ms_in_call": round(revocation.seconds_in_call * 1000, 1),
        "oddities": revocation.oddities or None,
    }
    level = logging.INFO if outcome in ("deleted", "already_gone") else logging.WARNING
    _log(level, facts)


def record_event(event: str, **facts: object) -> None:
    """Log a change of state, e.g. of the circuit breaker, or a fault of the deployment."""
    _log(logging.WARNING, {"event": event, **facts})


def record_circuit(state: BreakerState, last_failure: str) -> None:
    """Log a change of the circuit breaker's state, with the failure that opened it."""
    record_event(
        f"circuit_{state}",
        **({"last_failure": last_failure} if state is BreakerState.OPEN else {}),
    )


def record_rate(rate: float, cause: str, retry_after: float | None) -> None:
    """Log that a 429 cut the rate, or that the rate is back at the ceiling.

    Args:
        rate: calls per second, after the pause.
        cause: why the rate is what it is.
        retry_after: seconds of the pause that the 429 asked for.
    """
    facts: dict[str, object] = {"event": "rate_changed", "rate": round(rate, 2), "cause": cause}
    _log(logging.INFO, {**facts, "retry_after": retry_after})


class FaultLog:
    """Logs each fault of the deployment, and each unknown code, the first time that it shows."""

    def __init__(self) -> None:
        self._faults: set[str] = set()
        self._unknown: set[str] = set()

    def report(self, answer: Answer) -> None:
        """Take note of an answer; a deletion ends the faults so far."""
        match meaning(answer):
            case Meaning.DELETED | Meaning.ALREADY_GONE:
                self._faults.clear()
            case Meaning.MISCONFIGURED if (known := remedy(answer)) and known not in self._faults:
                self._faults.add(known)
                self._record("deployment_fault", answer, known)
            case Meaning.UNKNOWN_CODE if answer.code not in self._unknown:
                if len(self._unknown) < _MOST_UNKNOWN:
                    self._unknown.add(answer.code)
                self._record("unknown_code", answer, _JUDGE_IT)

    def _record(self, event: str, answer: Answer, known: str) -> None:
        # It stands for all messages: without the request id, which is of this one.
        failure = describe(replace(answer, request_id=None))
        record_event(event, code=answer.code, failure=failure, remedy=known)


def _milliseconds(since: datetime, now: datetime) -> float:
    return round((now - since).total_seconds() * 1000, 1)


def _log(level: int, record: dict[str, object]) -> None:
    present = {name: value for name, value in record.items() if value is not None}
    _logger.log(level, "%s", _line(present))


def _line(record: dict[str, object]) -> str:
    """Return JSON in ASCII, so that no reader takes a character of a message id for a line's end."""
    try:
        line = msgspec.json.encode(record)  # a sixth of the time that the standard library takes
        if line.isascii():
            return line.decode()
    except UnicodeEncodeError:
        pass  # half of a surrogate pair
    return json.dumps(record, separators=(",", ":"))

"""The one log line per message, and the few about the deployment: JSON, one object a line.

Never in them: tokens, message bodies, connection strings.
"""

import json
import logging
from datetime import datetime

import msgspec

from .delivery import Work

_logger = logging.getLogger("delete_session")

# Their INFO lines tell every request, with its URL, and every settlement: a line per message is ours.
for _name in ("httpx", "azure.core", "azure.identity", "azure.servicebus"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def log_outcome(
    outcome: str, work: Work, *, reason: str | None = None, delay_seconds: float | None = None
) -> None:
    """Log what became of one delivered message.

    Args:
        outcome: deleted, already_gone, dead_lettered, retry_scheduled or settlement_failed.
        work: the message, and what was done for it.
        reason: of a dead-lettering or of a failed settlement.
        delay_seconds: until the retry copy is enqueued.
    """
    delivery, revoked, answer = work.delivery, work.revoked, work.answer
    now = work.now
    record: dict[str, object] = {
        "event": "revocation",
        "outcome": outcome,
        "session_id": revoked.session_id if revoked else None,
        "session_type": revoked.session_type if revoked else None,
        "message_id": delivery.message_id,
        "root_id": delivery.root_id,
        "delivery_count": delivery.delivery_count,
        "attempts": work.attempts,
        "code": answer.code if answer and answer.status not in (200, 204) else None,
        "status": answer.status if answer else None,
        "request_id": answer.request_id if answer else None,
        "reason": reason,
        "delay_seconds": None if delay_seconds is None else round(delay_seconds, 3),
        "ms_since_enqueued": _milliseconds(delivery.enqueued_at, now),
        "ms_since_first_enqueued": _milliseconds(delivery.first_enqueued_at, now),
        "ms_in_call": round(work.seconds_in_call * 1000, 1),
    }
    level = logging.INFO if outcome in ("deleted", "already_gone") else logging.WARNING
    _log(level, record)


def log_event(event: str, **facts: object) -> None:
    """Log a change of state, e.g. of the circuit breaker, or a fault of the deployment."""
    _log(logging.WARNING, {"event": event, **facts})


def _milliseconds(since: datetime, now: datetime) -> float:
    return round((now - since).total_seconds() * 1000, 1)


def _log(level: int, record: dict[str, object]) -> None:
    present = {name: value for name, value in record.items() if value is not None}
    _logger.log(level, "%s", _line(present))


def _line(record: dict[str, object]) -> str:
    """JSON in ASCII, so that no reader takes a character of a message id for a line's end."""
    try:
        line = msgspec.json.encode(record)  # a sixth of the time that the standard library takes
        if line.isascii():
            return line.decode()
    except UnicodeEncodeError:
        pass  # half of a surrogate pair
    return json.dumps(record, separators=(",", ":"))

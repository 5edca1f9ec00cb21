"""The operations of a queue's `$management` node, from the body of a request to its answer.

Source: "AMQP 1.0 in Azure Service Bus: request-response-based operations". Does no I/O.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from . import encoding, message
from .encoding import EncodingError
from .message import Message
from .queues import Entry, Queue, Refused, State

PREFIX = "com.microsoft:"
_ACTIVE, _DEFERRED, _SCHEDULED = 0, 1, 2
_MAX_PEEKED_BYTES = 1024 * 1024

_SESSION_OPERATIONS = frozenset(
    ("renew-session-lock", "get-session-state", "set-session-state", "get-message-sessions")
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status as in HTTP, its description, and the encoded body."""

    status: int
    description: str
    body: bytes = encoding.NULL
    condition: str | None = None

    @classmethod
    def of(cls, refused: Refused) -> "Answer":
        return cls(refused.status, refused.description, condition=refused.condition)

    def encode(self, message_id: bytes, *, for_cbs: bool = False) -> bytes:
        """Return the response to the request with this encoded message id.

        The `$cbs` node has its own spelling of the status fields.
        """
        names = ("status-code", "status-description", "error-condition")
        if not for_cbs:
            names = ("statusCode", "statusDescription", "errorCondition")
        values = [encoding.integer(self.status), encoding.string(self.description)]
        if self.condition is not None and not for_cbs:
            values.append(encoding.symbol(self.condition))
        fields = (encoding.string(n) + v for n, v in zip(names, values, strict=False))
        return message.response(message_id, fields, self.body)


def right_needed(operation: str) -> str:
    """Return the right that a token must grant for an operation."""
    return "Send" if operation in ("schedule-message", "cancel-scheduled-message") else "Listen"


def execute(queue: Queue, operation: str, body: Any, now: float) -> Answer:
    """Carry out an operation, named without its prefix; the answer says what went wrong."""
    try:
        handler = _OPERATIONS.get(operation)
        if handler is None:
            if operation in _SESSION_OPERATIONS:
                text = f"{operation}: sessions are not emulated."
            else:
                text = f"{operation or 'no operation'}: not emulated."
            raise Refused(501, "amqp:not-implemented", text)
        if not isinstance(body, dict):
            raise Refused(400, "com.microsoft:argument-error", "The body must be a map.")
        if body.get("session-id") is not None:
            raise Refused(400, "amqp:not-allowed", "The queue has no sessions.")
        return handler(queue, body, now)
    except Refused as refused:
        return Answer.of(refused)
    except EncodingError as error:
        return Answer(400, str(error), condition="amqp:decode-error")


def _update_disposition(queue: Queue, body: dict[str, Any], now: float) -> Answer:
    tokens = _tokens(body)
    changes = body.get("properties-to-modify")
    if changes is not None and not isinstance(changes, dict):
        raise Refused(400, "com.microsoft:argument-error", "properties-to-modify must be a map.")
    status = body.get("disposition-status")
    for token in tokens:
        match status:
            case "completed":
                queue.complete(token, now)
            case "abandoned":
                queue.abandon(token, now, changes)
            case "defered":  # sic, on the wire
                queue.defer(token, now, changes)
            case "suspended":
                queue.dead_letter(
                    token,
                    now,
                    _text(body, "deadletter-reason"),
                    _text(body, "deadletter-description"),
                    changes,
                )
            case _:
                raise Refused(
                    400, "com.microsoft:argument-error", f"Unknown disposition-status: {status}."
                )
    return Answer(200, "OK")


def _renew_lock(queue: Queue, body: dict[str, Any], now: float) -> Answer:
    until = [queue.renew_lock(token, now) for token in _tokens(body)]
    expirations = encoding.array([encoding.timestamp(int(t * 1000)) for t in until], 0x83)
    return Answer(200, "OK", encoding.mapping([encoding.string("expirations") + expirations]))


def _schedule_message(queue: Queue, body: dict[str, Any], now: float) -> Answer:
    items = body.get("messages")
    if not isinstance(items, list) or not items:
        raise Refused(400, "com.microsoft:argument-error", "messages must be a list with entries.")
    decoded = []
    for item in items:
        encoded = item.get("message") if isinstance(item, dict) else None
        if not isinstance(encoded, bytes):
            raise Refused(400, "com.microsoft:argument-error", "Each entry needs a message.")
        decoded.append(Message.decode(encoded))
        queue.check(decoded[-1])
    numbers = [encoding.long(queue.schedule(item, now)) for item in decoded]
    pair = encoding.string("sequence-numbers") + encoding.array(numbers, 0x81)
    return Answer(200, "OK", encoding.mapping([pair]))


def _cancel_scheduled_message(queue: Queue, body: dict[str, Any], now: float) -> Answer:
    for number in _sequence_numbers(body):
        queue.cancel_scheduled(number, now)
    return Answer(200, "OK")


def _peek_message(queue: Queue, body: dict[str, Any], now: float) -> Answer:
    start, count = body.get("from-sequence-number"), body.get("message-count")
    if not isinstance(start, int) or not isinstance(count, int) or count < 1:
        raise Refused(
            400,
            "com.microsoft:argument-error",
            "from-sequence-number and message-count must be whole numbers.",
        )
    items: list[bytes] = []
    size = 0
    for entry in queue.peek(start, count, now):
        encoded = encode_entry(queue, entry, peeked=True)
        size += len(encoded)
        if items and size > _MAX_PEEKED_BYTES:
            break
        items.append(encoding.mapping([encoding.string("message") + encoding.binary(encoded)]))
    if not items:
        return Answer(204, "No Content", condition="com.microsoft:message-not-found")
    return Answer(200, "OK", _messages(items))


def _receive_by_sequence_number(queue: Queue, body: dict[str, Any], now: float) -> Answer:
    delete = body.get("receiver-settle-mode") == 0
    items = []
    for entry in queue.receive_deferred(_sequence_numbers(body), now, delete=delete):
        pairs = [encoding.string("message") + encoding.binary(encode_entry(queue, entry))]
        if not delete:
            token = encoding.unique_identifier(uuid.UUID(bytes_le=entry.lock_token))
            pairs.append(encoding.string("lock-token") + token)
        items.append(encoding.mapping(pairs))
    return Answer(200, "OK", _messages(items))


_OPERATIONS: dict[str, Callable[[Queue, dict[str, Any], float], Answer]] = {
    "update-disposition": _update_disposition,
    "renew-lock": _renew_lock,
    "schedule-message": _schedule_message,
    "cancel-scheduled-message": _cancel_scheduled_message,
    "peek-message": _peek_message,
    "receive-by-sequence-number": _receive_by_sequence_number,
}


def encode_entry(queue: Queue, entry: Entry, *, peeked: bool = False) -> bytes:
    """Encode a queue's message for a receiver, with what Service Bus adds.

    A peeked message has no lock token.
    """
    delivery_annotations = {}
    annotations = {
        message.SEQUENCE_NUMBER: encoding.long(entry.sequence_number),
        message.ENQUEUED_TIME: encoding.timestamp(int(entry.enqueued_at * 1000)),
        message.MESSAGE_STATE: encoding.integer(_state(entry)),
    }
    if entry.state is State.LOCKED:
        annotations[message.LOCKED_UNTIL] = encoding.timestamp(int(entry.locked_until * 1000))
        if not peeked:
            token = encoding.unique_identifier(uuid.UUID(bytes_le=entry.lock_token))
            delivery_annotations[message.LOCK_TOKEN] = token
    ttl = queue.time_to_live(entry.message, entry.enqueued_at)
    return entry.message.encode(
        delivery_count=entry.delivery_count,
        ttl_ms=None if ttl == float("inf") else int(ttl * 1000),
        delivery_annotations=delivery_annotations,
        annotations=annotations,
    )


def _state(entry: Entry) -> int:
    if entry.state is State.SCHEDULED:
        return _SCHEDULED
    return _DEFERRED if entry.deferred else _ACTIVE


def _messages(items: Iterable[bytes]) -> bytes:
    return encoding.mapping([encoding.string("messages") + encoding.sequence(list(items))])


def _tokens(body: dict[str, Any]) -> list[bytes]:
    """Return the lock tokens as delivery tags: a UUID's bytes in little-endian field order."""
    tokens = body.get("lock-tokens")
    try:
        if isinstance(tokens, list) and tokens:
            return [
                (token if isinstance(token, uuid.UUID) else uuid.UUID(token)).bytes_le
                for token in tokens
            ]
    except (ValueError, AttributeError, TypeError):
        pass
    raise Refused(400, "com.microsoft:argument-error", "lock-tokens must be an array of UUIDs.")


def _sequence_numbers(body: dict[str, Any]) -> list[int]:
    numbers = body.get("sequence-numbers")
    if isinstance(numbers, list) and numbers and all(isinstance(n, int) for n in numbers):
        return numbers
    raise Refused(
        400, "com.microsoft:argument-error", "sequence-numbers must be an array of whole numbers."
    )


def _text(body: dict[str, Any], key: str) -> str | None:
    value = body.get(key)
    return None if value is None else str(value)

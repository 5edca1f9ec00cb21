"""Faults on request: refuse, delay or ignore the next operations of a kind."""

import random
from dataclasses import asdict, dataclass
from typing import Any

OPERATIONS = (
    "$cbs",
    "attach",
    "send",
    "receive",
    "complete",
    "abandon",
    "defer",
    "dead-letter",
    "release",
    "update-disposition",
    "renew-lock",
    "schedule-message",
    "cancel-scheduled-message",
    "peek-message",
    "receive-by-sequence-number",
)

_STATUS_BY_CONDITION = {
    "amqp:unauthorized-access": 401,
    "amqp:not-found": 404,
    "amqp:not-allowed": 400,
    "amqp:not-implemented": 501,
    "com.microsoft:argument-error": 400,
    "com.microsoft:message-lock-lost": 410,
    "com.microsoft:message-not-found": 404,
    "com.microsoft:timeout": 408,
    "com.microsoft:server-busy": 503,
}


@dataclass(slots=True)
class Fault:
    """What happens to the next `count` operations (all if None), each with a probability.

    After `delay_seconds` the operation is ignored (`drop`), refused with `condition` or, without
    either, carried out late. With `performed` it is carried out first, then refused or left
    unanswered, so that the client cannot know. `queue` limits the fault to one queue.
    """

    operation: str
    count: int | None = 1
    condition: str | None = None
    delay_seconds: float = 0.0
    drop: bool = False
    probability: float = 1.0
    performed: bool = False
    queue: str | None = None

    @property
    def status(self) -> int:
        """Return the status code for the condition in an answer of a management node."""
        return _STATUS_BY_CONDITION.get(self.condition or "", 500)


def parse(document: Any) -> Fault:
    """Return the fault that JSON describes; raise a ValueError that names the field."""
    if not isinstance(document, dict):
        raise ValueError("the body must be an object")
    for key in document:
        if key not in Fault.__slots__:
            raise ValueError(f"{key}: unknown; known are {', '.join(Fault.__slots__)}")
    operation = document.get("operation")
    if operation not in OPERATIONS:
        raise ValueError(f"operation: must be one of {', '.join(OPERATIONS)}")
    fault = Fault(
        operation,
        count=_number(document, "count", 1, whole=True, empty=True),
        condition=_of_type(document, "condition", str, None),
        delay_seconds=_number(document, "delay_seconds", 0.0) or 0.0,
        drop=_of_type(document, "drop", bool, False),
        probability=_number(document, "probability", 1.0) or 0.0,
        performed=_of_type(document, "performed", bool, False),
        queue=_of_type(document, "queue", str, None),
    )
    if fault.probability > 1:
        raise ValueError("probability: must be from 0 to 1")
    if fault.condition is None and not fault.drop and (not fault.delay_seconds or fault.performed):
        fault.condition = "amqp:internal-error"
    return fault


def _of_type(document: dict[str, Any], key: str, kind: type, default: Any) -> Any:
    value = document.get(key, default)
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{key}: must be a {kind.__name__}")
    return value


def _number(
    document: dict[str, Any], key: str, default: Any, *, whole: bool = False, empty: bool = False
) -> Any:
    value = document.get(key, default)
    if value is None and empty:
        return None
    if (
        not isinstance(value, int if whole else (int, float))
        or isinstance(value, bool)
        or value < 0
    ):
        raise ValueError(f"{key}: must be a {'whole ' if whole else ''}number, 0 or more")
    return value


class Faults:
    """The faults in force, in the order in which they were added."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._faults: list[Fault] = []
        self._chance = chance or random.Random()

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def listed(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._faults]

    def next_fault(self, operation: str, queue: str) -> Fault | None:
        """Return the fault for this operation, if there is one, and count it down."""
        for fault in self._faults:
            if fault.operation != operation or fault.count == 0:
                continue
            if fault.queue is not None and fault.queue.lower() != queue.lower():
                continue
            if fault.probability < 1 and self._chance.random() >= fault.probability:
                continue
            if fault.count is not None:
                fault.count -= 1
                if fault.count == 0:
                    self._faults.remove(fault)
            return fault
        return None

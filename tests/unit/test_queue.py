"""How an operation of the queue is tried until it succeeds, without a broker."""

import asyncio
import json

import pytest
from azure.servicebus.exceptions import MessageLockLostError, MessageSizeExceededError

from delete_session.queue import ServiceBusQueue, SettlementFailed, Unsendable

from .fakes import FakeTime, settings


class Operation:
    """Raises the given errors first, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tries = 0

    async def __call__(self) -> None:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)


async def run(operation: Operation, until: float = 240.0) -> FakeTime:
    time = FakeTime()
    queue = ServiceBusQueue(settings().service_bus, "q", 5, time.clock)
    try:
        await queue._run(operation, until)
    finally:
        assert time.seconds <= until
    return time


async def test_failure_is_tried_again_at_once_and_then_with_growing_pauses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first failure is often just a connection that was closed while idle; a second is logged."""
    time = await run(Operation(OSError("idle")))
    assert (time.slept, caplog.messages) == ([0.0], [])
    time = await run(Operation(*[OSError("no")] * 4))
    assert time.slept == [0.0, 1.0, 2.0, 4.0]
    [line] = map(json.loads, caplog.messages)
    assert line == {"event": "broker_refuses", "queue": "q", "reason": "OSError: no"}


async def test_message_is_held_no_longer_than_allowed() -> None:
    """The last error is raised before the host stops renewing the lock."""
    with pytest.raises(SettlementFailed, match="OSError: no"):
        await run(Operation(*[OSError("no")] * 99))


async def test_lost_lock_is_not_tried_again() -> None:
    """Without the lock nothing can be settled: another receiver may have the message by now."""
    operation = Operation(MessageLockLostError())
    with pytest.raises(SettlementFailed, match="MessageLockLost"):
        await run(operation)
    assert operation.tries == 1


async def test_message_that_cannot_be_encoded_is_tried_on_a_second_connection_only() -> None:
    """The first failure may have been the connection's."""
    operation = Operation(TypeError("no"), TypeError("no"))
    with pytest.raises(Unsendable):
        await run(operation)
    assert operation.tries == 2


async def test_message_that_is_too_large_does_not_cost_the_connection() -> None:
    """The others, which wait for it, need not wait for a new one."""
    queue = ServiceBusQueue(settings().service_bus, "q", 5, FakeTime().clock)
    client = queue._opened()
    with pytest.raises(Unsendable):
        await queue._run(Operation(MessageSizeExceededError(), MessageSizeExceededError()), 240.0)
    assert queue._client is client
    await queue.close()


async def test_waiting_for_a_hanging_operation_ends_with_the_timeout() -> None:
    """A broker that hangs delays each message by the timeout, not one after the other."""
    queue = ServiceBusQueue(settings().service_bus, "q", 0.01, FakeTime().clock)

    async def hang() -> None:
        await asyncio.Event().wait()

    results = await asyncio.gather(
        *(queue._run(hang, 0.0) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(each, SettlementFailed) for each in results)

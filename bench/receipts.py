"""The cost of a message with receipts on and off, in turn, round after round."""

import contextlib
import json
from collections.abc import AsyncIterator

from bench.harness import OURS, Server, cpu_microseconds
from local import ending
from local.cloud import QUEUE_PROPERTIES, Service

OFF, ON = "receipts off", "receipts on"
IN_FLIGHT = 16
"""The host's number of concurrent messages."""
_OUTCOMES = "session-outcomes"
_WARM_UP = {OFF: 10_000, ON: 1000}
_BATCHES = {OFF: 1000, ON: 300}


async def measure(server: Server, *, quick: bool) -> dict[str, dict[str, list[float]]]:
    """Samples by variant: messages per second, and CPU microseconds per message."""
    samples: dict[str, dict[str, list[float]]] = {
        variant: {"per_second": [], "cpu_microseconds": []} for variant in (OFF, ON)
    }
    async with (
        _broker() as connection_string,
        server.subject(OURS) as off,
        server.subject(
            OURS, {"OUTCOME_QUEUE": _OUTCOMES, "ServiceBusConnection": connection_string}
        ) as on,
    ):
        subjects = {OFF: off, ON: on}
        for variant, subject in subjects.items():
            await subject.run(_WARM_UP[variant], IN_FLIGHT)
        for _ in range(5 if quick else 11):
            for variant, subject in subjects.items():
                batch = await subject.run(_BATCHES[variant], IN_FLIGHT)
                samples[variant]["per_second"].append(batch["messages"] / batch["seconds"])
                samples[variant]["cpu_microseconds"].append(cpu_microseconds(batch))
    return samples


@contextlib.asynccontextmanager
async def _broker() -> AsyncIterator[str]:
    """Run the local broker with a queue of receipts; yield its connection string."""
    folder = ending.make_folder()
    config = folder / "broker.json"
    config.write_text(json.dumps({"queues": [{"name": _OUTCOMES, "properties": QUEUE_PROPERTIES}]}))
    broker = Service("local.broker", ["--config", str(config)], folder / "broker.log")
    await broker.start()
    try:
        yield str(broker.facts["connection_string"])
    finally:
        await broker.stop()
        ending.remove_folder(folder)

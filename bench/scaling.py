"""Throughput against messages in flight, at latencies like the real Face API's.

If only the latency and the CPU delay a message, messages per second are in flight ÷ latency, up to
the limit of a core. Because that also depends on the machine's load, the threshold compares the
function with a floor that runs at the same time on the same core: the bare HTTP call, which then
burns as much CPU time as the function takes for a message. The load slows both; a lock, a pool or a
limit in the function slows only the function.
"""

import asyncio
from typing import Any

from bench.harness import FLOORS, OURS, Server, Subject, cpu_microseconds, median, one_core

LATENCIES = (5, 50, 500)
"""Latencies in milliseconds."""
IN_FLIGHT = (1, 2, 4, 8, 16, 32, 64, 128, 256)
DECISIVE = 50
"""The latency of the threshold, in milliseconds."""
ALONE, PAIRS = 3, 5
_SECONDS = 0.6
"""Target duration of one batch."""


async def measure(server: Server, *, quick: bool) -> list[dict[str, Any]]:
    """Points: latency in milliseconds, in flight, samples alone and beside the floor."""
    points = []
    async with (
        server.subject(OURS) as subject,
        server.subject(next(iter(FLOORS))) as floor,
    ):
        await subject.run(10_000, 256)
        for latency in (DECISIVE,) if quick else LATENCIES:
            await server.latency(latency)
            for in_flight in (1, 16, 128) if quick else IN_FLIGHT:
                points.append(await _point(subject, floor, latency, in_flight))
        await server.latency(0)
    return points


async def _point(subject: Subject, floor: Subject, latency: int, in_flight: int) -> dict[str, Any]:
    rounds = max(4, round(_SECONDS / latency * 1000))
    # At most what the core can do in that time.
    messages = in_flight * min(rounds, max(4, round(3000 * _SECONDS / in_flight)))
    alone = [await subject.run(messages, in_flight) for _ in range(ALONE)]
    rates = [messages / batch["seconds"] for batch in alone]
    ideal = in_flight / latency * 1000
    point = {
        "latency_milliseconds": latency,
        "in_flight": in_flight,
        "samples_per_second": rates,
        "per_second": median(rates),
        "ideal_per_second": ideal,
        "part_of_ideal": median(rates) / ideal,
    }
    if latency == DECISIVE:
        with one_core(subject, floor):
            pairs = await _pairs(subject, floor, messages, in_flight)
        point |= {"samples_of_floor": pairs, "part_of_floor": median(pairs)}
    return point


async def _pairs(subject: Subject, floor: Subject, messages: int, in_flight: int) -> list[float]:
    """Run both at the same time; return the function's rate relative to the floor's."""
    burn = 0.0
    parts = []
    for number in range(PAIRS + 1):
        batch, floor_batch = await asyncio.gather(
            subject.run(messages, in_flight), floor.run(messages, in_flight, burn)
        )
        # The bare call's own time varies with the load, too.
        burn = max(0.0, cpu_microseconds(batch) - (cpu_microseconds(floor_batch) - burn))
        if number:  # the first pair only measures how much to burn
            parts.append(floor_batch["seconds"] / batch["seconds"])
    return parts


def thresholds(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The thresholds."""
    decisive = [
        point
        for point in points
        if point["latency_milliseconds"] == DECISIVE and point["in_flight"] <= 128
    ]
    return [
        {
            "name": "throughput ÷ bare call of the same CPU time, worst up to 128 in flight at 50 ms",
            "value": min(point["part_of_floor"] for point in decisive),
            "bound": 0.9,
            "at": "least",
        }
    ]

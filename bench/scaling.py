"""Throughput against messages in flight, at latencies like the real Face API's."""

from typing import Any

from bench.harness import OURS, Server

LATENCIES = (5, 50, 500)
"""Milliseconds."""
IN_FLIGHT = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = 0.8
"""Aim of one point."""


async def measure(server: Server, *, quick: bool) -> list[dict[str, Any]]:
    """Points: latency in milliseconds, in flight, messages per second, the ideal, and their ratio.

    The ideal is in flight ÷ latency. A point is the best of some runs where it decides a bar, since
    another process that takes the core for a moment only ever makes it look worse.
    """
    points = []
    async with server.subject(OURS) as subject:
        await subject.run(10_000, 256)
        for latency in (50,) if quick else LATENCIES:
            await server.latency(latency)
            for in_flight in (1, 16, 128) if quick else IN_FLIGHT:
                ideal = in_flight / latency * 1000
                rounds = max(4, round(_SECONDS / latency * 1000))
                # No more than the core can do in that time.
                rounds = min(rounds, max(4, round(3000 * _SECONDS / in_flight)))
                messages = in_flight * rounds
                answer = await subject.run(messages, in_flight, 5 if latency == 50 else 1)
                rates = [messages / batch["seconds"] for batch in answer["batches"]]
                points.append(
                    {
                        "latency_milliseconds": latency,
                        "in_flight": in_flight,
                        "samples_per_second": rates,
                        "per_second": max(rates),
                        "ideal_per_second": ideal,
                        "part_of_ideal": max(rates) / ideal,
                    }
                )
        await server.latency(0)
    return points


def bars(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What must hold."""
    decisive = [p for p in points if p["latency_milliseconds"] == 50 and p["in_flight"] <= 128]
    return [
        {
            "name": "part of in flight ÷ latency, worst up to 128 in flight at 50 ms",
            "value": min(point["part_of_ideal"] for point in decisive),
            "bound": 0.9,
            "at": "least",
        }
    ]

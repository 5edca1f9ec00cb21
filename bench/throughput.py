"""Messages per second and CPU time per message, every variant in turn, round after round."""

import contextlib
from typing import Any

from bench.harness import (
    ARGUMENTS,
    FLOORS,
    OURS,
    PEERS,
    UNPATCHED,
    Server,
    cpu_microseconds,
    median,
)

CONCURRENCIES = (1, 16, 64)
# The rate limiter starts slowly, also when opened up, and rises with each success.
_WARM_UP = {OURS: 10_000, UNPATCHED: 10_000}


async def measure(server: Server, *, quick: bool) -> dict[str, Any]:
    """Samples by variant and concurrency: messages per second, CPU microseconds per message."""
    rounds, batch_seconds = (5, 0.25) if quick else (7, 0.4)
    samples: dict[str, dict[str, dict[str, list[float]]]] = {}
    async with contextlib.AsyncExitStack() as stack:
        subjects, sizes = {}, {}
        for variant in ARGUMENTS:
            subject = subjects[variant] = await stack.enter_async_context(server.subject(variant))
            await subject.run(_WARM_UP.get(variant, 200), 64)
            trial = await subject.run(200, 16)
            sizes[variant] = max(100, round(batch_seconds * 200 / trial["seconds"]))
            kinds = ("per_second", "cpu_microseconds")
            samples[variant] = {str(c): {kind: [] for kind in kinds} for c in CONCURRENCIES}
        for _ in range(rounds):
            for concurrency in CONCURRENCIES:
                for variant, subject in subjects.items():
                    size = sizes[variant]
                    batch = await subject.run(size, concurrency)
                    found = samples[variant][str(concurrency)]
                    found["per_second"].append(size / batch["seconds"])
                    found["cpu_microseconds"].append(cpu_microseconds(batch))
    return samples


def bars(samples: dict[str, Any]) -> list[dict[str, Any]]:
    """What must hold. Ratios are of one round, in which the variants ran right after each other."""

    def ratio(kind: str, above: str, below: str, concurrency: int = 64) -> float:
        pairs = zip(
            samples[above][str(concurrency)][kind],
            samples[below][str(concurrency)][kind],
            strict=True,
        )
        return median([one / other for one, other in pairs])

    sdk, httpx, requests = PEERS
    aiohttp = next(iter(FLOORS))
    found = [
        ("throughput at 64 in flight ÷ azure-ai-vision-face", sdk, 2.0),
        ("throughput at 64 in flight ÷ httpx's own transport", httpx, 5.0),
        ("throughput at 64 in flight ÷ requests", requests, 2.0),
    ]
    most = {f"CPU per message at {c} in flight ÷ bare aiohttp": c for c in (16, 64)}
    return [
        {"name": name, "value": ratio("per_second", OURS, peer), "bound": bound, "at": "least"}
        for name, peer, bound in found
    ] + [
        {
            "name": name,
            "value": ratio("cpu_microseconds", OURS, aiohttp, concurrency),
            "bound": 3.0,
            "at": "most",
        }
        for name, concurrency in most.items()
    ]

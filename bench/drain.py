"""Draining 1,000 to 100,000 messages: cost per message, and memory."""

import asyncio
from typing import Any

from bench.harness import OURS, PEERS, Server, Subject, cpu_microseconds, median, one_core

CHUNK = 1000
_IN_FLIGHT = 64
_WARM_UP = 10_000  # for the connections and the rate limiter
_MEBIBYTE = 1 << 20


async def measure(server: Server, *, quick: bool) -> dict[str, Any]:
    """Cost per message by size of the drain, and resident bytes after each 1,000 messages.

    The same process drains everything in turn, so that a cost that grows with the drained messages
    shows. Before and after, a control runs at the same time on the same core: a
    second process of the same function that drains nothing in between. The machine's load is
    in both. The peer is there for its memory.
    """
    chunks_in_all, pairs = (12, 8) if quick else (100, 20)
    sdk = next(iter(PEERS))
    async with (
        server.subject(OURS) as ours,
        server.subject(OURS) as control,
        server.subject(sdk) as peer,
    ):
        await control.run(_WARM_UP, _IN_FLIGHT)
        await ours.run(_WARM_UP, _IN_FLIGHT)
        before = await _beside(ours, control, pairs)
        chunks = [await _chunk(ours) for _ in range(chunks_in_all)]
        after = await _beside(ours, control, pairs)
        steady_of_peer = (await peer.run(10_000 if not quick else 3000, _IN_FLIGHT))["rss_bytes"]
        total = chunks_in_all * CHUNK
        return {
            "messages": total,
            "chunk_messages": CHUNK,
            "chunks": chunks,
            "parts_of_control": {"before": before, "after": after},
            "drains": {
                str(size): _cost(chunks[: size // CHUNK])
                for size in (1000, 10_000, 100_000)
                if size <= total
            },
            "rss_bytes": {
                OURS: {"start": ours.rss_at_start, "steady": chunks[-1]["rss_bytes"]},
                sdk: {"start": peer.rss_at_start, "steady": steady_of_peer},
            },
        }


async def _chunk(ours: Subject) -> dict[str, float]:
    batch = await ours.run(CHUNK, _IN_FLIGHT)
    return {
        "seconds": batch["seconds"],
        "cpu_microseconds": cpu_microseconds(batch),
        "rss_bytes": batch["rss_bytes"],
    }


async def _beside(ours: Subject, control: Subject, pairs: int) -> list[float]:
    """Run both at the same time; return the cost of a message relative to the control's."""
    parts = []
    with one_core(ours, control):
        for _ in range(pairs):
            batch, other = await asyncio.gather(
                ours.run(CHUNK, _IN_FLIGHT), control.run(CHUNK, _IN_FLIGHT)
            )
            parts.append(cpu_microseconds(batch) / cpu_microseconds(other))
    return parts


def _cost(chunks: list[dict[str, float]]) -> dict[str, float]:
    return {
        "seconds": sum(chunk["seconds"] for chunk in chunks),
        "cpu_microseconds": sum(chunk["cpu_microseconds"] for chunk in chunks) / len(chunks),
    }


def thresholds(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The thresholds."""
    chunks, sdk = found["chunks"], next(iter(PEERS))
    before, after = (median(found["parts_of_control"][when]) for when in ("before", "after"))
    grown = chunks[-1]["rss_bytes"] - chunks[9]["rss_bytes"]
    ours, peer = found["rss_bytes"][OURS], found["rss_bytes"][sdk]
    return [
        {
            "name": f"CPU per message ÷ control, after draining {found['messages']:,} ÷ before",
            "value": after / before,
            "bound": 1.05,
            "at": "most",
        },
        {
            "name": f"memory grown between 10,000 and {found['messages']:,} messages, MiB",
            "value": grown / _MEBIBYTE,
            "bound": 5.0,
            "at": "most",
        },
        {
            "name": "resident at steady state ÷ azure-ai-vision-face",
            "value": ours["steady"] / peer["steady"],
            # Measured 1.04: the function also loads azure.servicebus, 5 MiB.
            "bound": 1.1,
            "at": "most",
        },
    ]

"""Draining 1,000 to 100,000 messages: cost per message, and memory."""

from typing import Any

from bench.harness import FLOORS, OURS, PEERS, Server, median

CHUNK = 1000
_IN_FLIGHT = 64
_MEBIBYTE = 1 << 20


async def measure(server: Server, *, quick: bool) -> dict[str, Any]:
    """Cost per message by size of the drain, and resident bytes after each 1,000 messages.

    The same process drains everything one after the other, so that a cost that grew with what has
    been drained would show. In turn with each 1,000 messages the bare HTTP call is measured, whose
    cost cannot grow: it tells how fast the machine was at that moment. The peer is there for its
    memory alone.
    """
    total = 12_000 if quick else 100_000
    sdk = next(iter(PEERS))
    async with (
        server.subject(OURS) as ours,
        server.subject(sdk) as peer,
        server.subject(next(iter(FLOORS))) as bare,
    ):
        # Once around, for the connections and for the rate limiter, which starts slowly.
        await bare.run(CHUNK, _IN_FLIGHT)
        await ours.run(10_000, _IN_FLIGHT)
        chunks = []
        for _ in range(total // CHUNK):
            answer = await ours.run(CHUNK, _IN_FLIGHT)
            [batch] = answer["batches"]
            [bare_batch] = (await bare.run(CHUNK // 2, _IN_FLIGHT))["batches"]
            chunks.append(
                {
                    "seconds": batch["seconds"],
                    "cpu_microseconds": batch["cpu_seconds"] / CHUNK * 1e6,
                    "bare_cpu_microseconds": bare_batch["cpu_seconds"] / (CHUNK // 2) * 1e6,
                    "rss_bytes": answer["rss_bytes"],
                }
            )
        steady_of_peer = (await peer.run(10_000 if not quick else 3000, _IN_FLIGHT))["rss_bytes"]
        return {
            "messages": total,
            "chunk_messages": CHUNK,
            "chunks": chunks,
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


def _cost(chunks: list[dict[str, Any]]) -> dict[str, float]:
    return {
        "seconds": sum(chunk["seconds"] for chunk in chunks),
        "cpu_microseconds": sum(chunk["cpu_microseconds"] for chunk in chunks) / len(chunks),
    }


def bars(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What must hold."""
    chunks, sdk = found["chunks"], next(iter(PEERS))
    # One chunk of 1,000 is a third of a second, at the mercy of whatever else the machine does:
    # the first and the last fifth of the drain tell whether the cost grows.
    fifth = len(chunks) // 5
    first, last = (
        median([chunk["cpu_microseconds"] / chunk["bare_cpu_microseconds"] for chunk in part])
        for part in (chunks[:fifth], chunks[-fifth:])
    )
    grown = chunks[-1]["rss_bytes"] - chunks[9]["rss_bytes"]
    ours, peer = found["rss_bytes"][OURS], found["rss_bytes"][sdk]
    return [
        {
            "name": f"cost per message, last fifth of {found['messages']:,} ÷ first fifth",
            "value": last / first,
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
            "bound": 1.0,
            "at": "most",
        },
    ]

"""A storm of revocations against a Face API that allows ten calls a second, under the local host."""

import asyncio
import time
from pathlib import Path
from typing import Any

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from bench.harness import ROOT
from local.cloud import Cloud, Options

FACE_RATE = 10
"""Calls per second, the default limit of a Standard Face resource."""
APPS = {
    "this function": ROOT,
    "naive: raise on error": ROOT / "bench" / "peers" / "naive",
}


async def measure(messages: int) -> dict[str, dict[str, Any]]:
    """What becomes of so many messages that arrive at once, by variant."""
    return {name: await _storm(app, messages) for name, app in APPS.items()}


async def _storm(app: Path, messages: int) -> dict[str, Any]:
    options = Options(app=app, face_rate=FACE_RATE, hosts=0)
    async with Cloud(options) as cloud:
        ids = await cloud.ask(cloud.face, "POST", "/_local/sessions", {"count": messages})
        async with (
            ServiceBusClient.from_connection_string(cloud.connection_string) as client,
            client.get_queue_sender(options.queue) as sender,
        ):
            for start in range(0, messages, 100):
                batch = [
                    ServiceBusMessage(f'{{"sessionId": "{each}"}}', message_id=each)
                    for each in ids[start : start + 100]
                ]
                await sender.send_messages(batch)
        began = time.monotonic()
        await cloud.add_host()
        while True:
            queue = (await cloud.ask(cloud.broker, "GET", "/queues"))[options.queue]
            if not any(queue[state] for state in ("active", "locked", "scheduled", "deferred")):
                break
            if time.monotonic() - began > messages / FACE_RATE * 3 + 60:
                break
            await asyncio.sleep(0.2)
        seconds = time.monotonic() - began
        calls = (await cloud.ask(cloud.face, "GET", "/_local/stats"))["calls"]
        left = len(await cloud.ask(cloud.face, "GET", "/_local/sessions"))
        dead = await cloud.ask(
            cloud.broker, "GET", f"/messages?queue={options.queue}&dead_letter=1&limit=1000"
        )
        made = sum(number for kind, number in calls.items() if kind.startswith("DELETE "))
        return {
            "messages": messages,
            "face_rate": FACE_RATE,
            "seconds": seconds,
            "sessions_deleted": messages - left,
            "calls": made,
            "calls_wasted": made - (messages - left),
            "dead_lettered": len(dead),
        }


def bars(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What must hold for this function."""
    ours = found["this function"]
    return [
        {
            "name": f"storm of {ours['messages']:,}: messages dead-lettered",
            "value": float(ours["dead_lettered"]),
            "bound": 0.0,
            "at": "most",
        },
        {
            "name": f"storm of {ours['messages']:,}: part of the sessions deleted",
            "value": ours["sessions_deleted"] / ours["messages"],
            "bound": 1.0,
            "at": "least",
        },
    ]

"""Live verification traffic beside the revocations: calls that customers wait for."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx


def steady(per_second: float) -> Iterator[float]:
    """Yield the seconds between evenly spaced calls."""
    while True:
        yield 1 / per_second


def poisson(per_second: float, chance: random.Random) -> Iterator[float]:
    """Yield the seconds between calls at random times."""
    while True:
        yield chance.expovariate(per_second)


def bursts(per_second: float, at_once: int = 10) -> Iterator[float]:
    """Yield the seconds between calls, `at_once` of which come at the same time."""
    while True:
        yield at_once / per_second
        yield from [0.0] * (at_once - 1)


@dataclass(slots=True)
class Live:
    """The answers that a live verification client got."""

    calls: int = 0
    throttled: int = 0

    @property
    def share_throttled(self) -> float:
        """429 answers per call."""
        return self.throttled / max(1, self.calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveClient:
    """Reads and creates sessions in turn, whatever the answers.

    Args:
        sessions: URL of the sessions at the Face API.
        session_id: an existing session.
        token: a token that the Face API accepts.
    """

    sessions: str
    session_id: str
    token: str

    async def run(self, met: Live, gaps: Iterator[float]) -> None:
        """Call until cancelled; `gaps` are the seconds from each call to the next."""
        headers = {"Authorization": f"Bearer {self.token}"}
        due = time.monotonic()
        async with (
            httpx.AsyncClient(timeout=10, headers=headers) as http,
            asyncio.TaskGroup() as calls,
        ):
            for number, gap in enumerate(gaps):
                due += gap
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                calls.create_task(self._call(http, met, number))

    async def _call(self, http: httpx.AsyncClient, met: Live, number: int) -> None:
        if number % 2:
            response = await http.post(self.sessions, json={"livenessOperationMode": "Passive"})
        else:
            response = await http.get(f"{self.sessions}/{self.session_id}")
        met.calls += 1
        met.throttled += response.status_code == 429
        if response.status_code not in (200, 429):
            raise AssertionError(f"the live client got {response.status_code}")

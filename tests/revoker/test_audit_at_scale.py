"""The thresholds of `revoker audit`, with 10,000 session ids and killed processes; set NIGHTLY."""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from local.cloud import Cloud, Options
from local.soak.live import Live, LiveClient, poisson
from revoker.evidence import verify

IDS, ALIVE, KILLS = 10_000, 50, 3
RATE, LIVE_RATE, LIMIT = 100, 20, "150/1"  # calls per second
MAX_LIVE_THROTTLED = 0.02

pytestmark = [
    pytest.mark.skipif("NIGHTLY" not in os.environ, reason="set NIGHTLY"),
    pytest.mark.timeout(1200),
]


async def live_client(cloud: Cloud, session_id: str) -> LiveClient:
    identity = cloud.identity.facts
    answer = await cloud.http.get(
        identity["endpoint"],
        params={"api-version": "2019-08-01", "resource": "https://cognitiveservices.azure.com"},
        headers={"X-IDENTITY-HEADER": identity["header"]},
    )
    return LiveClient(
        sessions=f"{cloud.face.facts['endpoint']}/face/v1.2/detectLivenessWithVerify-sessions",
        session_id=session_id,
        token=str(answer.json()["access_token"]),
    )


def lines_of(evidence: Path) -> int:
    return evidence.read_bytes().count(b"\n") if evidence.exists() else 0


async def audited(cloud: Cloud, arguments: Sequence[str], evidence: Path) -> int:
    """Run the audit, kill it three times on its way, and return the last exit code."""
    environment = {**os.environ, **cloud.environment}
    for killed in range(1, KILLS + 1):
        process = await asyncio.create_subprocess_exec(*arguments, env=environment)
        while lines_of(evidence) < killed * IDS // (KILLS + 1):
            assert process.returncode is None
            await asyncio.sleep(0.1)
        process.kill()
        await process.wait()
    process = await asyncio.create_subprocess_exec(*arguments, env=environment)
    return await process.wait()


@pytest.mark.parametrize("version", ["v1.2", "v1.2-preview.1"])
async def test_finds_50_live_sessions_among_10_000(version: str, tmp_path: Path) -> None:
    """No false alarm; only what a kill interrupted is asked again; live traffic is left alone."""
    chance = random.Random(version)
    ids = [str(UUID(int=chance.getrandbits(128), version=4)) for _ in range(IDS)]
    alive = dict.fromkeys(chance.sample(ids, ALIVE), "livenessWithVerify")
    alive |= dict.fromkeys(list(alive)[: ALIVE // 2], "liveness")
    file, evidence = tmp_path / "ids", tmp_path / "evidence"
    file.write_text("\n".join(ids))
    async with Cloud(Options(hosts=0)) as cloud:

        async def face(method: str, path: str, body: Any = None) -> Any:
            return await cloud.ask(cloud.face, method, f"/_local/{path}", body)

        for kind in set(alive.values()):
            some = [each for each, its_kind in alive.items() if its_kind == kind]
            await face("POST", "sessions", {"ids": some, "type": kind})
        [other] = await face("POST", "sessions", {"count": 1, "seed": 1})
        await face("POST", "config", {"limit": LIMIT})
        met, client = Live(), await live_client(cloud, other)
        live = asyncio.create_task(client.run(met, poisson(LIVE_RATE, chance)))
        command = (sys.executable, "-m", "revoker", "audit", "--json", "--file", str(file))
        how = ("--evidence", str(evidence), "--record", str(tmp_path / "record"))
        more = ("--rate", str(RATE), "--api-version", version)
        assert await audited(cloud, (*command, *how, *more), evidence) == 1
        live.cancel()
        await asyncio.wait([live])
        calls = [x for x in await face("GET", "calls") if "-ops" in (x["user_agent"] or "")]
    found = verify(evidence)
    assert found.alive == alive
    assert list(found.sessions) == ids
    asked = Counter(x["path"] for x in calls if x["session_id"] and x["status"] != 429)
    again = {path.rpartition("/")[2] for path, count in asked.items() if count > 1}
    throttled = sum(x["status"] == 429 for x in calls)
    print(
        f"{version}: {len(found.alive)} of {IDS} found alive; {len(calls)} calls, {throttled} "
        f"answered with 429; {len(again)} ids asked again; live: {met.calls} calls, "
        f"{met.share_throttled:.2%} answered with 429"
    )
    assert len(again) <= KILLS
    assert not asked if version == "v1.2-preview.1" else len(asked) == 2 * IDS - ALIVE // 2
    assert met.calls > 100
    assert met.share_throttled <= MAX_LIVE_THROTTLED

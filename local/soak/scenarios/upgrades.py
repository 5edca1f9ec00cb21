"""Two versions of the function on one queue, as in every roll-out and roll-back."""

import asyncio
import io
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from local.cloud import ServiceFailed
from local.soak.invariants import Evidence, Threshold
from local.soak.scenarios.scenario import Scenario, transient
from local.soak.stage import Stage

LAST_RELEASE = "6b348dc64791"
"""The commit of version 0.1.0, in this repository's history."""
FORMER_NAMES = {
    "FACE_TOTAL_TIMEOUT_SECONDS": "1.5",
    "FACE_CONNECT_TIMEOUT_SECONDS": "1",
    "RETRY_IN_PLACE_MAX_SECONDS": "0.02",
    "RETRY_BACKOFF_BASE_SECONDS": "0.05",
    "RETRY_BACKOFF_CAP_SECONDS": "45",
    "CIRCUIT_BREAKER_COOL_DOWN_SECONDS": "1.5",
    "FACE_MAX_CALLS_PER_SECOND": "100",
}
"""Settings that both versions read; from the third attempt on, both schedule copies."""
_SECONDS = 2
"""From one change of hosts to the next."""
_DEPLOYED = ("function_app.py", "host.json", "delete_session")


@asynccontextmanager
async def _last_release(app: Path, beneath: Path) -> AsyncIterator[Path]:
    """Lay the last release's app into a folder."""
    command = ["git", "-C", str(app), "archive", LAST_RELEASE, *_DEPLOYED]
    archive = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    if archive.returncode:
        raise ServiceFailed(
            f"the last release, {LAST_RELEASE}, is not in this checkout's history (a shallow clone?)"
        )
    with TemporaryDirectory(dir=beneath) as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(folder, filter="data")
        yield Path(folder)


async def versions_mixed(stage: Stage) -> None:
    """The last release and this version share the queue under load, forwards and backwards."""
    stage.most_hosts = 2
    await stage.break_face(transient(0.5))
    async with _last_release(stage.cloud.options.app, stage.cloud.folder) as old_app:
        old = await stage.add_host(app=old_app)
        publishing = asyncio.create_task(stage.publish(stage.plan(600), per_second=50))
        new = await stage.add_host()
        await asyncio.sleep(_SECONDS)
        await old.stop()
        await asyncio.sleep(_SECONDS)
        await stage.restart(old, kill=False)
        await asyncio.sleep(_SECONDS)
        await new.stop()
        await publishing
        await stage.drained()


def both_threshold(_: Stage, evidence: Evidence) -> list[Threshold]:
    """Require that each version read copies that the other one had scheduled."""
    wrote: dict[str, set[int]] = {}
    read: dict[str, set[int]] = {}
    for line in evidence.lines:
        root = str(line.record.get("root_id"))
        if line.record.get("outcome") == "retry_scheduled":
            wrote.setdefault(root, set()).add(line.host)
        elif line.record.get("outcome") in ("deleted", "already_gone"):
            read.setdefault(root, set()).add(line.host)
    crossed = {
        (writer, reader)
        for root, writers in wrote.items()
        for writer in writers
        for reader in read.get(root, set())
        if writer != reader
    }
    return [Threshold("directions in which no copy crossed", 2 - len(crossed), 0)]


SCENARIOS = (
    Scenario(
        name="versions_mixed",
        play=versions_mixed,
        limit=120,
        settings=FORMER_NAMES,
        options={"hosts": 0},
        thresholds=both_threshold,
        sends_receipts=False,  # the last release has none
    ),
)

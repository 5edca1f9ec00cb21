"""The state of the local cloud: from the broker's and the Face API's control, and from the logs.

`make run ARGS=--serve` prints their addresses as environment variables. In Azure, where these do not
exist, the workbook shows the same.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from revoker.text import from_json

if TYPE_CHECKING:
    import httpx

BROKER, LOGS = "LOCAL_BROKER_CONTROL", "LOGS"
FACE = "FACE_ENDPOINT"

_SECONDS = 5.0
_END_BYTES = 256 * 1024  # some hundred revocations, or half an hour of nothing but metrics
_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(?P<ms>\d{3}) \w+ (?P<logger>delete_session|metrics) "
    r"(?P<json>\{.*\})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of JSON in a host's log."""

    at: datetime
    host: str
    logger: str
    facts: Mapping[str, Any]


@dataclass(slots=True)
class Logs:
    """The logs of the hosts, read from the end of the last reading."""

    folder: Path | None
    _offsets: dict[Path, int] = field(default_factory=dict)

    @classmethod
    def ends(cls, folder: Path | None) -> Self:
        """Return the logs, to be read from shortly before their ends."""
        paths = folder.glob("host-*.log") if folder else ()
        return cls(folder, {path: max(0, path.stat().st_size - _END_BYTES) for path in paths})

    def new_lines(self) -> list[LogLine]:
        """Return the lines since the last reading."""
        found: list[LogLine] = []
        for path in sorted(self.folder.glob("host-*.log")) if self.folder else []:
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                text = file.read()
            complete = text[: text.rfind(b"\n") + 1]
            self._offsets[path] = self._offsets.get(path, 0) + len(complete)
            for line in complete.decode("utf-8", "replace").splitlines():
                if (read := read_line(line, path.stem)) is not None:
                    found.append(read)
        return found


def read_line(line: str, host: str) -> LogLine | None:
    """Read a line of a host's log; return None if it is not one of the function's."""
    match = _LINE.match(line)
    if match is None:
        return None
    try:
        facts = from_json(match["json"])
    except ValueError:
        return None
    local = datetime.fromisoformat(match["time"]).astimezone(UTC)
    at = local.replace(microsecond=int(match["ms"]) * 1000)
    return LogLine(at=at, host=host, logger=match["logger"], facts=facts)


class CloudDown(Exception):
    """The local cloud does not answer, or not as expected. The text says why."""


class LocalCloud:
    """The control ports of a local cloud. Every request may raise CloudDown."""

    def __init__(self, broker: str, face: str | None, logs: Path | None) -> None:
        self._broker = broker.rstrip("/")
        self._face = None if face is None else f"{face.rstrip('/')}/_local"
        self.logs = logs
        self._http: httpx.AsyncClient | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self | None:
        """Return the local cloud that these variables name; None if they name none."""
        broker = environment.get(BROKER, "").strip()
        if not broker:
            return None
        logs = environment.get(LOGS, "").strip()
        return cls(broker, environment.get(FACE, "").strip() or None, Path(logs) if logs else None)

    async def queue(self, name: str) -> Mapping[str, int]:
        """Return the counts of a queue by state."""
        queues = await self._get(f"{self._broker}/queues")
        counts: Mapping[str, int] = queues.get(name, {})
        return counts

    async def events(self, root_ids: frozenset[str]) -> list[Mapping[str, Any]]:
        """Return the broker's events for these published messages and their copies."""
        found = await self._get(f"{self._broker}/ledger")
        return [each for each in found if _root(each["message_id"] or "") in root_ids]

    async def calls(self, after: int) -> list[Mapping[str, Any]]:
        """Return the calls of the Face API after this number."""
        if self._face is None:
            return []
        calls: list[Mapping[str, Any]] = await self._get(f"{self._face}/calls?after={after}")
        return calls

    async def quota(self) -> float | None:
        """Return the calls per second that the Face API allows; None for unlimited."""
        if self._face is None:
            return None
        count, slash, seconds = (await self._get(f"{self._face}/config"))["limit"].partition("/")
        return float(count) / float(seconds) if slash else None

    async def lines_about(self, session_id: str) -> list[LogLine]:
        """Return the function's lines about one session."""
        lines = await asyncio.to_thread(lambda: Logs(self.logs).new_lines())
        return [each for each in lines if each.facts.get("session_id") == session_id]

    def last_lines(self) -> list[LogLine]:
        """Return the last lines of the hosts' logs."""
        return Logs.ends(self.logs).new_lines()

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()

    async def _get(self, url: str) -> Any:
        import httpx  # a tenth of the desk's start, and of no use in Azure

        if self._http is None:
            self._http = httpx.AsyncClient(timeout=_SECONDS, trust_env=False)
        try:
            response = await self._http.get(url)
            response.raise_for_status()
            return response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise CloudDown(type(error).__name__) from error


def _root(message_id: str) -> str:
    """Return the publisher's message id, of which this is the id or that of a copy."""
    root = message_id.partition(":resubmit:")[0]
    return re.sub(r":\d{13}:\d+$", "", root)

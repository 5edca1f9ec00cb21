"""Uploads lines of the record to the deployment's Log Analytics workspace.

The file remains the record: an upload may fail, and may be repeated. A line that arrives twice has the
same `Id`. https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview
"""

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx

from delete_session.verdict import hide_tokens
from revoker import face
from revoker.failure import Exit, Failure, first_line

SECONDS = 10.0
"""How long the upload after an action may take."""

_MAX_BYTES = 900_000  # of the lines in one call; the API accepts 1 MB
_ADDRESS = re.compile(
    r"https://[\w.-]+\.ingest\.(monitor\.azure\.(?:com|us|cn))/.*|http://127\.0\.0\.1:\d+/.*"
)


async def upload_new(url: str, path: Path, start: int, operation: str) -> str | None:
    """Upload what this operation has added to the file from `start` on; return why it failed."""
    try:
        async with asyncio.timeout(SECONDS):
            await upload(url, lines_of(path, start, operation))
    except TimeoutError:
        return f"No answer within {SECONDS:g} s."
    except (Failure, OSError) as error:
        return first_line(error)
    return None


async def upload(url: str, lines: Iterable[bytes]) -> int:
    """Upload lines, and return their number.

    Raises:
        Failure: not all of them were accepted.
    """
    address = _ADDRESS.fullmatch(url)
    if address is None:
        raise Failure(
            "REVOKER_RECORD_URL is not set, or is not an address of the Logs Ingestion API.",
            "Set it to the deployment's output of this name.",
            Exit.USAGE,
        )
    scope = f"https://{address[1] or 'monitor.azure.com'}/.default"
    bearer = await face.token(scope, os.environ.get("AZURE_CLIENT_ID", "").strip() or None)
    headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
    count = 0
    async with httpx.AsyncClient(headers=headers, timeout=face.CALL_SECONDS) as client:
        for entries in _calls(lines):
            try:
                answer = await client.post(url, content=b"[" + b",".join(entries) + b"]")
            except httpx.HTTPError as error:
                why = first_line(error)
            else:
                why = (
                    ""
                    if answer.is_success
                    else f"HTTP {answer.status_code} {hide_tokens(answer.text)[:200]}"
                )
            if why:
                raise Failure(
                    f"{count} lines were uploaded, then the answer was: {why}.",
                    "Check REVOKER_RECORD_URL and the role Monitoring Metrics Publisher on its rule.",
                )
            count += len(entries)
    return count


def lines_of(path: Path, start: int = 0, operation: str | None = None) -> Iterator[bytes]:
    """Yield the lines of a record from this offset on: all, or those of one operation."""
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            facts = _facts(line)
            if facts and operation in (None, facts.get("operation")):
                yield line.strip()


def _calls(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield as many entries as one call may have."""
    entries: list[bytes] = []
    size = 0
    for line in lines:
        facts = _facts(line)
        digest = hashlib.sha256(line).hexdigest()
        entry = json.dumps({"TimeGenerated": facts.get("at"), "Id": digest, "Line": facts}).encode()
        if entries and size + len(entry) > _MAX_BYTES:
            yield entries
            entries, size = [], 0
        entries.append(entry)
        size += len(entry) + 1
    if entries:
        yield entries


def _facts(line: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(line)
    except ValueError:
        return {}  # a line that an interruption has cut off
    return facts if isinstance(facts, dict) else {}

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

import httpx

from delete_session.verdict import hide_tokens
from revoker import face
from revoker.failure import Exit, Failure, first_line
from revoker.text import read_line

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
            await upload(url, entries_of(path, [], start, operation))
    except TimeoutError:
        return f"No answer within {SECONDS:g} s."
    except (Failure, OSError) as error:
        return first_line(error)
    return None


async def upload(url: str, entries: Iterable[bytes]) -> int:
    """Upload entries, and return their number.

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
        for some in _calls(entries):
            try:
                # The client's own timeout restarts with each byte.
                async with asyncio.timeout(face.CALL_SECONDS):
                    answer = await client.post(url, content=b"[" + b",".join(some) + b"]")
            except TimeoutError:
                why = f"no whole answer within {face.CALL_SECONDS:g} s"
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
            count += len(some)
    return count


def entries_of(
    path: Path, unreadable: list[str], start: int = 0, operation: str | None = None
) -> Iterator[bytes]:
    """Yield an entry for each line of a record from an offset on.

    Args:
        path: the file.
        unreadable: gets the lines that cannot be read.
        start: the offset.
        operation: whose lines are wanted; None for all.
    """
    with path.open("rb") as file:
        file.seek(start)
        for number, line in enumerate(file, 1):
            facts = read_line(line)
            if facts is None and line.strip():
                unreadable.append(f"line {number} of the record")
            elif facts and operation in (None, facts.get("operation")):
                digest = hashlib.sha256(line.strip()).hexdigest()
                entry = {"TimeGenerated": facts.get("at"), "Id": digest, "Line": facts}
                yield json.dumps(entry).encode()


def _calls(entries: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield as many entries as one call may have."""
    some: list[bytes] = []
    size = 0
    for entry in entries:
        if some and size + len(entry) > _MAX_BYTES:
            yield some
            some, size = [], 0
        some.append(entry)
        size += len(entry) + 1
    if some:
        yield some

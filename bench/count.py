"""Counts the Python calls and suspensions of a message: figures independent of the machine's load.

    python -m bench.count --app DIRECTORY [--messages 256]

Prints a line of JSON: `calls` and `awaits` per message, and `calls_by_part`. A call belongs to the
innermost part on its stack: one of the standard library's made by the log line, to the log line.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from threading import get_ident
from types import CodeType, FrameType
from typing import Any

import uvloop

from bench import subject

_TOOL = sys.monitoring.PROFILER_ID
_PARTS = {
    "/delete_session/log.py": "log line",
    "/delete_session/telemetry.py": "metrics",
    "/delete_session/": "this function",
    "/export/logs/_exporter.py": "exporter",  # the flush at the end is not in the exporter's thread
    "/aiohttp/": "HTTP client",
    "/httpx/": "HTTP client",
    "/azure_functions_runtime/": "worker",
    "/azure/functions/": "worker",
    "/local/host/": "worker",
    "/bench/": "worker",
}
"""Part by a piece of the file's name; the first that fits."""


async def main() -> int:
    """Invoke the app, one message at a time, and count."""
    parser = argparse.ArgumentParser(prog="python -m bench.count", description=__doc__)
    parser.add_argument("--app", type=Path, required=True)
    parser.add_argument("--messages", type=int, default=256)
    options = parser.parse_args()
    subject.as_deployed()
    subject.quiet_logging()
    invoke = await subject.app(options.app.resolve())
    await subject.batch(invoke, 50, 1)
    calls: Counter[str] = Counter()
    awaits, main_thread = 0, get_ident()

    def called(_code: CodeType, _offset: int) -> None:
        if get_ident() != main_thread:
            calls["exporter"] += 1
        else:
            calls[_part(sys._getframe(1))] += 1  # noqa: SLF001

    def suspended(_code: CodeType, _offset: int, _value: Any) -> None:
        nonlocal awaits
        awaits += 1

    events = sys.monitoring.events
    sys.monitoring.use_tool_id(_TOOL, "bench.count")
    sys.monitoring.register_callback(_TOOL, events.PY_START, called)
    sys.monitoring.register_callback(_TOOL, events.PY_YIELD, suspended)
    sys.monitoring.set_events(_TOOL, events.PY_START | events.PY_YIELD)
    result = await subject.batch(invoke, options.messages, 1)
    sys.monitoring.set_events(_TOOL, 0)
    if result["failures"]:
        return 1
    found = {
        "calls": calls.total() / options.messages,
        "awaits": awaits / options.messages,
        "calls_by_part": {
            name: round(number / options.messages, 1) for name, number in calls.most_common()
        },
    }
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _part(frame: FrameType | None) -> str:
    while frame is not None:
        for piece, part in _PARTS.items():
            if piece in frame.f_code.co_filename:
                return part
        frame = frame.f_back
    return "event loop"


if __name__ == "__main__":
    sys.exit(asyncio.run(main(), loop_factory=uvloop.new_event_loop))

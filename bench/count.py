"""Counts the Python calls and suspensions of a message: figures independent of the machine's load.

    python -m bench.count --app DIRECTORY [--messages 200]

Prints a line of JSON: `calls` and `awaits` per message, and `calls_by_package`.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from types import CodeType
from typing import Any

import uvloop

from bench import subject

_TOOL = sys.monitoring.PROFILER_ID


async def main() -> int:
    """Invoke the app, one message at a time, and count."""
    parser = argparse.ArgumentParser(prog="python -m bench.count", description=__doc__)
    parser.add_argument("--app", type=Path, required=True)
    parser.add_argument("--messages", type=int, default=200)
    options = parser.parse_args()
    subject.as_deployed()
    subject.quiet_logging()
    invoke = await subject.app(options.app.resolve())
    await subject.batch(invoke, 50, 1)
    calls: Counter[str] = Counter()
    awaits = 0

    def called(code: CodeType, _: int) -> None:
        calls[code.co_filename] += 1

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
    packages: Counter[str] = Counter()
    for name, number in calls.items():
        packages[_package(name)] += number
    found = {
        "calls": calls.total() / options.messages,
        "awaits": awaits / options.messages,
        "calls_by_package": {
            name: round(number / options.messages, 1) for name, number in packages.most_common()
        },
    }
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _package(file_name: str) -> str:
    parts = Path(file_name).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return next((each for each in ("delete_session", "bench") if each in parts), "standard library")


if __name__ == "__main__":
    sys.exit(asyncio.run(main(), loop_factory=uvloop.new_event_loop))

"""Cold start: from the start of the process to the end of the first message.

As a module, `python -m bench.cold (--app DIRECTORY | --imports NAME,…)`, it is the measured process:
it prints one line of JSON with the seconds from its start to each step.
"""

import argparse
import asyncio
import importlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from local import ending

NEEDED = (
    *("azure.functions", "httpx", "aiohttp", "azure.identity.aio", "azure.servicebus.aio"),
    *("msgspec", "azure.monitor.opentelemetry"),
)
"""The libraries that the function loads."""
_STARTED = "BENCH_STARTED"


async def main(arguments: Sequence[str]) -> int:
    """Run as the measured process."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold", description=__doc__)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--app", type=Path)
    kind.add_argument("--imports")
    options = parser.parse_args(arguments)
    # The clock is the whole machine's, so that the time before this line counts, too.
    started = float(os.environ[_STARTED])
    from bench import subject

    subject.as_deployed()
    subject.quiet_logging()
    importlib.import_module("local.host.worker")
    marks: dict[str, Any] = {"runtime": time.monotonic() - started}
    if options.imports:
        for name in options.imports.split(","):
            importlib.import_module(name)
        marks["done"] = time.monotonic() - started
    else:
        invoke = await subject.app(options.app.resolve(), distinct=1)
        marks["indexed"] = time.monotonic() - started
        if not await invoke(0):
            return 1
        marks["done"] = time.monotonic() - started
    marks["cpu"] = time.process_time()
    sys.stdout.write(json.dumps(marks) + "\n")
    return 0


async def measure(environment: dict[str, str], root: Path, rounds: int) -> dict[str, Any]:
    """Samples by what is started, and the imports of this function broken down by package."""
    variants = {
        "this function": ["--app", "."],
        "official quickstart's shape": ["--app", "bench/peers/quickstart"],
        "azure-ai-vision-face (aio)": ["--app", "bench/peers/azure_sdk"],
        "bare imports": ["--imports", ",".join(NEEDED)],
    }
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, arguments in variants.items():
            output, _ = await _run(["-m", "bench.cold", *arguments], environment, root)
            if number:  # the first round fills the caches of compiled modules and of files
                samples[name].append(json.loads(output))
    return {"samples": samples, "imports_milliseconds": await _imports(environment, root)}


async def _run(arguments: list[str], environment: dict[str, str], root: Path) -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, _STARTED: repr(time.monotonic())},
        cwd=root,
        start_new_session=True,
    )
    ending.processes.append(process)
    output, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(errors.decode()[-2000:])
    return output.decode(), errors.decode()


async def _imports(environment: dict[str, str], root: Path) -> dict[str, float]:
    """Milliseconds of each package's own modules, the largest first."""
    command = ["-X", "importtime", "-m", "bench.cold", "--app", "."]
    _, errors = await _run(command, environment, root)
    by_package: Counter[str] = Counter()
    for match in re.finditer(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", errors):
        by_package[_package(match[2])] += int(match[1])
    return {name: round(total / 1000, 1) for name, total in by_package.most_common(15)}


def _package(module: str) -> str:
    parts = module.split(".")
    if parts[0] in sys.stdlib_module_names or parts[0].startswith("_"):
        return "the standard library"
    return ".".join(parts[:2]) if parts[0] in ("azure", "google") else parts[0]


def thresholds(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The thresholds, in CPU time: it is nearly all of a cold start, and independent of the load."""
    samples = found["samples"]
    pairs = list(zip(samples["this function"], samples["bare imports"], strict=True))

    def median(values: list[float]) -> float:
        return sorted(values)[len(values) // 2]

    return [
        {
            "name": "CPU time to the first message done ÷ bare imports, both with the runtime",
            "value": median([ours["cpu"] / bare["cpu"] for ours, bare in pairs]),
            # Measured 1.23: the bare imports do not set up the exporter.
            "bound": 1.35,
            "at": "most",
        },
    ]


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:]), loop_factory=uvloop.new_event_loop))

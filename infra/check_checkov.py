"""Run checkov over the snapshots and read its report strictly.

    python -m infra.check_checkov .venv-checkov/bin/checkov

It reads them as the templates of Resource Manager that they are, conditions and names worked out. A
comment `checkov:skip=CHECK:reason` in a Bicep resource suppresses a check for the resource's type;
one that suppresses nothing fails, and so does a snapshot that checkov cannot read.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

INFRA = Path(__file__).parent
SCHEMAS = "https://schema.management.azure.com/schemas"


def suppressions(texts: Iterable[str]) -> set[tuple[str, str]]:
    """The checks that Bicep files suppress, each with the type of resource."""
    found = set()
    for text in texts:
        for resource in re.split(r"^resource ", text, flags=re.MULTILINE)[1:]:
            type_ = resource.split("'")[1].partition("@")[0]
            found |= {(check, type_) for check in re.findall(r"checkov:skip=(\w+):", resource)}
    return found


def problems_in(report: dict[str, Any], suppressed: set[tuple[str, str]]) -> list[str]:
    """The problems, one per line."""
    results = report["results"]
    failed = {
        (one["check_id"], one["resource"].rpartition(".")[0]): one
        for one in results["failed_checks"]
    }
    problems = [f"cannot read {path}" for path in results["parsing_errors"]]
    problems += [
        f"{one['check_id']} {one['check_name']}: {one['file_path']} {one['resource']}"
        for key, one in failed.items()
        if key not in suppressed
    ]
    return problems + [
        f"{check} is suppressed for nothing: {type_}"
        for check, type_ in sorted(suppressed - failed.keys())
    ]


def main(checkov: str) -> int:
    """Print every problem; return the exit code."""
    snapshots = sorted((INFRA / "snapshots").glob("*.json"))
    with tempfile.TemporaryDirectory() as folder:
        for path in snapshots:
            template = {
                "$schema": f"{SCHEMAS}/2019-04-01/deploymentTemplate.json#",
                "contentVersion": "1.0.0.0",
                "resources": json.loads(path.read_bytes())["resources"],
            }
            (Path(folder) / path.name).write_text(json.dumps(template, indent=1), "utf-8")
        # Only its guidelines need the network; the checks do not.
        options = ["--framework", "arm", "--skip-download", "--compact", "--output", "json"]
        done = subprocess.run(
            [checkov, "--directory", folder, *options], capture_output=True, text=True, check=False
        )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        print(done.stderr, file=sys.stderr)
        print("checkov: no report")
        return 1
    suppressed = suppressions(path.read_text("utf-8") for path in INFRA.rglob("*.bicep"))
    problems = problems_in(report, suppressed)
    print(*problems, sep="\n", end="\n" if problems else "")
    summary = report["summary"]
    print(
        f"checkov {summary['checkov_version']}: {summary['passed']} passed, {len(problems)} problems, "
        f"{len(suppressed)} checks suppressed with a reason, in {len(snapshots)} snapshots"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

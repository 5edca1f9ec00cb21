"""Run checkov over infra/ and be strict about what it says.

    .venv/bin/python -m tests.infra.run_checkov .venv-checkov/bin/checkov

checkov itself exits with 0 when it cannot read a file, and never tells that a suppression
suppresses nothing. Here both fail.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMENT = re.compile(r"checkov:skip=(\w+):")


def problems_in(report: dict[str, Any], infra: Path) -> list[str]:
    """What is wrong, a line each."""
    results = report["results"]
    problems = [f"cannot read {path}" for path in results["parsing_errors"]]
    problems += [
        f"{one['check_id']} {one['check_name']}: {one['file_path']} {one['resource']}"
        for one in results["failed_checks"]
    ]
    skipped = {(one["check_id"], one["file_path"].lstrip("/")) for one in results["skipped_checks"]}
    problems += [
        f"{check} is suppressed for nothing: {path.relative_to(infra)}"
        for path in sorted(infra.rglob("*.bicep"))
        for check in COMMENT.findall(path.read_text("utf-8"))
        if (check, path.relative_to(infra).as_posix()) not in skipped
    ]
    return problems


def main(checkov: str) -> int:
    infra = ROOT / "infra"
    command = [checkov, "--directory", str(infra), "--framework", "bicep"]
    # Its guidelines would come from the network; the checks are all on board.
    done = subprocess.run(
        [*command, "--skip-download", "--compact", "--output", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        print(done.stderr, file=sys.stderr)
        print("checkov: no report")
        return 1
    problems = problems_in(report, infra)
    print(*problems, sep="\n", end="\n" if problems else "")
    summary = report["summary"]
    print(
        f"checkov {summary['checkov_version']}: {summary['passed']} passed, "
        f"{summary['failed']} failed, {summary['skipped']} suppressed with a reason, "
        f"{summary['parsing_errors']} files not read"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

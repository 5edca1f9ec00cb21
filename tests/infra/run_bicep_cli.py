"""Build and lint infra/ with the Bicep CLI, if there is one; any warning fails.

python -m tests.infra.run_bicep_cli
"""

import shutil
import subprocess
import sys
from pathlib import Path

INFRA = Path(__file__).resolve().parents[2] / "infra"


def main() -> int:
    bicep = shutil.which("bicep")
    if bicep is None:
        print("bicep: not on the PATH, so nothing was compiled; the other checks stand")
        return 0
    said = []
    for command in (
        ["build", "main.bicep", "--stdout"],
        ["build-params", "main.bicepparam", "--stdout"],
        ["lint", "main.bicep"],
    ):
        done = subprocess.run(
            [bicep, *command], cwd=INFRA, capture_output=True, text=True, check=False
        )
        # The template goes to standard output; whatever stands on the other is a complaint.
        if done.returncode or done.stderr.strip():
            said.append(f"bicep {command[0]}:\n{done.stderr.strip()}")
    print(*said, sep="\n", end="\n" if said else "")
    print(f"bicep: {'complains' if said else 'built and linted without a warning'}")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())

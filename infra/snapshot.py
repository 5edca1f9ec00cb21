"""What Azure Resource Manager would be given, evaluated by the Bicep CLI on this machine.

    python -m infra.snapshot        # writes infra/snapshots, one file for each way to deploy

Names, loops and conditions are worked out; what only Azure can tell stays an expression. Nothing in a
snapshot depends on the machine, the time or the account.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

BICEP = "0.49.2"
"""The version of the CLI that the snapshots are made with. Another one may know other types, format
otherwise and evaluate more."""

GIVEN = {
    "tenant-id": "00000000-0000-0000-0000-000000000001",
    "subscription-id": "00000000-0000-0000-0000-000000000002",
    "resource-group": "rg-revoker",
    "deployment-name": "revoker",
}


REQUIRED = {"FACE_API_VERSION": "v1.2"}
"""Variables that have no default; a way may set another value."""


def ways(readme: str) -> dict[str, dict[str, str]]:
    """The ways to deploy that the table in infra/README.md names, each with the variables it sets."""
    table = re.search(r"<!-- ways -->(.*?)<!-- /ways -->", readme, re.DOTALL)
    rows = re.findall(r"^\| `([\w-]+)` \|[^|]*\|([^|]*)\|", table[1] if table else "", re.MULTILINE)
    return {name: dict(re.findall(r"`(\w+)=([^`]*)`", cell)) for name, cell in rows}


def version() -> str:
    """The version of the CLI on the PATH."""
    said = subprocess.run(["bicep", "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[3]


class Refused(Exception):
    """The CLI does not evaluate the deployment; the text says why."""


def evaluate(infra: Path, variables: dict[str, str]) -> str:
    """The snapshot of one way to deploy, as JSON text.

    Args:
        infra: the folder of main.bicep and main.bicepparam, which is not changed.
        variables: what the environment holds, for main.bicepparam to read.

    Raises:
        Refused: the Bicep files or the variables are wrong.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "infra"
        shutil.copytree(infra, copy, ignore=shutil.ignore_patterns("snapshots"))
        options = {**GIVEN, "location": variables.get("AZURE_LOCATION", "westeurope")}
        # No other variable of this machine's environment may find its way into a snapshot.
        environment = {"PATH": os.environ["PATH"], "HOME": folder, **REQUIRED, **variables}
        done = subprocess.run(
            ["bicep", "snapshot", "main.bicepparam", "--mode", "overwrite"]
            + [text for name, value in options.items() for text in (f"--{name}", value)],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        written = copy / "main.snapshot.json"
        if done.returncode or not written.exists():
            raise Refused((done.stderr or done.stdout).replace(str(copy), "infra").strip())
        snapshot = json.loads(written.read_bytes())
    content = {
        "resources": snapshot["predictedResources"],
        "outputs": dict(sorted(snapshot["outputs"].items())),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write every snapshot, and take away those of ways that are no longer named."""
    if shutil.which("bicep") is None:
        print(f"bicep is not on the PATH: 'az bicep install --version v{BICEP}' gets it")
        return 1
    if version() != BICEP:
        print(f"bicep {version()}: the snapshots are made with {BICEP}; 'make infra' may differ")
    folder = ROOT / "infra/snapshots"
    folder.mkdir(exist_ok=True)
    named = ways((ROOT / "infra/README.md").read_text("utf-8"))
    for path in folder.glob("*.json"):
        if path.stem not in named:
            path.unlink()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        texts = pool.map(lambda variables: evaluate(ROOT / "infra", variables), named.values())
        for name, text in zip(named, texts, strict=True):
            (folder / f"{name}.json").write_text(text, "utf-8")
            print(f"infra/snapshots/{name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())

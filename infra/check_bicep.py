"""What only the Bicep CLI can tell: that infra/ compiles, is linted, formatted and evaluated.

    python -m infra.check_bicep

Without the CLI it says so and passes, unless BICEP_REQUIRED is set, as it is in GitHub's workflow.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from infra.snapshot import BICEP, REQUIRED, ROOT, Refused, evaluate, version, ways

INFRA = ROOT / "infra"

SUBNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/s"

REFUSED = {
    "MAXIMUM_INSTANCE_COUNT=0": "maximumInstanceCount",
    "FACE_API_VERSION=": "'v1.1-preview.1' | 'v1.2' | 'v1.2-preview.1' | 'v1.3-preview.1'",
    "FACE_ACCOUNT_ID=my-face": "not the resource id of a Microsoft.CognitiveServices/accounts",
    'NAMES={"storageAccount": "st"}': "minimum allowable length is 3",
    f"INTEGRATION_SUBNET_ID={SUBNET}": "give both or none",
    "SERVICE_BUS_TIER=Basic": "'Premium' | 'Standard'",
    "PRIVATE_NETWORKING=yes": 'parameter "privateNetworking"',
    "PUBLISHER_PRINCIPAL_IDS=somebody": 'not an object id (a GUID): "somebody"',
    "PUBLISHER_PRINCIPAL_IDS=g1111111-1111-4111-8111-111111111111": "not an object id",
    "RECEIPT_READER_PRINCIPAL_IDS=me": 'not an object id (a GUID): "me"',
    "ACTION_GROUP_IDS=pager": 'not the resource id of a Microsoft.Insights/actionGroups: "pager"',
}
"""What is refused before anything is deployed, and a part of what is said."""

MISTAKES = (
    ("a module parameter misspelt", "main.bicep", "Quota: faceAccess", "Qouta: faceAccess"),
    ("an output that does not exist", "main.bicep", "outputs.blobEndpoint", "outputs.blob"),
    ("a value that is not allowed", "main.bicep", "'Premium' : serviceBusTier", "'Premium' : 'Basic'"),
    ("a default out of bounds", "main.bicep", "RetentionDays int = 90", "RetentionDays int = 7"),
    ("a bracket too few", "modules/network.bicep", "securityRules: []", "securityRules: ["),
    ("a parameter that does nothing", "main.bicep", "param tags", "param unused bool\n\nparam tags"),
    ("a preview API version", "modules/storage.bicep", "@2025-06-01'", "@2023-05-01-preview'"),
    ("a missing description", "modules/face.bicep", "@description('Azure region.')", "@minLength(1)"),
    ("a misspelt property", "modules/queue.bicep", "lockDuration:", "lockDurations:"),
    ("a wrong value", "modules/face.bicep", "'SystemAssigned'", "'SystemsAssigned'"),
    ("a role named at run time", "main.bicep", "identityId: identityId", "identityId: clientId"),
)  # fmt: skip
"""Mistakes that the compiler or the linter finds: name, file, what stands there, what is wrong."""


ORDER = {
    "faceAccess": "face",
    "functionApp": "privateEndpoints",
    "privateEndpoints": "storage",
    "queue": "serviceBus",
    "receipts": "serviceBus",
    "record": "monitoring",
    "workbook": "monitoring",
}
"""What must not be deployed before what; a snapshot does not tell."""


def unordered(template: dict[str, Any]) -> Iterator[str]:
    """Name what might be deployed, or looked up, before what it needs.

    Resource Manager reads an existing resource as soon as nothing holds it up: it must be conditional,
    wait for the resource that creates it, or stand in a module that waits.
    """
    for later, earlier in ORDER.items():
        waiting, known = [later], set[str]()
        while waiting:
            known.add(name := waiting.pop())
            waiting += set(template["resources"][name].get("dependsOn", [])) - known
        if earlier not in known:
            yield f"main.bicep: {later} does not wait for {earlier}"
    yield from (f"main.bicep: {name} may not exist yet" for name in _early(template))
    for module, one in template["resources"].items():
        if module not in ORDER and one["type"] == "Microsoft.Resources/deployments":
            early = _early(one["properties"]["template"])
            yield from (f"{module}: {name} may not exist yet" for name in early)


def _early(template: dict[str, Any]) -> Iterator[str]:
    for name, one in template["resources"].items():
        if one.get("existing") and "condition" not in one and not one.get("dependsOn"):
            yield name


def template() -> dict[str, Any]:
    """What main.bicep is compiled to."""
    command = ["bicep", "build", "main.bicep", "--stdout"]
    done = subprocess.run(command, cwd=INFRA, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def said(*command: str, cwd: Path = INFRA) -> str:
    """Return what the CLI complains about when it is given a command.

    The template goes to standard output; whatever stands on the other is a complaint.
    """
    done = subprocess.run(
        ["bicep", *command],
        cwd=cwd,
        env={**os.environ, **REQUIRED},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.strip() or ("failed" if done.returncode else "")


def unformatted() -> Iterator[str]:
    """Give the command for each file that is not formatted."""
    for path in sorted([*INFRA.rglob("*.bicep"), *INFRA.glob("*.bicepparam")]):
        done = subprocess.run(
            ["bicep", "format", path, "--stdout"], capture_output=True, text=True, check=True
        )
        if done.stdout != path.read_text("utf-8"):
            yield f"bicep format {path.relative_to(ROOT)}"


def outdated(way: tuple[str, dict[str, str]]) -> str:
    """Complain if the snapshot of a way to deploy is not what the CLI makes of it now."""
    path = INFRA / "snapshots" / f"{way[0]}.json"
    current = path.exists() and evaluate(INFRA, way[1]) == path.read_text("utf-8")
    return "" if current else f"{path.relative_to(ROOT)} is not current: run make snapshots"


def accepted(variable: str) -> str:
    """Complain if wrong input is not refused, or not for the right reason."""
    try:
        evaluate(INFRA, dict([variable.split("=", 1)]))
    except Refused as refusal:
        wanted = REFUSED[variable]
        return "" if wanted in str(refusal) else f"{variable}: {refusal} instead of {wanted}"
    return f"{variable} is not refused"


def overlooked() -> Iterator[str]:
    """The seeded mistakes that the CLI does not point at, all made at once."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(INFRA, Path(folder) / "infra")
        for name, file, right, wrong in MISTAKES:
            text = (copy / file).read_text("utf-8")
            assert right in text, name
            (copy / file).write_text(text.replace(right, wrong, 1), "utf-8")
        complaints = said("lint", "main.bicep", cwd=copy)
        for name, file, _, wrong in MISTAKES:
            before, _, _ = (copy / file).read_text("utf-8").partition(wrong)
            line = before.count("\n") + 1
            if not re.search(rf"/{file}\(({line}|{line + 1}),", complaints):
                yield f"overlooked: {name}"


def main() -> int:
    """Print every complaint; return the exit code."""
    if shutil.which("bicep") is None:
        print(
            "bicep: NOT CHECKED, as the CLI is not on the PATH: types, linter rules, format, the "
            "parameter file, and whether the snapshots are current "
            f"('az bicep install --version v{BICEP}' gets it)"
        )
        return 1 if os.environ.get("BICEP_REQUIRED") else 0
    problems = [said("build", "main.bicep", "--stdout"), said("lint", "main.bicep")]
    problems += [said("build-params", "main.bicepparam", "--stdout"), *unformatted()]
    if not any(problems):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            problems += pool.map(outdated, ways((INFRA / "README.md").read_text("utf-8")).items())
            problems += pool.map(accepted, REFUSED)
        problems += [*overlooked(), *unordered(template())]
    problems = [problem for problem in problems if problem]
    print(*problems, sep="\n", end="\n" if problems else "")
    if problems:
        print(
            f"bicep {version()}: {len(problems)} complaints (the project is checked with {BICEP})"
        )
    else:
        print(
            f"bicep {version()}: compiled, linted, formatted, snapshots current, {len(REFUSED)} wrong "
            f"inputs refused, {len(MISTAKES)} seeded mistakes found"
        )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

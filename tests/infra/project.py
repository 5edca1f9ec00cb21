"""All that the policies hold against each other, of this repository or of a copy of it.

What Azure Resource Manager would be given stands in infra/snapshots: one file for each way to deploy
that infra/README.md names. `make snapshots` evaluates the Bicep files into them.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from infra import snapshot

ROOT = snapshot.ROOT

FILES = (
    "infra",
    "delete_session",
    "docs",
    "host.json",
    "local.settings.sample.json",
    "azure.yaml",
    "pyproject.toml",
    ".python-version",
    ".funcignore",
    ".github/workflows/deploy.yml",
)
"""What a copy needs."""

type Resource = dict[str, Any]

BROUGHT = {
    "FACE_ACCOUNT_ID": ("CognitiveServices/accounts",),
    "SERVICE_BUS_NAMESPACE_ID": (
        "ServiceBus/namespaces",
        "Insights/diagnosticSettings#/namespaces/",
    ),
    "LOG_ANALYTICS_WORKSPACE_ID": ("OperationalInsights/workspaces",),
    "USER_ASSIGNED_IDENTITY_ID": ("ManagedIdentity/userAssignedIdentities",),
    "INTEGRATION_SUBNET_ID": (
        *("Network/virtualNetworks", "Network/networkSecurityGroups", "Network/privateDnsZones"),
        "Network/privateDnsZones/virtualNetworkLinks",
    ),
}
"""What is not created where this variable brings it along: types, perhaps with a part of the id."""


@dataclass(frozen=True, slots=True)
class Project:
    root: Path
    snapshots: dict[str, list[Resource]]
    """The resources of each way to deploy, by its name."""

    @classmethod
    def load(cls, root: Path = ROOT) -> Self:
        """Read the snapshots; the other files are read when they are asked for."""
        files = sorted((root / "infra/snapshots").glob("*.json"))
        return cls(root, {path.stem: json.loads(path.read_bytes())["resources"] for path in files})

    def text(self, path: str) -> str:
        return (self.root / path).read_text("utf-8")

    def json(self, path: str) -> Any:
        return json.loads(self.text(path))

    def bicep(self) -> dict[str, str]:
        """The text of each Bicep file, by its path from infra/."""
        infra = self.root / "infra"
        return {
            path.relative_to(infra).as_posix(): path.read_text("utf-8")
            for path in sorted(infra.rglob("*.bicep"))
        }

    def of(self, type_: str, way: str = "") -> Iterator[tuple[str, Resource]]:
        """The resources of a type, in every way to deploy or in one."""
        for name, resources in self.snapshots.items():
            if way in ("", name):
                yield from ((name, one) for one in resources if one["type"] == type_)

    def ways(self) -> dict[str, dict[str, str]]:
        """The ways to deploy that infra/README.md names, each with the variables that it sets."""
        return snapshot.ways(self.text("infra/README.md"))

    def brought(self, way: str) -> set[str]:
        """The types that a way to deploy brings along."""
        set_ = self.ways().get(way, {}).keys() & BROUGHT.keys()
        return {type_ for name in set_ for type_ in BROUGHT[name]}

    def documented_settings(self) -> list[str]:
        """The names in the first column of the table in docs/settings.md."""
        table = re.search(
            r"<!-- settings -->(.*?)<!-- /settings -->", self.text("docs/settings.md"), re.DOTALL
        )
        return re.findall(r"^\| `([^`]+)` \|", table[1], re.MULTILINE) if table else []

    def parameters(self) -> dict[str, str]:
        """The parameters of main.bicep, each with its decorators and its declaration."""
        blocks = self.text("infra/main.bicep").split("\n\n")
        found = ((re.search(r"^param (\w+) ", block, re.MULTILINE), block) for block in blocks)
        return {match[1]: block for match, block in found if match}

    def variables(self) -> dict[str, str]:
        """The environment variable that main.bicepparam reads for each parameter."""
        pattern = r"^param (\w+) = .*?readEnvironmentVariable\('(\w+)'"
        return dict(re.findall(pattern, self.text("infra/main.bicepparam"), re.MULTILINE))


def at(resource: Any, path: str) -> Any:
    """The value at a dotted path; None where there is none. An item of a list goes by its number or
    by its name."""
    for part in path.split("."):
        if isinstance(resource, list):
            named = {x["name"]: x for x in resource if isinstance(x, dict) and "name" in x}
            resource = dict(zip(map(str, range(len(resource))), resource, strict=True)) | named
        resource = resource.get(part) if isinstance(resource, dict) else None
    return resource


def unmet(project: Project, facts: str, way: str = "") -> list[str]:
    """Which of some facts do not hold. A line each: a type, perhaps with a part of the id behind a
    `#`, a dotted path, and the value as JSON. A type that is nowhere is a problem, too, unless it is
    brought along."""
    problems = []
    for what, path, text in (line.split(None, 2) for line in facts.strip().splitlines()):
        type_, _, which = what.partition("#")
        value = json.loads(text)
        for name in [way] if way else project.snapshots:
            ones = [one for _, one in project.of(f"Microsoft.{type_}", name) if which in one["id"]]
            found = [at(one, path) for one in ones]
            missing = not found and what not in project.brought(name)
            if missing or any(each != value for each in found):
                problems.append(f"{name}: {type_} {path} is {found}, not {value!r}")
    return problems


type Policy = Callable[[Project], list[str]]
"""Takes the project and returns its problems, a sentence each."""

POLICIES: dict[str, Policy] = {}


def policy(function: Policy) -> Policy:
    """Put a policy on the list."""
    POLICIES[function.__name__] = function
    return function

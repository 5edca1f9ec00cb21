"""All files that the policies hold against each other, of this repository or of a copy of it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.infra import bicep

ROOT = Path(__file__).resolve().parents[2]

FILES = (
    "infra",
    "delete_session/trigger.py",
    "host.json",
    "local.settings.sample.json",
    "docs/settings.md",
    "azure.yaml",
    "pyproject.toml",
    ".python-version",
    ".funcignore",
    ".github/workflows/deploy.yml",
)
"""What a copy needs."""


@dataclass(frozen=True, slots=True)
class Project:
    root: Path
    files: dict[str, bicep.BicepFile]
    parameters: bicep.ParameterFile

    @classmethod
    def load(cls, root: Path = ROOT) -> Self:
        text = (root / "infra/main.bicepparam").read_text("utf-8")
        return cls(
            root=root,
            files=bicep.load(root / "infra"),
            parameters=bicep.read_parameters("main.bicepparam", text),
        )

    @property
    def main(self) -> bicep.BicepFile:
        return self.files["main.bicep"]

    def text(self, path: str) -> str:
        return (self.root / path).read_text("utf-8")

    def json(self, path: str) -> Any:
        return json.loads(self.text(path))

    def resources(self, type_: str) -> list[tuple[bicep.BicepFile, bicep.Resource]]:
        """Those that are made, not merely referred to."""
        return [
            (file, one)
            for file in self.files.values()
            for one in file.resources
            if one.type == type_ and not one.existing
        ]

    def documented_settings(self) -> list[str]:
        """The names in the first column of the table in docs/settings.md."""
        table = re.search(
            r"<!-- settings -->(.*?)<!-- /settings -->", self.text("docs/settings.md"), re.DOTALL
        )
        return re.findall(r"^\| `([^`]+)` \|", table[1], re.MULTILINE) if table else []


def unmet(project: Project, wanted: dict[str, dict[str, bicep.Value]]) -> list[str]:
    """Resource type → dotted path → value: which of them do not hold. A type that is not there
    at all is a problem, too."""
    problems = []
    for type_, properties in wanted.items():
        resources = project.resources(type_)
        if not resources:
            problems.append(f"there is no {type_}")
        for file, one in resources:
            for path, value in properties.items():
                found = bicep.at(one.body, path)
                if found != value:
                    problems.append(f"{file.path}: {one.symbol}.{path} is {found!r}, not {value!r}")
    return problems

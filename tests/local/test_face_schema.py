"""The local Face API against its own OpenAPI document, by a schema-driven tester."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from local.face.api import FLAT_VERSIONS, NESTED_VERSIONS

from .conftest import Emulator, bearer

DOCUMENT = Path(__file__).parents[2] / "local" / "face" / "openapi.yaml"


def held_against(
    document: Path, service: Emulator, folder: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis over real HTTP, with the same requests each time."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(document)]
    target = ["--url", service.url, "-H", f"Authorization: Bearer {bearer()}"]
    fixed = ["--seed", "1", "--max-examples", "5", "--no-shrink", "--no-color"]
    return subprocess.run(
        [*command, *target, *fixed, *more],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


@pytest.mark.timeout(180)
def test_every_answer_conforms_to_the_document(face_service: Emulator, tmp_path: Path) -> None:
    """Good calls are accepted, bad ones refused, and each answer has the documented form."""
    found = held_against(DOCUMENT, face_service, tmp_path)
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
    assert "7 selected / 7 total" in found.stdout


@pytest.mark.timeout(180)
def test_answer_that_does_not_conform_is_found(face_service: Emulator, tmp_path: Path) -> None:
    """Held against a document with another success status, the same API fails."""
    changed = tmp_path / "changed.yaml"
    changed.write_text(DOCUMENT.read_text().replace('"204":', '"202":'))
    found = held_against(changed, face_service, tmp_path, "--phases", "stateful")
    assert found.returncode == 1, found.stdout[-6000:]
    assert "x-ms-error-code" in found.stdout  # what the changed document asks of a 204


def test_document_names_the_versions_that_are_served() -> None:
    """The versions in the document are those of the code."""
    text = DOCUMENT.read_text()
    for name, versions in (("nestedVersion", NESTED_VERSIONS), ("flatVersion", FLAT_VERSIONS)):
        [named] = re.findall(rf"name: {name}, .*enum: \[(.*?)\]", text)
        assert tuple(named.split(", ")) == versions

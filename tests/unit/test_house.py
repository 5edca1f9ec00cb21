"""The structure: which module may import which, and what an import loads."""

import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [
    name for name in ("delete_session", "revoker", "local", "bench") if (ROOT / name).is_dir()
]

# Each module may import those in the lines below its line.
LAYERS = (
    {"app"},
    {"handler"},
    {"receipt", "telemetry"},
    {"log", "gate", "face", "queue"},
    {"decision", "message"},
    {"settings", "identity"},
    {"verdict", "contract"},
)
FOUNDATIONS = {
    *("limiter", "breaker", "transport", "clock"),
    *("connection", "endpoint", "binding"),
}
"""Know nothing of the layers; any of them may rest on these."""
PURE = ("decision", "message", "verdict", "contract")
"""Do no input or output: nothing but the standard library and msgspec is loaded with them."""


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def rooms(imports: grimp.ImportGraph, room: str) -> set[str]:
    """Rooms of the deployed package that a room imports."""
    found = imports.find_modules_directly_imported_by(f"delete_session.{room}")
    return {name.partition(".")[2] for name in found if name.startswith("delete_session.")}


def test_no_two_modules_import_each_other(imports: grimp.ImportGraph) -> None:
    """There is no import cycle in any package, not even for types only."""
    arrows = {name: imports.find_modules_directly_imported_by(name) for name in imports.modules}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_every_room_has_its_place(imports: grimp.ImportGraph) -> None:
    """A new file of the deployed package needs a line in the layers above."""
    placed = set().union(*LAYERS) | FOUNDATIONS
    assert {
        name.partition(".")[2] for name in imports.modules if name.startswith("delete_session.")
    } == placed


def test_imports_run_downwards(imports: grimp.ImportGraph) -> None:
    """A room imports only what lies beneath it."""
    for number, layer in enumerate(LAYERS):
        beneath = set().union(*LAYERS[number + 1 :]) | FOUNDATIONS
        for room in layer:
            # A module may also import others of its line; the test for cycles bounds that.
            assert rooms(imports, room) <= beneath | layer, room
    for room in FOUNDATIONS:
        assert rooms(imports, room) <= FOUNDATIONS, room


def test_nothing_deployed_imports_what_is_not(imports: grimp.ImportGraph) -> None:
    """The function imports neither its command, its local cloud nor its benchmarks."""
    for name in imports.modules:
        if name.partition(".")[0] == "delete_session":
            found = imports.find_modules_directly_imported_by(name)
            assert all(each.partition(".")[0] == "delete_session" for each in found), name


def test_local_cloud_does_not_reach_into_the_function(imports: grimp.ImportGraph) -> None:
    """The local cloud starts the app as the platform does, and does not import it."""
    for name in imports.modules:
        if name.partition(".")[0] == "local":
            found = imports.find_modules_directly_imported_by(name)
            assert not any(each.startswith("delete_session") for each in found), name


def test_the_broker_stands_alone(imports: grimp.ImportGraph) -> None:
    """The local broker imports only its own modules, so that its folder can be used elsewhere."""
    for name in imports.modules:
        if name.startswith("local.broker"):
            found = imports.find_modules_directly_imported_by(name)
            assert all(each.startswith("local.broker") for each in found), name


def test_pure_rooms_load_nothing_but_the_standard_library_and_msgspec() -> None:
    """In a fresh interpreter, importing them loads no library that does input or output."""
    rooms = ", ".join(f"delete_session.{room}" for room in PURE)
    code = f"import sys, json, msgspec; before = set(sys.modules); import {rooms}; " + (
        "print(json.dumps(sorted({n.partition('.')[0] for n in set(sys.modules) - before})))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    foreign = set(json.loads(result.stdout)) - sys.stdlib_module_names
    assert foreign == {"delete_session"}

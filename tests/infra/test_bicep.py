"""The model that the policies rest on."""

import math
from pathlib import Path

import pytest

from tests.infra import bicep
from tests.infra.bicep import Call, Choice, Expression, Loop
from tests.infra.policies.agreement import seconds
from tests.infra.run_checkov import problems_in

TEXT = """
@description('How many.')
@minValue(1)
param count int = 2
param names array

var text = 'it\\'s'
var lines = '''
a
b
'''

module one 'one.bicep' = if (count > 1) {
  name: 'one'
  params: {
    size: count > 1 ? 'big' : 'small' // why not
  }
}

resource many 'Some.Provider/things/parts@2026-01-01' = [
  for name in names: {
    name: '${name}-x'
    properties: {
      // a comment
      'odd-key': true
      list: [
        1
        null
      ]
      merged: union({ a: 'b' }, one.outputs.rest)
    }
  }
]

output size string = one!.outputs.size
"""


@pytest.fixture
def file() -> bicep.BicepFile:
    return bicep.read("x.bicep", TEXT)


def test_literals_become_python_values(file: bicep.BicepFile) -> None:
    """Texts, numbers, truth values, null, arrays and objects are Python's own; comments vanish."""
    (many,) = file.resources
    assert file.errors == []
    assert file.variables == {"text": "it's", "lines": "a\nb\n"}
    assert bicep.at(many.body, "properties.list") == [1, None]
    assert bicep.at(many.body, "properties.odd-key") is True
    assert many.body["name"] == Expression("'${name}-x'")


def test_what_the_deployment_decides_keeps_its_shape(file: bicep.BicepFile) -> None:
    """Calls, choices and loops can be looked into without evaluating them."""
    (many,) = file.resources
    assert bicep.at(many.body, "properties.merged") == Call(
        "union", ({"a": "b"}, Expression("one.outputs.rest"))
    )
    assert file.modules["one"].parameters == {"size": Choice("count > 1", "big", "small")}
    loop = bicep.read("x", "var v = [for name in names: { n: name }]\n").variables["v"]
    assert loop == Loop("name", Expression("names"), {"n": Expression("name")})


def test_declarations_and_their_uses_are_told_apart(file: bicep.BicepFile) -> None:
    """A parameter counts as used only outside its own declaration; outputs are found behind `!`."""
    assert file.parameters["count"].decorators == {"description": "How many.", "minValue": 1}
    assert file.parameters["names"].required
    assert "text" not in file.used
    assert {"count", "names"} <= file.used
    assert file.used_outputs == {("one", "size"), ("one", "rest")}


def test_the_grammars_agree(file: bicep.BicepFile) -> None:
    """pycep and tree-sitter read the same outline."""
    assert bicep.outline_by_pycep(TEXT) == file.outline()


def test_broken_text_is_reported_with_its_line() -> None:
    """tree-sitter says where it could not go on."""
    (error, *_) = bicep.read("x.bicep", "var a = 1\nresource b 'c@d' = {\n").errors
    assert error.startswith("x.bicep:")


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("P2D", 172_800), ("PT1M", 60), ("PT2H", 7200), ("P1DT1H1M1S", 90_061), ("00:10:00", 600)],
)
def test_durations(duration: str, expected: float) -> None:
    """Both ways of writing a duration come out in seconds."""
    assert seconds(duration) == expected


@pytest.mark.parametrize("duration", ["1 minute", "P2W", None, 60, "10:00"])
def test_not_a_duration(duration: bicep.Value) -> None:
    """Anything else is NaN, so that no comparison with it holds."""
    assert math.isnan(seconds(duration))


def test_checkov_report_is_read_strictly(tmp_path: Path) -> None:
    """A file not read, a failed check and a suppression of nothing are problems; a suppression that
    is used is none."""
    (tmp_path / "a.bicep").write_text(
        "// checkov:skip=CKV_1:needed because\n// checkov:skip=CKV_2:not needed\n", "utf-8"
    )
    report = {
        "results": {
            "parsing_errors": ["b.bicep"],
            "failed_checks": [
                {"check_id": "CKV_3", "check_name": "x", "file_path": "/a.bicep", "resource": "r"}
            ],
            "skipped_checks": [{"check_id": "CKV_1", "file_path": "/a.bicep"}],
        }
    }
    assert problems_in(report, tmp_path) == [
        "cannot read b.bicep",
        "CKV_3 x: /a.bicep r",
        "CKV_2 is suppressed for nothing: a.bicep",
    ]

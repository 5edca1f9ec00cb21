"""docs/asyncapi.yaml: the contract for machines says what the code reads."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from delete_session.contract import SessionRevoked, parse
from delete_session.receipt import COMPLETED, FAILED, Data
from tests.node import installed, run

DOCS = Path(__file__).parents[2] / "docs"


def checked(document: Path, folder: Path) -> dict[str, Any]:
    """What AsyncAPI's own parser says of the document."""
    done = run(["node", "check.mjs", str(document)], folder)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def without_marks(value: Any) -> Any:
    """The schema without the ids that the parser gives to its parts."""
    if isinstance(value, dict):
        return {k: without_marks(v) for k, v in value.items() if not k.startswith("x-parser-")}
    return [without_marks(each) for each in value] if isinstance(value, list) else value


@pytest.mark.timeout(300)
def test_the_asyncapi_document_is_valid_and_says_what_the_code_reads(tmp_path: Path) -> None:
    """AsyncAPI's parser finds no problem, bodies have the code's schema, examples are messages."""
    folder = installed("asyncapi", (Path(__file__).parent / "asyncapi").iterdir())
    schemas = [json.loads(path.read_text())["$defs"] for path in sorted(DOCS.glob("*.schema.json"))]
    receipt, body = schemas[0]["SessionRevocationReceipt"], schemas[1]["SessionRevoked"]

    result = checked(DOCS / "asyncapi.yaml", folder)

    assert result["problems"] == []
    plain, event, told = (without_marks(each) for each in result["bodies"])
    assert plain == event["properties"]["data"] == body
    assert told["properties"]["data"] == receipt
    assert told["properties"]["type"]["enum"] == [COMPLETED, FAILED]
    assert len(result["examples"]) == 5
    for example in result["examples"][3:]:
        assert example["payload"]["type"] in (COMPLETED, FAILED)
        msgspec.convert(example["payload"]["data"], Data)
    for example in result["examples"][:3]:
        sent = json.dumps(example["payload"]).encode()
        assert isinstance(parse(sent, example["contentType"]), SessionRevoked), example

    # The parser does find problems: a document with a mistake is not valid.
    broken = tmp_path / "asyncapi.yaml"
    for path in DOCS.glob("*.schema.json"):
        shutil.copy(path, tmp_path)
    text = (DOCS / "asyncapi.yaml").read_text()
    broken.write_text(text.replace("action: receive", "action: accept"))
    assert checked(broken, folder)["problems"] != []

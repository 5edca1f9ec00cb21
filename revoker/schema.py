"""Print the JSON Schema of a session-revoked message: `python -m revoker.schema`.

docs/session-revoked.schema.json is its output; a test keeps the two equal.
"""

import json
import sys

import msgspec

from delete_session.contract import Body

_NAME = "SessionRevoked"  # by which the AsyncAPI document and publishers know it


def schema() -> str:
    """Return the JSON Schema (2020-12) of the body as text."""
    _, components = msgspec.json.schema_components([Body])
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "session-revoked",
        "$ref": f"#/$defs/{_NAME}",
        "$defs": {_NAME: {**components["Body"], "title": _NAME}},
    }
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema())

"""Print the JSON Schema of a message: `python -m revoker.schema TITLE`, a title of NAMES.

docs/TITLE.schema.json is its output; a test keeps the two equal.
"""

import json
import sys

import msgspec

from delete_session.contract import Body
from delete_session.receipt import Data

NAMES: dict[str, tuple[type[msgspec.Struct], str]] = {
    "session-revoked": (Body, "SessionRevoked"),
    "session-revocation-receipt": (Data, "SessionRevocationReceipt"),
}
"""By its title: the type, and the name by which the AsyncAPI document and others know it."""


def schema(title: str) -> str:
    """Return the JSON Schema (2020-12) of a message's object as text."""
    kind, name = NAMES[title]
    _, components = msgspec.json.schema_components([kind])
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "$ref": f"#/$defs/{name}",
        "$defs": {name: {**components[kind.__name__], "title": name}},
    }
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema(sys.argv[1]))

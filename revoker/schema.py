"""Print the JSON Schema of a session-revoked message: `python -m revoker.schema`.

docs/session-revoked.schema.json is its output; a test keeps the two equal.
"""

import json
import sys

import msgspec

from delete_session.contract import SessionRevoked


def schema() -> str:
    """Return the JSON Schema (2020-12) of the body as text."""
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "session-revoked",
        **msgspec.json.schema(SessionRevoked),
    }
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema())

"""Print the JSON Schema of a message: `python -m revoker.schema TITLE`, a title of NAMES.

docs/TITLE.schema.json is its output; a test compares the two.
"""

import json
import sys
from datetime import datetime
from typing import Annotated

import msgspec

from delete_session.contract import SESSION_ID, SessionType
from delete_session.receipt import Data


class Body(msgspec.Struct, frozen=True, rename="camel"):
    """A liveness session was revoked upstream and has to be deleted at the Face API."""

    session_id: Annotated[str, msgspec.Meta(pattern=SESSION_ID)]
    session_type: SessionType | None = None
    reason: str | None = None
    revoked_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


NAMES: dict[str, tuple[type[msgspec.Struct], str]] = {
    "session-revoked": (Body, "SessionRevoked"),
    "session-revocation-receipt": (Data, "SessionRevocationReceipt"),
}
"""By its title: the type, and its name in the AsyncAPI document."""

DESCRIPTIONS = {
    "session-revoked": {
        "sessionId": "The session's id, as the Face API returned it when it was created.",
        "sessionType": "Which kind of session the id belongs to. If it is not stated, both are asked.",
        "reason": "Why it was revoked, for people. Never logged.",
        "revokedAt": "When it was revoked, RFC 3339 with an offset.",
    },
    "session-revocation-receipt": {
        "sessionId": "The session's id; left out if the message named none.",
        "sessionType": "The type that was published, or under which the session was deleted; left "
        "out if the publisher stated none and no session was found.",
        "askedTypes": "The types under which the Face API was asked at the end.",
        "outcome": "deleted: the Face API deleted the session for this revocation. already_gone: no "
        "session with this id exists at the Face resource under the asked types. dead_lettered: the "
        "revocation failed, and the session may live until it expires.",
        "reason": "Dead-letter reason, if the revocation failed.",
        "code": "FaceError code of the last answer, if the revocation failed; HTTP and the status if "
        "the answer had no code.",
        "description": "What went wrong, for people.",
        "attempts": "Calls of the Face API.",
        "publishedAt": "When the broker accepted the publisher's message.",
        "firstAttemptAt": "When the first call began.",
        "lastAttemptAt": "When the last call was answered.",
        "faceRequestId": "Request id of the last call, as the Face API gave it.",
        "rootMessageId": "Message id under which the revocation was published.",
        "publisher": "The application property publisher of the message; left out if there was none.",
    },
}


def schema(title: str) -> str:
    """Return the JSON Schema (2020-12) of a message's object as text."""
    kind, name = NAMES[title]
    _, components = msgspec.json.schema_components([kind])
    definition = components[kind.__name__]
    for member, description in DESCRIPTIONS[title].items():
        members = definition["properties"]
        members[member] = {"description": description, **members[member]}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "$ref": f"#/$defs/{name}",
        "$defs": {name: {**definition, "title": name}},
    }
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema(sys.argv[1]))

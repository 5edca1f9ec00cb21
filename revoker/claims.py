"""The claims of a Microsoft Entra token, read without a proof."""

import base64
from typing import Any

from revoker.text import from_json


def claims(bearer: str) -> dict[str, Any]:
    """Return a token's claims; none if it cannot be read."""
    try:
        part = bearer.split(".")[1]
        found = from_json(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

"""The claims of a Microsoft Entra token: not a proof, but they show the usual causes."""

import base64
import json
import time
from typing import Any

from revoker.failure import Failure


def read(bearer: str, scope: str) -> str:
    """Name the caller of a token; a token that cannot be read is not a fault.

    Raises:
        Failure: it has expired, or it is for something other than the scope.
    """
    claims = _claims(bearer)
    expires, audience = claims.get("exp"), str(claims.get("aud", ""))
    if isinstance(expires, int | float) and expires < time.time():
        raise Failure(
            f"The token expired {time.time() - expires:.0f} s ago by this machine's clock",
            "Check this machine's clock, then log in again ('az login'); within Azure, restart the "
            "app.",
        )
    wanted = scope.removesuffix("/.default")
    if audience.startswith("https://") and audience.rstrip("/") != wanted:
        raise Failure(
            f"The token is for {audience}, not for {wanted}",
            "The identity endpoint hands out the wrong token: check the value of "
            "IDENTITY_ENDPOINT.",
        )
    who = claims.get("upn") or claims.get("appid") or claims.get("oid") or "an unnamed caller"
    return f"for {who}"


def _claims(bearer: str) -> dict[str, Any]:
    try:
        part = bearer.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}

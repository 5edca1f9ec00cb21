"""The claims of a Microsoft Entra token: not a proof, but they show the usual causes."""

import time

from revoker.claims import claims
from revoker.failure import Failure


def read(bearer: str, scope: str) -> str:
    """Name the caller of a token; a token that cannot be read is not a fault.

    Raises:
        Failure: it has expired, or it is for something other than the scope.
    """
    found = claims(bearer)
    expires, audience = found.get("exp"), str(found.get("aud", ""))
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
    who = found.get("upn") or found.get("appid") or found.get("oid") or "an unnamed caller"
    return f"for {who}"

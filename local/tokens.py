"""Bearer tokens of the local cloud: JSON Web Tokens signed with a shared key.

Microsoft Entra signs with RS256 and publishes its keys; this module does neither.
"""

import time
import uuid
from dataclasses import dataclass

import jwt

AUDIENCE = "https://cognitiveservices.azure.com"
_CLIENT_ID = "00000000-0000-0000-0000-000000000001"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller that a token identifies."""

    token_id: str
    may_delete: bool


def issue(
    key: str,
    audience: str,
    *,
    lifetime_seconds: float,
    client_id: str | None = None,
    may_delete: bool = True,
) -> tuple[str, int]:
    """Issue a token; return it and the Unix time when it expires."""
    now = int(time.time())
    expires = now + int(lifetime_seconds)
    claims = {
        "aud": audience,
        "iat": now,
        "nbf": now - 300,
        "exp": expires,
        "jti": str(uuid.uuid4()),
        "appid": client_id or _CLIENT_ID,
        "may_delete": may_delete,
    }
    return jwt.encode(claims, key, algorithm="HS256"), expires


def check(token: str, key: str, audience: str) -> Caller:
    """Check signature, audience and expiry.

    Raises:
        jwt.InvalidTokenError: the token must not be accepted; the text says why.
    """
    both = [audience, audience + "/"]
    claims = jwt.decode(
        token, key, algorithms=["HS256"], audience=both, options={"require": ["exp", "jti"]}
    )
    return Caller(claims["jti"], claims.get("may_delete", True))

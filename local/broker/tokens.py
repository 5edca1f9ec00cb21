"""Shared access signatures: the rights that a token grants, and until when.

Source: "Service Bus access control with Shared Access Signatures". A token says which resource
(`sr`), which key (`skn`), until when (`se`, seconds since 1970) and is signed (`sig`) with
HMAC-SHA256 over the resource, as encoded in the token, and the expiry.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus, urlsplit

from .configuration import AuthorizationRule
from .queues import Refused

_PREFIX = "SharedAccessSignature "


@dataclass(frozen=True, slots=True)
class Grant:
    """What a valid token allows: `rights` on every entity at or below `path`."""

    path: str
    rights: frozenset[str]
    expires_at: float

    def allows(self, right: str, path: str, now: float) -> bool:
        """Return whether this grants the right (Send or Listen) on the entity path."""
        path = path.lower()
        covers = not self.path or path == self.path or path.startswith(self.path + "/")
        return (
            covers and now < self.expires_at and (right in self.rights or "Manage" in self.rights)
        )


def entity_path(address: str) -> str:
    """Return `queue` for `amqps://host:port/queue/`, `/queue` or `queue`."""
    return (urlsplit(address).path if "://" in address else address).strip("/")


def verify(token: str, rules: Sequence[AuthorizationRule], now: float) -> Grant:
    """Return what a token grants; raise Refused with status 401 and the reason."""
    if not token.startswith(_PREFIX):
        raise _unauthorized("The token is not a shared access signature.")
    parts = {}
    for part in token.removeprefix(_PREFIX).split("&"):
        key, _, value = part.partition("=")
        parts[key] = value
    try:
        resource, signature = parts["sr"], unquote(parts["sig"])
        expiry, key_name = int(parts["se"]), unquote_plus(parts["skn"])
    except (KeyError, ValueError) as error:
        raise _unauthorized("The token is malformed.") from error
    rule = next((rule for rule in rules if rule.key_name == key_name), None)
    if rule is None:
        raise _unauthorized("The token names a key that does not exist.")
    mac = hmac.new(rule.key.encode(), f"{resource}\n{expiry}".encode(), hashlib.sha256)
    expected = base64.b64encode(mac.digest()).decode()
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        raise _unauthorized("The token has an invalid signature.")
    if expiry <= now:
        raise _unauthorized("The token has expired.")
    # Some libraries request a token for the address of a management node.
    path = entity_path(unquote_plus(resource)).lower().removesuffix("/$management")
    return Grant(path, rule.rights, expiry)


def _unauthorized(description: str) -> Refused:
    return Refused(401, "amqp:unauthorized-access", description)

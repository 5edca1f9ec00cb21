"""FACE_ENDPOINT: which hosts take Entra tokens for the Face API, and the scope of those tokens."""

import ipaddress
import re
from urllib.parse import urlsplit

SCOPE = "https://cognitiveservices.azure.com/.default"
"""Of tokens for the public cloud, and for a Face API on this machine."""

# The clouds by their suffix: public, US Government, China (21Vianet). The custom subdomain is one
# label: <name>.privatelink.cognitiveservices.azure.com, for instance, has no certificate.
_CUSTOM_SUBDOMAIN = re.compile(r"[a-z0-9-]+\.cognitiveservices\.azure\.(com|us|cn)")
_REGIONAL = re.compile(r"(.+\.)?api\.cognitive\.(microsoft\.com|microsoft\.us|azure\.cn)")
_FOUNDRY = re.compile(r".+\.services\.ai\.azure\.(com|us|cn)")


def face_endpoint(text: str) -> str:
    """Return FACE_ENDPOINT without a slash at its end.

    Raises:
        ValueError: it is no endpoint that takes Entra tokens; the text says what would be right.
    """
    right = (
        "the account's custom-subdomain endpoint, https://<name>.cognitiveservices.azure.com "
        "(plain http only to a loopback address)"
    )
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError:
        raise ValueError(f"must be {right}; it is not a URL") from None
    if url.path.strip("/") or url.query or url.fragment or url.username is not None:
        raise ValueError(f"must be {right}, without path, query, fragment or user name")
    if url.scheme == "http" and is_loopback(host):
        return text.rstrip("/")
    if url.scheme != "https" or not host:
        raise ValueError(f"must be {right}")
    if _REGIONAL.fullmatch(host):
        # Entra tokens are refused there: facts of the Face API.
        raise ValueError(f"must be {right}; a regional endpoint does not take Entra tokens")
    if _FOUNDRY.fullmatch(host):
        # docs/decisions/endpoints.md
        raise ValueError(f"must be {right}; no Face API is documented at a Foundry endpoint")
    if _is_address(host) and not is_loopback(host):
        raise ValueError(f"must be {right}; an IP address has no custom subdomain")
    return text.rstrip("/")


def token_scope(text: str) -> str:
    """Return FACE_TOKEN_SCOPE, which may be empty.

    Raises:
        ValueError: it is no scope.
    """
    if text and not re.fullmatch(r"[^\s/][^\s]*/\.default", text):
        raise ValueError("must be a scope that ends with /.default, e.g. " + SCOPE)
    return text


def face_scope(endpoint: str, given: str = "") -> str:
    """Return the scope of the tokens that an endpoint takes.

    Args:
        endpoint: FACE_ENDPOINT.
        given: FACE_TOKEN_SCOPE, which is used as it is.

    Raises:
        ValueError: none is given, and the endpoint is in no cloud that is known here.
    """
    host = urlsplit(endpoint).hostname or ""
    if given:
        return given
    if is_loopback(host):
        return SCOPE
    if cloud := _CUSTOM_SUBDOMAIN.fullmatch(host):
        return f"https://cognitiveservices.azure.{cloud[1]}/.default"
    raise ValueError(
        "FACE_ENDPOINT is no custom subdomain of an Azure cloud that is known here "
        "(<name>.cognitiveservices.azure.com, .us or .cn): correct it, or set FACE_TOKEN_SCOPE to "
        "the scope of the tokens that it takes"
    )


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

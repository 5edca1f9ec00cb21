"""How the Face API is reached: endpoint, token scope and proxy."""

import re
from collections.abc import Mapping
from urllib import request
from urllib.parse import urlsplit

# What NO_PROXY means, on every platform; the type stubs do not have it.
_bypass = getattr(request, "proxy_bypass_environment")  # noqa: B009

SCOPE = "https://cognitiveservices.azure.com/.default"
"""Token scope of the public cloud, and of a Face API on this machine."""

# Clouds by suffix: public, US Government, China (21Vianet). A custom subdomain is one label:
# <name>.privatelink.cognitiveservices.azure.com, for example, has no certificate.
_CUSTOM_SUBDOMAIN = re.compile(r"[a-z0-9-]+\.cognitiveservices\.azure\.(com|us|cn)")


def face_endpoint(text: str) -> str:
    """Return FACE_ENDPOINT without a trailing slash.

    Raises:
        ValueError: the endpoint does not accept Entra tokens; the text says what would be right.
    """
    expected = (
        "must be the account's custom-subdomain endpoint, https://<name>.cognitiveservices.azure.com "
        "(plain http only to a loopback address)"
    )
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port  # reading a wrong port raises
    except ValueError:
        raise ValueError(f"{expected}; it is not a URL") from None
    if url.path.strip("/") or set(text) & set("?#@ "):
        raise ValueError(f"{expected}, without path, query, fragment or user name")
    if not host or not (url.scheme == "https" or (url.scheme == "http" and is_loopback(host))):
        raise ValueError(expected)
    return text.rstrip("/")


def token_scope(text: str) -> str:
    """Return FACE_TOKEN_SCOPE, which may be empty.

    Raises:
        ValueError: the text is not a scope.
    """
    if text and not re.fullmatch(r"[^\s/][^\s]*/\.default", text):
        raise ValueError("must be a scope that ends with /.default, e.g. " + SCOPE)
    return text


def face_scope(endpoint: str, given: str = "") -> str:
    """Return the scope of the tokens that an endpoint accepts.

    Args:
        endpoint: FACE_ENDPOINT.
        given: FACE_TOKEN_SCOPE; empty: the scope follows from the endpoint's suffix.

    Raises:
        ValueError: no scope is given and the suffix is unknown.
    """
    if given:
        return given
    host = urlsplit(endpoint).hostname or ""
    if is_loopback(host):
        return SCOPE
    if cloud := _CUSTOM_SUBDOMAIN.fullmatch(host):
        return f"https://cognitiveservices.azure.{cloud[1]}/.default"
    raise ValueError(
        "FACE_ENDPOINT is not a custom subdomain (<name>.cognitiveservices.azure.com, .us or .cn); "
        "regional and Foundry endpoints accept no tokens for the Face API. Correct it, or set "
        "FACE_TOKEN_SCOPE to the scope of the tokens that your gateway accepts"
    )


def proxy_for(host: str, environment: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy that HTTPS_PROXY and NO_PROXY (in either case) name for a host.

    Loopback addresses are always reached directly.

    Raises:
        ValueError: HTTPS_PROXY is not the URL of an HTTP proxy.
    """
    proxy = (environment.get("https_proxy") or environment.get("HTTPS_PROXY") or "").strip()
    exceptions = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if not proxy or is_loopback(host) or _bypass(host, {"no": exceptions}):
        return None
    try:
        url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        valid = url.scheme == "http" and url.hostname and url.port != 0
    except ValueError:
        valid = False
    if not valid:
        # The text itself may hold a password.
        raise ValueError("HTTPS_PROXY must be the address of an HTTP proxy, http://<host>:<port>")
    return url.geturl()


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    return host in ("localhost", "::1") or re.fullmatch(r"127\.[0-9.]+", host) is not None

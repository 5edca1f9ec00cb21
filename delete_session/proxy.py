"""The proxy that the environment names for calls over TLS."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from .endpoint import is_loopback


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy, which is asked for a tunnel (CONNECT)."""

    host: str
    port: int
    user: str | None = None
    password: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Without user and password, which an error's text might repeat."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What the proxy is to be told besides the tunnel's other end."""
        if self.user is None:
            return {}
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {login}"}


def proxy_for(host: str, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that HTTPS_PROXY and NO_PROXY, in capitals or not, name for a host.

    This machine is reached without any.

    Raises:
        ValueError: HTTPS_PROXY is no address of an HTTP proxy.
    """
    text = (environment.get("https_proxy") or environment.get("HTTPS_PROXY") or "").strip()
    direct = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if not text or is_loopback(host) or _is_listed(host, direct):
        return None
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        port = url.port or 80
    except ValueError:
        url, port = urlsplit(""), 0
    if url.scheme != "http" or not url.hostname:
        # The text itself may hold a password.
        raise ValueError("HTTPS_PROXY must be the address of an HTTP proxy, http://<host>:<port>")
    user = None if url.username is None else unquote(url.username)
    return Proxy(url.hostname, port, user, unquote(url.password or ""))


def _is_listed(host: str, names: str) -> bool:
    """Return whether a list such as `*`, or `contoso.com,.internal`, names a host or its domain."""
    listed = (name.strip().lower().lstrip(".") for name in names.split(","))
    return any(name == "*" or f".{host.lower()}".endswith(f".{name}") for name in listed if name)

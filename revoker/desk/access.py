"""Access to the desk: the token in the address, the cookie, and the origin of requests.

A page of any website can send requests to 127.0.0.1, and a name of its owner can lead there (DNS
rebinding). So a request must name this server as its host, come from its own pages, and carry the
cookie that the token was exchanged for; a form must also carry the form token.

A browser sends a cookie to every port of the host that has set it. So each run has a random host name,
which no other server on this machine knows. Browsers resolve `*.localhost` to this machine.
"""

import secrets
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from revoker.failure import Exit, Failure

MAX_FORM_BYTES = 64 * 1024

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: a browser would then send forms with the origin `null`.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Refused(Exception):
    """A request is refused. The text says why."""


class Access:
    """The secrets of one run of the desk.

    Args:
        port: the port on which the desk listens.
        address: where the browser reaches it, if something forwards to that port.

    Raises:
        Failure: that is no address of a server.
    """

    def __init__(self, port: int, address: str | None = None) -> None:
        self._token: str | None = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)
        name = f"http://{secrets.token_hex(8)}.localhost:{port}"
        self._origin = name if address is None else _origin(address)
        self._origins = {self._origin}
        if address is not None:  # Codespaces forwards its own names as these
            self._origins |= {f"http://localhost:{port}", f"https://localhost:{port}"}
        self._hosts = {origin.partition("://")[2] for origin in self._origins}
        # Two desks that are reached through ports of one name must not share a cookie.
        self._cookie = f"revoker-desk-{port}"
        self._expected = (
            "Open the address that it printed. If a port forward or Codespaces has another one, "
            "restart the desk with that --address."
            if address is None
            else f"It expects {self._origin}, as --address says."
        )
        self.form_token = secrets.token_urlsafe(32)

    @property
    def address(self) -> str:
        """The address that opens the desk, once."""
        return f"{self._origin}/?token={self._token}"

    def check_source(self, request: Request) -> None:
        """Refuse a request that names another host or comes from another site's page."""
        if request.headers.get("host") not in self._hosts:
            raise Refused(f"The desk is not at this address. {self._expected}")
        origin = request.headers.get("origin")
        reads = request.method in ("GET", "HEAD")
        if origin is None and not reads:
            raise Refused("The request does not say which page it comes from.")
        if origin is not None and origin not in self._origins:
            raise Refused("The request comes from a page that is not the desk's.")
        site = request.headers.get("sec-fetch-site", "same-origin")
        follows_link = reads and request.headers.get("sec-fetch-mode") == "navigate"
        if site not in ("same-origin", "none") and not follows_link:
            raise Refused("The request comes from a page that is not the desk's.")

    def check_cookie(self, request: Request) -> None:
        """Refuse a request without the cookie."""
        cookie = request.cookies.get(self._cookie, "")
        if not secrets.compare_digest(cookie.encode(), self._session.encode()):
            raise Refused("You are not logged in to this desk.")

    def exchange(self, token: str) -> Response:
        """Exchange the token, which works once, for a redirect with the cookie.

        Raises:
            Refused: the token is wrong or used.
        """
        if self._token is None or not secrets.compare_digest(token.encode(), self._token.encode()):
            raise Refused("This address was used before, or is not complete.")
        self._token = None
        response = RedirectResponse("/", 303)
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="strict")
        return response

    async def form(self, request: Request) -> dict[str, str]:
        """Read a form of the desk's own pages.

        Raises:
            Refused: it is too large, or does not bring the form token.
        """
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                raise Refused("The form is too large.")
        fields = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        token = fields.pop("form_token", "")
        if not secrets.compare_digest(token.encode(), self.form_token.encode()):
            raise Refused("The form is from an earlier run of the desk.")
        return fields


def _origin(address: str) -> str:
    """Return an address as a browser names it in the header Origin."""
    try:
        parts = urlsplit(address.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise Failure(
            f"{address!r} is not the address of a server.",
            "Use --address with a scheme and a host, such as https://NAME-8000.app.github.dev.",
            Exit.USAGE,
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, default) else "")


class Guard:
    """Passes the requests that Access allows, and adds the security headers."""

    def __init__(
        self, app: ASGIApp, access: Access, refused: Callable[[Request, str], Response]
    ) -> None:
        self._app = app
        self._access = access
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # the desk has no websockets

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                strict = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *strict]
            await send(message)

        request = Request(scope, receive)
        try:
            answer = self._check(request) or self._app
            await answer(scope, receive, send_with_headers)
        except Refused as why:
            await self._refused(request, str(why))(scope, receive, send_with_headers)

    def _check(self, request: Request) -> Response | None:
        """Return the answer that replaces the page, if any."""
        self._access.check_source(request)
        if request.url.path.startswith("/static/"):
            return None  # the same for all clients
        token = request.query_params.get("token")
        if token is not None and request.method == "GET" and request.url.path == "/":
            return self._access.exchange(token)
        self._access.check_cookie(request)
        return None

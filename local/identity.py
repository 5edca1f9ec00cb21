"""The App Service managed-identity endpoint, for one machine.

It speaks the protocol `api-version=2019-08-01` (IDENTITY_ENDPOINT, IDENTITY_HEADER) that
azure-identity uses on App Service and Functions. Its tokens are accepted by `local.face` alone.

It does not emulate: Microsoft Entra itself, resources that do not exist, object and resource ids
of identities, certificates, and the platform's own caching of tokens.
"""

import argparse
import asyncio
import secrets
import sys
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from aiohttp import web

from local import tokens
from local.broker.serving import announce, serve_http, stopped

Issue = Literal["good", "expired", "wrong_audience", "wrong_signature", "no_role"]


@dataclass(slots=True)
class Config:
    """What can be changed while it runs, by POST /_local/config."""

    fail: bool = False
    fail_status: int = 500
    hang_seconds: float = 0.0
    latency_seconds: float = 0.0
    lifetime_seconds: float = 3600.0
    issue: Issue = "good"

    def change(self, values: Any) -> None:
        """Change to new values.

        Raises:
            ValueError: the text says what is wrong with them.
        """
        if not isinstance(values, dict):
            raise ValueError("expected a JSON object")
        for name, value in values.items():
            if name not in {field.name for field in fields(self)}:
                raise ValueError(f"unknown: {name}")
            now = getattr(self, name)
            kind = type(now) if isinstance(now, bool | str) else (int, float)
            if not isinstance(value, kind):
                raise ValueError(f"{name}: expected something like {now!r}")
            if name == "issue" and value not in get_args(Issue):
                raise ValueError(f"issue: expected one of {', '.join(get_args(Issue))}")
            setattr(self, name, value)


@dataclass(slots=True)
class Identity:
    """The endpoint's state and handlers."""

    signing_key: str
    header: str
    client_id: str | None
    config: Config
    calls: list[dict[str, Any]] = field(default_factory=list)

    def application(self) -> web.Application:
        """Return its routes as a web application."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/msi/token", self.token),
                web.post("/_local/config", self.configure),
                web.get("/_local/config", self.show),
                web.get("/_local/calls", self.log),
            ]
        )
        return app

    async def token(self, request: web.Request) -> web.Response:
        """Issue a token, or refuse as the platform does."""
        config = self.config
        await asyncio.sleep(config.hang_seconds or config.latency_seconds)
        response = self._answer(request)
        self.calls.append(
            {
                "time": time.time(),
                "status": response.status,
                "resource": request.query.get("resource"),
            }
        )
        return response

    def _answer(self, request: web.Request) -> web.Response:
        config, query = self.config, request.query
        if config.fail:
            return web.json_response(
                {"statusCode": config.fail_status, "message": "An unexpected error occurred"},
                status=config.fail_status,
            )
        if not secrets.compare_digest(request.headers.get("X-IDENTITY-HEADER", ""), self.header):
            return _refused(401, "missing or wrong X-IDENTITY-HEADER")
        if query.get("api-version") != "2019-08-01":
            return _refused(400, "api-version must be 2019-08-01")
        resource = query.get("resource")
        if not resource:
            return _refused(400, "resource is missing")
        client_id = query.get("client_id")
        if self.client_id and client_id != self.client_id:
            return _refused(400, "No User Assigned or Delegated Managed Identity found")
        wrong_audience = config.issue == "wrong_audience"
        token, expires = tokens.issue(
            "another key" * 4 if config.issue == "wrong_signature" else self.signing_key,
            "https://management.azure.com" if wrong_audience else resource,
            lifetime_seconds=-60 if config.issue == "expired" else config.lifetime_seconds,
            client_id=client_id,
            may_delete=config.issue != "no_role",
        )
        if config.issue == "expired":
            expires = int(time.time() + config.lifetime_seconds)  # so that the client trusts it
        return web.json_response(
            {
                "access_token": token,
                "expires_on": str(expires),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": client_id or self.client_id,
            }
        )

    async def configure(self, request: web.Request) -> web.Response:
        """Answer POST /_local/config: change the named values."""
        try:
            self.config.change(await request.json())
        except ValueError as error:
            return _refused(400, str(error))
        return await self.show(request)

    async def show(self, _: web.Request) -> web.Response:
        """Answer GET /_local/config."""
        return web.json_response(asdict(self.config))

    async def log(self, _: web.Request) -> web.Response:
        """Answer GET /_local/calls: time, status and resource of every request for a token."""
        return web.json_response(self.calls)


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"statusCode": status, "message": message}, status=status)


async def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m local.identity", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument(
        "--signing-key", default=secrets.token_hex(16), help="shared with local.face"
    )
    parser.add_argument(
        "--header", default=secrets.token_hex(8), help="the value of IDENTITY_HEADER"
    )
    parser.add_argument("--client-id", help="client id of the only user-assigned identity")
    parser.add_argument(
        "--lifetime-seconds", type=float, default=3600, help="lifetime of a token (default: 3600)"
    )
    parser.add_argument("--latency-seconds", type=float, default=0, help="delay before each answer")
    options = parser.parse_args(arguments)
    config = Config(
        lifetime_seconds=options.lifetime_seconds, latency_seconds=options.latency_seconds
    )
    identity = Identity(options.signing_key, options.header, options.client_id, config)
    async with serve_http(identity.application(), options.port) as port:
        announce(
            "identity",
            port=port,
            endpoint=f"http://127.0.0.1:{port}/msi/token",
            header=options.header,
        )
        await stopped()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

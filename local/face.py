"""The Face API's liveness sessions, for one machine.

Both path shapes and both session types: create, get, delete. It checks bearer tokens (of
`local.identity`), enforces a rate limit over all calls, answers errors as documented (FaceError
body, `x-ms-error-code`), and can be told to fail (`/_local/faults`, see local/faults.py).

It does not emulate: face recognition or any result of a session, session images and audit lists,
listing sessions, subscription keys (they are refused, as with local authentication disabled), the
session's own token, other operations of the Face API, and per-region or per-operation quotas.
"""

import argparse
import asyncio
import json
import math
import random
import re
import secrets
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

import jwt
from aiohttp import web

from local import tokens
from local.faults import BadRule, Faults, Rule
from local.service import announce, serve_http, stopped

NESTED_VERSIONS = ("v1.1-preview.1", "v1.2-preview.1")
FLAT_VERSIONS = ("v1.2", "v1.3-preview.1")
SESSION_DATA_SECONDS = 48 * 3600
_PATH = re.compile(
    r"/face/(?P<version>[^/]+)/(?P<type>detectLiveness(?:WithVerify)?)"
    r"(?P<shape>/singleModal/sessions|-sessions)(?:/(?P<id>[^/]+))?"
)
_HUGE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Session:
    """A liveness session. Times are Unix seconds."""

    id: str
    type: str
    created: float
    token_seconds: float


@dataclass(slots=True)
class Config:
    """What can be changed while it runs, by POST /_local/config."""

    rate: float = 10.0
    """Calls per second; 0: unlimited."""
    burst: float = 10.0
    latency_seconds: float = 0.0
    retry_after_header: bool = True
    reject_tokens: bool = False
    deny_role: bool = False
    feature_unsupported: bool = False

    def change(self, values: Any) -> None:
        """Take new values; ValueError says what is wrong with them."""
        if not isinstance(values, dict):
            raise ValueError("expected a JSON object")
        for name, value in values.items():
            if name not in {field.name for field in fields(self)}:
                raise ValueError(f"unknown: {name}")
            wanted = bool if isinstance(getattr(self, name), bool) else (int, float)
            if not isinstance(value, wanted) or value < 0:
                raise ValueError(f"{name}: expected something like {getattr(self, name)!r}")
            setattr(self, name, value)


class Refused(Exception):
    """A call that ends with an error of the API."""

    def __init__(
        self, status: int, code: str, message: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


@dataclass(slots=True)
class Face:
    """The API's state and handlers."""

    signing_key: str
    audience: str
    config: Config
    faults: Faults
    sessions: dict[str, Session] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    _tokens: float = 0.0
    _refilled: float = 0.0

    def application(self) -> web.Application:
        """Its routes."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.add_routes(
            [
                web.get("/_local/sessions", self.list_sessions),
                web.post("/_local/sessions", self.create_sessions),
                web.delete("/_local/sessions", self.forget_sessions),
                web.get("/_local/faults", self.list_faults),
                web.post("/_local/faults", self.add_faults),
                web.delete("/_local/faults", self.clear_faults),
                web.get("/_local/calls", self.list_calls),
                web.get("/_local/stats", self.stats),
                web.get("/_local/config", self.show_config),
                web.post("/_local/config", self.change_config),
                web.route("*", "/{path:.*}", self.call),
            ]
        )
        return app

    # ---- the API ----

    async def call(self, request: web.Request) -> web.StreamResponse:
        """Any call of the API: log it, let it meet its fault, answer."""
        match = _PATH.fullmatch(request.path)
        session_id = match["id"] if match else None
        rule = self.faults.meet(request.method, request.path, session_id)
        entry: dict[str, Any] = {
            "number": len(self.calls) + 1,
            "time": time.time(),
            "method": request.method,
            "path": request.path,
            "session_id": session_id,
            "status": None,
            "code": None,
            "fault": rule and rule.fault,
            "client": request.transport and request.transport.get_extra_info("peername")[1],
            "user_agent": request.headers.get("User-Agent"),
            "token_id": None,
        }
        self.calls.append(entry)
        if self.config.latency_seconds:
            await asyncio.sleep(self.config.latency_seconds)
        if rule is not None and rule.fault == "latency":
            await asyncio.sleep(rule.seconds)
            rule = None
        try:
            self._take_one_of_the_quota()
            if rule is not None and rule.before:
                return await self._fail(request, rule, entry)
            response = await self._answer(request, match, entry)
            if rule is not None:
                return await self._fail(request, rule, entry)
        except Refused as refused:
            response = self._error(refused)
            entry["code"] = refused.code
        entry["status"] = response.status
        return response

    def _take_one_of_the_quota(self) -> None:
        config, now = self.config, time.monotonic()
        if not config.rate:
            return
        earned = (now - self._refilled) * config.rate
        self._tokens = min(config.burst, self._tokens + earned)
        self._refilled = now
        if self._tokens < 1:
            seconds = max(1, math.ceil((1 - self._tokens) / config.rate))
            unit = "second" if seconds == 1 else "seconds"
            raise Refused(
                429,
                "429",
                "Requests to the Face API have exceeded the rate limit of this resource. "
                f"Please retry after {seconds} {unit}.",
                seconds,
            )
        self._tokens -= 1

    async def _answer(
        self, request: web.Request, match: re.Match[str] | None, entry: dict[str, Any]
    ) -> web.Response:
        if match is None or match["version"] not in (
            NESTED_VERSIONS if match["shape"].startswith("/") else FLAT_VERSIONS
        ):
            raise Refused(404, "404", "Resource not found")
        self._authorize(request, entry)
        kind = match["type"].removeprefix("detect")
        kind = kind[0].lower() + kind[1:]
        match request.method, match["id"]:
            case "POST", None:
                return await self._create(request, kind)
            case "GET", str(session_id):
                return self._get(self._find(session_id, kind))
            case "DELETE", str(session_id):
                del self.sessions[self._find(session_id, kind).id]
                return web.Response(status=200 if match["shape"].startswith("/") else 204)
            case _:
                raise Refused(405, "MethodNotAllowed", "The method is not allowed.")

    def _authorize(self, request: web.Request, entry: dict[str, Any]) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        refused = Refused(
            401,
            "401",
            "Access denied due to invalid subscription key or wrong API endpoint, or the token is "
            "invalid or expired.",
        )
        if "Ocp-Apim-Subscription-Key" in request.headers:
            raise Refused(
                403, "AuthenticationTypeDisabled", "Key based authentication is disabled."
            )
        if scheme.lower() != "bearer" or self.config.reject_tokens:
            raise refused
        try:
            caller = tokens.check(token, self.signing_key, self.audience)
        except jwt.InvalidTokenError:
            raise refused from None
        entry["token_id"] = caller.token_id
        if self.config.feature_unsupported:
            raise Refused(
                403, "UnsupportedFeature", "The resource is not approved for the feature."
            )
        if self.config.deny_role or (request.method == "DELETE" and not caller.may_delete):
            raise Refused(
                403, "PermissionDenied", "Principal does not have access to API/Operation."
            )

    async def _create(self, request: web.Request, kind: str) -> web.Response:
        values: dict[str, Any]
        if request.content_type == "multipart/form-data":
            # The image comes along in a part of its own, and nobody looks at it.
            parameters = (await request.post()).get("Parameters")
            values = json.loads(parameters) if isinstance(parameters, str) else {}
        else:
            try:
                values = await request.json()
            except ValueError:
                raise Refused(400, "InvalidRequestBody", "The body is not JSON.") from None
        if not isinstance(values, dict) or "livenessOperationMode" not in values:
            raise Refused(400, "BadArgument", "livenessOperationMode is required.")
        try:
            seconds = int(values.get("authTokenTimeToLiveInSeconds", 600))
        except (TypeError, ValueError):
            seconds = 0
        if not 60 <= seconds <= 86_400:
            raise Refused(400, "BadArgument", "authTokenTimeToLiveInSeconds: 60 to 86400.")
        session = Session(str(uuid.uuid4()), kind, time.time(), seconds)
        self.sessions[session.id] = session
        return web.json_response(
            {
                "sessionId": session.id,
                "authToken": secrets.token_urlsafe(24),
                "status": "NotStarted",
            }
        )

    def _get(self, session: Session) -> web.Response:
        created = datetime.fromtimestamp(session.created, UTC).isoformat().replace("+00:00", "Z")
        return web.json_response(
            {
                "id": session.id,
                "sessionId": session.id,
                "createdDateTime": created,
                "sessionExpired": time.time() > session.created + session.token_seconds,
                "authTokenTimeToLiveInSeconds": session.token_seconds,
                "status": "NotStarted",
            }
        )

    def _find(self, session_id: str, kind: str) -> Session:
        session = self.sessions.get(session_id)
        if session is None or session.type != kind:
            raise Refused(404, "SessionNotFound", "Session not found.")
        if time.time() > session.created + SESSION_DATA_SECONDS:
            del self.sessions[session_id]
            raise Refused(404, "SessionNotFound", "Session not found.")
        return session

    def _error(self, refused: Refused, **headers: str) -> web.Response:
        headers |= {"x-ms-error-code": refused.code, "apim-request-id": str(uuid.uuid4())}
        if refused.retry_after is not None and self.config.retry_after_header:
            headers["Retry-After"] = str(refused.retry_after)
        body = {"error": {"code": refused.code, "message": refused.message}}
        return web.json_response(body, status=refused.status, headers=headers)

    # ---- faults ----

    async def _fail(
        self, request: web.Request, rule: Rule, entry: dict[str, Any]
    ) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        match rule.fault:
            case "disconnect":
                transport.close()
                return web.Response()
            case "hang":
                await asyncio.sleep(rule.seconds)
                transport.close()
                return web.Response()
            case "garbage":
                transport.write(b"\x16\x03\x01\x00not HTTP at all\r\n\r\n")
                transport.close()
                return web.Response()
        response = self._failure(rule)
        entry["status"] = response.status
        entry["code"] = response.headers.get("x-ms-error-code")
        if rule.fault == "truncate":
            await response.prepare(request)
            await response.write(b'{"error": {"code"')
            transport.close()
        return response

    def _failure(self, rule: Rule) -> web.StreamResponse:
        status = rule.status
        headers = dict(rule.headers)
        if rule.retry_after is not None:
            wait = rule.retry_after
            headers["Retry-After"] = f"{wait:g}" if isinstance(wait, int | float) else wait
        match rule.fault:
            case "status" if rule.code is not None:
                return self._error(Refused(status, rule.code, rule.message), **headers)
            case "truncate":
                return web.StreamResponse(status=status, headers={"Content-Length": "4096"})
            case "huge":
                return web.Response(status=status, body=b"x" * _HUGE, headers=headers)
            case "html":
                page = f"<html><head><title>{status}</title></head><body>Gateway</body></html>"
                return web.Response(status=status, text=page, content_type="text/html")
            case "redirect":
                return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/"})
            case "other_json":
                return web.json_response({"statusCode": status, "error": ["odd"]}, status=status)
            case _:
                return web.Response(status=status, headers=headers)

    # ---- control ----

    async def create_sessions(self, request: web.Request) -> web.Response:
        """POST /_local/sessions: {"ids": […]} or {"count": N, "seed": S}, and "type"."""
        values = await _json(request)
        kind = values.get("type", "livenessWithVerify")
        if kind not in ("livenessWithVerify", "liveness"):
            raise _bad("type: livenessWithVerify or liveness")
        ids = values.get("ids")
        if ids is None:
            chance = random.Random(values.get("seed", 0))
            count = values.get("count", 1)
            ids = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(count)]
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise _bad("ids: a list of strings")
        now = time.time()
        self.sessions |= {each: Session(each, kind, now, 600) for each in ids}
        return web.json_response(ids)

    async def list_sessions(self, _: web.Request) -> web.Response:
        """GET /_local/sessions: id and type of all that exist."""
        found = [{"id": each.id, "type": each.type} for each in self.sessions.values()]
        return web.json_response(found)

    async def forget_sessions(self, _: web.Request) -> web.Response:
        """DELETE /_local/sessions: forget all of them."""
        self.sessions.clear()
        return web.json_response([])

    async def add_faults(self, request: web.Request) -> web.Response:
        """POST /_local/faults: add one rule, or a list of them."""
        raw = await _json(request, many=True)
        try:
            rules = [Rule.read(each) for each in (raw if isinstance(raw, list) else [raw])]
        except (BadRule, TypeError) as error:
            raise _bad(str(error)) from None
        self.faults.rules += rules
        return await self.list_faults(request)

    async def list_faults(self, _: web.Request) -> web.Response:
        """GET /_local/faults."""
        return web.json_response([asdict(rule) for rule in self.faults.rules])

    async def clear_faults(self, _: web.Request) -> web.Response:
        """DELETE /_local/faults: no more faults."""
        self.faults.rules.clear()
        return web.json_response([])

    async def list_calls(self, request: web.Request) -> web.Response:
        """GET /_local/calls?after=N: the calls since number N."""
        try:
            after = int(request.query.get("after", "0"))
        except ValueError:
            raise _bad("after: a number") from None
        return web.json_response(self.calls[after:])

    async def stats(self, _: web.Request) -> web.Response:
        """GET /_local/stats: calls by method and status, and the most in any one second."""
        by = Counter(f"{call['method']} {call['status']}" for call in self.calls)
        most = max(_in_one_second(call["time"] for call in self.calls), default=0)
        return web.json_response({"calls": dict(by), "most_in_one_second": most})

    async def show_config(self, _: web.Request) -> web.Response:
        """GET /_local/config."""
        return web.json_response(asdict(self.config))

    async def change_config(self, request: web.Request) -> web.Response:
        """POST /_local/config: change the named values."""
        try:
            self.config.change(await _json(request))
        except ValueError as error:
            raise _bad(str(error)) from None
        return await self.show_config(request)


def _in_one_second(times: Iterator[float]) -> Iterator[int]:
    window: deque[float] = deque()
    for time_ in times:
        window.append(time_)
        while window[0] <= time_ - 1:
            window.popleft()
        yield len(window)


async def _json(request: web.Request, *, many: bool = False) -> Any:
    try:
        value = await request.json()
    except ValueError:
        raise _bad("the body is not JSON") from None
    if not isinstance(value, dict) and not (many and isinstance(value, list)):
        raise _bad("expected a JSON object")
    return value


def _bad(why: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=f'{{"error": "{why}"}}', content_type="application/json")


async def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m local.face", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--signing-key", default="", help="shared with local.identity")
    parser.add_argument("--audience", default=tokens.AUDIENCE, help="that tokens must have")
    parser.add_argument("--rate", type=float, default=10, help="calls per second; 0: unlimited")
    parser.add_argument("--burst", type=float, default=10, help="calls at once (default: 10)")
    parser.add_argument("--latency-seconds", type=float, default=0, help="before each answer")
    parser.add_argument("--seed", type=int, default=0, help="of random faults")
    options = parser.parse_args(arguments)
    config = Config(rate=options.rate, burst=options.burst, latency_seconds=options.latency_seconds)
    face = Face(options.signing_key, options.audience, config, Faults(options.seed))
    async with serve_http(face.application(), options.port) as port:
        announce("face", port=port, endpoint=f"http://127.0.0.1:{port}")
        await stopped()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

"""The Face API over HTTP: paths, tokens, quota, sessions, and the faults that a call meets."""

import asyncio
import json
import re
import time
import uuid
from dataclasses import dataclass
from typing import Any

import jwt
from aiohttp import web

from local import tokens
from local.face import errors, injection
from local.face.answers import NO_ROLE
from local.face.bodies import flat, from_form, item, nested, read_create
from local.face.errors import ApiError
from local.face.sessions import Session
from local.face.state import State

NESTED_VERSIONS = ("v1.1-preview.1", "v1.2-preview.1")
FLAT_VERSIONS = ("v1.2", "v1.3-preview.1")
MAX_LISTED = 1000
"""Sessions in one answer to a list, which only the nested versions have."""
MAX_START = 64
_WHOLE = re.compile(r"[0-9]{1,9}")
_PATH = re.compile(
    r"/face/(?P<version>[^/]+)/(?P<type>detectLiveness(?:WithVerify)?)"
    r"(?P<shape>/singleModal/sessions|-sessions)(?:/(?P<id>[^/]+))?"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: all sessions of a kind, or one of them."""

    kind: str
    session_id: str | None
    nested: bool
    """Whether the path has the shape of the previews up to v1.2-preview.1."""
    known: bool
    """Whether there is such an API version with that shape."""

    @classmethod
    def of(cls, path: str) -> "Target | None":
        """Return what a path names, if it names sessions."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        nested = match["shape"].startswith("/")
        kind = match["type"].removeprefix("detect")
        versions = NESTED_VERSIONS if nested else FLAT_VERSIONS
        return cls(kind[0].lower() + kind[1:], match["id"], nested, match["version"] in versions)


class Api:
    """The handler of every path outside the control.

    Args:
        state: sessions, faults and limit.
        signing_key: the key that tokens must be signed with.
        audience: the audience that tokens must have.
    """

    def __init__(self, state: State, signing_key: str, audience: str) -> None:
        self._state = state
        self._signing_key = signing_key
        self._audience = audience

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Record the call, apply its fault, and answer."""
        state = self._state
        target = Target.of(request.path)
        session_id = target.session_id if target else None
        rule = state.faults.next_fault(request.method, request.path, session_id)
        entry = self._record(request, session_id, rule.fault if rule else None)
        if state.config.latency_seconds:
            await asyncio.sleep(state.config.latency_seconds)
        if rule is not None and rule.fault == "latency":
            await asyncio.sleep(rule.seconds)
            rule = None
        try:
            if wait := state.counter.take(time.monotonic()):
                raise errors.throttled(wait)
            if rule is not None and rule.before:
                return await injection.fail(request, rule, entry)
            response = await self._answer(request, target, entry)
            response.headers.setdefault("apim-request-id", str(uuid.uuid4()))
            if rule is not None:
                return await injection.fail(request, rule, entry)
        except ApiError as error:
            response = injection.error_response(
                error, retry_after_header=state.config.retry_after_header
            )
            entry["code"] = error.code
        entry["status"] = response.status
        return response

    def _record(
        self, request: web.Request, session_id: str | None, fault: str | None
    ) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "number": len(self._state.calls) + 1,
            "time": time.time(),
            "method": request.method,
            "path": request.path,
            "session_id": session_id,
            "status": None,
            "code": None,
            "fault": fault,
            "client": request.transport and request.transport.get_extra_info("peername")[1],
            "user_agent": request.headers.get("User-Agent"),
            "token_id": None,
        }
        self._state.calls.append(entry)
        return entry

    async def _answer(
        self, request: web.Request, target: Target | None, entry: dict[str, Any]
    ) -> web.Response:
        if target is None or not target.known:
            raise errors.unknown_resource()
        caller = self._caller(request)
        entry["token_id"] = caller.token_id
        if self._state.config.deny_role or (request.method == "DELETE" and not caller.may_delete):
            entry["code"] = "PermissionDenied"
            return injection.named_response(NO_ROLE)
        if self._state.config.feature_unsupported:
            raise ApiError(
                403, "UnsupportedFeature", "The resource is not approved for the feature."
            )
        match request.method, target.session_id:
            case "POST", None:
                return await self._create(request, target)
            case "GET", None if target.nested:
                return self._list(request, target)
            case "GET", str(session_id):
                session = self._find(session_id, target)
                return web.json_response(nested(session) if target.nested else flat(session))
            case "DELETE", str(session_id):
                self._state.sessions.delete(self._find(session_id, target))
                return web.Response(status=200 if target.nested else 204)
            case _, session_id:
                of_collection = "GET, POST" if target.nested else "POST"
                raise errors.method_not_allowed("GET, DELETE" if session_id else of_collection)

    def _caller(self, request: web.Request) -> tokens.Caller:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if "Ocp-Apim-Subscription-Key" in request.headers:
            raise ApiError(
                403, "AuthenticationTypeDisabled", "Key based authentication is disabled."
            )
        if scheme.lower() != "bearer" or self._state.config.reject_tokens:
            raise errors.unauthorized()
        try:
            return tokens.check(token, self._signing_key, self._audience)
        except jwt.InvalidTokenError:
            raise errors.unauthorized() from None

    async def _create(self, request: web.Request, target: Target) -> web.Response:
        wanted = read_create(await _values(request))
        session = self._state.sessions.create(
            target.kind,
            time.time(),
            token_seconds=wanted.token_seconds,
            device=wanted.device,
            nested=target.nested,
        )
        if target.nested:
            return web.json_response({"sessionId": session.id, "authToken": session.token})
        return web.json_response(flat(session))

    def _list(self, request: web.Request, target: Target) -> web.Response:
        start, top = request.query.get("start", ""), request.query.get("top", str(MAX_LISTED))
        if len(start) > MAX_START:
            raise ApiError(400, "BadArgument", f"start: must have at most {MAX_START} characters.")
        if not _WHOLE.fullmatch(top) or not 1 <= int(top) <= MAX_LISTED:
            raise ApiError(400, "BadArgument", f"top: must be from 1 to {MAX_LISTED}.")
        found = self._state.sessions.after(start, target.kind, time.time())
        seen = [each for each in found if self._is_seen(each, target)]
        return web.json_response([item(each) for each in seen[: int(top)]])

    def _find(self, session_id: str, target: Target) -> Session:
        session = self._state.sessions.find(session_id, target.kind, time.time())
        if session is None or not self._is_seen(session, target):
            raise errors.session_not_found()
        return session

    def _is_seen(self, session: Session, target: Target) -> bool:
        is_other_family = session.nested not in (None, target.nested)
        return not (is_other_family and self._state.config.separate_families)


async def _values(request: web.Request) -> object:
    """Return what a request to create a session says, by name."""
    try:
        if request.content_type != "multipart/form-data":
            return await request.json()
        # An image is a separate part, and is ignored. The other values are parts too or, in the older
        # path shape, one part of JSON.
        parts = {name: part for name, part in (await request.post()).items() if type(part) is str}
        return json.loads(parts["Parameters"]) if "Parameters" in parts else from_form(parts)
    except ValueError:
        raise ApiError(400, "InvalidRequestBody", "The body is not JSON.") from None

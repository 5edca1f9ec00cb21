"""The control of the local Face API, over HTTP, below /_local.

    GET    /_local/sessions          [{"id", "type"}, …]
    POST   /_local/sessions          {"ids": […]} or {"count": N, "seed": S}, and "type"
    DELETE /_local/sessions
    GET    /_local/faults            [rule, …], see faults.py
    POST   /_local/faults            one rule, or a list of them
    DELETE /_local/faults
    GET    /_local/calls?after=N     the calls since number N
    GET    /_local/stats             calls by method and status, and the maximum in any one second
    GET    /_local/config
    POST   /_local/config            the values to change, see state.Config

What cannot be read is answered with 400 and {"error": text}, and changes nothing.
"""

import json
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict

from aiohttp import web

from local.broker.serving import json_body, whole_number
from local.face.faults import Rule
from local.face.sessions import KINDS
from local.face.state import State


def routes(state: State) -> list[web.RouteDef]:
    """Return the control's routes."""
    control = _Control(state)
    return [
        web.get("/_local/sessions", control.list_sessions),
        web.post("/_local/sessions", control.create_sessions),
        web.delete("/_local/sessions", control.forget_sessions),
        web.get("/_local/faults", control.list_faults),
        web.post("/_local/faults", control.add_faults),
        web.delete("/_local/faults", control.clear_faults),
        web.get("/_local/calls", control.list_calls),
        web.get("/_local/stats", control.show_statistics),
        web.get("/_local/config", control.show_config),
        web.post("/_local/config", control.change_config),
    ]


class _Control:
    def __init__(self, state: State) -> None:
        self._state = state

    async def create_sessions(self, request: web.Request) -> web.Response:
        values = await json_body(request)
        if not isinstance(values, dict):
            raise web.HTTPBadRequest(text="expected a JSON object")
        kind = values.get("type", KINDS[0])
        if kind not in KINDS:
            raise web.HTTPBadRequest(text=f"type: {' or '.join(KINDS)}")
        ids = values.get("ids")
        if ids is None:
            chance = random.Random(values.get("seed", 0))
            count = values.get("count", 1)
            ids = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(count)]
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise web.HTTPBadRequest(text="ids: a list of strings")
        self._state.sessions.add(ids, kind, time.time())
        return _json(ids)

    async def list_sessions(self, _: web.Request) -> web.Response:
        found = [{"id": each.id, "type": each.kind} for each in self._state.sessions]
        return _json(found)

    async def forget_sessions(self, _: web.Request) -> web.Response:
        self._state.sessions.clear()
        return _json([])

    async def add_faults(self, request: web.Request) -> web.Response:
        raw = await json_body(request)
        each_raw = raw if isinstance(raw, list) else [raw]
        self._state.faults.rules += _or_bad(lambda: [Rule.read(each) for each in each_raw])
        return await self.list_faults(request)

    async def list_faults(self, _: web.Request) -> web.Response:
        return _json([asdict(rule) for rule in self._state.faults.rules])

    async def clear_faults(self, _: web.Request) -> web.Response:
        self._state.faults.rules.clear()
        return _json([])

    async def list_calls(self, request: web.Request) -> web.Response:
        return _json(self._state.calls[whole_number(request, "after", 0) :])

    async def show_statistics(self, _: web.Request) -> web.Response:
        return _json(self._state.statistics())

    async def show_config(self, _: web.Request) -> web.Response:
        return _json(asdict(self._state.config))

    async def change_config(self, request: web.Request) -> web.Response:
        values = await json_body(request)
        _or_bad(lambda: self._state.configure(values))
        return await self.show_config(request)


def _json(value: object) -> web.Response:
    """Answer with JSON and the end of a line, for terminals."""
    return web.json_response(text=f"{json.dumps(value)}\n")


def _or_bad[T](change: Callable[[], T]) -> T:
    try:
        return change()
    except (TypeError, ValueError) as error:
        raise web.HTTPBadRequest(text=str(error)) from None

"""The HTTP control port: show queues and the ledger, inject faults, cut connections.

    GET    /queues                                  {name: {active, locked, scheduled, ...}}
    GET    /ledger?after=N&limit=N                  [event, ...], numbered above N
    GET    /messages?queue=Q&dead_letter=1&from=N&limit=N   [summary, ...], at most 1,000 at once
    GET    /faults                                  [fault, ...]
    POST   /faults      a fault, see `faults.Fault`; only "operation" is required
    DELETE /faults
    POST   /disconnect  close all connections as the service does; {"abrupt": true}: cut them
    POST   /detach      detach all links as the service does to idle ones

`active` counts include locked messages. Bad requests are answered with {"error": text}.
"""

import sys
from dataclasses import asdict
from typing import Any

from aiohttp import web

from . import faults
from .message import readable
from .queues import Entry
from .server import Server
from .serving import errors_as_json, json_body, whole_number


def application(server: Server) -> web.Application:
    """Return the control port's application."""
    control = _Control(server)
    app = web.Application(middlewares=[errors_as_json])
    app.add_routes(
        [
            web.get("/queues", control.queues),
            web.get("/ledger", control.ledger),
            web.get("/messages", control.messages),
            web.get("/faults", control.list_faults),
            web.post("/faults", control.add_fault),
            web.delete("/faults", control.clear_faults),
            web.post("/disconnect", control.disconnect),
            web.post("/detach", control.detach),
        ]
    )
    return app


class _Control:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._dispatcher = server.dispatcher

    async def queues(self, _: web.Request) -> web.Response:
        self._dispatcher.namespace.advance(self._dispatcher.now())
        self._dispatcher.touch()
        queues = self._dispatcher.namespace.queues.values()
        return web.json_response({queue.settings.name: asdict(queue.counts()) for queue in queues})

    async def ledger(self, request: web.Request) -> web.Response:
        after = whole_number(request, "after", 0)
        limit = whole_number(request, "limit", sys.maxsize)
        events = self._dispatcher.namespace.ledger.after(after, limit)
        return web.json_response([asdict(event) for event in events])

    async def messages(self, request: web.Request) -> web.Response:
        name = request.query.get("queue", "")
        queue = self._dispatcher.namespace.find(name)
        if queue is not None and request.query.get("dead_letter", "0") not in ("", "0", "false"):
            queue = queue.dead_letters or queue
        if queue is None:
            raise web.HTTPNotFound(text=f"no queue {name!r}")
        start = whole_number(request, "from", 0)
        limit = whole_number(request, "limit", 1000)
        entries = queue.peek(start, limit, self._dispatcher.now())
        self._dispatcher.touch()
        return web.json_response([_summary(entry) for entry in entries])

    async def list_faults(self, _: web.Request) -> web.Response:
        return web.json_response(self._dispatcher.faults.listed())

    async def add_fault(self, request: web.Request) -> web.Response:
        try:
            self._dispatcher.faults.add(faults.parse(await json_body(request)))
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.json_response(self._dispatcher.faults.listed())

    async def clear_faults(self, _: web.Request) -> web.Response:
        self._dispatcher.faults.clear()
        return web.json_response([])

    async def disconnect(self, request: web.Request) -> web.Response:
        options = await json_body(request) if request.can_read_body else {}
        if not isinstance(options, dict) or not options.keys() <= {"abrupt"}:
            raise web.HTTPBadRequest(text="the body may hold 'abrupt' only")
        count = self._server.disconnect(
            "The connection was closed on request.", abrupt=bool(options.get("abrupt"))
        )
        return web.json_response({"connections": count})

    async def detach(self, _: web.Request) -> web.Response:
        count = self._server.detach("The link was detached on request.")
        return web.json_response({"links": count})


def _summary(entry: Entry) -> dict[str, Any]:
    """Return a message without its body."""
    properties = entry.message.read_application_properties()
    return {
        "sequence_number": entry.sequence_number,
        "message_id": entry.message.message_id,
        "state": entry.state.value,
        "enqueued_time": entry.enqueued_at,
        "scheduled_for": entry.scheduled_for or None,
        "delivery_count": entry.delivery_count,
        "reason": properties.get("DeadLetterReason"),
        "description": properties.get("DeadLetterErrorDescription"),
        "application_properties": readable(properties),
        "properties": readable(entry.message.read_properties()),
        "size": entry.message.size,
    }

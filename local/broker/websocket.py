"""The port that in Azure is 443: AMQP over WebSockets, and the management interface.

Each WebSocket is one client's connection.
"""

import asyncio
import contextlib

from aiohttp import WSMsgType, web

from . import administration
from .connection import Connection
from .dispatcher import Dispatcher

_PATH = "/$servicebus/websocket"
_SUBPROTOCOLS = ("amqp", "AMQPWSB10")


def application(dispatcher: Dispatcher) -> web.Application:
    """Return the application that accepts WebSockets where Service Bus does, and management."""

    async def connect(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(protocols=_SUBPROTOCOLS, max_msg_size=0)
        await websocket.prepare(request)
        await _serve(dispatcher, request, websocket)
        return websocket

    app = web.Application()
    app.add_routes([web.get(_PATH, connect), web.get(_PATH + "/", connect)])
    app.add_routes(administration.routes(dispatcher))
    return app


async def _serve(
    dispatcher: Dispatcher, request: web.Request, websocket: web.WebSocketResponse
) -> None:
    socket = _Socket(request.transport)
    connection = Connection(dispatcher)
    connection.connection_made(socket)
    writer = asyncio.create_task(socket.send_to(websocket))
    try:
        async for message in websocket:
            if message.type is WSMsgType.BINARY:
                connection.data_received(message.data)
    finally:
        connection.connection_lost(None)
        socket.close()
        await writer


class _Socket(asyncio.Transport):
    """What a connection writes to, in place of a TCP socket."""

    def __init__(self, below: asyncio.Transport | None) -> None:
        super().__init__()
        self._below = below
        self._output = asyncio.Queue[bytes]()
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self._closing:
            self._output.put_nowait(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._output.put_nowait(b"")

    def abort(self) -> None:
        self.close()
        if self._below is not None:
            self._below.abort()

    async def send_to(self, websocket: web.WebSocketResponse) -> None:
        """Send what is written, and close the WebSocket behind the last of it."""
        with contextlib.suppress(ConnectionError):  # the client has gone; reading ends, too
            while data := await self._output.get():
                await websocket.send_bytes(data)
            await websocket.close()

"""The floor: the bare HTTP call, without a function, a runtime, a message or a token's renewal."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import aiohttp

type Call = Callable[[str], Awaitable[None]]
"""Deletes the session with this id."""

_PATH = "/face/v1.2-preview.1/detectLivenessWithVerify/singleModal/sessions/"
_TOKEN = "e" * 1200


async def aiohttp_call() -> Call:
    """A DELETE over one aiohttp session, as aiohttp's documentation shows it."""
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    base = os.environ["FACE_ENDPOINT"] + _PATH
    headers = {"Authorization": f"Bearer {_TOKEN}"}

    async def call(session_id: str) -> None:
        async with session.delete(base + session_id, headers=headers) as response:
            response.raise_for_status()
            await response.read()

    return call


async def streams_call() -> Call:
    """A DELETE written to asyncio streams: about the machine's limit."""
    host, _, port = os.environ["FACE_ENDPOINT"].removeprefix("http://").partition(":")
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    rest = f" HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {_TOKEN}\r\n\r\n"

    async def call(session_id: str) -> None:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(host, int(port))
        writer.write(f"DELETE {_PATH}{session_id}{rest}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        idle.append((reader, writer))

    return call


CALLS: dict[str, Callable[[], Awaitable[Call]]] = {
    "aiohttp": aiohttp_call,
    "streams": streams_call,
}

"""An HTTP proxy over real sockets that tunnels (CONNECT), and remembers what it was asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class RecordingProxy:
    """Leads every tunnel to one port of this machine, whatever host it was asked for."""

    def __init__(self, leads_to: int | None = None) -> None:
        self.leads_to = leads_to
        self.port = 0
        self.requests: list[str] = []
        """The head of each request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked_for(self) -> list[str]:
        """The other end of each tunnel."""
        return [head.split()[1] for head in self.requests if head.startswith("CONNECT ")]

    @contextlib.asynccontextmanager
    async def running(self) -> "AsyncIterator[RecordingProxy]":
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if self.leads_to is None or not self.requests[-1].startswith("CONNECT "):
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.leads_to)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_copy(reader, other_writer), _copy(other_reader, writer))
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client has gone
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()

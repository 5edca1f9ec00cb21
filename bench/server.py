"""A minimal Face API, identity and ingestion endpoint, so that the client dominates the measurement.

`DELETE …` is answered with 200 and no body, at once or after a latency; `GET /msi/token…` with a
token; `POST /latency/MILLISECONDS` changes the latency. It checks nothing; `local/face/`
behaves like the real API.
"""

import asyncio
import gzip
import json
import re
import sys
import time
from itertools import count

from local.broker.serving import announce, stopped

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_DELETED = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
    b"apim-request-id: 0f8e1f7a-7c2d-4f21-9a4e-%012x\r\n"
    b"x-envoy-upstream-service-time: 12\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
)
_numbers = count()
"""For request ids: each call has its own."""


class Server(asyncio.Protocol):
    """One connection: requests without a body, one after the other."""

    latency = 0.0
    """Seconds before a DELETE is answered, on all connections."""
    lines = 0
    """Log lines that have arrived, of all processes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n") + 4) >= 4:
            length = _LENGTH.search(self._buffer, 0, end)
            whole = end + int(length[1] if length else 0)
            if len(self._buffer) < whole:
                return
            line = self._buffer[: self._buffer.index(b"\r\n")]
            body, self._buffer = self._buffer[end:whole], self._buffer[whole:]
            self._answer(line, body)

    def _answer(self, request_line: bytes, sent: bytes) -> None:
        method, path, _ = request_line.split(b" ")
        if method == b"DELETE":
            deleted = _DELETED % next(_numbers)
            if Server.latency:
                asyncio.get_running_loop().call_later(
                    Server.latency, self._transport.write, deleted
                )
            else:
                self._transport.write(deleted)
            return
        body = b"{}"
        if path.endswith(b"/track"):
            rows = gzip.decompress(sent) if sent.startswith(b"\x1f\x8b") else sent
            Server.lines += rows.count(b'"MessageData"')
            body = b'{"itemsReceived": 0, "itemsAccepted": 0, "errors": []}'
        elif path == b"/lines":
            body = str(Server.lines).encode()
        elif path.startswith(b"/latency/"):
            Server.latency = float(path.rpartition(b"/")[2]) / 1000
        else:
            expires = int(time.time()) + 86_400
            token = "e" * 1200  # as long as a real one, because it is in every request
            body = json.dumps(
                {
                    "access_token": token,
                    "expires_on": str(expires),
                    "resource": "https://cognitiveservices.azure.com",
                    "token_type": "Bearer",
                }
            ).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self._transport.write(head.encode() + b"\r\n\r\n" + body)


async def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    announce("bench-server", port=port, endpoint=f"http://127.0.0.1:{port}")
    await stopped()
    server.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

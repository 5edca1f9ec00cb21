"""Start the broker: `python -m local.broker --help`."""

import argparse
import asyncio
import contextlib
import secrets
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from . import configuration, serving, websocket
from .certificates import self_signed
from .control import application
from .dispatcher import Dispatcher
from .latency import Latency
from .queues import Namespace
from .server import Server
from .store import Store

HOST = "127.0.0.1"


def new_lock_token() -> bytes:
    """Return 16 random bytes below 0x80: Proton's Python binding takes delivery tags as text."""
    return bytes(byte & 0x7F for byte in secrets.token_bytes(16))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.broker",
        description="A local stand-in for an Azure Service Bus namespace with queues. It listens "
        "on 127.0.0.1 only. The first line of standard output is JSON and tells the ports.",
    )
    parser.add_argument("--port", type=int, default=0, help="AMQP port (default: a free one)")
    parser.add_argument(
        "--control-port", type=int, default=0, help="HTTP control port (default: a free one)"
    )
    parser.add_argument(
        "--websocket-port",
        type=int,
        help="port for AMQP over WebSockets with TLS, 0 for a free one (default: none); the first "
        "line names the file of the certificate that clients must trust",
    )
    parser.add_argument(
        "--config",
        type=Path,
        help="JSON file with queues (described as in Bicep) and authorizationRules "
        "(default: one queue, session-revoked)",
    )
    parser.add_argument(
        "--state", type=Path, help="SQLite file that keeps everything (default: memory only)"
    )
    parser.add_argument(
        "--idle-connection-seconds",
        type=float,
        help="close connections that are idle for longer (Azure: 300; default: never)",
    )
    parser.add_argument(
        "--idle-link-seconds",
        type=float,
        help="detach links that are idle for longer (Azure: 600; default: never)",
    )
    parser.add_argument(
        "--latency-ms",
        type=float,
        default=0.0,
        help="imitate a network with this round trip time: each operation waits for one or several "
        "round trips, e.g. 15 (default: 0)",
    )
    return parser.parse_args()


async def serve(options: argparse.Namespace, config: configuration.Configuration) -> None:
    """Run until SIGTERM or SIGINT."""
    store = Store(options.state) if options.state else None
    namespace = Namespace(config.queues, new_lock_token, store.load_ledger() if store else None)
    if store is not None:
        store.load(namespace, time.time())
        store.commit(namespace)
        namespace.changes.clear()
    stop = asyncio.ensure_future(serving.stopped())
    await asyncio.sleep(0)  # from here on signals are handled
    dispatcher = Dispatcher(namespace, config.rules, store, Latency(options.latency_ms / 1000))
    server = Server(
        dispatcher,
        idle_connection_seconds=options.idle_connection_seconds,
        idle_link_seconds=options.idle_link_seconds,
    )
    async with contextlib.AsyncExitStack() as stack:
        facts = await _serve_websockets(stack, dispatcher, options.websocket_port)
        stack.push_async_callback(server.close)
        stack.callback(dispatcher.failure.cancel)
        port = await server.listen(HOST, options.port)
        control_port = await stack.enter_async_context(
            serving.serve_http(application(server), options.control_port)
        )
        rule = config.rules[0]
        serving.announce(
            "broker",
            port=port,
            control_port=control_port,
            connection_string=f"Endpoint=sb://{HOST}:{port};SharedAccessKeyName={rule.key_name};"
            f"SharedAccessKey={rule.key};UseDevelopmentEmulator=true;",
            **facts,
        )
        await asyncio.wait((stop, dispatcher.failure), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if dispatcher.failure.done():
            dispatcher.failure.result()


async def _serve_websockets(
    stack: contextlib.AsyncExitStack, dispatcher: Dispatcher, port: int | None
) -> dict[str, str | int]:
    """Accept WebSockets if a port is asked for; return what the ready line shows."""
    if port is None:
        return {}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="broker-")))
    tls = self_signed("local broker", folder)
    listening = await stack.enter_async_context(
        serving.serve_http(websocket.application(dispatcher), port, tls)
    )
    return {"websocket_port": listening, "certificate": str(folder / "certificate.pem")}


def main() -> int:
    options = arguments()
    try:
        config = configuration.load(options.config) if options.config else configuration.DEFAULT
    except (configuration.ConfigurationError, OSError) as error:
        print(f"{options.config}: {error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(serve(options, config))
    except (OSError, sqlite3.Error) as error:
        print(f"the broker cannot continue: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

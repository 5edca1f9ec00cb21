"""Start the broker: `python -m local.broker --help`."""

import argparse
import asyncio
import secrets
import sqlite3
import sys
import time
from pathlib import Path

from aiohttp import web

from local import service
from local.broker import configuration
from local.broker.control import application
from local.broker.dispatcher import Dispatcher
from local.broker.queues import Namespace
from local.broker.server import Server
from local.broker.store import Store

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
    return parser.parse_args()


async def serve(options: argparse.Namespace, config: configuration.Configuration) -> None:
    """Run until SIGTERM or SIGINT."""
    store = Store(options.state) if options.state else None
    namespace = Namespace(config.queues, new_lock_token, store.load_ledger() if store else None)
    if store is not None:
        store.load(namespace, time.time())
        store.commit(namespace)
        namespace.changes.clear()
    stop = asyncio.ensure_future(service.stopped())
    await asyncio.sleep(0)  # from here on signals are handled
    dispatcher = Dispatcher(namespace, config.rules, store)
    server = Server(
        dispatcher,
        idle_connection_seconds=options.idle_connection_seconds,
        idle_link_seconds=options.idle_link_seconds,
    )
    port = await server.listen(HOST, options.port)
    runner = web.AppRunner(application(server), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, options.control_port)
    await site.start()
    control_port = runner.addresses[0][1]
    rule = config.rules[0]
    service.announce(
        "broker",
        port=port,
        control_port=control_port,
        connection_string=f"Endpoint=sb://{HOST}:{port};SharedAccessKeyName={rule.key_name};"
        f"SharedAccessKey={rule.key};UseDevelopmentEmulator=true;",
    )
    try:
        await asyncio.wait((stop, dispatcher.failure), return_when=asyncio.FIRST_COMPLETED)
        if dispatcher.failure.done():
            dispatcher.failure.result()
    finally:
        stop.cancel()
        dispatcher.failure.cancel()
        await runner.cleanup()
        await server.close()


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

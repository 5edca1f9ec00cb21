"""`python -m local.face`: serves the Face API on 127.0.0.1 until it is stopped."""

import argparse
import asyncio
import sys

from aiohttp import web

from local import face, tokens
from local.broker.serving import announce, errors_as_json, serve_http, stopped
from local.face import control
from local.face.api import Api
from local.face.faults import Faults
from local.face.limit import Shape
from local.face.state import Config, State


def application(state: State, signing_key: str, audience: str) -> web.Application:
    """Return the API and its control as one web application."""
    app = web.Application(client_max_size=16 * 1024 * 1024, middlewares=[errors_as_json])
    app.add_routes(control.routes(state))
    app.add_routes([web.route("*", "/{path:.*}", Api(state, signing_key, audience).handle)])
    return app


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m local.face", description=(face.__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--signing-key", default="", help="shared with local.identity")
    parser.add_argument(
        "--audience", default=tokens.AUDIENCE, help="audience that tokens must have"
    )
    parser.add_argument(
        "--limit", default="10/1", help='COUNT/SECONDS of calls, or "none" (default: 10/1)'
    )
    parser.add_argument(
        "--limit-shape",
        choices=list(Shape),
        default=Shape.FIXED,
        help="how calls are counted, see local/face/limit.py (default: fixed)",
    )
    parser.add_argument("--latency-seconds", type=float, default=0, help="delay before each answer")
    parser.add_argument("--seed", type=int, default=0, help="seed of random faults")
    return parser


async def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    options = parser().parse_args(arguments)
    values = {name: getattr(options, name) for name in ("limit", "limit_shape", "latency_seconds")}
    try:
        config = Config().changed(values)
    except ValueError as error:
        parser().error(str(error))
    state = State(config, Faults(options.seed))
    app = application(state, options.signing_key, options.audience)
    async with serve_http(app, options.port) as port:
        announce("face", port=port, endpoint=f"http://127.0.0.1:{port}")
        await stopped()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

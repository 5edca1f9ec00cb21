"""The verb that opens the desk."""

from importlib.util import find_spec
from math import inf
from typing import Annotated

import typer

from revoker import output
from revoker.cli.options import (
    ApiVersion,
    AsJson,
    FaceEndpoint,
    Namespace,
    OutcomeQueue,
    Queue,
    RecordFile,
)
from revoker.cli.running import reporting, run
from revoker.failure import Exit, Failure

_NEEDED = ("jinja2", "starlette", "uvicorn")


def desk(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on. Default: a free one.")
    ] = 0,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where your browser reaches the desk, behind a port forward or in Codespaces, such as "
            "https://NAME-8000.app.github.dev with --port 8000.",
        ),
    ] = None,
    record: RecordFile = None,
    namespace: Namespace = None,
    queue: Queue = None,
    outcome_queue: OutcomeQueue = None,
    face_endpoint: FaceEndpoint = None,
    api_version: ApiVersion = None,
    as_json: AsJson = False,
) -> None:
    """Open the desk: look, decide and act on a page in a browser on this machine.

    It prints an address with a token, which opens the desk once and in one browser; no other
    browser can use it. It listens on this machine only, and runs until Ctrl-C.
    """
    from revoker.connection import Options
    from revoker.record import DEFAULT

    options = Options(namespace, queue, outcome_queue, face_endpoint, api_version)
    with reporting(as_json):
        if missing := [name for name in _NEEDED if find_spec(name) is None]:
            raise Failure(
                f"The desk needs {', '.join(missing)}.",
                "Install them with pip install '.[ops]' in the checkout.",
                Exit.USAGE,
            )
        from revoker.desk.server import serve

        run(
            serve(
                options.applied(),
                record or DEFAULT,
                port,
                address,
                lambda opens: output.desk(opens, as_json),
            ),
            inf,  # until Ctrl-C
        )

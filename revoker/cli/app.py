"""`revoker`: the command line as a whole."""

import io
import sys
from typing import Annotated

import typer

from revoker.cli import dead_letters, verbs
from revoker.cli.audit import audit
from revoker.cli.desk import desk
from revoker.cli.options import EPILOG
from revoker.cli.record import upload_record
from revoker.cli.trial import trial

CONNECTS = (
    "It connects with the function's own environment variables: ServiceBusConnection, or "
    "ServiceBusConnection__fullyQualifiedNamespace with your 'az login'; SESSION_REVOKED_QUEUE; "
    "FACE_ENDPOINT; FACE_API_VERSION. For the local cloud, paste the export lines that "
    "make run ARGS=--serve prints."
)

app = typer.Typer(
    name="revoker",
    help="Publish revoked liveness sessions, see their outcomes, and deal with those that "
    f"failed.\n\n{CONNECTS}",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="markdown",  # joins the lines of a paragraph in --help
    # A traceback's local variables may hold a connection string.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from delete_session import __version__

        typer.echo(f"revoker {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Handle the options before the verb."""


for verb in (verbs.publish, verbs.status, verbs.doctor, verbs.session, audit, trial, desk):
    app.command(epilog=EPILOG)(verb)
app.command("upload-record", epilog=EPILOG)(upload_record)
app.add_typer(dead_letters.dead_letters, name="dead-letters")


def main() -> None:
    """Run the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whatever a terminal or a pipe cannot show
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="revoker")  # also for python -m revoker, so that completion is for this name

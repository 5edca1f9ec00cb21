"""`revoker`: what an operator or a publisher types. Every verb is here, its work elsewhere.

The modules behind the verbs are imported by the verbs: they take most of a second, and --help
is for people in a hurry.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from revoker.connection import Options
    from revoker.dead_letters import Outcome, Selection
    from revoker.messages import Seen

EPILOG = (
    "Exit codes: 0 all is well · 1 something is wrong, was found or is left to do · 2 the command "
    "line or a setting is wrong · 3 cannot connect, not authorized, or cannot tell · 130 interrupted."
)
CONNECTS = (
    "Connects with the function's own environment variables: ServiceBusConnection, or "
    "ServiceBusConnection__fullyQualifiedNamespace with your 'az login'; SESSION_REVOKED_QUEUE; "
    "FACE_ENDPOINT; FACE_API_VERSION. Against the local cloud, paste the export lines that "
    "make run ARGS=--serve prints."
)

app = typer.Typer(
    name="revoker",
    help=f"Publish revoked liveness sessions, see how they fare, put right what failed.\n\n{CONNECTS}",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    # A traceback's local variables may hold a connection string.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
desk = typer.Typer(
    help="Look at dead letters, put them back or throw them away.",
    epilog=EPILOG,
    no_args_is_help=True,
)
app.add_typer(desk, name="dead-letters")

Namespace = Annotated[
    str | None,
    typer.Option(help="<name>.servicebus.windows.net, with your 'az login'.", metavar="HOST"),
]
Queue = Annotated[str | None, typer.Option(help="Default: SESSION_REVOKED_QUEUE.", metavar="NAME")]
FaceEndpoint = Annotated[
    str | None,
    typer.Option(help="https://<name>.cognitiveservices.azure.com", metavar="URL"),
]
ApiVersion = Annotated[
    str | None, typer.Option(help="Of the Face API, e.g. v1.2.", metavar="VERSION")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Reason = Annotated[str | None, typer.Option(help="Only those with this dead-letter reason.")]
Session = Annotated[str | None, typer.Option(help="Only those of this session.", metavar="ID")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
Wait = Annotated[
    float,
    typer.Option(
        min=1, help="Seconds to wait for messages that another receiver, or an earlier run, locked."
    ),
]
Kind = Literal["livenessWithVerify", "liveness"]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@app.command(epilog=EPILOG)
def publish(
    session_ids: Annotated[list[str] | None, typer.Argument(metavar="[SESSION_ID]...")] = None,
    kind: Annotated[Kind, typer.Option("--type", help="Of all the sessions.")] = (
        "livenessWithVerify"
    ),
    reason: Annotated[str | None, typer.Option(help="For people; never logged.")] = None,
    file: Annotated[
        typer.FileText | None,
        typer.Option(help="One id a line, '-' for standard input; # begins a comment."),
    ] = None,
    namespace: Namespace = None,
    queue: Queue = None,
    as_json: AsJson = False,
) -> None:
    """Ask for sessions to be deleted: one message each.

    Publishing the same session twice is harmless: the message id follows from the session id, the
    queue drops a second one within its duplicate detection window (two hours), and what comes
    later finds the session gone. If it is interrupted, run it again.
    """
    from revoker.connection import QueueAddress
    from revoker.publish import Interrupted, read_ids
    from revoker.publish import publish as publish_all

    options = _options(namespace=namespace, queue=queue)
    with _reporting(as_json):
        ids = read_ids(session_ids or [], file or [])
        address = QueueAddress.read(options.applied())
        confirmed = 0
        try:
            with _progress("publishing", len(ids), as_json) as progress:
                _run(publish_all(address, ids, kind, reason, progress))
            confirmed = len(ids)
        except Interrupted as interrupted:
            confirmed = interrupted.confirmed
            if confirmed:
                err.print(f"{confirmed} of {len(ids)} were published; run it again for the rest.")
            raise interrupted.failure from None
        if as_json:
            _json({"published": confirmed, "queue": address.queue})
            return
        out.print(f"{confirmed} published to {address.queue} in {address.where}.")


@app.command(epilog=EPILOG)
def status(
    limit: Annotated[
        int, typer.Option(min=1, help="Look at no more messages than this in each queue.")
    ] = 10_000,
    namespace: Namespace = None,
    queue: Queue = None,
    as_json: AsJson = False,
) -> None:
    """What waits, since when and why; what was dead-lettered, and why.

    Looks without changing anything (the right to Listen is enough). Exit code 1 when there are
    dead letters.
    """
    from revoker.connection import QueueAddress
    from revoker.status import status as look

    options = _options(namespace=namespace, queue=queue)
    with _reporting(as_json):
        address = QueueAddress.read(options.applied())
        found = _run(look(address, limit))
        if as_json:
            _json({"queue": address.queue, **asdict(found)})
        else:
            table = Table(title=f"{address.queue} in {address.where}", title_justify="left")
            table.add_column("messages")
            table.add_column("count", justify="right")
            table.add_column("oldest", justify="right")
            table.add_row("active", str(found.active), _age(found.oldest_seconds))
            table.add_row("scheduled (retries)", str(found.scheduled), "")
            table.add_row("deferred", str(found.deferred), "")
            table.add_row(
                "dead-lettered", str(found.dead_lettered), _age(found.oldest_dead_letter_seconds)
            )
            out.print(table)
            _counted("Waiting because of", found.waiting_because)
            _counted("Dead-letter reasons", found.dead_letter_reasons)
            if found.dead_lettered:
                out.print("Cures: docs/operations.md. Then: revoker dead-letters resubmit --all")
            if not found.complete:
                out.print(f"There are more than the {limit} looked at (--limit).")
        if found.dead_lettered:
            raise typer.Exit(1)


@desk.command("list", epilog=EPILOG)
def list_(
    reason: Reason = None,
    session: Session = None,
    since: Annotated[
        str | None,
        typer.Option(help="Published since: 90m, 6h, 2d or an ISO time.", metavar="WHEN"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show no more than this.")] = 100,
    namespace: Namespace = None,
    queue: Queue = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first. Changes nothing."""
    from revoker.connection import QueueAddress
    from revoker.dead_letters import Selection, select

    options = _options(namespace=namespace, queue=queue)
    with _reporting(as_json):
        selection = Selection(reason=reason, session=session, since=_since(since))
        address = QueueAddress.read(options.applied())
        found = _run(select(address, selection, limit))
        if as_json:
            _json({"dead_letters": [asdict(seen) for seen in found]})
            return
        for seen in found:
            published = f"{seen.first_enqueued_at:%Y-%m-%d %H:%M:%S}Z"
            session_id = seen.session_id or "(unreadable)"
            out.print(
                f"{seen.sequence_number:>8}  {session_id}  {published}  {seen.reason}\n"
                f"          {seen.description}",
                markup=False,
            )
        if not found:
            out.print("No such dead letters.")
        if len(found) == limit:
            out.print(f"There may be more than these {limit} (--limit).")


@desk.command(epilog=EPILOG)
def show(
    number: Annotated[int, typer.Argument(min=1, help="As 'list' shows it.")],
    body: Annotated[bool, typer.Option("--body", help="Also what the publisher wrote.")] = False,
    namespace: Namespace = None,
    queue: Queue = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter with all its properties. Changes nothing."""
    from revoker.connection import QueueAddress
    from revoker.dead_letters import show as look

    options = _options(namespace=namespace, queue=queue)
    with _reporting(as_json):
        address = QueueAddress.read(options.applied())
        seen, content = _run(look(address, number))
        text = None if content is None else content.decode("utf-8", "backslashreplace")
        if as_json:
            _json(asdict(seen) | ({"body": text} if body else {}))
            return
        for name, value in asdict(seen).items():
            if name != "properties":
                out.print(f"{name:>18}  {'' if value is None else value}", markup=False)
        for name, value in seen.properties.items():
            out.print(f"{'property':>18}  {name} = {value}", markup=False)
        if body:
            out.print(f"{'body':>18}  {text}", markup=False)


@desk.command(epilog=EPILOG)
def resubmit(
    reason: Reason = None,
    session: Session = None,
    everything: All = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which; change nothing.")] = False,
    wait: Wait = 70,
    namespace: Namespace = None,
    queue: Queue = None,
    as_json: AsJson = False,
) -> None:
    """Put dead letters back into the queue, once what stood in the way is mended.

    No message is lost: each is sent, confirmed, and only then taken out of the dead letters. Its
    effort starts anew. It may be interrupted and run again: what was sent already is dropped as a
    duplicate (within the queue's duplicate detection window, two hours).
    """
    from revoker.connection import QueueAddress
    from revoker.dead_letters import resubmit as put_back
    from revoker.dead_letters import select

    options = _options(namespace=namespace, queue=queue)
    with _reporting(as_json):
        selection = _selection(reason, session, everything)
        address = QueueAddress.read(options.applied())
        wanted = _run(select(address, selection))
        if dry_run:
            _would("resubmitted", wanted, as_json)
            return
        with _progress("resubmitting", len(wanted), as_json) as progress:
            outcome = _run(put_back(address, wanted, wait, progress))
        _tell("resubmitted", outcome, as_json)


@desk.command(epilog=EPILOG)
def discard(
    reason: Reason = None,
    session: Session = None,
    everything: All = False,
    record: Annotated[
        Path | None,
        typer.Option(help="Where to write what is discarded (default: a new file here)."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Wait = 70,
    namespace: Namespace = None,
    queue: Queue = None,
    as_json: AsJson = False,
) -> None:
    """Throw dead letters away, for good. Asks first, and writes a record.

    A session that is not deleted expires by itself within 48 hours of its creation. The record has
    a JSON line for each message: session, reason, times, properties; not the body.
    """
    from revoker.connection import QueueAddress
    from revoker.dead_letters import discard as throw_away
    from revoker.dead_letters import select

    options = _options(namespace=namespace, queue=queue)
    with _reporting(as_json):
        selection = _selection(reason, session, everything)
        address = QueueAddress.read(options.applied())
        wanted = _run(select(address, selection))
        if not wanted:
            _would("discarded", wanted, as_json)
            return
        path = record or Path(f"discarded-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl")
        if not yes:
            _summary(wanted, err)
            typer.confirm(f"Discard these {len(wanted)} for good?", abort=True, err=True)
        with _progress("discarding", len(wanted), as_json) as progress, _record(path) as file:
            outcome = _run(throw_away(address, wanted, file, wait, progress))
        _tell("discarded", outcome, as_json, record=str(path))


@app.command(epilog=EPILOG)
def doctor(
    namespace: Namespace = None,
    queue: Queue = None,
    face_endpoint: FaceEndpoint = None,
    api_version: ApiVersion = None,
    as_json: AsJson = False,
) -> None:
    """Check the whole chain, and say what is wrong and how to mend it.

    Settings, names, TLS, tokens, the queue and the rights on it, the Face API, its version and the
    right to delete, the clock. It sends no message and deletes no session: it asks the Face API to
    delete a random session id, which must be answered with SessionNotFound. With your own login,
    the rights checked are yours; with the app's settings and identity, the app's.
    """
    from revoker.doctor import State
    from revoker.doctor import doctor as examine

    options = _options(
        namespace=namespace, queue=queue, face_endpoint=face_endpoint, api_version=api_version
    )
    with _reporting(as_json):
        checks = _run(examine(options.applied()))
        wrong = sum(check.state is State.WRONG for check in checks)
        if as_json:
            _json({"healthy": not wrong, "checks": [asdict(check) for check in checks]})
        else:
            colours = {State.OK: "green", State.WRONG: "red", State.SKIPPED: "dim"}
            for check in checks:
                mark = f"[{colours[check.state]}]{check.state:>7}[/]"
                out.print(f"{mark}  {check.name}: {_plain(check.detail)}")
                if check.cure:
                    out.print(f"         → {_plain(check.cure)}")
            out.print(
                f"{wrong} of {len(checks)} checks found something wrong." if wrong else "Well."
            )
        if wrong:
            raise typer.Exit(1)


@app.command(epilog=EPILOG)
def session(
    session_id: Annotated[str, typer.Argument(metavar="ID")],
    kind: Annotated[Kind | None, typer.Option("--type", help="Default: ask for both.")] = None,
    face_endpoint: FaceEndpoint = None,
    api_version: ApiVersion = None,
    as_json: AsJson = False,
) -> None:
    """Does this session still exist, as far as the Face API tells?

    Exit code 0: it is gone (deleted, expired or never there); 1: it exists; 3: cannot tell. Your
    login needs the right to read sessions, which the function itself has not.
    """
    from revoker.connection import setting
    from revoker.face import Existence
    from revoker.face import session as ask
    from revoker.publish import read_ids

    options = _options(face_endpoint=face_endpoint, api_version=api_version)
    with _reporting(as_json):
        (session_id,) = read_ids([session_id], [])
        environment = options.applied()
        endpoint = setting("face_endpoint", environment)
        version = setting("face_api_version", environment)
        client_id = environment.get("AZURE_CLIENT_ID", "").strip() or None
        told = _run(ask(endpoint, version, client_id, session_id, kind))
        if as_json:
            _json(
                {
                    "session_id": session_id,
                    "existence": told.existence.value,
                    "session_type": told.session_type,
                    "at": told.at,
                }
            )
        elif told.existence is Existence.EXISTS:
            out.print(f"{session_id} exists ({told.session_type}).")
        else:
            out.print(f"{session_id} is gone: deleted, expired, or never there.")
        if told.existence is Existence.EXISTS:
            raise typer.Exit(1)


def main() -> None:
    """The entry point."""
    app()


# ---- what the verbs share ----


def _options(**values: str | None) -> "Options":
    from revoker.connection import Options

    return Options(**values)


def _run[T](work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@contextmanager
def _reporting(as_json: bool) -> Iterator[None]:
    """Tell a Failure, and end with its exit code."""
    from revoker.failure import Failure

    try:
        yield
    except Failure as failed:
        if as_json:
            _json({"error": failed.cause, "cure": failed.cure})
        err.print(f"[red]{_plain(failed.cause)}[/red]\n{_plain(failed.cure)}")
        raise typer.Exit(failed.code) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        err.print("Interrupted. It is safe to run it again.")
        raise typer.Exit(130) from None


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@contextmanager
def _record(path: Path) -> Iterator[TextIO]:
    """A file to add to, readable by its owner alone: it holds session ids."""
    from revoker.failure import Exit, Failure

    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise Failure(
            f"{path} cannot be written: {error.strerror}.",
            "Name another file with --record. Nothing was discarded.",
            Exit.USAGE,
        ) from None
    with os.fdopen(number, "a", encoding="utf-8") as file:
        yield file


@contextmanager
def _progress(what: str, total: int, as_json: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=as_json) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _json(value: Mapping[str, Any]) -> None:
    json.dump(value, sys.stdout, default=_readable)
    sys.stdout.write("\n")


def _readable(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    whole = timedelta(seconds=round(seconds))
    return str(whole)


def _counted(title: str, counts: Mapping[str, int]) -> None:
    if counts:
        out.print(f"[bold]{title}[/bold]")
        for name, count in sorted(counts.items(), key=lambda item: -item[1]):
            out.print(f"  {count:>7}  {_plain(name)}")


def _since(text: str | None) -> datetime | None:
    from revoker.failure import Exit, Failure

    if text is None:
        return None
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    try:
        if text[-1:] in units:
            return datetime.now(UTC) - timedelta(**{units[text[-1]]: float(text[:-1])})
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise Failure(
            f"--since {text} is no time.", "Say 90m, 6h, 2d or 2026-01-31T08:00Z.", Exit.USAGE
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _selection(reason: str | None, session: str | None, everything: bool) -> "Selection":
    from revoker.dead_letters import Selection
    from revoker.failure import Exit, Failure

    if everything == (reason is not None or session is not None):
        raise Failure(
            "Which dead letters?",
            "Say --all, or one or both of --reason and --session.",
            Exit.USAGE,
        )
    return Selection(reason=reason, session=session)


def _would(done: str, wanted: "list[Seen]", as_json: bool) -> None:
    if as_json:
        sessions = [seen.session_id for seen in wanted]
        _json({f"would_be_{done}": len(wanted), "sessions": sessions})
        return
    if wanted:
        _summary(wanted, out)
    out.print(f"{len(wanted)} would be {done}." if wanted else "No such dead letters.")


def _summary(wanted: "list[Seen]", console: Console) -> None:
    from collections import Counter

    for reason, count in Counter(seen.reason for seen in wanted).most_common():
        some = [s.session_id or f"number {s.sequence_number}" for s in wanted if s.reason == reason]
        more = " …" if count > 3 else ""
        console.print(f"  {count:>7}  {reason}: {', '.join(some[:3])}{more}", markup=False)


def _tell(done: str, outcome: "Outcome", as_json: bool, **more: str) -> None:
    if as_json:
        kept = {str(number): why for number, why in outcome.kept.items()}
        _json({done: len(outcome.settled), "selected": outcome.selected, "kept": kept, **more})
    else:
        out.print(f"{len(outcome.settled)} of {outcome.selected} {done}.")
        for name, value in more.items():
            out.print(f"{name}: {value}")
        for number, why in list(outcome.kept.items())[:10]:
            out.print(f"  number {number} is left: {why}")
        if len(outcome.kept) > 10:
            out.print(f"  and {len(outcome.kept) - 10} more")
    if outcome.kept:
        raise typer.Exit(1)

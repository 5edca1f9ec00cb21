"""The verbs for dead letters."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from revoker import output
from revoker.cli.options import EPILOG, AsJson, Namespace, OutcomeQueue, Queue, RecordFile
from revoker.cli.running import reporting, run
from revoker.failure import Exit, Failure

if TYPE_CHECKING:
    from revoker.dead_letters import Selection

Reason = Annotated[str | None, typer.Option(help="Only those with this dead-letter reason.")]
Session = Annotated[str | None, typer.Option(help="Only those of this session.", metavar="ID")]
Since = Annotated[
    str | None,
    typer.Option(
        help="Only those published since then: 90m, 6h, 2d or an ISO time.", metavar="WHEN"
    ),
]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
Wait = Annotated[
    float,
    typer.Option(
        min=1,
        help="Seconds to wait for messages that another receiver or an earlier run has locked.",
    ),
]

dead_letters = typer.Typer(
    help="Look at dead letters, put them back into the queue, or throw them away.",
    epilog=EPILOG,
    no_args_is_help=True,
)


@dead_letters.command("list", epilog=EPILOG)
def list_(
    reason: Reason = None,
    session: Session = None,
    since: Since = None,
    before: Annotated[
        str | None,
        typer.Option(help="Only those published before then, such as 2d ago.", metavar="WHEN"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most dead letters to show.")] = 100,
    namespace: Namespace = None,
    queue: Queue = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first. Changes nothing."""
    from revoker.connection import Options, QueueAddress
    from revoker.dead_letters import Selection, select

    with reporting(as_json):
        selection = Selection(
            reason=reason,
            session=session,
            since=read_when(since, "--since"),
            before=read_when(before, "--before"),
        )
        address = QueueAddress.read(Options(namespace=namespace, queue=queue).applied())
        output.dead_letters(run(select(address, selection, limit)), limit, as_json)


@dead_letters.command(epilog=EPILOG)
def show(
    number: Annotated[int, typer.Argument(min=1, help="The number that 'list' shows.")],
    body: Annotated[
        bool, typer.Option("--body", help="Also show the body that the publisher sent.")
    ] = False,
    namespace: Namespace = None,
    queue: Queue = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter with all its properties. Changes nothing."""
    from revoker.connection import Options, QueueAddress
    from revoker.dead_letters import show as look

    with reporting(as_json):
        address = QueueAddress.read(Options(namespace=namespace, queue=queue).applied())
        seen, content = run(look(address, number))
        if body:
            output.dead_letter_with_body(seen, content, as_json)
        else:
            output.dead_letter(seen, as_json)


@dead_letters.command(epilog=EPILOG)
def resubmit(
    reason: Reason = None,
    session: Session = None,
    everything: All = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which would be resubmitted; change nothing.")
    ] = False,
    record: RecordFile = None,
    wait: Wait = 70,
    namespace: Namespace = None,
    queue: Queue = None,
    outcome_queue: OutcomeQueue = None,
    as_json: AsJson = False,
) -> None:
    """Put dead letters back into the queue, once their cause is removed.

    No message is lost: each is sent and confirmed before it is taken out of the dead letters, and
    its effort starts anew. You can interrupt this and run it again: the queue drops what was
    already sent as a duplicate, within two hours. Never send a
    dead letter again with another tool: under its old message id, the queue drops it.
    """
    from revoker.connection import Options, QueueAddress
    from revoker.dead_letters import Outcome, select
    from revoker.dead_letters import resubmit as put_back
    from revoker.record import DEFAULT, Record

    with reporting(as_json):
        selection = read_selection(reason, session, everything)
        settings = Options(namespace=namespace, queue=queue, outcome_queue=outcome_queue).applied()
        address = QueueAddress.read(settings)
        outcomes = address.outcomes(settings)
        wanted = run(select(address, selection))
        if dry_run:
            output.would_be("resubmitted", wanted, as_json)
            return
        if not wanted:
            output.settled("resubmitted", Outcome(0), as_json)
            return
        path = record or DEFAULT
        with (
            output.progress("resubmitting", len(wanted), shown=not as_json) as progress,
            Record.open(path, "command") as file,
        ):
            outcome = run(put_back(address, wanted, file, wait, progress, outcomes))
        output.settled("resubmitted", outcome, as_json, record=str(path))
        if outcome.kept:
            raise typer.Exit(Exit.WRONG)


@dead_letters.command(epilog=EPILOG)
def discard(
    reason: Reason = None,
    session: Session = None,
    everything: All = False,
    record: RecordFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Wait = 70,
    namespace: Namespace = None,
    queue: Queue = None,
    outcome_queue: OutcomeQueue = None,
    as_json: AsJson = False,
) -> None:
    """Throw dead letters away for good. Asks first, and keeps a record.

    It says for each dead letter what else carries its session, and warns when nothing does: a
    session that is not deleted lives until it expires, 48 hours after its creation. The record has
    one JSON line for each message, with session, reason, times and properties, but not the body.
    """
    from revoker.connection import Options, QueueAddress
    from revoker.dead_letters import discard as throw_away
    from revoker.dead_letters import others_of, select
    from revoker.record import DEFAULT, Record

    with reporting(as_json):
        selection = read_selection(reason, session, everything)
        settings = Options(namespace=namespace, queue=queue, outcome_queue=outcome_queue).applied()
        address = QueueAddress.read(settings)
        outcomes = address.outcomes(settings)
        wanted = run(select(address, selection))
        if not wanted:
            output.would_be("discarded", wanted, as_json)
            return
        others = run(others_of(address, wanted))
        output.carried(wanted, others)
        path = record or DEFAULT
        if not yes:
            output.summary(wanted, err=True)
            question = f"Throw these {len(wanted)} dead letters away for good?"
            typer.confirm(question, abort=True, err=True)
        with (
            output.progress("discarding", len(wanted), shown=not as_json) as progress,
            Record.open(path, "command") as file,
        ):
            outcome = run(throw_away(address, wanted, file, wait, progress, outcomes))
        output.settled("discarded", outcome, as_json, record=str(path))
        if outcome.kept:
            raise typer.Exit(Exit.WRONG)


@dead_letters.command(epilog=EPILOG)
def receipts(
    reason: Reason = None,
    session: Session = None,
    since: Since = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which would be sent; change nothing.")
    ] = False,
    namespace: Namespace = None,
    queue: Queue = None,
    outcome_queue: OutcomeQueue = None,
    as_json: AsJson = False,
) -> None:
    """Send publishers the receipts of what the broker gave up by itself.

    The function sends a receipt before it gives a message up. What the broker gives up, after too
    many deliveries or when it expires, has none. Without --reason, these are sent. The dead letters
    stay where they are. You can run this again: within the duplicate detection window, the queue of
    the receipts drops what it has had, and afterwards a receipt comes again under the same id.
    """
    from revoker.connection import Options, QueueAddress
    from revoker.dead_letters import Selection
    from revoker.receipts import missing, send

    with reporting(as_json):
        selection = Selection(reason=reason, session=session, since=read_when(since, "--since"))
        settings = Options(namespace=namespace, queue=queue, outcome_queue=outcome_queue).applied()
        address = QueueAddress.read(settings)
        outcomes = address.outcomes(settings)
        if outcomes is None:
            raise Failure(
                "OUTCOME_QUEUE is not set.", "Set it, or use --outcome-queue.", Exit.USAGE
            )
        found = run(missing(address, selection.takes, of_any_reason=reason is not None))
        if dry_run or not found:
            output.would_be("told", [seen for seen, _ in found], as_json)
            return
        with output.progress("telling", len(found), shown=not as_json) as progress:
            run(send(outcomes, [receipt for _, receipt in found], progress))
        output.sent(len(found), as_json)


def read_when(text: str | None, option: str) -> datetime | None:
    """Read an age or an ISO time.

    Raises:
        Failure: the text is neither.
    """
    if text is None:
        return None
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    try:
        if text[-1:] in units:
            return datetime.now(UTC) - timedelta(**{units[text[-1]]: float(text[:-1])})
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise Failure(
            f"{text!r} is not a valid value for {option}.",
            "Use an age or a time, such as 90m, 6h, 2d or 2026-01-31T08:00Z.",
            Exit.USAGE,
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def read_selection(reason: str | None, session: str | None, everything: bool) -> "Selection":
    """Read which dead letters are wanted.

    Raises:
        Failure: neither all nor some are asked for, or both.
    """
    from revoker.dead_letters import Selection

    if everything == (reason is not None or session is not None):
        raise Failure(
            "It is not clear which dead letters you want.",
            "Use either --all, or --reason, --session or both.",
            Exit.USAGE,
        )
    return Selection(reason=reason, session=session)

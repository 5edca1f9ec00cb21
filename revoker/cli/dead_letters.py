"""The verbs for dead letters."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from revoker import output
from revoker.cli.options import EPILOG, AsJson, Namespace, OutcomeQueue, Queue, RecordFile
from revoker.cli.running import WORK_SECONDS, recording, reporting, run
from revoker.cli.task import Task
from revoker.failure import Exit, Failure

if TYPE_CHECKING:
    from revoker.dead_letters import Selection
    from revoker.messages import Seen

MALFORMED = "MalformedMessage"

Numbers = Annotated[
    list[int] | None,
    typer.Argument(metavar="NUMBER", min=1, max=2**63 - 1, help="The numbers that 'list' shows."),
]
Reasons = Annotated[
    list[str] | None,
    typer.Option(
        "--reason",
        help="Only those with this dead-letter reason; give it more than once for several.",
        metavar="REASON",
    ),
]
Session = Annotated[str | None, typer.Option(help="Only those of this session.", metavar="ID")]
Since = Annotated[
    str | None,
    typer.Option(
        help="Only those published since then: 90m, 6h, 2d or an ISO time.", metavar="WHEN"
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the oldest N of them.", metavar="N")]
Wait = Annotated[
    float,
    typer.Option(
        min=1,
        help="Seconds to wait for messages that another receiver or an earlier run has locked.",
    ),
]

dead_letters = typer.Typer(
    help="Look at dead letters, resubmit them, or discard them.",
    epilog=EPILOG,
    no_args_is_help=True,
)


@dead_letters.command("list", epilog=EPILOG)
def list_(
    reason: Reasons = None,
    session: Session = None,
    since: Since = None,
    before: Annotated[
        str | None,
        typer.Option(help="Only those published before then; WHEN as for --since.", metavar="WHEN"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of dead letters.")] = 100,
    namespace: Namespace = None,
    queue: Queue = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first: an original and its copies together. Changes nothing."""
    from revoker.carriers import publications
    from revoker.connection import Options, QueueAddress
    from revoker.dead_letters import Selection, select

    with reporting(as_json):
        selection = Selection(
            reasons=frozenset(reason or ()),
            session=session,
            since=read_when(since, "--since"),
            before=read_when(before, "--before"),
        )
        address = QueueAddress.read(Options(namespace, queue).applied())
        found = run(select(address, selection, limit + 1))
        output.dead_letters(publications(found[:limit], (), ()), len(found) <= limit, as_json)


@dead_letters.command(epilog=EPILOG)
def show(
    number: Annotated[
        int, typer.Argument(min=1, max=2**63 - 1, help="The number that 'list' shows.")
    ],
    body: Annotated[
        bool, typer.Option("--body", help="Also show the body that the publisher sent.")
    ] = False,
    record: RecordFile = None,
    namespace: Namespace = None,
    queue: Queue = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter with all its properties. Changes nothing.

    A body may hold personal data: who looks at one is recorded.
    """
    from revoker.actor import service_bus_actor
    from revoker.connection import Options, QueueAddress
    from revoker.dead_letters import show as look
    from revoker.record import facts_of

    with reporting(as_json):
        address = QueueAddress.read(Options(namespace, queue).applied())
        seen, content = run(look(address, number))
        if body:
            who = run(service_bus_actor(address.connection))
            with recording(record, who, str(uuid4())) as file:
                file.write_all("body_viewed", [facts_of(seen, content)])
            output.dead_letter_with_body(seen, content, as_json)
        else:
            output.dead_letter(seen, as_json)


@dead_letters.command(epilog=EPILOG)
def resubmit(
    numbers: Numbers = None,
    reason: Reasons = None,
    session: Session = None,
    since: Since = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help=f"All of them but {MALFORMED}, which would only come back."),
    ] = False,
    limit: Limit = None,
    canary: Annotated[
        bool,
        typer.Option(
            "--canary",
            help="First resubmit one of each reason and wait for its outcome; go on only with the "
            "reasons whose first one was processed.",
        ),
    ] = False,
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
    """Resubmit dead letters to the queue, once their cause is removed.

    No message is lost: a copy is sent and confirmed before the dead letter is removed, and its retry
    deadline restarts. You can interrupt this and run it again: a message whose copy was just sent may
    be sent once more, which is harmless. A message that cannot be resubmitted is left, with the
    reason, and the others go on. Never send a dead letter again with another tool: under its old
    message id, the queue drops it.
    """
    from revoker.canary import first_of_each_reason, outcomes_of
    from revoker.dead_letters import select

    with reporting(as_json):
        selection = read_selection(numbers, reason, session, since, everything)
        task = Task.read("resubmit", record, wait, namespace, queue, outcome_queue)
        found = run(select(task.address, selection), WORK_SECONDS)
        wanted = [seen for seen in found if not (everything and seen.reason == MALFORMED)]
        output.skipped(MALFORMED, len(found) - len(wanted))
        wanted = wanted[:limit]
        known = task.known(wanted)
        output.copies(known)
        if dry_run:
            output.would_be("resubmitted", wanted, as_json)
            return
        kept = missing_of(selection, found)
        settled = 0
        if canary and len(firsts := first_of_each_reason(wanted)) < len(wanted):
            tried = task.carry_out(firsts, as_json)
            settled = len(tried.settled)
            kept |= tried.kept
            failed = run(outcomes_of(task.address, firsts, tried.copies), WORK_SECONDS)
            output.canaries(firsts, failed)
            number_of = {seen.reason: seen.sequence_number for seen in firsts}
            for seen in wanted:
                if seen not in firsts and (why := failed.get(seen.reason)):
                    number = number_of[seen.reason]
                    kept[seen.sequence_number] = f"number {number} of the same reason: {why}"
            wanted = [seen for seen in wanted if seen not in firsts and seen.reason not in failed]
        task.finish(wanted, kept, settled, known, as_json)


@dead_letters.command(epilog=EPILOG)
def discard(
    numbers: Numbers = None,
    reason: Reasons = None,
    session: Session = None,
    since: Since = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    limit: Limit = None,
    record: RecordFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Wait = 70,
    namespace: Namespace = None,
    queue: Queue = None,
    outcome_queue: OutcomeQueue = None,
    as_json: AsJson = False,
) -> None:
    """Discard dead letters for good. Asks first, and keeps a record.

    It lists the sessions that may still be alive first, says for each dead letter what else carries
    its session, and warns when nothing does: a session that is not deleted lives until it expires, 48
    hours after its creation. The record has JSON lines for each message, with session, reason, times
    and properties, but not the body.
    """
    from revoker.dead_letters import select

    with reporting(as_json):
        selection = read_selection(numbers, reason, session, since, everything)
        task = Task.read("discard", record, wait, namespace, queue, outcome_queue)
        wanted = run(select(task.address, selection), WORK_SECONDS)[:limit]
        known = task.known(wanted)
        if wanted:
            output.carried(known)
            if not yes:
                output.summary(wanted, err=True)
                question = f"Discard these {len(wanted)} dead letters for good?"
                typer.confirm(question, abort=True, err=True)
        task.finish(wanted, missing_of(selection, wanted), 0, known, as_json)


@dead_letters.command(epilog=EPILOG)
def receipts(
    reason: Reasons = None,
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
    """Send publishers the receipts of what the broker dead-lettered.

    The function sends a receipt before it dead-letters a message. What the broker dead-letters, such as
    what expires or is delivered too often, has none. Without --reason, these are sent. The dead letters
    stay where they are. You can run this again: within the duplicate detection window, the queue of
    the receipts drops what it has had, and afterwards a receipt comes again under the same id.
    """
    from revoker.connection import Options, QueueAddress
    from revoker.dead_letters import Selection
    from revoker.receipts import missing, send

    with reporting(as_json):
        selection = Selection(
            reasons=frozenset(reason or ()), session=session, since=read_when(since, "--since")
        )
        settings = Options(namespace, queue, outcome_queue).applied()
        address = QueueAddress.read(settings)
        outcomes = address.outcomes(settings)
        if outcomes is None:
            raise Failure(
                "OUTCOME_QUEUE is not set.", "Set it, or use --outcome-queue.", Exit.USAGE
            )
        found = run(
            missing(address, selection.takes, of_any_reason=reason is not None), WORK_SECONDS
        )
        if dry_run or not found:
            output.would_be("sent", [seen for seen, _ in found], as_json)
            return
        with output.progress("sending", len(found), shown=not as_json) as progress:
            refused = run(send(outcomes, [receipt for _, receipt in found], progress), WORK_SECONDS)
        output.sent(len(found) - len(refused), refused, as_json)
        if refused:
            raise typer.Exit(Exit.WRONG)


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


def read_selection(
    numbers: list[int] | None,
    reasons: list[str] | None,
    session: str | None,
    since: str | None,
    everything: bool,
) -> "Selection":
    """Read which dead letters are wanted.

    Raises:
        Failure: neither all nor some are asked for, or both.
    """
    from revoker.dead_letters import Selection

    selection = Selection(
        reasons=frozenset(reasons or ()),
        numbers=frozenset(numbers or ()),
        session=session,
        since=read_when(since, "--since"),
    )
    if everything == (selection != Selection()):
        raise Failure(
            "It is not clear which dead letters you want.",
            "Use either --all, or any of numbers, --reason, --session and --since.",
            Exit.USAGE,
        )
    return selection


def missing_of(selection: "Selection", found: "Sequence[Seen]") -> dict[int, str]:
    """Return the numbers that were asked for and that no dead letter has, with that reason."""
    there = {seen.sequence_number for seen in found}
    return dict.fromkeys(sorted(selection.numbers - there), "there is no such dead letter")

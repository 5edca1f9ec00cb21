"""What the verbs print: texts, tables and progress bars for people, JSON for programs.

The tables and bars come from rich, which is imported only where one is drawn, because loading it takes
a good part of the time for publishing one message.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from revoker.failure import Failure

if TYPE_CHECKING:
    from uuid import UUID

    from revoker.carriers import Carrier
    from revoker.connection import QueueAddress
    from revoker.dead_letters import Outcome
    from revoker.doctor.runner import Result
    from revoker.face import Finding
    from revoker.messages import Seen
    from revoker.publish import Candidate
    from revoker.status import Status

KEPT_SHOWN = 10
SESSIONS_SHOWN = 3
CARRIED_SHOWN = 20


def failure(failed: Failure, as_json: bool) -> None:
    """Print the cause and the remedy to standard error."""
    if as_json:
        _json({"error": failed.cause, "remedy": failed.remedy})
    typer.echo(_styled(failed.cause, fg="red"), err=True)
    typer.echo(failed.remedy, err=True)


def interrupted() -> None:
    """Print that the person at the terminal interrupted the command."""
    typer.echo("Interrupted. It is safe to run this again.", err=True)


@contextmanager
def progress(what: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Draw a progress bar on standard error if that is a terminal.

    Args:
        what: the activity, such as `publishing`.
        total: the number of items.
        shown: False to never draw a bar.
    """
    if not shown or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


# ---- publish, status, session, doctor ----


def published(
    count: int,
    address: "QueueAddress",
    others: "Mapping[str, Sequence[Carrier]] | None",
    skipped: "Sequence[Candidate]",
    as_json: bool,
) -> None:
    """Print that all messages were published, and what else carries their sessions.

    Args:
        count: how many.
        address: of the queue.
        others: the other messages of the sessions; None where they are not known.
        skipped: invalid session ids.
        as_json: print JSON.
    """
    if as_json:
        carried = None
        if others is not None:
            carried = {session: [each.what for each in some] for session, some in others.items()}
        facts = {"published": count, "queue": address.queue, "also_carried_by": carried}
        _json(facts | {"skipped": [{"line": each.line, "text": each.text} for each in skipped]})
        return
    for each in skipped:
        typer.echo(f"Skipped: not a valid session id: {each.what}", err=True)
    messages = "1 message was" if count == 1 else f"{count} messages were"
    typer.echo(f"{messages} published to {address.queue} in {address.where}.")
    if not others:
        return
    for session, some in list(others.items())[:CARRIED_SHOWN]:
        typer.echo(f"  {session} is also named by {'; '.join(each.what for each in some)}.")
    if len(others) > CARRIED_SHOWN:
        typer.echo(f"  and {len(others) - CARRIED_SHOWN} more")
    typer.echo(
        "That changes nothing for this publication: whichever message comes first deletes the "
        "session, and the others find it gone. Dead letters stay until you resubmit or discard them."
    )


def run_to_resume(run: "UUID") -> None:
    """Print how to go on if this run is interrupted."""
    typer.echo(f"If this is interrupted, run it again with --resume {run}", err=True)


def published_in_part(count: int, total: int, run: "UUID") -> None:
    """Print how many messages were published before it failed, and how to go on."""
    typer.echo(
        f"{count} of {total} messages confirmed. For the rest, run this again with --resume {run}",
        err=True,
    )


def status(found: "Status", address: "QueueAddress", limit: int, as_json: bool) -> None:
    """Print what is in the two queues."""
    if as_json:
        _json({"queue": address.queue, **asdict(found)})
        return
    from rich.console import Console
    from rich.table import Table

    from revoker.remedies import for_error, for_reason, plain

    table = Table(title=f"{address.queue} in {address.where}", title_justify="left")
    table.add_column("messages")
    table.add_column("count", justify="right")
    table.add_column("oldest", justify="right")
    table.add_row("active", str(found.active), _age(found.oldest_seconds))
    table.add_row("scheduled (retries)", str(found.scheduled))
    table.add_row("deferred", str(found.deferred))
    table.add_row("dead-lettered", str(found.dead_lettered), _age(found.oldest_dead_letter_seconds))
    Console(highlight=False, soft_wrap=True).print(table)
    _counts("Waiting because of", found.waiting_because)
    _counts("Dead-letter reasons", found.dead_letter_reasons)
    for error in found.waiting_because:
        if remedy := for_error(error):
            typer.echo(f"{error}: {remedy}")
    for reason in found.dead_letter_reasons:
        typer.echo(f"{reason}: {plain(for_reason(reason).remedy)}.")
    if not found.complete:
        typer.echo(f"Only the first {limit} messages were examined (--limit).")


def session(session_id: str, finding: "Finding", as_json: bool) -> None:
    """Print whether a session exists."""
    if as_json:
        _json(
            {
                "session_id": session_id,
                "existence": finding.existence.value,
                "session_type": finding.session_type,
                "at": finding.at,
            }
        )
    elif finding.session_type:
        typer.echo(f"{session_id} exists ({finding.session_type}).")
    else:
        typer.echo(f"{session_id} is gone: it was deleted, has expired or never existed.")


def diagnosis(results: Sequence["Result"], as_json: bool) -> None:
    """Print the results of the doctor's checks, and a conclusion."""
    count = Counter(result.state.value for result in results)
    if as_json:
        _json({"healthy": not count["failed"], "checks": [asdict(each) for each in results]})
        return
    colours = {"ok": "green", "failed": "red", "skipped": "bright_black"}
    for each in results:
        state = _styled(f"{each.state.value:>7}", fg=colours[each.state.value])
        typer.echo(f"{state}  {each.name}: {each.detail}")
        if each.remedy:
            typer.echo(f"         → {each.remedy}")
    typer.echo(conclusion(count))


def conclusion(count: "Mapping[str, int]") -> str:
    """Sum up the doctor's checks in one sentence.

    Args:
        count: number of checks by their state.
    """
    total, failed = sum(count.values()), count.get("failed", 0)
    skipped = count.get("skipped", 0)
    if failed:
        text = f"{failed} of {total} checks failed"
    elif skipped:
        text = f"{total - skipped} of {total} checks passed"
    else:
        text = f"All {total} checks passed"
    if skipped:
        text += f", {skipped} {'was' if skipped == 1 else 'were'} skipped"
    return f"{text}."


def desk(address: str, as_json: bool) -> None:
    """Print the address that opens the desk."""
    if as_json:
        _json({"address": address})
    else:
        typer.echo(f"The desk: {address}")
        typer.echo("The address opens it once, in one browser. Ctrl-C stops it.", err=True)
    sys.stdout.flush()  # a process that started the desk waits for the address


# ---- dead letters ----


def dead_letters(found: Sequence["Seen"], limit: int, as_json: bool) -> None:
    """Print a list of dead letters."""
    if as_json:
        _json({"dead_letters": [asdict(seen) for seen in found]})
        return
    for seen in found:
        published_at = f"{seen.first_enqueued_at:%Y-%m-%d %H:%M:%S}Z"
        session_id = seen.session_id or "(unreadable)"
        typer.echo(f"{seen.sequence_number:>8}  {session_id}  {published_at}  {seen.reason}")
        typer.echo(f"          {seen.description}")
    if not found:
        typer.echo("There are no such dead letters.")
    if len(found) == limit:
        typer.echo(f"There may be more than these {limit} (--limit).")


def dead_letter(seen: "Seen", as_json: bool) -> None:
    """Print one dead letter without its body."""
    if as_json:
        _json(asdict(seen))
        return
    for name, value in asdict(seen).items():
        if name != "properties":
            typer.echo(f"{name:>18}  {'' if value is None else value}")
    for name, value in seen.properties.items():
        typer.echo(f"{'property':>18}  {name} = {value}")


def dead_letter_with_body(seen: "Seen", body: bytes | None, as_json: bool) -> None:
    """Print one dead letter with its body, in which bytes that are not UTF-8 are escaped."""
    text = None if body is None else body.decode("utf-8", "backslashreplace")
    if as_json:
        _json(asdict(seen) | {"body": text})
        return
    dead_letter(seen, as_json)
    typer.echo(f"{'body':>18}  {'(neither bytes nor text)' if text is None else text}")


def would_be(done: str, wanted: Sequence["Seen"], as_json: bool) -> None:
    """Print what a verb would do with the selected dead letters."""
    if as_json:
        sessions = [seen.session_id for seen in wanted]
        _json({f"would_be_{done}": len(wanted), "sessions": sessions})
        return
    summary(wanted)
    typer.echo(f"{len(wanted)} would be {done}." if wanted else "There are no such dead letters.")


def summary(wanted: Sequence["Seen"], *, err: bool = False) -> None:
    """Print a line for each reason, with the first few sessions."""
    for reason, count in Counter(seen.reason for seen in wanted).most_common():
        of_reason = [seen for seen in wanted if seen.reason == reason]
        some = [each.session_id or f"number {each.sequence_number}" for each in of_reason]
        more = " …" if count > SESSIONS_SHOWN else ""
        typer.echo(f"  {count:>7}  {reason}: {', '.join(some[:SESSIONS_SHOWN])}{more}", err=err)


def carried(wanted: Sequence["Seen"], others: "Mapping[str, Sequence[Carrier]]") -> None:
    """Print for each dead letter what else carries its session; to standard error."""
    for seen in wanted[:CARRIED_SHOWN]:
        number = f"  number {seen.sequence_number}"
        if seen.session_id is None:
            typer.echo(f"{number}: its session cannot be read", err=True)
        elif some := others.get(seen.session_id):
            names = "; ".join(each.what for each in some)
            typer.echo(f"{number}: {seen.session_id} is also named by {names}", err=True)
        else:
            typer.echo(f"{number}: nothing else names {seen.session_id}", err=True)
    if len(wanted) > CARRIED_SHOWN:
        typer.echo(f"  and {len(wanted) - CARRIED_SHOWN} more", err=True)
    alone = sum(seen.session_id not in others for seen in wanted)
    if alone:
        typer.echo(
            _styled(
                f"Warning: no other known message carries the session of {alone} of "
                f"the {len(wanted)} dead letters. If it exists, it stays alive until it expires.",
                fg="yellow",
            ),
            err=True,
        )


def settled(done: str, outcome: "Outcome", as_json: bool, **more: str) -> None:
    """Print the outcome of the selected dead letters.

    Args:
        done: the action, such as `resubmitted`.
        outcome: the settled and the kept ones.
        as_json: print JSON.
        more: further names and values to print.
    """
    if as_json:
        kept = {str(number): why for number, why in outcome.kept.items()}
        _json({done: len(outcome.settled), "selected": outcome.selected, "kept": kept, **more})
        return
    typer.echo(f"{len(outcome.settled)} of {outcome.selected} {done}.")
    for name, value in more.items():
        typer.echo(f"{name}: {value}")
    for number, why in list(outcome.kept.items())[:KEPT_SHOWN]:
        typer.echo(f"  number {number} was left: {why}")
    if len(outcome.kept) > KEPT_SHOWN:
        typer.echo(f"  and {len(outcome.kept) - KEPT_SHOWN} more")


def sent(count: int, as_json: bool) -> None:
    """Print how many receipts the broker has confirmed."""
    if as_json:
        _json({"sent": count})
    else:
        typer.echo(f"{count} {'receipt was' if count == 1 else 'receipts were'} sent.")


# ---- beneath all of them ----


def _json(value: Mapping[str, Any]) -> None:
    json.dump(value, sys.stdout, default=_readable)
    sys.stdout.write("\n")


def _readable(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _age(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))


def _counts(title: str, counts: Mapping[str, int]) -> None:
    if counts:
        typer.echo(_styled(title, bold=True))
        for name, count in sorted(counts.items(), key=lambda item: -item[1]):
            typer.echo(f"  {count:>7}  {name}")


def _styled(text: str, *, fg: str | None = None, bold: bool | None = None) -> str:
    """Add colour, which typer strips where the output is not a terminal."""
    return text if os.environ.get("NO_COLOR") else typer.style(text, fg=fg, bold=bold)

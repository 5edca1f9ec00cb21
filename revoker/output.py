"""What the verbs print: texts, tables and progress bars for people, JSON for programs.

The tables and bars come from rich, which is imported only where one is drawn, because loading it takes
a good part of the time for publishing one message.
"""

import os
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from revoker.failure import Exit, Failure
from revoker.text import as_json as as_json_text
from revoker.text import visible

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from revoker.caller import Caller
    from revoker.carriers import Carrier, Publication
    from revoker.connection import QueueAddress
    from revoker.doctor.runner import Result
    from revoker.face import Finding
    from revoker.ids import Candidate, Ids
    from revoker.messages import Seen
    from revoker.status import Status
    from revoker.trial.report import Answer, Report

KEPT_SHOWN = 10
SESSIONS_SHOWN = 3
CARRIED_SHOWN = 20
SESSION_LIFE = timedelta(hours=48)
"""The Face API deletes a session this long after its creation."""


def failure(failed: Failure, as_json: bool, *, doctor: bool = False) -> None:
    """Print the cause and the remedy to standard error, and that the doctor knows more, or is it."""
    if as_json:
        _json({"error": failed.cause, "remedy": failed.remedy, **failed.facts})
    _line(failed.cause, err=True, fg="red")
    _line(failed.remedy, err=True)
    if failed.code is Exit.UNREACHABLE and not doctor:
        _line("'revoker doctor' finds out more.", err=True)


def interrupted(as_json: bool) -> None:
    """Print that the person at the terminal interrupted the command."""
    if as_json:
        _json({"error": "Interrupted.", "remedy": "It is safe to run this again."})
    _line("Interrupted. It is safe to run this again.", err=True)


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
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


# ---- publish, status, session, doctor ----


def published(
    count: int,
    run: "UUID",
    address: "QueueAddress",
    others: "Mapping[str, Sequence[Carrier]] | None",
    skipped: "Sequence[Candidate]",
    as_json: bool,
    outcomes: Mapping[str, Any] | None = None,
) -> None:
    """Print that all messages were published, and what else carries their sessions.

    Args:
        count: how many.
        run: the id of the run.
        address: of the queue.
        others: the other messages of the sessions; None where they are not known.
        skipped: invalid session ids.
        as_json: print JSON.
        outcomes: their outcomes; None if that was not waited for. For JSON only.
    """
    if as_json:
        carried = None
        if others is not None:
            carried = {session: [each.what for each in some] for session, some in others.items()}
        facts = {"published": count, "of": count, "run": str(run), "queue": address.queue}
        facts |= {"also_carried_by": carried} | ({"outcomes": outcomes} if outcomes else {})
        _json(facts | {"skipped": [{"line": each.line, "text": each.text} for each in skipped]})
        return
    for each in skipped:
        _line(f"Skipped: not valid as a session id: {each.what}", err=True)
    messages = "1 message was" if count == 1 else f"{count} messages were"
    _line(f"{messages} published to {address.queue} in {address.where}.")
    if not others:
        return
    for session, some in list(others.items())[:CARRIED_SHOWN]:
        _line(f"  {session} is also named by {'; '.join(each.what for each in some)}.")
    if len(others) > CARRIED_SHOWN:
        _line(f"  and {len(others) - CARRIED_SHOWN} more")
    _line(
        "That changes nothing for this publication: whichever message comes first deletes the "
        "session, and the others find it gone. Dead letters stay until you resubmit or discard them."
    )


def columns(read: "Ids") -> None:
    """Print which columns of a file are read, and which are not; to standard error."""
    if read.column:
        _line(f"Column {read.column}, first session id {read.first}", err=True)
    if read.ignored:
        _line(f"These columns of the file are ignored: {', '.join(read.ignored)}", err=True)


def unreadable(some: Sequence[str]) -> None:
    """Print what cannot be read in the record or in receipts; to standard error."""
    if some:
        more = f"; and {len(some) - CARRIED_SHOWN} more" if len(some) > CARRIED_SHOWN else ""
        shown = "; ".join(some[:CARRIED_SHOWN])
        _line(f"{len(some)} could not be read, and left out: {shown}{more}", err=True)


def run_to_resume(run: "UUID") -> None:
    """Print how to go on if this run is interrupted."""
    _line(f"If this is interrupted, run it again with --resume {run}", err=True)


def status(found: "Status", address: "QueueAddress", as_json: bool) -> None:
    """Print what is in the two queues."""
    if as_json:
        _json({"queue": address.queue, **asdict(found)})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=visible(f"{address.queue} in {address.where}"), title_justify="left")
    table.add_column("messages")
    table.add_column("count", justify="right")
    table.add_column("oldest", justify="right")
    oldest = found.oldest_by_state
    table.add_row("active", str(found.active), _age(oldest.get("active")))
    table.add_row("scheduled (retries)", str(found.retries_scheduled), _age(oldest.get("retry")))
    if by_publishers := found.scheduled - found.retries_scheduled:
        table.add_row("scheduled by publishers", str(by_publishers), _age(oldest.get("scheduled")))
    table.add_row("deferred", str(found.deferred), _age(oldest.get("deferred")))
    table.add_row("dead-lettered", str(found.dead_lettered), _age(found.oldest_dead_letter_seconds))
    Console(highlight=False, soft_wrap=True).print(table)
    if not (found.active or found.scheduled or found.deferred or found.dead_lettered):
        _line("Nothing waits. There are no dead letters.")
    if found.publications < found.dead_lettered:
        of = "one publication" if found.publications == 1 else f"{found.publications} publications"
        _line(f"These dead letters are {of}: an original and its copies are one.")
    if found.stalled:
        _line(f"Nothing has ended for {found.watched_seconds:.0f} s.", fg="red")
    elif found.ended:
        _line(f"{found.ended} ended in {found.watched_seconds:.0f} s.")
    _counts("Waiting because of", found.waiting_because)
    _counts("Dead-letter reasons", found.dead_letter_reasons)
    _counts("Their publishers", found.publishers)
    for each in found.advice:
        _line(each)
    for each in found.unread:
        _line(each)


def session(session_id: str, kind: str | None, finding: "Finding", as_json: bool) -> None:
    """Print whether a session exists; if a type was named, only under this one."""
    if as_json:
        _json(
            {
                "session_id": session_id,
                "existence": finding.existence.value,
                "session_type": finding.session_type,
                "asked": kind,
                "at": finding.at,
            }
        )
    elif finding.session_type:
        _line(f"{session_id} exists ({finding.session_type}).")
    elif kind:
        _line(f"{session_id} was not found as {kind}. Without --type, both types are asked.")
    else:
        _line(f"{session_id} is gone: it was deleted, has expired or never existed.")


def examined_as(caller: "Caller") -> None:
    """Print whose rights the doctor checks."""
    if caller is caller.LOGIN:
        _line("Checked from this machine with your login, whose rights are not the function's.")
    else:
        _line(f"Checked as: {caller}.")


def checked(result: "Result") -> None:
    """Print the result of one of the doctor's checks."""
    colour = {"ok": "green", "failed": "red", "skipped": "bright_black"}[result.state.value]
    _line(f"{result.state.value:>7}  {result.name}: {result.detail}", fg=colour, indent=9)
    if result.remedy:
        _line(f"         → {result.remedy}", indent=11)


def diagnosis(results: Sequence["Result"], as_json: bool) -> None:
    """Print a conclusion from the doctor's checks; as JSON, their results, too."""
    count = Counter(result.state.value for result in results)
    if as_json:
        _json({"healthy": not count["failed"], "checks": [asdict(each) for each in results]})
        return
    _line(conclusion(count))


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
        _line(f"The desk: {address}")
        _line("The address opens it once, in one browser. Ctrl-C stops it.", err=True)
        _line("If your browser must use another address, restart with --address.", err=True)
    sys.stdout.flush()  # a program that started the desk waits for the address


# ---- dead letters ----


def dead_letters(found: Sequence["Publication"], complete: bool, as_json: bool) -> None:
    """Print a list of dead letters by publication; `complete` is False if there are more."""
    letters = [seen for each in found for seen in each.letters]
    if as_json:
        numbers = [[seen.sequence_number for seen in each.letters] for each in found]
        facts = {"dead_letters": [asdict(seen) for seen in letters], "publications": numbers}
        _json({**facts, "complete": complete})
        return
    for each in found:
        for seen in each.letters:
            what = (
                f"{seen.session_id or '(unreadable)'}  {seen.first_enqueued_at:%Y-%m-%d %H:%M:%S}Z"
            )
            if seen is not each.letters[0]:
                what = "the same publication"
            _line(f"{seen.sequence_number:>8}  {what}  {seen.publisher}  {seen.reason}")
            _line(f"          {seen.description}")
    if not found:
        _line("There are no such dead letters.")
    if not complete:
        _line(f"There are more than these {len(letters)}; --limit shows them.", err=True)


def dead_letter(seen: "Seen", as_json: bool) -> None:
    """Print one dead letter without its body."""
    if as_json:
        _json(asdict(seen))
        return
    for name, value in asdict(seen).items():
        if name != "properties":
            _line(f"{name:>18}  {'' if value is None else value}")
    for name, value in seen.properties.items():
        _line(f"{'property':>18}  {name} = {value}")


def dead_letter_with_body(seen: "Seen", body: bytes | None, as_json: bool) -> None:
    """Print one dead letter with its body, in which bytes that are not UTF-8 are escaped."""
    text = None if body is None else body.decode("utf-8", "backslashreplace")
    if as_json:
        _json(asdict(seen) | {"body": text})
        return
    dead_letter(seen, as_json)
    for line in ("(neither bytes nor text)" if text is None else text).split("\n"):
        _line(f"{'body':>18}  {line}")


def would_be(done: str, wanted: Sequence["Seen"], as_json: bool) -> None:
    """Print what a verb would do with the selected dead letters."""
    if as_json:
        sessions = [seen.session_id for seen in wanted]
        _json({f"would_be_{done}": len(wanted), "sessions": sessions})
        return
    summary(wanted)
    _line(f"{len(wanted)} would be {done}." if wanted else "There are no such dead letters.")


def summary(wanted: Sequence["Seen"], *, err: bool = False) -> None:
    """Print a line for each reason, with the first few sessions."""
    for reason, count in Counter(seen.reason for seen in wanted).most_common():
        of_reason = [seen for seen in wanted if seen.reason == reason]
        some = [each.session_id or f"number {each.sequence_number}" for each in of_reason]
        more = " …" if count > SESSIONS_SHOWN else ""
        _line(f"  {count:>7}  {reason}: {', '.join(some[:SESSIONS_SHOWN])}{more}", err=err)


def not_uploaded(why: str | None) -> None:
    """Print that lines of the record were not uploaded; nothing if all is well."""
    if why:
        _line(f"The record was not uploaded: {why} 'revoker upload-record' repeats it.", err=True)


def uploaded(count: int, not_read: Sequence[str], as_json: bool) -> None:
    """Print how many lines of the record were uploaded, and which could not be read."""
    if as_json:
        _json({"uploaded": count, "unreadable": not_read})
    else:
        _line(f"{count} lines of the record were uploaded.")
        unreadable(not_read)


def skipped(reason: str, count: int) -> None:
    """Print that --all leaves the dead letters of one reason out; to standard error."""
    if count:
        _line(
            f"{count} with the reason {reason} left out: --reason {reason} resubmits them.",
            err=True,
        )


def canaries(firsts: Sequence["Seen"], failed: Mapping[str, str]) -> None:
    """Print the outcome of one resubmitted dead letter of each reason; to standard error."""
    for seen in firsts:
        outcome = failed.get(seen.reason, "its copy was processed")
        _line(f"  {seen.reason}: number {seen.sequence_number}: {outcome}", err=True)


def carried(publications: Sequence["Publication"]) -> None:
    """Print for each publication what else carries its session; to standard error.

    Those whose sessions may be alive come first: nothing else carries them, and they are young.
    """
    expired = datetime.now(UTC) - SESSION_LIFE

    def order(each: "Publication") -> int:
        if not each.alone:
            return 2
        return 0 if max(seen.first_enqueued_at for seen in each.letters) > expired else 1

    for each in sorted(publications, key=order)[:CARRIED_SHOWN]:
        session_id = each.letters[0].session_id
        if each.copies:
            _line(_copies_of(each), err=True)
        if session_id is None:
            _line(f"{_numbers(each)}: its session cannot be read", err=True)
        elif each.others:
            names = "; ".join(other.what for other in each.others[:CARRIED_SHOWN])
            _line(f"{_numbers(each)}: {session_id} is also named by {names}", err=True)
        elif each.alone:
            state = ("may be alive", "has expired")[order(each)]
            _line(f"{_numbers(each)}: nothing else names {session_id}, which {state}", err=True)
    _more(len(publications) - CARRIED_SHOWN)
    orders = Counter(map(order, publications))
    if alone := orders[0] + orders[1]:
        of = sum(len(each.letters) for each in publications)
        what = "dead letters" if of == len(publications) else "publications"
        _line(
            f"Warning: no other known message carries the session of {alone} of "
            f"the {len(publications)} {what}. {orders[0]} of these may be alive, until 48 hours after "
            "the session was created.",
            fg="yellow",
            err=True,
        )


def copies(publications: Sequence["Publication"]) -> None:
    """Print which dead letters are one publication, and what else of it stays; to standard error."""
    some = [each for each in publications if each.copies or len(each.letters) > 1]
    for each in some[:CARRIED_SHOWN]:
        _line(_copies_of(each), err=True)
    _more(len(some) - CARRIED_SHOWN)


def _copies_of(each: "Publication") -> str:
    if not each.copies:
        return f"{_numbers(each)} are one publication"
    stays = "which stays" if len(each.copies) == 1 else "which stay"
    names = "; ".join(copy.what for copy in each.copies[:CARRIED_SHOWN])
    return f"{_numbers(each)}: of the same publication: {names}, {stays}"


def _numbers(each: "Publication") -> str:
    numbers = [str(seen.sequence_number) for seen in each.letters]
    more = " …" if len(numbers) > CARRIED_SHOWN else ""
    some = f"{', '.join(numbers[:CARRIED_SHOWN])}{more}"
    return f"  {'number' if len(numbers) == 1 else 'numbers'} {some}"


def _more(count: int) -> None:
    if count > 0:
        _line(f"  and {count} more", err=True)


def settled(
    done: str,
    count: int,
    kept: Mapping[int, str],
    known: Sequence["Publication"],
    as_json: bool,
    *,
    record: str | None,
) -> None:
    """Print how many of the dead letters that were wanted are settled, and why others are not.

    Args:
        done: what was done to them, such as `resubmitted`.
        count: how many.
        kept: why others were left, by their numbers.
        known: their publications.
        as_json: print JSON.
        record: the file with the record; None if nothing was written.
    """
    total = count + len(kept)
    if as_json:
        same = {
            seen.sequence_number: [copy.what for copy in each.copies]
            for each in known
            for seen in each.letters
            if each.copies
        }
        facts = {done: count, "selected": total, "kept": kept, "same_publication": same}
        _json(facts | ({"record": record} if record else {}))
        return
    _line(f"{count} of {total} {done}." if total else "There are no such dead letters.")
    if record:
        _line(f"record: {record}")
    for number, why in list(kept.items())[:KEPT_SHOWN]:
        _line(f"  number {number} was left: {why}")
    if len(kept) > KEPT_SHOWN:
        _line(f"  and {len(kept) - KEPT_SHOWN} more; --json shows all")


def sent(count: int, refused: Sequence[str], as_json: bool) -> None:
    """Print how many receipts the broker has confirmed, and which it will never accept."""
    if as_json:
        _json({"sent": count, "refused": refused})
        return
    _line(f"{count} {'receipt was' if count == 1 else 'receipts were'} sent.")
    for each in refused:
        _line(f"  cannot be sent: {each}")


# ---- trial ----


def trial_plan(text: str) -> None:
    """Print what a trial will do; to standard error."""
    for line in text.splitlines():
        _line(line, err=True)


def trial_answer(answer: "Answer") -> None:
    """Print one answer of a trial; to standard error."""
    result, colours = answer.result, {"passed": "green", "failed": "red"}
    said = f"{answer.state:>9}  {result.name} ({answer.seconds} s): {result.detail}"
    _line(said, err=True, fg=colours.get(answer.state), indent=11)
    if result.remedy:
        _line(f"         → {result.remedy}", err=True, indent=11)


def trial(report: "Report", file: "Path", as_json: bool) -> None:
    """Print the conclusion of a trial, and what it could not remove; to standard error."""
    if as_json:
        _json(asdict(report))
    for each in report.left:
        _line(f"Left behind: {each}", err=True, indent=2)
    _line(f"{report.conclusion}. The report: {file}", err=True, indent=2)


# ---- beneath all of them ----


def _line(
    text: str,
    *,
    err: bool = False,
    fg: str | None = None,
    bold: bool | None = None,
    indent: int = 0,
) -> None:
    """Print one line. Nothing else prints for people, so that no foreign text goes out as it is.

    A terminal gets it wrapped between words, with this indent from the second line on.
    """
    shown = visible(text)
    if (sys.stderr if err else sys.stdout).isatty():
        shown = textwrap.fill(
            shown,
            shutil.get_terminal_size().columns,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    if not os.environ.get("NO_COLOR"):  # typer strips colour where the output is no terminal
        shown = typer.style(shown, fg=fg, bold=bold)
    typer.echo(shown, err=err)


def _json(value: Mapping[str, Any]) -> None:
    sys.stdout.write(as_json_text(value) + "\n")


def _age(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))


def _counts(title: str, counts: Mapping[str, int]) -> None:
    if counts:
        _line(title, bold=True)
        for name, count in sorted(counts.items(), key=lambda item: -item[1]):
            _line(f"  {count:>7}  {name}")

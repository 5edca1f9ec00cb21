"""The verb for auditors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID, uuid4

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
from revoker.cli.running import WORK_SECONDS, recording, reporting, run
from revoker.failure import Exit, Failure

if TYPE_CHECKING:
    from revoker.connection import QueueAddress


def audit(
    session_ids: Annotated[list[str] | None, typer.Argument(metavar="[SESSION_ID]...")] = None,
    file: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(help="A file of session ids, as 'publish' reads it; '-' is standard input."),
    ] = None,
    of_record: Annotated[
        bool, typer.Option("--of-record", help="The sessions that the record names.")
    ] = False,
    of_receipts: Annotated[
        bool,
        typer.Option(
            "--of-receipts", help="The sessions of the receipts in OUTCOME_QUEUE, by peeking."
        ),
    ] = False,
    evidence: Annotated[
        Path | None,
        typer.Option(
            help="The file to write. If it has an interrupted audit, that is gone on with.",
            metavar="FILE",
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0.01, max=100, help="Calls per second, of the quota of all.")
    ] = 2.0,
    publish: Annotated[
        bool, typer.Option("--publish", help="Publish the sessions that exist, to be deleted.")
    ] = False,
    verify: Annotated[
        Path | None,
        typer.Option(
            help="Only check this file: whether a line was changed, removed or moved, or its end is "
            "missing.",
            metavar="FILE",
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
    """Ask the Face API whether sessions exist, under both types, and keep its answers as evidence.

    The exit code is 1 if any exists, and 2 if the evidence was changed or, with --verify, is not
    complete. Your login needs the right to read sessions, which the function does not have;
    --of-receipts needs Listen, --publish needs Send. Versions up to v1.2-preview.1 can list
    sessions, 1,000 in a call. Otherwise, a session that is not found takes two calls: 10,000 take about
    three hours at the default rate. You can interrupt this and run it again with the same --evidence: a
    session that has its line is not asked about again. Lines of the record that cannot be read, and
    what is no session id there or in receipts, are named and left out.

    Evidence has a line for each session: when and by whom the Face API was asked, where, how (by its id
    or by a list) and what it answered. Each line has the SHA-256 of the line before it. The last
    SHA-256, the seal, is printed and recorded: keep it elsewhere, because a file that was rewritten
    from some line to its end has another one.
    """
    with reporting(as_json):
        if verify is not None:
            _verify(verify, as_json)
            return
        if evidence is None:
            raise Failure("No file for the evidence.", "Use --evidence FILE.", Exit.USAGE)
        from revoker import output_audit
        from revoker.actor import actor_of
        from revoker.audit import new_auditor
        from revoker.connection import Options, QueueAddress, face_scope, setting
        from revoker.evidence import appending
        from revoker.ids import read_ids
        from revoker.record import DEFAULT, sessions_of

        settings = Options(namespace, queue, outcome_queue, face_endpoint, api_version).applied()
        path = record or DEFAULT
        known, unreadable = sessions_of(path) if of_record else ([], [])
        if of_receipts:
            known += run(_of_receipts(QueueAddress.read(settings).outcomes(settings)), WORK_SECONDS)
        read = read_ids(session_ids or [], file, known=known)
        unreadable += [f"as a session id: {each.what}" for each in read.invalid]
        output.columns(read)
        output.unreadable(unreadable)
        ids = list(read.valid)
        address = QueueAddress.read(settings) if publish else None
        with appending(evidence) as (kept, add):
            operation = next((each["operation"] for each in kept.lines), str(uuid4()))
            auditor = new_auditor(
                setting("face_endpoint", settings),
                setting("face_api_version", settings),
                face_scope(settings),
                settings.get("AZURE_CLIENT_ID", "").strip() or None,
                rate,
                operation,
            )
            who = actor_of(run(auditor.token(), WORK_SECONDS))
            with recording(path, who, operation) as file_of_record:
                with output.progress("asking", len(ids), shown=not as_json) as bar:
                    # Each session takes up to two calls at this rate; twice that leaves time for 429s.
                    seconds = WORK_SECONDS + 4 * len(ids) / rate
                    run(auditor.ask(ids, kept, add, bar), seconds)
                living = kept.alive
                if address is not None and living:
                    from revoker.publish import publish as publish_all

                    work = publish_all(
                        address, living, None, UUID(operation), file_of_record, lambda _: None
                    )
                    run(work, seconds + WORK_SECONDS)
                add(kept.summary)
                facts = {"asked": len(kept.sessions), "alive": len(living), "seal": kept.seal}
                file_of_record.write_all("audited", [{"evidence": str(evidence), **facts}])
        output_audit.audited(kept, evidence, len(living) if publish else None, unreadable, as_json)
        if living:
            raise typer.Exit(Exit.WRONG)


def _verify(path: Path, as_json: bool) -> None:
    from revoker import output_audit
    from revoker.evidence import verify

    evidence = verify(path)
    output_audit.verified(evidence, path, as_json)
    if evidence.alive:
        raise typer.Exit(Exit.WRONG)


async def _of_receipts(outcomes: "QueueAddress | None") -> list[str]:
    from revoker.outcomes import receipts

    if outcomes is None:
        raise Failure("OUTCOME_QUEUE is not set.", "Set it, or use --outcome-queue.", Exit.USAGE)
    return [each.data.session_id async for each in receipts(outcomes) if each.data.session_id]

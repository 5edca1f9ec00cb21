"""The verbs for a session, for the queue and for the chain as a whole."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from revoker import output
from revoker.cli.options import (
    ApiVersion,
    AsJson,
    FaceEndpoint,
    Kind,
    Namespace,
    OutcomeQueue,
    Queue,
    RecordFile,
)
from revoker.cli.running import WORK_SECONDS, counted, recording, reporting, run
from revoker.failure import Exit

if TYPE_CHECKING:
    from revoker.carriers import Carrier


def publish(
    session_ids: Annotated[list[str] | None, typer.Argument(metavar="[SESSION_ID]...")] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--type",
            help="The type of the sessions, where a file names none. Default: the function looks "
            "under both.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="The reason, for people. Never logged.")] = (
        None
    ),
    file: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            help="A file with one id on each line, or a table (CSV) with a heading: the column "
            "sessionId, session_id or id has the ids, sessionType their types. '-' is standard input. "
            "Other columns are ignored. Empty lines and lines that begin with # are skipped."
        ),
    ] = None,
    skip_invalid: Annotated[
        bool,
        typer.Option(
            "--skip-invalid",
            help="Publish the valid ids even if others are not; the exit code then is 1.",
        ),
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Go on with the interrupted run that printed this id; the record must have it.",
            metavar="RUN",
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            help="Wait for the outcomes, up to 50 minutes. The exit code is 1 if a session was not "
            "found, dead-lettered or still waits. Also needs Listen on the queue. Only receipts tell "
            "'deleted' from 'not found': they are read by peeking if OUTCOME_QUEUE is set and you may "
            "Listen on it; otherwise only 'gone' can be confirmed.",
        ),
    ] = False,
    record: RecordFile = None,
    namespace: Namespace = None,
    queue: Queue = None,
    outcome_queue: OutcomeQueue = None,
    as_json: AsJson = False,
) -> None:
    """Ask for sessions to be deleted, with one message for each.

    Publishing a session twice is harmless: the second message finds that the session is gone. Each
    run has new message ids. If it is interrupted, --resume sends all of it again under the same ids:
    within its duplicate detection window, the queue drops what had already arrived.
    """
    from revoker.actor import service_bus_actor
    from revoker.cli.waiting import Waiting
    from revoker.connection import Options, QueueAddress
    from revoker.ids import read_ids
    from revoker.publish import BATCH, check_reason, look_for_others, new_run, read_run
    from revoker.publish import publish as publish_all
    from revoker.record import DEFAULT

    confirmed = 0

    def count(done: int) -> None:
        nonlocal confirmed
        confirmed = done
        bar(done)

    async def publish_and_look() -> "Mapping[str, Sequence[Carrier]] | None":
        others, _ = await asyncio.gather(
            look_for_others(address, sessions, this_run),
            publish_all(address, sessions, reason, this_run, file_of_record, count),
        )
        return others

    with reporting(as_json):
        check_reason(reason)
        read = read_ids(session_ids or [], file, skip_invalid=skip_invalid)
        output.columns(read)
        sessions = {each: of_file or kind for each, of_file in read.valid.items()}
        this_run = new_run() if resume is None else read_run(resume, record or DEFAULT)
        settings = Options(namespace, queue, outcome_queue).applied()
        address = QueueAddress.read(settings)
        waiting = Waiting.read(address, settings, sessions, this_run) if wait else None
        many = len(sessions) > BATCH
        who = run(service_bus_actor(address.connection), WORK_SECONDS)
        with (
            output.progress("publishing", len(sessions), shown=many and not as_json) as bar,
            recording(record, who, str(this_run)) as file_of_record,
            counted("published", lambda: confirmed, len(sessions), f"--resume {this_run}") as facts,
        ):
            facts["run"] = str(this_run)
            if many:
                output.run_to_resume(this_run)
            others = run(publish_and_look(), WORK_SECONDS)
        if waiting is None or not as_json:
            output.published(len(sessions), this_run, address, others, read.invalid, as_json)
        outcomes = waiting.outcomes(as_json) if waiting else None
        if outcomes and as_json:
            output.published(len(sessions), this_run, address, others, read.invalid, True, outcomes)
        if read.invalid or (outcomes and Waiting.something_is_wrong(outcomes)):
            raise typer.Exit(Exit.WRONG)


def status(
    limit: Annotated[
        int,
        typer.Option(min=1, help="Maximum number of messages to examine in each queue."),
    ] = 10_000,
    namespace: Namespace = None,
    queue: Queue = None,
    outcome_queue: OutcomeQueue = None,
    as_json: AsJson = False,
) -> None:
    """Show waiting messages, their age and why they wait, and dead letters and their reasons.

    Changes nothing, and requires only Listen. If messages wait, it watches for up to ten seconds
    whether any ends. If your login may read receipts, it names publishers most of whose sessions were
    not found in the last hour, and slow calls of the Face API. The exit code is 1 if there is anything
    to do, or if no message ends.
    """
    from revoker.connection import Options, QueueAddress
    from revoker.local_cloud import LocalCloud
    from revoker.status import status as look

    with reporting(as_json):
        settings = Options(namespace, queue, outcome_queue).applied()
        address = QueueAddress.read(settings)
        cloud = LocalCloud.read(settings)
        found = run(look(address, limit, address.outcomes(settings), cloud))
        output.status(found, address, as_json)
        if found.is_wrong:
            raise typer.Exit(Exit.WRONG)


def doctor(
    namespace: Namespace = None,
    queue: Queue = None,
    outcome_queue: OutcomeQueue = None,
    face_endpoint: FaceEndpoint = None,
    api_version: ApiVersion = None,
    as_json: AsJson = False,
) -> None:
    """Check the whole chain, and say what is wrong and what to do about it.

    It checks the settings, names, TLS, tokens, the queue and the rights on it, the queue of the
    receipts, the Face API, its version, the right to delete, and the clock. It sends no message and
    deletes no session: it asks the Face API to delete a random session id, and expects
    SessionNotFound. With your login, the doctor checks your rights; with the app's settings and
    identity, it checks the app's.
    """
    from revoker.caller import Caller
    from revoker.connection import Options
    from revoker.doctor.chain import examine
    from revoker.doctor.runner import State

    options = Options(namespace, queue, outcome_queue, face_endpoint, api_version)
    with reporting(as_json, doctor=True):
        environment = options.applied()
        if not as_json:
            output.examined_as(Caller.of(environment=environment))
        results = run(examine(environment, lambda each: None if as_json else output.checked(each)))
        output.diagnosis(results, as_json)
        if any(result.state is State.FAILED for result in results):
            raise typer.Exit(Exit.WRONG)


def session(
    session_id: Annotated[str, typer.Argument(metavar="ID")],
    kind: Annotated[
        Kind | None, typer.Option("--type", help="The session's type. Default: both.")
    ] = None,
    story: Annotated[
        bool,
        typer.Option(
            "--story",
            help="Do not ask; show what its messages, receipts and the record tell. Needs Listen.",
        ),
    ] = False,
    record: RecordFile = None,
    namespace: Namespace = None,
    queue: Queue = None,
    outcome_queue: OutcomeQueue = None,
    face_endpoint: FaceEndpoint = None,
    api_version: ApiVersion = None,
    as_json: AsJson = False,
) -> None:
    """Check whether a session still exists.

    The exit code is 0 if it is gone (deleted, expired or never created) or not of the named type, 1
    if it exists, and 3 if the API's answer leaves it open. Your login needs the right to read
    sessions, which the function does not have.
    """
    from revoker.connection import Options, QueueAddress, face_scope, setting
    from revoker.ids import read_id

    options = Options(namespace, queue, outcome_queue, face_endpoint, api_version)
    with reporting(as_json):
        session_id = read_id(session_id)
        environment = options.applied()
        if story:
            from revoker import output_story
            from revoker.record import DEFAULT
            from revoker.story import story as look

            address = QueueAddress.read(environment)
            outcomes = address.outcomes(environment)
            told = run(look(address, outcomes, record or DEFAULT, session_id))
            output_story.story(session_id, told, as_json)
            return
        from revoker.face import Existence
        from revoker.face import session as ask

        endpoint = setting("face_endpoint", environment)
        version = setting("face_api_version", environment)
        client_id = environment.get("AZURE_CLIENT_ID", "").strip() or None
        scope = face_scope(environment)
        finding = run(ask(endpoint, version, scope, client_id, session_id, kind))
        output.session(session_id, kind, finding, as_json)
        if finding.existence is Existence.EXISTS:
            raise typer.Exit(Exit.WRONG)

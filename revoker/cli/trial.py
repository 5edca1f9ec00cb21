"""The verb `trial`."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revoker import output
from revoker.cli.options import AsJson
from revoker.cli.running import WORK_SECONDS, reporting, run
from revoker.failure import Exit
from revoker.text import as_json as as_json_text

if TYPE_CHECKING:
    from revoker.trial.report import Report

PLAN = """\
This trial plays the whole job at {where}, in at most 20 minutes.
It creates about {total} liveness sessions, and publishes revocations and two wrong messages. At the
end it removes sessions, scheduled messages and dead letters; receipts stay for their readers. The
dead letters may raise an alert. Your login needs
- on the queue: Azure Service Bus Data Sender and Azure Service Bus Data Receiver
- on the Face resource: Cognitive Services Face Recognizer
- for receipts, on OUTCOME_QUEUE: Azure Service Bus Data Receiver
- for audit lines: Log Analytics Reader, the Azure CLI, and LOG_WORKSPACE_ID in the environment
{disturbances}A question that it may not ask is left out.
"""

DISTURBANCES = """\
- for --disturb: Website Contributor on the app, Role Based Access Control Administrator on the Face
  resource, the Azure CLI, and AZURE_FUNCTION_APP_NAME and FACE_ACCOUNT in the environment
It restarts the app, and removes the app's role on the Face resource for some minutes: meanwhile no
session is deleted, and alerts are raised. If it is killed then, 'azd provision' restores the role.
"""


def trial(
    sessions: Annotated[
        int, typer.Option(min=1, max=500, help="Number of sessions to revoke at once.")
    ] = 50,
    burst: Annotated[
        bool,
        typer.Option(
            "--burst",
            help="Also use up the Face resource's rate limit for up to 90 seconds, which disturbs "
            "live traffic.",
        ),
    ] = False,
    disturb: Annotated[
        bool,
        typer.Option(
            "--disturb", help="Also restart the app, and remove its role for some minutes."
        ),
    ] = False,
    verify_image: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A picture of a face, which v1.2 needs for a session of the type livenessWithVerify.",
            metavar="FILE",
        ),
    ] = None,
    report: Annotated[
        Path,
        typer.Option(
            help="The report is written to NAME.md and NAME.json, the record to NAME.jsonl.",
            metavar="NAME",
        ),
    ] = Path("trial-report"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play the whole job once against what the environment names, and write a report.

    It says first what it creates and which rights it needs, and asks. It cleans up after itself, also
    after Ctrl-C, and can be run again. The exit code is 1 if an answer is no.
    """
    from revoker.connection import QueueAddress
    from revoker.doctor.runner import State
    from revoker.trial.questions import questions
    from revoker.trial.report import play
    from revoker.trial.stage import Stage

    async def play_all() -> "Report":
        async with Stage.open(os.environ, verify_image=verify_image) as stage:
            asked = questions(stage, sessions=sessions, burst=burst, disturb=disturb)
            return await play(stage, asked, report.with_suffix(".jsonl"), output.trial_answer)

    with reporting(as_json):
        where = QueueAddress.read(os.environ).where
        more = DISTURBANCES if disturb else ""
        output.trial_plan(PLAN.format(where=where, total=sessions + 10, disturbances=more))
        if not yes:
            typer.confirm("Begin?", abort=True, err=True)
        found = run(play_all(), WORK_SECONDS)
        report.with_suffix(".md").write_text(found.markdown(), encoding="utf-8")
        report.with_suffix(".json").write_text(as_json_text(asdict(found)) + "\n", encoding="utf-8")
        output.trial(found, report.with_suffix(".md"), as_json)
        if found.interrupted:
            raise typer.Exit(Exit.INTERRUPTED)
        if found.states(State.FAILED):
            raise typer.Exit(Exit.WRONG)

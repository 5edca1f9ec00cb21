"""The options that several verbs have."""

from pathlib import Path
from typing import Annotated, Literal

import typer

EPILOG = (
    "Exit codes: 0 all is well · 1 something is wrong, was found or is left to do · 2 the command "
    "line, a file or a setting is wrong · 3 cannot connect, not authorized, or cannot tell · "
    "130 interrupted.\n\n"
    "Time limits: 30 s for each answer of Service Bus, 15 s for each of the Face API, 2 minutes for a "
    "verb that only looks, 1 hour for one that changes something; an audit has as long as its rate "
    "takes. The desk runs until Ctrl-C."
)

Namespace = Annotated[
    str | None,
    typer.Option(help="NAME.servicebus.windows.net, with your 'az login'.", metavar="HOST"),
]
Queue = Annotated[str | None, typer.Option(help="Default: SESSION_REVOKED_QUEUE.", metavar="NAME")]
OutcomeQueue = Annotated[
    str | None,
    typer.Option(help="Queue or topic for receipts. Default: OUTCOME_QUEUE.", metavar="NAME"),
]
FaceEndpoint = Annotated[
    str | None,
    typer.Option(help="https://NAME.cognitiveservices.azure.com", metavar="URL"),
]
ApiVersion = Annotated[
    str | None, typer.Option(help="Version of the Face API, such as v1.2.", metavar="VERSION")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output.")]
RecordFile = Annotated[
    Path | None,
    typer.Option(
        envvar="REVOKER_RECORD",
        help="The file of the record: who did what with which message. "
        "Default: revoker-record.jsonl in this folder.",
        metavar="FILE",
    ),
]
Kind = Literal["livenessWithVerify", "liveness"]

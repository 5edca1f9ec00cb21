"""What `revoker publish --wait` prints."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from revoker.output import _line

if TYPE_CHECKING:
    from revoker.waiting import Outcomes

SHOWN = 10
CAUSES = (
    "the column: another column of the file has the ids of the sessions",
    "the type: a session is deleted only under the sessionType that its message states (--type)",
    "the API version: the app's FACE_API_VERSION is another one than that which creates the sessions",
    "the resource: the sessions were created at another Face resource than the app's FACE_ENDPOINT",
    "nothing is wrong: they had expired, or were deleted before",
)


def facts(outcomes: "Outcomes", sessions: Mapping[str, str], no_receipts: str) -> dict[str, Any]:
    """Return the outcomes for programs.

    Args:
        outcomes: by message id.
        sessions: the session of each message id.
        no_receipts: why receipts cannot be read; empty if they can be.
    """
    deleted = [id_ for id_, data in outcomes.receipts.items() if data.outcome == "deleted"]
    not_found = [sessions[id_] for id_ in outcomes.receipts if id_ not in deleted]
    return {
        "deleted": len(deleted),
        "not_found": not_found,
        "processed": len(outcomes.processed),
        "no_receipts": no_receipts or None,
        "dead_lettered": {sessions[id_]: seen.reason for id_, seen in outcomes.dead.items()},
        "waiting": {
            sessions[id_]: seen.last_error if seen else None
            for id_, seen in outcomes.waiting.items()
        },
    }


def outcomes(found: Mapping[str, Any]) -> None:
    """Print `facts` for people, and the likely causes where sessions were not found."""
    no_receipts = found["no_receipts"]
    not_found, dead, waiting = found["not_found"], found["dead_lettered"], found["waiting"]
    if found["deleted"]:
        _line(f"{_were(found['deleted'])} deleted.")
    if found["processed"]:
        _line(
            f"{_were(found['processed'])} processed: no session with such an id exists under the types "
            "that were asked. Whether one was deleted or none was found is not known: "
            f"{no_receipts or 'their receipts were not in the queue any more.'}"
        )
    if dead:
        _line(f"{_were(len(dead))} dead-lettered; sessions may be alive:")
        _some(f"{session_id}: {reason}" for session_id, reason in dead.items())
    if waiting:
        _line(f"Still waiting: {len(waiting)}; sessions may be alive:")
        _some(f"{session_id}: {error or 'no attempt yet'}" for session_id, error in waiting.items())
    if not_found:
        _line(f"{_were(len(not_found))} not found, and may be alive elsewhere:", fg="yellow")
        _some(not_found)
        _line("Likely causes:")
        for cause in CAUSES:
            _line(f"  {cause}")
        _line("'revoker session ID' asks under both types; 'revoker doctor' checks the version.")


def _were(count: int) -> str:
    return "1 was" if count == 1 else f"{count} were"


def _some(lines: Iterable[str]) -> None:
    shown = list(lines)
    for each in shown[:SHOWN]:
        _line(f"  {each}")
    if len(shown) > SHOWN:
        _line(f"  and {len(shown) - SHOWN} more")

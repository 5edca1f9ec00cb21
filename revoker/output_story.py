"""What `revoker session --story` prints."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from revoker.carriers import together
from revoker.log_query import query
from revoker.output import _json, _line, unreadable

if TYPE_CHECKING:
    from revoker.story import Story


def story(session_id: str, found: "Story", as_json: bool) -> None:
    """Print the steps of one session, what names it now, and where the rest is."""
    now = together(found.carriers)
    if as_json:
        steps = [asdict(step) for step in found.steps]
        facts = {"session_id": session_id, "steps": steps, "carried_by": now}
        more = {"unreadable": found.unreadable, "no_receipts": found.no_receipts or None}
        _json({**facts, **more, "log_query": query(session_id)})
        return
    unreadable(found.unreadable)
    for step in found.steps:
        _line(f"{step.at:%Y-%m-%d %H:%M:%S.%f}Z  {step.what}  ({step.source})")
    for what in now:
        _line(f"now: {what}")
    for dead in (each.seen for each in found.carriers if each.dead and each.seen.description):
        _line(f"why {dead.sequence_number} is a dead letter: {dead.description}")
    if not now:
        _line("now: nothing in the queue or its dead letters")
    if found.no_receipts:
        _line(f"No receipts: {found.no_receipts}")
    _line("Each attempt is in the function's log (Application Insights, Logs):")
    for line in query(session_id).splitlines():
        _line(f"  {line}")

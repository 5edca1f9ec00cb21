"""What `revoker audit` prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from revoker.output import _json, _line

if TYPE_CHECKING:
    from revoker.evidence import Evidence

SHOWN = 20


def audited(
    evidence: "Evidence",
    path: Path,
    published: int | None,
    unreadable: Sequence[str],
    as_json: bool,
) -> None:
    """Print what an audit found.

    Args:
        evidence: the whole of it.
        path: its file.
        published: how many sessions were published; None if that was not asked for.
        unreadable: what the record and the receipts have besides; for JSON only.
        as_json: print JSON.
    """
    living = evidence.alive
    count = len(evidence.sessions)
    if as_json:
        facts = {"asked": count, "alive": living, "published": published}
        facts |= {"unreadable": unreadable, "evidence": str(path)}
        _json({**facts, "seal": evidence.seal})
        return
    for session_id, kind in list(living.items())[:SHOWN]:
        _line(f"  {session_id} existed ({kind})")
    if len(living) > SHOWN:
        _line(f"  and {len(living) - SHOWN} more")
    existed = f"{len(living)} of {count} sessions existed when asked about"
    _line(f"{existed}; the others were not found under either type.")
    if published is not None:
        _line(f"{published} were published.")
    _line(f"evidence: {path}, seal {evidence.seal}")


def verified(evidence: "Evidence", path: Path, as_json: bool) -> None:
    """Print that evidence is as it was written, and what it says."""
    living = evidence.alive
    if as_json:
        facts = {"verified": True, "asked": len(evidence.sessions), "alive": living}
        _json({**facts, "seal": evidence.seal})
        return
    _line(f"{path} is complete, and no line was changed, removed or moved.")
    _line(f"{len(living)} of {len(evidence.sessions)} sessions existed when asked about.")
    _line(f"Compare its seal with that in the record of the audit: {evidence.seal}")

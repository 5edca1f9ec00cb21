"""What `make run` reports: tables, closing lines, JSON, and a page with charts."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.markup import escape
from rich.table import Table

from local.publisher import Planned
from local.report.page import Chart, Page
from local.timing import FEW, Times, mean, percentile, summary

FINAL = ("deleted", "already_gone", "dead_lettered")
WRONG_SHOWN = 20


@dataclass(slots=True)
class Ended:
    """How one published message ended, according to the broker, the Face API and the logs."""

    outcome: str = "pending"
    reason: str | None = None
    description: str | None = None
    attempts: int = 0
    """Face calls for it."""
    times: Times | None = None
    """None while it has not ended."""
    problems: list[str] = field(default_factory=list)

    @property
    def at_once(self) -> bool:
        """Whether one call was enough."""
        return self.outcome in ("deleted", "already_gone") and self.attempts == 1


@dataclass(frozen=True, slots=True)
class Told:
    """How many receipts there are, and what is wrong with them."""

    sent: int
    missing: int
    """Revocations that ended without one."""
    wrong: int
    """Receipts that contradict the broker or the Face API, or are duplicates."""

    @property
    def ok(self) -> bool:
        """Whether each revocation that ended has its receipt, and there is no other."""
        return not self.missing and not self.wrong

    def __str__(self) -> str:
        return f"{self.sent} receipts, missing {self.missing}, wrong {self.wrong}" + (
            ": each revocation that ended has its own" if self.ok else ""
        )


def _milliseconds(ended: Mapping[str, Ended]) -> list[float]:
    return [each.times.total for each in ended.values() if each.times]


def as_json(
    planned: Sequence[Planned],
    ended: Mapping[str, Ended],
    seconds: float,
    told: Told | None = None,
) -> dict[str, Any]:
    """Return what `--json` writes; `told` is None where no receipts are sent."""
    outcomes = Counter(each.outcome for each in ended.values())
    reasons = Counter(each.reason for each in ended.values() if each.reason)
    wrong = {
        each.message_id: {"kind": each.kind, "problems": ended[each.message_id].problems}
        for each in planned
        if ended[each.message_id].problems
    }
    lost = sum(1 for each in planned if ended[each.message_id].outcome == "pending")
    took = _milliseconds(ended)
    return {
        "published": len(planned),
        "duplicates_published": sum(each.twice for each in planned),
        "outcomes": {name: outcomes[name] for name in (*FINAL, "pending")},
        "dead_letter_reasons": dict(sorted(reasons.items())),
        "lost": lost,
        "wrong": len(wrong),
        "wrong_messages": wrong,
        "seconds": round(seconds, 2),
        "milliseconds": {
            "n": len(took),
            "p50": round(percentile(took, 0.5), 1) if took else None,
            "p95": round(percentile(took, 0.95), 1) if len(took) >= FEW else None,
            "most": round(max(took), 1) if took else None,
        },
        "mean_milliseconds": {
            name: {"n": len(several), **_rounded(mean(several))}
            for name, several in groups(ended).items()
        },
        "receipts": None if told is None else asdict(told),
        "ok": not wrong and not lost and (told is None or told.ok),
    }


def _rounded(times: Times) -> dict[str, float]:
    names = ("queued", "waiting", "calling", "scheduled", "settling")
    return {name: round(part, 1) for name, part in zip(names, times, strict=True)}


def groups(ended: Mapping[str, Ended]) -> dict[str, list[Times]]:
    """Return the times of messages by group; empty groups are left out."""
    found: dict[str, list[Times]] = defaultdict(list)
    for each in ended.values():
        if each.times:
            found["one call was enough" if each.at_once else "all others"].append(each.times)
    return dict(sorted(found.items(), reverse=True))


def tables(planned: Sequence[Planned], ended: Mapping[str, Ended]) -> list[Table]:
    """Return tables of the outcomes by kind, of the dead letters, and of the parts of the time."""
    kinds = Table("published", "messages", "ended as", "right", title="Where the messages ended")
    kinds.columns[1].justify = "right"
    by_kind: dict[str, list[Planned]] = defaultdict(list)
    for each in planned:
        by_kind[each.kind].append(each)
    for kind, members in sorted(by_kind.items()):
        ends = Counter(
            ended[each.message_id].reason or ended[each.message_id].outcome for each in members
        )
        right = not any(ended[each.message_id].problems for each in members)
        names = ", ".join(f"{name} {number}" for name, number in sorted(ends.items()))
        kinds.add_row(kind, str(len(members)), names, "yes" if right else "[red]NO[/red]")

    letters = Table("reason", "messages", "description of one", title="Dead-letter queue")
    letters.columns[1].justify = "right"
    dead = {each.reason: each.description for each in ended.values() if each.reason}
    reasons = Counter(each.reason for each in ended.values() if each.reason)
    for reason, number in sorted(reasons.items()):
        letters.add_row(escape(reason), str(number), escape(dead[reason] or ""))

    found = [kinds]
    if reasons:
        found.append(letters)
    if any(each.times for each in ended.values()):
        found.append(_time_table(ended))
    return found


PARTS = {
    "in the queue": "in the queue, until the host took it",
    "waiting": "in the function, waiting for a turn at the rate limiter or for a retry",
    "in calls": "in calls to the Face API",
    "scheduled": "in the queue again, as a copy scheduled for later",
    "settling": "being completed",
}
"""Descriptions of the parts of the time, by the name in a chart; in the order of `Times`."""


def _time_table(ended: Mapping[str, Ended]) -> Table:
    found = groups(ended)
    heads = (f"{name} (n = {len(several):,})" for name, several in found.items())
    title = "Where the time from enqueue to the end went, mean milliseconds"
    table = Table("", *heads, title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    means = [mean(several) for several in found.values()]
    for name, figures in zip(PARTS.values(), zip(*means, strict=True), strict=True):
        table.add_row(name, *(f"{figure:,.0f}" for figure in figures))
    table.add_row("in all", *(f"{each.total:,.0f}" for each in means), end_section=True)
    return table


WAITING = (
    "The host takes 16 messages at a time, and just after its start it is still opening its links "
    "to the queue."
)


def closing_lines(ended: Mapping[str, Ended], result: Mapping[str, Any]) -> list[str]:
    """Return how long it took and why, what is wrong, and the verdict, in rich markup."""
    lines = [WAITING, summary(_milliseconds(ended))]
    if result["receipts"] is not None:
        lines.append(str(Told(**result["receipts"])))
    for wrong in list(result["wrong_messages"].values())[:WRONG_SHOWN]:
        lines.append(
            f"[red]WRONG[/red] {escape(wrong['kind'] + ': ' + '; '.join(wrong['problems']))}"
        )
    return [*lines, verdict(result)]


def verdict(result: Mapping[str, Any]) -> str:
    """Return the last line."""
    good = "[green]every message ended where it should[/green]"
    return (
        f"{result['published']} published in {result['seconds']} s, "
        f"lost {result['lost']}, wrong {result['wrong']}: "
        + (good if result["ok"] else "[red]NOT every message did[/red]")
    )


def page(
    planned: Sequence[Planned],
    ended: Mapping[str, Ended],
    result: Mapping[str, Any],
    provenance: str,
) -> Page:
    """Return what `--html` writes."""
    return Page(
        title="The whole job on one machine",
        verdict=verdict(result),
        provenance=provenance,
        tables=tables(planned, ended),
        lines=closing_lines(ended, result)[:-1],
        charts=_charts(ended, provenance),
    )


def _charts(ended: Mapping[str, Ended], provenance: str) -> list[Chart]:
    from local.report import charts  # matplotlib takes a second to load, and only a page needs it

    if not (took := sorted(_milliseconds(ended))):
        return []
    rows = {name: tuple(mean(several)) for name, several in groups(ended).items()}
    shares = [(0.0, 0.0)]
    for number, each in enumerate(took, 1):
        shares += [(each / 1000, shares[-1][1]), (each / 1000, 100 * number / len(took))]
    return [
        charts.stacked_bar_chart(
            "parts",
            "Where the time from enqueue to the end went (mean)",
            rows,
            tuple(PARTS),
            unit="milliseconds",
            caption=provenance,
        ),
        charts.line_chart(
            "share",
            "How soon the messages ended",
            [charts.Line(name="ended", points=shares, colour=charts.BLUE)],
            axes_names=("seconds since the first enqueue", "share of the messages, %"),
            caption=provenance,
        ),
    ]

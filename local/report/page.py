"""One self-contained HTML file with tables and charts, for a ticket or a review; light and dark."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from rich.table import Table
from rich.text import Text

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --muted: #59636e; --rule: #d1d9e0; --page: #fff;
        --good: #1a7f37; --bad: #d1242f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --muted: #9198a1; --rule: #3d444d; --page: #0d1117;
          --good: #3fb950; --bad: #f85149; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
       max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.note { color: var(--muted); } .good { color: var(--good); } .bad { color: var(--bad); }
.good, .bad { font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { border-bottom: 1px solid var(--rule); padding: .3rem .8rem .3rem 0; text-align: left;
         vertical-align: top; }
td { overflow-wrap: anywhere; } .right { text-align: right; font-variant-numeric: tabular-nums; }
@media (max-width: 30rem) { table { font-size: .85rem; } th, td { padding-right: .4rem; } }
figure { margin: 1.5rem 0; overflow-x: auto; }
figure svg { min-width: 34rem; max-width: 100%; height: auto; }
"""
_CLASSES = {"green": "good", "red": "bad", "bold red": "bad"}


def provenance(command: str, arguments: Sequence[str]) -> str:
    """Return the command, time and machine of a measurement."""
    shown = " ".join(arguments)
    return " · ".join(
        (
            f'{command} ARGS="{shown}"' if shown else command,
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
            f"load {os.getloadavg()[0]:.1f}",
            f"Python {platform.python_version()}",
        )
    )


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart."""

    name: str
    title: str
    svg: str
    """The text of a complete file."""

    def inline(self) -> str:
        """Return it for an HTML page, with ids that are unique on the page."""
        return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{self.name}-", self.svg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the report shows."""

    title: str
    verdict: str
    """One line of rich markup."""
    provenance: str
    """The command, time and machine."""
    tables: Sequence[Table] = ()
    lines: Sequence[str] = ()
    """More lines of rich markup, after the tables."""
    charts: Sequence[Chart] = ()

    def html(self) -> str:
        """Return the document."""
        parts = [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(self.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            f"<h1>{escape(self.title)}</h1>",
            f"<p>{_inline(self.verdict)}</p>",
            f'<p class="note">{escape(self.provenance)}</p>',
            *(_table(table) for table in self.tables),
            *(f"<p>{_inline(line)}</p>" for line in self.lines),
            *(f"<figure>{chart.inline()}</figure>" for chart in self.charts),
            "</body>\n</html>\n",
        ]
        return "\n".join(parts)

    def write(self, path: Path) -> None:
        """Write the document."""
        path.write_text(self.html(), encoding="utf-8")


def _inline(markup: str) -> str:
    """Return rich markup as HTML: green and red stay, everything else is plain."""
    text = Text.from_markup(markup)
    pieces = []
    at = 0
    for span in sorted(text.spans):
        name = _CLASSES.get(str(span.style))
        if name is None or span.start < at:
            continue
        inner = escape(text.plain[span.start : span.end])
        pieces += [escape(text.plain[at : span.start]), f'<span class="{name}">{inner}</span>']
        at = span.end
    return "".join([*pieces, escape(text.plain[at:])])


def _table(table: Table) -> str:
    """Return a table of the terminal as HTML."""
    sides = [' class="right"' if column.justify == "right" else "" for column in table.columns]
    caption = f"<caption>{_inline(str(table.title))}</caption>" if table.title else ""
    head = "".join(
        f'<th scope="col"{side}>{_inline(str(column.header))}</th>'
        for column, side in zip(table.columns, sides, strict=True)
    )
    rows = zip(*(column.cells for column in table.columns), strict=True)
    body = "\n".join(
        "<tr>"
        + "".join(
            f"<td{side}>{_inline(str(cell))}</td>" for cell, side in zip(row, sides, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table>{caption}\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )

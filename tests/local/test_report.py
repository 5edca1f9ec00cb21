"""The output of a run: files that are checked first, charts, and a page."""

import argparse
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.table import Table

from local import run_report
from local.publisher import plan
from local.report import charts
from local.report.outputs import output_file, output_folder
from local.report.page import Chart, Page, provenance
from local.timing import Times
from tests.revoker.desk.browser import EXECUTABLE, MISSING, launched

CAPTION = 'make run ARGS="--messages 200 --seed 7" · 2026-01-02 03:04 UTC · 2 cores, x86_64, Linux'
LONG = "a scenario with quite a long name: and a bar with a long name, too"


def draw_bars() -> Chart:
    values = {"this function": 4650.0, LONG: 1062.4, "c": 0.0}
    colours = {"this function": charts.GREEN}
    return charts.bar_chart(
        *("bars", "Messages per second"), values, unit="1/s", caption=CAPTION, colours=colours
    )


def draw_many_bars() -> Chart:
    values = {f"{LONG} {number}": number / 50 for number in range(30)}
    return charts.bar_chart(
        *("many", "Many"), values, unit="value ÷ bound", caption=CAPTION, bound=1.0, labels="{:.2f}"
    )


def draw_lines() -> Chart:
    lines = [
        charts.Line(
            name=f"{latency} ms",
            points=[(2**n, 2**n / latency * 1000) for n in range(9)],
            colour=charts.SERIES[number],
        )
        for number, latency in enumerate((5, 50, 500))
    ]
    names = ("messages in flight", "messages per second")
    return charts.line_chart(
        "lines", "Scaling", lines, axes_names=names, caption=CAPTION, scale="log"
    )


def draw_linear() -> Chart:
    line = charts.Line(name="MiB", points=[(0, 64), (100_000, 64.1)], colour=charts.BLUE)
    names = ("messages", "MiB")
    return charts.line_chart("linear", "Memory", [line], axes_names=names, caption=CAPTION * 3)


def draw_parts() -> Chart:
    rows = {"one call was enough": (3.0, 110.0, 12.0), "all others": (4.0, 800.0, 40.0)}
    parts = ("in the queue", "waiting", "in calls")
    return charts.stacked_bar_chart("parts", "Parts", rows, parts, unit="ms", caption=CAPTION)


DRAWINGS = [draw_bars, draw_many_bars, draw_lines, draw_linear, draw_parts]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn in a test."""
    found: list[Figure] = []
    finish = charts.finish

    def finished(figure: Figure, *arguments: str) -> Chart:
        found.append(figure)
        return finish(figure, *arguments)

    monkeypatch.setattr(charts, "finish", finished)
    return found


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """The pairs of texts in a drawn figure that lie on each other, and texts beyond its edge."""
    drawn: list[Text] = []
    with pytest.MonkeyPatch.context() as patch:
        draw = Text.draw

        def recorded(text: Text, renderer: RendererBase) -> None:
            drawn.append(text)
            draw(text, renderer)

        patch.setattr(Text, "draw", recorded)
        figure.draw_without_rendering()
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in drawn
        if text.get_visible() and text.get_text()
    ]
    assert len(boxes) > 2
    edge = figure.bbox
    return [
        (one, other)
        for (one, box), (other, other_box) in combinations(boxes, 2)
        if box.shrunk(0.98, 0.9).overlaps(other_box.shrunk(0.98, 0.9))
    ] + [
        (text, "edge")
        for text, box in boxes
        if box.x0 < edge.x0 - 1
        or box.x1 > edge.x1 + 1
        or box.y0 < edge.y0 - 1
        or box.y1 > edge.y1 + 1
    ]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_labels_do_not_overlap(draw: Callable[[], Chart], figures: list[Figure]) -> None:
    """No text of a chart lies on another, or beyond the chart's edge."""
    draw()
    [figure] = figures
    assert overlapping(figure) == []


def test_overlapping_labels_would_be_found(figures: list[Figure]) -> None:
    """Two texts at the same place are reported."""
    figure = Figure()
    figure.text(0.5, 0.5, "one")
    figure.text(0.5, 0.5, "other")
    charts.finish(figure, "x", "Title", CAPTION)
    assert ("one", "other") in overlapping(figure)


@pytest.mark.parametrize("draw", DRAWINGS)
def test_every_colour_has_one_for_dark_pages(draw: Callable[[], Chart]) -> None:
    """Whatever is drawn in colour changes with the reader's preference; text is never left black."""
    svg = draw().svg
    ET.fromstring(svg)
    body = svg.partition("</style>")[2]
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", body))
    assert {charts.INK, charts.PAPER} < used <= set(charts.ON_DARK)
    style = svg[: svg.index("</style>")]
    assert "prefers-color-scheme:dark" in style
    assert all(f'"fill: {each}"' in style and f'"stroke: {each}"' in style for each in used)
    for text in re.findall(r"<text [^>]*>", body):
        assert "fill: #" in text, text


@pytest.mark.parametrize("draw", [draw_bars, draw_lines])
def test_the_same_data_make_the_same_file(draw: Callable[[], Chart]) -> None:
    """Drawing twice changes no byte, so that a diff shows new measurements only."""
    assert draw().svg == draw().svg


def test_a_chart_says_its_units_and_how_it_was_measured() -> None:
    """Title, units, names, figures and caption are text in the file."""
    texts = "\n".join(re.findall(r"<text[^>]*>([^<]*)", draw_bars().svg))
    for text in ("Messages per second", "1/s", "this function", "4,650", "2026-01-02 03:04 UTC"):
        assert text in texts


def page() -> str:
    table = Table("name", "n", title="A <table>")
    table.columns[1].justify = "right"
    table.add_row("[green]ok[/green]", "1")
    table.add_row(r"a & b \[sic] <script>", "[red]2[/red]")
    return Page(
        title="R & D",
        verdict="so far: [green]all good[/green]",
        provenance=CAPTION,
        tables=[table],
        lines=["[red]WRONG[/red] <b>"],
        charts=[draw_bars(), draw_lines()],
    ).html()


def test_a_page_shows_tables_as_the_terminal_does() -> None:
    """Cells keep their text, what is green or red stays so, and nothing is taken for HTML."""
    html = page()
    assert "<h1>R &amp; D</h1>" in html
    assert 'so far: <span class="good">all good</span>' in html
    assert "<caption>A &lt;table&gt;</caption>" in html
    assert '<td><span class="good">ok</span></td><td class="right">1</td>' in html
    assert "a &amp; b [sic] &lt;script&gt;" in html
    assert '<td class="right"><span class="bad">2</span></td>' in html
    assert '<p><span class="bad">WRONG</span> &lt;b&gt;</p>' in html
    assert "<script" not in html


def test_a_page_needs_nothing_else() -> None:
    """It loads nothing, its charts are in it, and no id occurs twice."""
    html = page()
    assert html.count("<svg") == 2
    assert not re.search(r"\b(src|@import|<link)\b", html)
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', html))
    identifiers = re.findall(r'\bid="([^"]*)"', html)
    assert len(identifiers) == len(set(identifiers)) > 20
    targets = set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', html))
    assert {one or other for one, other in targets} <= set(identifiers)
    assert "color-scheme: light dark" in html


def test_provenance_names_the_command() -> None:
    """It can be run again from what the page says."""
    assert provenance("make run", ["--seed", "2"]).startswith('make run ARGS="--seed 2" · 20')
    assert provenance("make run", []).startswith("make run · 20")


def test_an_output_file_is_checked_and_not_touched(tmp_path: Path) -> None:
    """What is there keeps its content, and what is not is not created."""
    kept = tmp_path / "kept"
    kept.write_text("old")
    assert output_file(str(kept)) == kept
    assert kept.read_text() == "old"
    assert output_file(str(tmp_path / "new")) == tmp_path / "new"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("where", ["no/such/x.json", ".", "file/x.json"])
def test_an_output_file_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A missing folder, a folder and a file as a folder are refused, with the reason."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(argparse.ArgumentTypeError, match=r"^cannot write \S+: [A-Z]"):
        output_file(where)


def test_a_pipe_is_not_ended_by_the_check(tmp_path: Path) -> None:
    """A named pipe is accepted without being opened, which would wait for a reader."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert output_file(str(pipe)) == pipe


def test_an_output_folder_is_made(tmp_path: Path) -> None:
    """A folder is made with its parents, and stays empty; a file in its place is refused."""
    folder = tmp_path / "a" / "b"
    assert output_folder(str(folder)) == folder
    assert list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(argparse.ArgumentTypeError, match="cannot write to"):
        output_folder(str(tmp_path / "file"))


@pytest.mark.skipif(EXECUTABLE is None, reason=MISSING)
def test_report_of_a_run_fits_a_narrow_screen(tmp_path: Path) -> None:
    """At 375 pixels, no column of a table is cut off, with the longest names there are."""
    planned = plan(200, 1, random_faults=False)
    ended = {
        each.message_id: run_report.Ended(
            outcome="dead_lettered",
            reason="MaxDeliveryCountExceeded",
            description=f"HTTP 400 {'x' * 100} request-id {each.message_id}",
            attempts=number % 2,
            times=Times(queued=123_456.0),
        )
        for number, each in enumerate(planned)
    }
    file = tmp_path / "report.html"
    result = run_report.as_json(planned, ended, 1.0)
    run_report.page(planned, ended, result, CAPTION).write(file)
    with launched() as browser:
        narrow = browser.new_page(viewport={"width": 375, "height": 800})
        narrow.goto(file.as_uri())
        tables = narrow.locator(".wide")
        assert tables.count() == 3
        assert tables.evaluate_all("all => all.every(each => each.scrollWidth <= each.clientWidth)")
        assert narrow.evaluate("document.documentElement.scrollWidth") == 375

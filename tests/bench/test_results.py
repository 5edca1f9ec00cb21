"""What `make bench` does with its results: thresholds that the load cannot change, charts, a page."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import drain, receipts, scaling, throughput
from bench.__main__ import PAGES, filled, main, page
from bench.charts import draw
from bench.harness import ARGUMENTS, OURS, PEERS, ROOT, TELEMETRY_OFF, UNPATCHED
from bench.tables import show_receipts

COMMITTED = ROOT / "bench" / "results"


def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((COMMITTED / "latest.json").read_text())
    return found


def numbers(svg: str) -> tuple[list[str], list[float]]:
    """The drawing without the names that matplotlib derives from the numbers; and the numbers."""
    named = re.sub(r"\b[mpc][0-9a-f]{10}\b", "id", svg)
    number = r"-?\d+(?:\.\d+)?"
    return re.split(number, named), [float(each) for each in re.findall(number, named)]


def test_the_committed_charts_show_the_committed_results() -> None:
    """`make bench ARGS="--from bench/results/latest.json"` draws the files that are committed."""
    drawn = {f"{chart.name}.svg": chart.svg for chart in draw(results())}
    assert set(drawn) == {path.name for path in COMMITTED.glob("*.svg")}
    for name, svg in drawn.items():
        shape, values = numbers(svg)
        committed_shape, committed_values = numbers((COMMITTED / name).read_text())
        assert shape == committed_shape, name
        assert values == pytest.approx(committed_values, abs=0.05), name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_pages_show_the_committed_results(path: Path) -> None:
    """`make bench ARGS="--from bench/results/latest.json"` writes the figures that are on the pages."""
    text = path.read_text()
    assert filled(text, PAGES[path](results())) == text


def test_pages_are_filled_between_their_marks() -> None:
    """Both pages have the marks, and what is outside them stays."""
    found = results()
    found["throughput"].setdefault(TELEMETRY_OFF, found["throughput"][OURS])
    for path, figures in PAGES.items():
        text = path.read_text()
        new = filled(text, figures(found))
        assert figures(found) in new
        assert filled(new, "") == filled(text, "") != text


async def test_results_are_shown_without_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--from` prints the tables, draws the charts and writes the page of what was measured before."""
    report = tmp_path / "report.html"
    arguments = ["--from", str(COMMITTED / "latest.json"), "--out", str(tmp_path)]
    code = await main([*arguments, "--html", str(report)])
    assert code == int(not all(threshold["ok"] for threshold in results()["thresholds"]))
    written = set(os.listdir(tmp_path))
    assert written == {"throughput.svg", "cpu.svg", "scaling.svg", "memory.svg", "report.html"}
    html = report.read_text()
    assert html.count("<svg") == 4
    for text in (OURS, "Cold start", "Thresholds", results()["measured"]["date"][:10]):
        assert text in html
    assert "Throughput" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--html", "no/such/x.html"], "--html: cannot write no/such/x.html: No such file"),
        (["--out", "/dev/null/x"], "--out: cannot write to /dev/null/x: Not a directory"),
        (["--from", "no/such.json"], "--from: no results of make bench in no/such.json"),
        (["--from", "pyproject.toml"], "--from: no results of make bench in pyproject.toml"),
    ],
)
async def test_files_are_checked_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """A file that cannot be read or written ends with code 2 and the reason."""
    with pytest.raises(SystemExit) as ended:
        await main(arguments)
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_page_says_which_thresholds_are_not_met() -> None:
    """The verdict counts them, and the table names them."""
    found = results()
    found["thresholds"] = [
        {**each, "ok": number > 0} for number, each in enumerate(found["thresholds"])
    ]
    html = page(found, []).html()
    assert (
        f'<span class="bad">1 of {len(found["thresholds"])} thresholds are not met</span>' in html
    )


def point(in_flight: int, part_of_ideal: float, part_of_floor: float) -> dict[str, Any]:
    return {
        "latency_milliseconds": scaling.DECISIVE,
        "in_flight": in_flight,
        "part_of_ideal": part_of_ideal,
        "part_of_floor": part_of_floor,
    }


def test_a_busy_machine_does_not_decide_the_threshold_of_scaling() -> None:
    """Whatever the load, the threshold is the function against its floor."""
    [threshold] = scaling.thresholds(
        [point(1, 0.97, 1.0), point(128, 0.2, 0.99), point(256, 0.1, 0.5)]
    )
    assert threshold["value"] == 0.99
    [slow] = scaling.thresholds([point(1, 0.97, 1.0), point(128, 0.6, 0.6)])
    assert slow["value"] < slow["bound"]


def test_the_threshold_of_draining_is_the_growth_beside_the_control() -> None:
    """A process that always costs more than its control has not grown; one that comes to has."""
    chunks = [{"rss_bytes": 64 << 20} for _ in range(12)]
    found = {
        "messages": 12_000,
        "chunks": chunks,
        "parts_of_control": {"before": [1.1, 1.1, 9.0], "after": [1.1, 0.1, 1.2]},
        "rss_bytes": {name: {"steady": 1} for name in (OURS, next(iter(PEERS)))},
    }
    assert drain.thresholds(found)[0]["value"] == pytest.approx(1.0)
    found["parts_of_control"] = {"before": [1.0], "after": [1.06]}
    grown = drain.thresholds(found)[0]
    assert grown["value"] > grown["bound"]


def test_the_function_without_its_patch_has_no_threshold() -> None:
    """It is shown beside the others, but the thresholds compare the deployed function."""
    assert ARGUMENTS[UNPATCHED] == ["--app", "bench/peers/without_patch"]
    one = {str(c): {"per_second": [100.0], "cpu_microseconds": [10.0]} for c in (1, 16, 64)}
    other = {str(c): {"per_second": [1.0], "cpu_microseconds": [99.0]} for c in (1, 16, 64)}
    samples = {name: other if name == UNPATCHED else one for name in ARGUMENTS}
    one["64"]["ours_beside"] = [1.0]
    assert all(threshold["value"] == 1.0 for threshold in throughput.thresholds(samples))
    found = {"throughput": samples, "measured": results()["measured"]}
    assert all(UNPATCHED in chart.svg for chart in draw(found))


def test_receipts_are_shown_beside_a_message_without_one() -> None:
    """Their cost is the median of the ratios within each round."""
    samples = {
        receipts.OFF: {"per_second": [9.0, 9.0, 9.0], "cpu_microseconds": [1.0, 2.0, 3.0]},
        receipts.ON: {"per_second": [3.0, 3.0, 3.0], "cpu_microseconds": [3.0, 6.0, 30.0]},
    }
    console = Console(width=120, record=True)
    console.print(show_receipts(samples))
    row = next(line for line in console.export_text().splitlines() if receipts.ON in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [
        *(receipts.ON, "3 ±0%", "6 µs", "3.00"),
    ]

"""What the desk samples of a local cloud, and how it is drawn."""

import re
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, override
from xml.etree import ElementTree

import pytest

from revoker.desk.flow import BUCKET_SECONDS, BUCKETS, Flow, kind_of
from revoker.desk.plots import HEIGHT, WIDTH, Plot, Series
from revoker.desk.rendering import age, number, read_time, sentence, when
from revoker.local_cloud import BROKER, LOGS, CloudDown, LocalCloud, Logs, read_line

NOW = 1_800_000_000.0


class Told(LocalCloud):
    """A local cloud that says what a test has told it."""

    def __init__(self, logs: Path) -> None:
        super().__init__("http://127.0.0.1:1", None, logs)
        self.log = logs / "host-0.log"
        self.counts = {"active": 7, "locked": 3, "scheduled": 2, "dead_lettered": 1}
        self.made: list[dict[str, Any]] = []
        self.limit: float | None = 10.0
        self.down = False

    @override
    async def queue(self, name: str) -> Mapping[str, int]:
        if self.down:
            raise CloudDown("ConnectError")
        return self.counts

    @override
    async def calls(self, after: int) -> list[Mapping[str, Any]]:
        return [each for each in self.made if each["number"] > after]

    @override
    async def quota(self) -> float | None:
        return self.limit

    def call(self, at: float, status: int | None, code: str | None = None) -> dict[str, Any]:
        made = {"number": len(self.made) + 1, "time": at, "status": status, "code": code}
        self.made.append(made)
        return made

    def says(self, at: float, logger: str, facts: str) -> None:
        time_of_log = datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")
        with self.log.open("a") as file:
            file.write(f"{time_of_log},042 INFO {logger} {facts}\n")


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def series(plot: Plot, name: str) -> list[float | None]:
    return list(next(each for each in plot.series if each.name.startswith(name)).values)


async def test_calls_are_counted_once_and_when_they_were_made(told: Told) -> None:
    """A call that is under way is counted when its answer is known, or when none comes any more."""
    flow = Flow(told, "q")
    for _ in range(BUCKET_SECONDS):
        told.call(NOW, 200)
    slow, lost = told.call(NOW, None), told.call(NOW, None)
    await flow.sample(NOW + 1)
    now = flow.now(NOW + 1)
    assert now.calls == BUCKET_SECONDS
    assert series(now.plots[2], "calls made")[-1] is None  # these seconds are not over
    slow |= {"status": 429, "code": "429"}
    told.call(NOW + 2, 404, "SessionNotFound")
    await flow.sample(NOW + 2)
    await flow.sample(NOW + 3)
    assert flow.now(NOW + 3).calls == BUCKET_SECONDS + 2
    await flow.sample(NOW + 60)
    now = flow.now(NOW + 60)
    assert now.calls == BUCKET_SECONDS + 3
    assert lost["status"] is None
    answers = now.plots[1]
    assert max(filter(None, series(answers, "gone"))) == (BUCKET_SECONDS + 1) / BUCKET_SECONDS
    assert max(filter(None, series(answers, "too many"))) == 1 / BUCKET_SECONDS
    assert max(filter(None, series(answers, "failed"))) == 1 / BUCKET_SECONDS


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (200, None, "accepted"),
        (404, "SessionNotFound", "accepted"),
        (404, "404", "refused"),
        (429, "429", "429"),
        (403, "PermissionDenied", "refused"),
        (302, None, "refused"),
        (503, "Busy", "failed"),
        (None, None, "failed"),
    ],
)
def test_answers_are_told_apart(status: int | None, code: str | None, kind: str) -> None:
    """Gone is gone, a throttling is one, a refusal is final or a fault, and the rest failed."""
    assert kind_of(status, code) == kind


async def test_logs_tell_outcomes_rate_and_circuit(told: Told) -> None:
    """Outcomes are counted, the rates of all hosts added, and the worst circuit is shown."""
    flow = Flow(told, "q")
    outcome = '{"event":"revocation","outcome":"%s","session_id":"s","attempts":1}'
    told.says(NOW, "delete_session", outcome % "deleted")
    told.says(NOW, "delete_session", outcome % "dead_lettered")
    told.says(NOW, "metrics", '{"revoker.face.rate": 2.5, "revoker.circuit.state": 2}')
    told.says(NOW, "azure", '{"outcome":"deleted"}')
    told.log.with_name("host-1.log").write_text(
        told.log.read_text().splitlines()[2].replace("2.5", "1.5").replace(": 2}", ": 1}") + "\n"
    )
    await flow.sample(NOW + 1)
    now = flow.now(NOW + 1)
    assert (now.outcomes["deleted"], now.outcomes["dead_lettered"]) == (1, 1)
    assert now.rate == 4.0
    assert now.circuit == "open"
    assert any(now.plots[2].shaded)
    assert now.recent[0].facts["outcome"] == "dead_lettered"


async def test_a_host_that_is_dead_counts_no_longer(told: Told) -> None:
    """A host logs its metrics every second while it lives."""
    flow = Flow(told, "q")
    told.says(NOW, "metrics", '{"revoker.face.rate": 2.5, "revoker.circuit.state": 2}')
    told.log = told.log.with_name("host-1.log")
    told.says(NOW, "metrics", '{"revoker.face.rate": 1.5}')
    told.says(NOW + 8, "metrics", '{"revoker.face.rate": 1.5}')
    await flow.sample(NOW + 9)
    assert (flow.now(NOW + 9).rate, flow.now(NOW + 9).circuit) == (1.5, "closed")
    await flow.sample(NOW + 20)
    assert flow.now(NOW + 20).rate is None


async def test_what_is_old_leaves_the_picture(told: Told) -> None:
    """Counts are of the last minutes, and memory does not grow."""
    flow = Flow(told, "q")
    told.call(NOW, 200)
    await flow.sample(NOW)
    later = NOW + BUCKET_SECONDS * (BUCKETS + 2)
    await flow.sample(later)
    assert flow.now(later).calls == 0
    assert len(flow._buckets) == 1


async def test_a_cloud_that_is_down_leaves_a_gap(told: Told) -> None:
    """The page says so, and goes on when the cloud is back."""
    flow = Flow(told, "q")
    await flow.sample(NOW)
    told.down = True
    await flow.sample(NOW + 6)
    failed = flow.now(NOW + 6)
    assert "does not answer" in (failed.failure or "")
    assert failed.at == datetime.fromtimestamp(NOW, UTC)  # what is shown is from then
    told.down = False
    told.limit = None
    await flow.sample(NOW + 12)
    now = flow.now(NOW + 12)
    assert now.failure is None
    assert now.quota is None
    assert series(now.plots[0], "active")[-3:] == [7, None, 7]


def test_half_a_line_is_read_when_it_is_complete(told: Told) -> None:
    """The host may be in the middle of writing."""
    logs = Logs(told.log.parent)
    told.says(NOW, "metrics", '{"a": 1}')
    whole = told.log.read_text()
    told.log.write_text(whole[:-5])
    assert logs.new_lines() == []
    told.log.write_text(whole)
    assert [line.facts for line in logs.new_lines()] == [{"a": 1}]
    assert logs.new_lines() == []


def test_other_lines_are_passed_over() -> None:
    """A traceback, another logger or broken JSON is none of ours."""
    stamp = "2026-01-01 00:00:00,000 INFO "
    for line in ("", "Traceback", f"{stamp}host ready", f"{stamp}metrics {{x}}", stamp):
        assert read_line(line, "host-0") is None


def test_the_environment_names_the_cloud() -> None:
    """Without the broker's control there is no local cloud to show."""
    assert LocalCloud.read({LOGS: "/somewhere"}) is None
    found = LocalCloud.read({BROKER: "http://127.0.0.1:1"})
    assert found is not None
    assert found.logs is None


def drawn(plot: Plot) -> ElementTree.Element:
    return ElementTree.fromstring(str(plot.svg))


def test_a_plot_stays_within_its_frame() -> None:
    """Every point lies in the picture, a gap is a gap, and the title is escaped."""
    values = [0.0, 3.2, None, 17.0, 5.0]
    plot = Plot("<Calls>", "a second", [Series("made", values)], "then", [False, True, True, False])
    root = drawn(plot)
    assert root.attrib["aria-label"] == "<Calls> (a second): made 5"
    path = next(each.attrib["d"] for each in root if "line" in each.attrib["class"])
    assert Counter(re.findall(r"[ML]", path)) == {"M": 2, "L": 2}
    numbers = [float(each) for each in re.findall(r"[\d.]+", path)]
    assert all(0 <= x <= WIDTH for x in numbers[::2])
    assert all(0 <= y <= HEIGHT for y in numbers[1::2])
    assert "20" in [each.text for each in root]  # the round number above the most
    assert sum(each.attrib["class"] == "shade" for each in root) == 1


def test_a_plot_of_nothing_is_drawn() -> None:
    """Before anything happened there is an empty chart."""
    assert drawn(Plot("t", "u", [Series("s", [None, None])], "then")).tag.endswith("svg")
    assert Series("s", []).latest == "none"


def test_lines_differ_without_colour() -> None:
    """Each line of a plot has different dashes, in the chart and in the legend."""
    plot = Plot("t", "u", [Series(name, [1.0, 2.0]) for name in "abcd"], "then")
    dashes = [
        each.attrib["stroke-dasharray"] for each in drawn(plot) if "line" in each.attrib["class"]
    ]
    assert len(set(dashes)) == 4
    assert [re.search(r'dasharray="([^"]*)"', str(sample))[1] for sample, *_ in plot.legend] == (  # type: ignore[index]
        dashes
    )


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this platform cannot set its time zone")
@pytest.mark.parametrize(
    ("zone", "beside"), [("UTC", None), ("IST-5:30", "13:30:00 local"), ("AKST+9", "2026-01-30 23")]
)
def test_times_are_in_utc_with_the_local_time_beside(
    monkeypatch: pytest.MonkeyPatch, zone: str, beside: str | None
) -> None:
    """The local time has its date where that is another, and is left out where it is the same."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        text = str(when(datetime(2026, 1, 31, 8, tzinfo=UTC)))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert ">2026-01-31 08:00:00Z<" in text
    assert ("local" in text) == (beside is not None)
    assert (beside or "") in text


def test_texts_are_written_for_people() -> None:
    """Ages have one unit, remedies their code marked, and what is no time is unknown."""
    now = datetime.now(UTC).timestamp()
    for seconds, text in (
        (5, "5 s ago"),
        (600, "10 min ago"),
        (-7300, "in 2 h"),
        (9e5, "10 d ago"),
    ):
        assert age(datetime.fromtimestamp(now - seconds, UTC)) == text
    assert sentence("use `a<b` ([there](#x))") == "Use <code>a&lt;b</code> (there)."
    assert age(None) == ""
    texts = [number(value) for value in (0, 7, 99.9, 1000, 1_234_567.8, 0.5)]
    assert texts == ["0", "7", "99.9", "1,000", "1,234,568", "0.5"]
    many = Plot("t", "u", [Series("s", [1e6])], "then")
    assert (many.series[0].latest, drawn(many)[1].text) == ("1,000,000", "1,000,000")


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this platform cannot set its time zone")
@pytest.mark.parametrize("zone", ["LINT-14", "AOE+12"])
def test_no_date_is_too_absurd(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """The first and the last moment have no local time everywhere; what is no time is unknown."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for edge in (datetime.min, datetime.max):
            at = edge.replace(tzinfo=UTC)
            assert f"{edge:%m-%d %H:%M:%S}Z" in when(at)
            assert age(at)
            assert read_time(at.isoformat()) == at
    finally:
        monkeypatch.undo()
        time.tzset()
    for none in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "yesterday", 7, None):
        assert read_time(none) is None
    assert when(None) == "unknown"
    assert read_time("2026-01-01T00:00:00") == datetime(2026, 1, 1, tzinfo=UTC)

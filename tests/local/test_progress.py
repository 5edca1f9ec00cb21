"""How far long work is, as it is shown where there is no terminal."""

import io
import time

import pytest
from rich.console import Console

from local.progress import LINE_SECONDS, SAME_LINE_SECONDS, Progress, line


@pytest.mark.parametrize(
    ("done", "seconds", "shown"),
    [
        (0, 3, "messages ended: 0 of 1,000"),
        (250, 10, "messages ended: 250 of 1,000, about 30 s left"),
        (1000, 40, "messages ended: 1,000 of 1,000"),
    ],
)
def test_line_has_an_estimate(done: int, seconds: float, shown: str) -> None:
    """The rest is expected to go on as the part that is done."""
    assert line("messages ended", done, 1000, seconds) == shown


def test_lines_come_every_few_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a step is shown, a log gets a line now and then; seldom if nothing changes."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    output = io.StringIO()
    with Progress(Console(file=output, width=80)) as progress:
        for second in range(4 * LINE_SECONDS):
            now = 100.0 + second
            progress.show("messages ended", second, 100)
        assert len(output.getvalue().splitlines()) == 3
        for second in range(SAME_LINE_SECONDS):
            now = 200.0 + second
            progress.show("messages ended", 50, 100)
    assert len(output.getvalue().splitlines()) == 4

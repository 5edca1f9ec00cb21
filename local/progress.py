"""How far long work is, with an estimate: a bar on a terminal, elsewhere a line now and then."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

LINE_SECONDS = 5
"""Between two lines, at least, where there is no terminal."""
SAME_LINE_SECONDS = 30
"""Between two lines about the same."""


class Progress:
    """The steps of long work; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            refresh_per_second=2,  # what is measured meanwhile shares the cores
            disable=not console.is_terminal,
        )
        self._last_line = time.monotonic(), ("", 0)
        self._began: dict[str, tuple[float, TaskID]] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def show(self, step: str, done: int, total: int) -> None:
        """Show how far a step is.

        Args:
            step: what is counted, e.g. "messages published".
            done: how many.
            total: how many there will be.
        """
        now = time.monotonic()
        if step not in self._began:
            self._began[step] = now, self._bars.add_task(step, total=total)
        began, task = self._began[step]
        self._bars.update(task, completed=done, total=total)
        last, said = self._last_line
        due = last + (SAME_LINE_SECONDS if said == (step, done) else LINE_SECONDS)
        if not self._console.is_terminal and now >= due:
            self._last_line = now, (step, done)
            self._console.print(line(step, done, total, now - began), highlight=False)


def line(step: str, done: int, total: int, seconds: float) -> str:
    """Return how far a step is after these seconds, in words."""
    text = f"{step}: {done:,} of {total:,}"
    if 0 < done < total:
        text += f", about {seconds / done * (total - done):,.0f} s left"
    return text

"""`local.host` in a process whose wall clock can be stepped: CLOCK_OFFSET_FILE holds the seconds.

It replaces `time.time`, before anything of the function is imported; the monotonic clock and the
host's own idea of the time (datetime) stay right, as does the time in the log.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path


def stepped(true_time: Callable[[], float], offset: Path) -> Callable[[], float]:
    """Return a clock that is wrong by what the file says."""

    def clock() -> float:
        return true_time() + float(offset.read_text() or 0)

    return clock


if __name__ == "__main__":
    time.time = stepped(time.time, Path(os.environ["CLOCK_OFFSET_FILE"]))

    from local.host import process

    process.run()

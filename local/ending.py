"""Ends a command at Ctrl-C or SIGTERM: at once, with its processes and folders, without a traceback.

It does not wait for the event loop, which may be busy. A process that it cannot know yet, or whose
starter was killed, notices: see child.py.
"""

try:
    import contextlib
    import os
    import secrets
    import shutil
    import signal
    import sys
    import tempfile
    from collections.abc import Callable
    from functools import cache
    from pathlib import Path
    from types import FrameType
    from typing import TYPE_CHECKING
except KeyboardInterrupt:  # no traceback of an import
    raise SystemExit(130) from None

if TYPE_CHECKING:
    from asyncio.subprocess import Process  # slow to import

SIGNALS = (signal.SIGINT, signal.SIGTERM)

processes: list["Process"] = []
"""Killed at the end."""
_folders: set[Path] = set()
_last_words: Callable[[], str] = str
_exit_code: int | None = None


def handle_signals() -> None:
    """End this process at Ctrl-C and SIGTERM; to be called before anything takes long."""
    for number in SIGNALS:
        signal.signal(number, _end)


def at_the_end(last_words: Callable[[], str], exit_code: int | None = None) -> None:
    """Set what is printed at the end, and the exit code (by default, the one of the signal)."""
    global _last_words, _exit_code
    _last_words, _exit_code = last_words, exit_code


def make_folder() -> Path:
    """Make a temporary folder that is removed at the end."""
    folder = Path(tempfile.gettempdir()) / f"revoker-{secrets.token_hex(4)}"
    _folders.add(folder)
    folder.mkdir(mode=0o700)
    return folder


def remove_folder(folder: Path) -> None:
    """Remove a folder before the end."""
    shutil.rmtree(folder, ignore_errors=True)
    _folders.discard(folder)


@cache
def starter_pipe() -> int:
    """Return the standard input for child.py: it ends when this process does."""
    read, _write = os.pipe()
    return read


def _end(number: int, _frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    for process in processes:
        if process.returncode is None:
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)
                os.waitpid(process.pid, 0)
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(Exception):
        words = _last_words()
        out = sys.__stdout__  # not the stand-in of a progress bar
        assert out is not None
        if out.isatty():
            out.write("\n\x1b[?25h")  # below the bars, which hide the cursor
        out.write(f"{words}\n" if words else "")
        out.flush()
    os._exit(128 + number if _exit_code is None else _exit_code)

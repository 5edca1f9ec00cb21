"""Output files, checked before the work begins."""

import argparse
import os
import stat
import tempfile
from pathlib import Path


def output_file(text: str) -> Path:
    """Return the path of a file that can be written; a type for `argparse`.

    Raises:
        argparse.ArgumentTypeError: it cannot be written, with the reason.
    """
    path = Path(text)
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            # Opening and closing a pipe would end it for its reader.
            if not os.access(path, os.W_OK):
                raise PermissionError(0, "Permission denied")
            return path
        existed = path.exists()
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666))
        if not existed:
            path.unlink()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write {text}: {error.strerror}") from None
    return path


def output_folder(text: str) -> Path:
    """Return the path of a folder in which files can be written, and make it if need be.

    Raises:
        argparse.ArgumentTypeError: nothing can be written there, with the reason.
    """
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write to {text}: {error.strerror}") from None
    return path

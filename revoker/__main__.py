"""The command `revoker`, which is also `python -m revoker`."""

import errno
import os
import sys

_STDOUT = 1


def main() -> None:
    """Run the command. It ends without a traceback if Ctrl-C or a full disk ends it.

    Whether the output can be written is tried first: afterwards, something may have been done.
    """
    if sys.stdin is None:  # closed: a question gets no answer
        sys.stdin = open(os.devnull)  # noqa: SIM115
    try:
        os.write(_STDOUT, b"")
        from revoker.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EBADF, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)  # what is left of it goes nowhere
        print(f"The output cannot be written: {error.strerror}.", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()

"""The command `revoker`, which is also `python -m revoker`."""

import sys


def main() -> None:
    """Run the command. Ctrl-C ends it without a traceback, also during the imports."""
    try:
        from revoker.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

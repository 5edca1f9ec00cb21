"""Runs a module as a program that ends with its starter: `python -m local.child MODULE ARGUMENTS…`.

Standard input is a pipe that the starter holds open: it ends when the starter ends, however that is.
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_starter() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

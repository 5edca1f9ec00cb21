"""Run the peers: `python -m tests.peers --help`."""

import argparse
import sys

import pytest

from tests.peers import javascript, python_sdk
from tests.peers.not_claimed import NOT_CLAIMED

_PEERS = ("python", "javascript", "protocol")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers",
        description="Check the broker with third-party clients and tests: "
        "azure-servicebus's own queue tests (python, about ten minutes), every operation of "
        "@azure/service-bus (javascript), and rhea, which is no Azure SDK (protocol).",
    )
    parser.add_argument("--only", choices=_PEERS, help="one of them (default: all)")
    parser.add_argument("-k", dest="expression", help="only these of the Python tests")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    chosen = _PEERS if options.only is None else (options.only,)
    passed = True
    for peer, script, title in (
        ("protocol", javascript.PROTOCOL, "AMQP by rhea"),
        ("javascript", javascript.OPERATIONS, "operations by @azure/service-bus"),
    ):
        if peer in chosen:
            print(f"\n{title}", flush=True)
            passed &= _javascript(script)
    if "python" in chosen:
        print("\nqueue tests of azure-servicebus", flush=True)
        passed &= _python(options.expression)
    return 0 if passed else 1


def _javascript(script: str) -> bool:
    try:
        done = javascript.run(script)
    except pytest.skip.Exception as reason:
        print(f"not run: {reason}")
        return False
    print(done.stdout + done.stderr, end="")
    return done.returncode == 0


def _python(expression: str | None) -> bool:
    result = python_sdk.run(expression)
    for name, text in sorted(result.failed.items()):
        print(f"FAILED  {name}: {text}")
    not_claimed = NOT_CLAIMED if expression is None else {}
    for name, reason in not_claimed.items():
        print(f"not claimed  {name}: {reason}")
    print(
        f"{len(result.passed)} passed, {len(result.failed)} failed, {len(not_claimed)} not claimed"
    )
    return not result.failed and bool(result.passed)


if __name__ == "__main__":
    sys.exit(main())

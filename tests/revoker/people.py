"""People who act with the command at the same time, each in a process that can be killed.

A server that has loaded the libraries once forks these processes, so that they start at once.
"""

import multiprocessing
import os
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["tests.revoker.people", "revoker.cli.app", "revoker.canary", "revoker.settling"]
)
_LIMIT_SECONDS = 60.0

type Line = dict[str, Any]


def _act(environment: dict[str, str], arguments: Sequence[str]) -> None:
    from revoker.cli.app import app

    os.environ.update(environment)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        app(arguments, prog_name="revoker")


def act_at_once(
    environment: dict[str, str],
    acts: Mapping[str, Sequence[str]],
    record: Path,
    kills: random.Random,
) -> set[str]:
    """Have each of these people act, and kill each after a random number of lines of the record.

    Args:
        environment: the command's settings.
        acts: the command line of each OS user.
        record: the file of the record.
        kills: decides when; a person whose turn does not come is left to finish.

    Returns:
        The OS users of the killed processes.
    """
    written = record.stat().st_size if record.exists() else 0
    working: dict[str, tuple[BaseProcess, int]] = {}
    for person, arguments in acts.items():
        act = _SERVER.Process(
            target=_act, args=(environment | {"LOGNAME": person}, arguments), daemon=True
        )
        act.start()
        working[person] = act, kills.randrange(1, 30)
    killed = set()
    until = time.monotonic() + _LIMIT_SECONDS
    while working:
        assert time.monotonic() < until, f"{list(working)} did not end"
        new = record.read_bytes()[written:].count(b"\n") if record.exists() else 0
        for person, (process, lines) in list(working.items()):
            if process.exitcode is not None:
                del working[person]
            elif new >= lines:
                time.sleep(kills.uniform(0, 0.004))  # in the midst of what follows the line
                process.kill()
                process.join()
                killed.add(person)
                del working[person]
        time.sleep(0.001)
    return killed


def untruths(record: Sequence[Line], events: Sequence[Line], may_end_early: set[str]) -> list[str]:
    """Return what the record says falsely or does not say, compared with the broker's ledger.

    Args:
        record: its lines.
        events: what the broker did.
        may_end_early: the operations that were killed.
    """
    completed = [
        each["sequence_number"]
        for each in events
        if each["event"] == "completed" and each["queue"].endswith("/$deadletterqueue")
    ]
    sent = {
        each["message_id"]
        for each in events
        if each["event"] == "enqueued" and ":resubmit:" in each["message_id"]
    }
    found = []
    open_: dict[tuple[str, int], Line] = {}
    ended: list[int] = []
    copies: set[str] = set()
    for line in record:
        operation, number, done = line["operation"], line["sequence_number"], line["done"]
        key, copy = (operation, number), line.get("new_message_id")
        if done in ("resubmitting", "discarding"):
            if any(each == operation for each, _ in open_):
                found.append(f"began before the line before was closed: {line}")
            open_[key] = line
            continue
        begun = open_.pop(key, None)
        if begun is None or (done != "left" and begun["done"] != done.removesuffix("ed") + "ing"):
            found.append(f"no line before: {line}")
        if copy:
            copies.add(copy)
            if copy not in sent:
                found.append(f"its copy was not sent: {line}")
        elif begun and begun.get("new_message_id") in sent - copies:
            found.append(f"its copy was sent: {line}")
        if done != "left":
            ended.append(number)
    for (operation, _), line in open_.items():
        if operation not in may_end_early:
            found.append(f"never closed: {line}")
        copies.add(line.get("new_message_id") or "")
    begun_only = [number for _, number in open_]
    found += [f"claimed more often than done: {n}" for n in ended if ended.count(n) > 1]
    found += [f"claimed, and not done: {n}" for n in set(ended) - set(completed)]
    unclaimed = set(completed) - set(ended) - set(begun_only)
    found += [f"done, and not claimed: {n}" for n in unclaimed]
    found += [f"a copy that no line names: {each}" for each in sent - copies]
    return found

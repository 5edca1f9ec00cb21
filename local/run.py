"""`make run`: the whole job on this machine, from the publisher to the end of each message."""

from local import ending

if __name__ == "__main__":
    ending.handle_signals()  # before the imports, which take a second

import argparse
import asyncio
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import ServiceBusError
from rich.console import Console

from local.cloud import Cloud, Options, Service, ServiceFailed
from local.progress import Progress
from local.publisher import Planned, plan
from local.receipts import OUTCOME_QUEUE, check, peeked
from local.report.outputs import output_file
from local.report.page import provenance
from local.run_report import FINAL, Ended, Told, as_json, closing_lines, page, tables
from local.timing import split

DESK_NEEDS = ("jinja2", "revoker", "starlette", "typer", "uvicorn")
RANDOM_FAULTS = (
    *("status:500", "status:502", "status:503", "status:429", "status:409", "status:408"),
    *("disconnect", "garbage", "html", "truncate", "latency:0.2", "hang:30"),
)

DEPLOYED_FACE_RATE = 10
"""Calls per second that the Face API allows by default; the function uses eight."""

# Shorter than in Azure, where nobody sits and watches: a hanging call ends after two seconds.
FAST_SETTINGS: Mapping[str, str] = {
    "CALL_TIMEOUT_SECONDS": "2",
    "RETRY_INITIAL_DELAY_SECONDS": "0.5",
    "CIRCUIT_BREAKER_BREAK_SECONDS": "2",
}


def roots(ledger: Sequence[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    """Count the events of each published message and its retry copies, by root message id."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for event in ledger:
        found[_root(event["message_id"])][event["event"]] += 1
    return found


def _root(message_id: str) -> str:
    # A retry copy's id is ROOT:milliseconds:number; the ids published here hold no colon.
    return message_id.partition(":")[0]


_LOOK_SECONDS = 0.25
_AT_ONCE = 10_000
"""Sessions or faults in one request."""

type Show = Callable[[str, int, int], None]
"""Shows a step of the work: its name, how much is done, and of how much."""


class Run:
    """Publishes a plan into a local cloud and checks where each message ended."""

    def __init__(
        self,
        cloud: Cloud,
        planned: Sequence[Planned],
        fault_rate: float,
        show: Show = lambda *_: None,
    ) -> None:
        self._cloud = cloud
        self._planned = planned
        self._fault_rate = fault_rate
        self._show = show
        self._published = 0
        self._queue: Mapping[str, int] = {}

    async def prepare(self) -> None:
        """Create the sessions and inject the faults at the Face API."""
        cloud = self._cloud
        by_type: dict[str, set[str]] = defaultdict(set)
        for each in self._planned:
            if each.session_id and each.session_exists:
                by_type[each.session_type].add(each.session_id)
        created, total = 0, sum(map(len, by_type.values()))
        for session_type, ids in by_type.items():
            for some in _parts(sorted(ids)):
                body = {"ids": some, "type": session_type}
                await cloud.ask(cloud.face, "POST", "/_local/sessions", body)
                created += len(some)
                self._show("sessions created", created, total)
        faults: list[dict[str, Any]] = [
            {**fault, "session_id": each.session_id}
            for each in self._planned
            for fault in each.faults
        ]
        if self._fault_rate:
            kinds = list(RANDOM_FAULTS)
            faults.append({"fault": "random", "probability": self._fault_rate, "kinds": kinds})
        for part in _parts(faults):
            await cloud.ask(cloud.face, "POST", "/_local/faults", part)

    async def publish(self) -> None:
        """Publish every message over the unmodified SDK.

        Raises:
            ServiceFailed: the broker did not take one.
        """
        try:
            async with (
                ServiceBusClient.from_connection_string(self._cloud.connection_string) as client,
                client.get_queue_sender(self._cloud.options.queue) as sender,
            ):
                for each in self._planned:
                    await sender.send_messages(each.message())
                    if each.twice:
                        await sender.send_messages(each.message())
                    self._published += 1
                    self._show("messages published", self._published, len(self._planned))
        except ServiceBusError as error:
            address = self._cloud.broker.address
            raise ServiceFailed(f"publishing to {address} failed: {error}") from error

    async def settled(self) -> bool:
        """Return whether only dead letters are left in the queue."""
        cloud = self._cloud
        published = self._published
        self._queue = (await cloud.ask(cloud.broker, "GET", "/queues"))[cloud.options.queue]
        ended = min(published, max(0, published - self._left))
        self._show("messages ended", ended, len(self._planned))
        return not self._left

    @property
    def _left(self) -> int:
        return sum(self._queue.get(state, 0) for state in ("active", "scheduled", "deferred"))

    def __str__(self) -> str:
        """Return how much is done, and what is waited for, by the last reading."""
        total, queue = len(self._planned), self._queue
        done = max(0, self._published - self._left) if queue else 0
        waits = {
            "not published yet": total - self._published,
            "in the queue": queue.get("active", 0) - queue.get("locked", 0),
            "locked by the function (a lock lasts a minute)": queue.get("locked", 0),
            "scheduled for a retry": queue.get("scheduled", 0),
        }
        rest = ", ".join(f"{number:,} {name}" for name, number in waits.items() if number > 0)
        return f"{done:,} of {total:,} messages done" + (f"; {rest}" if rest else "")

    async def check(self) -> dict[str, Ended]:
        """Return the end of each message, by message id, with everything that is wrong about it."""
        cloud = self._cloud
        queue = cloud.options.queue
        events_in_order = [
            event
            for event in await cloud.ask(cloud.broker, "GET", "/ledger")
            if event["queue"] != cloud.options.outcome_queue
        ]
        ledger, times = roots(events_in_order), split(events_in_order, cloud.log_lines())
        dead = await cloud.ask(
            cloud.broker, "GET", f"/messages?queue={queue}&dead_letter=1&limit=1000000"
        )
        dead_by_root = {_root(letter["message_id"]): letter for letter in dead}
        existing = {each["id"] for each in await cloud.ask(cloud.face, "GET", "/_local/sessions")}
        # A copy whose properties the host did not hand over is taken for what the publisher sent.
        lines = {
            _root(line["root_id"]): line
            for line in cloud.log_lines()
            if line.get("outcome") in FINAL
        }
        ended: dict[str, Ended] = {}
        for each in self._planned:
            this = ended[each.message_id] = Ended()
            line, letter = lines.get(each.message_id), dead_by_root.get(each.message_id)
            events = ledger.get(each.message_id, Counter())
            if letter is not None:
                this.outcome, this.reason = "dead_lettered", letter["reason"]
                this.description = letter["description"]
            elif line is not None and events["completed"]:
                this.outcome = line["outcome"]
                this.attempts = line["attempts"]
            this.times = times.get(each.message_id)
            self._judge(each, this, events, existing)
        return ended

    async def check_receipts(self, ended: Mapping[str, Ended]) -> Told | None:
        """Return what publishers were told, and add what is wrong to the messages' problems."""
        cloud = self._cloud
        if cloud.options.outcome_queue is None:
            return None
        receipts = await peeked(cloud.connection_string, cloud.options.outcome_queue)
        return check(receipts, self._planned, ended)

    def _judge(self, each: Planned, this: Ended, events: Counter[str], existing: set[str]) -> None:
        problem = this.problems.append
        where = this.reason if this.outcome == "dead_lettered" else this.outcome
        if where not in each.ends:
            problem(f"ended as {where}, expected {' or '.join(each.ends)}")
        if this.outcome == "dead_lettered" and not this.description:
            problem("no description")
        if this.outcome == "dead_lettered" and events["dead_lettered"] != 1:
            problem(f"dead-lettered {events['dead_lettered']} times")
        gone = this.outcome in ("deleted", "already_gone")
        if gone and (events["dead_lettered"] or each.session_id in existing):
            problem("completed, but the session still exists or the message was dead-lettered")
        copies = events["scheduled"]
        if gone and events["completed"] != copies + 1:
            problem(f"completed {events['completed']} times with {copies} retry copies")
        if each.twice and events["duplicate_dropped"] < 1:
            problem("its duplicate was not dropped")


def _parts[T](items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


def parser() -> argparse.ArgumentParser:
    """Return the parser of `make run ARGS="…"`."""
    parser = argparse.ArgumentParser(
        prog="make run", description="Runs the whole job on this machine, without Azure."
    )
    parser.add_argument("--messages", type=int, default=200, help="how many (default: 200)")
    parser.add_argument(
        "--face-rate",
        type=float,
        help="calls per second that the Face API allows, of which the function uses 80 %%; 0: any "
        "number (default: 0; with --serve: 10, as deployed)",
    )
    parser.add_argument(
        "--fault-rate", type=float, default=0, help="share of calls that fail at random, below 1"
    )
    parser.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
    parser.add_argument(
        "--api-version", default="v1.2-preview.1", help="Face API version (default: v1.2-preview.1)"
    )
    parser.add_argument(
        "--receipts",
        action="store_true",
        help="send receipts, and check that each revocation has one",
    )
    parser.add_argument(
        "--serve", action="store_true", help="keep running, for messages that you publish yourself"
    )
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="write the result to a file"
    )
    parser.add_argument(
        "--html", type=output_file, metavar="FILE", help="write a report with charts to a file"
    )
    return parser


def settings(face_rate: float, *, as_deployed: bool = False) -> dict[str, str]:
    """Return the app settings for a run against a Face API with this rate limit; 0: none."""
    rate = face_rate * 0.8 if face_rate else 1000
    fast = {} if as_deployed else FAST_SETTINGS
    return {**fast, "FACE_MAX_CALLS_PER_SECOND": f"{rate:g}"}


def face_limit(face_rate: float) -> str:
    """Return the limit of a Face API that allows `face_rate` calls per second; 0: unlimited."""
    count, seconds = Fraction(face_rate).limit_denominator(60).as_integer_ratio()
    return f"{count}/{seconds}" if face_rate else "none"


async def main(arguments: Sequence[str]) -> int:
    """Run; return 0 only if every message ended where it should."""
    options = parser().parse_args(arguments)
    if options.messages < 0 or not 0 <= options.fault_rate < 1 or (options.face_rate or 0) < 0:
        parser().error("--messages and --face-rate: 0 or more; --fault-rate: 0 to less than 1")
    if options.face_rate is None:
        options.face_rate = DEPLOYED_FACE_RATE if options.serve else 0
    console = Console()
    cloud_options = Options(
        face_limit=face_limit(options.face_rate),
        seed=options.seed,
        outcome_queue=OUTCOME_QUEUE if options.receipts else None,
        api_version=options.api_version,
        settings={
            **settings(options.face_rate, as_deployed=options.serve),
            # The host then logs what is allowed now, which the desk shows.
            **({"PYTHON_ENABLE_OPENTELEMETRY": "true"} if options.serve else {}),
        },
    )
    console.print("starting broker, Face API, identity endpoint and Functions host on 127.0.0.1 …")
    try:
        async with Cloud(cloud_options) as cloud:
            ok = not options.messages or await _run(console, cloud, options, arguments)
            if options.serve:
                await _serve(console, cloud, ok)
            return 0 if ok else 1
    except ServiceFailed as error:
        console.print(error, style="red", markup=False, highlight=False)
        return 1


async def _run(
    console: Console, cloud: Cloud, options: argparse.Namespace, arguments: Sequence[str]
) -> bool:
    with Progress(console) as progress:
        ending.at_the_end(lambda: f"stopped: 0 of {options.messages:,} messages done")
        planned = plan(
            options.messages,
            options.seed,
            random_faults=options.fault_rate > 0,
            show=lambda done: progress.show("messages prepared", done, options.messages),
        )
        run = Run(cloud, planned, options.fault_rate, progress.show)
        ending.at_the_end(lambda: f"stopped: {run}")
        await run.prepare()
        started = time.monotonic()
        # This is generous; a message that has not ended by then is reported as pending.
        rate = (options.face_rate or 100) * 0.5
        limit = 60 + len(planned) / rate * (1 + 4 * options.fault_rate)
        in_time = await finished(run, cloud, limit)
    seconds = time.monotonic() - started
    if not in_time:
        console.print(f"[red]cut off after {seconds:.0f} s:[/red] {run}", highlight=False)
    ended = await run.check()
    result = as_json(planned, ended, seconds, await run.check_receipts(ended))
    for each in (*tables(planned, ended), *closing_lines(ended, result)):
        console.print(each)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if options.html:
        page(planned, ended, result, provenance("make run", arguments)).write(options.html)
    ending.at_the_end(str)
    return bool(result["ok"])


async def finished(run: Run, cloud: Cloud, limit: float) -> bool:
    """Publish, and wait until every message has ended; return whether it did within the limit.

    Raises:
        ServiceFailed: a part of the cloud ended meanwhile.
    """
    publishing = asyncio.create_task(run.publish())
    failing = asyncio.create_task(_failure(cloud))
    try:
        async with asyncio.timeout(limit):
            while True:
                published = publishing.done()
                if await run.settled() and published:
                    return True
                watched = {failing} if published else {failing, publishing}
                done, _ = await asyncio.wait(watched, timeout=_LOOK_SECONDS)
                if failing in done:
                    raise failing.result()
                if publishing in done:
                    publishing.result()
    except TimeoutError:
        return False
    finally:
        publishing.cancel()
        failing.cancel()


async def _failure(cloud: Cloud) -> ServiceFailed:
    return await anext(cloud.failures())


async def _serve(console: Console, cloud: Cloud, ok: bool) -> None:
    """Keep the cloud up, and the desk if it is installed, until Ctrl-C."""
    environment = serve_environment(cloud)
    _print_environment(console, cloud, environment)
    ending.at_the_end(lambda: "stopped", 0 if ok else 1)
    desks = []
    if all(find_spec(name) for name in DESK_NEEDS):
        desk = Service("revoker", ["desk", "--json"], cloud.folder / "desk.log", environment)
        await desk.start()
        desks.append(desk)
        console.print(f"The desk: {desk.facts['address']}", soft_wrap=True, highlight=False)
    async for failure in cloud.failures(*desks):
        console.print(failure, style="red", markup=False, highlight=False)
        console.print(
            "The rest is still up; Ctrl-C stops it. To start a host again, paste the export "
            "lines, then: .venv/bin/python -m local.host >>$LOGS/host-0.log 2>&1 &",
            soft_wrap=True,
            highlight=False,
        )


def serve_environment(cloud: Cloud) -> dict[str, str]:
    """Return the variables with which commands and the desk find this cloud."""
    control = f"http://127.0.0.1:{cloud.broker.facts['control_port']}"
    return {
        **cloud.environment,
        "LOCAL_BROKER_CONTROL": control,
        "LOGS": str(cloud.folder),
    }


def _print_environment(console: Console, cloud: Cloud, environment: Mapping[str, str]) -> None:
    console.print(
        "\n[bold]The local cloud is up.[/bold] Ctrl-C stops it. For your own publisher:\n"
    )
    for name, value in environment.items():
        console.print(f"export {name}='{value}'", soft_wrap=True, highlight=False)
    face, broker = cloud.face.facts, cloud.broker.facts
    console.print(
        f"\nThe Face API's sessions, calls and faults: "
        f"http://127.0.0.1:{face['port']}/_local/sessions, /_local/calls, /_local/faults\n"
        f"The broker's queues and events: "
        f"http://127.0.0.1:{broker['control_port']}/queues, /ledger\n"
        f"The logs: {cloud.folder}",
        soft_wrap=True,
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))

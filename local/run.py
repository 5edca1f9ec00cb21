"""`make run`: the whole job on this machine, from the publisher to the end of each message."""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

from azure.servicebus.aio import ServiceBusClient
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from local.broker.serving import stopped
from local.cloud import Cloud, Options, Service, ServiceFailed
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

# Shorter than in Azure, because somebody waits for the run: a hanging call ends after two seconds.
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


class Run:
    """Publishes a plan into a local cloud and checks where each message ended."""

    def __init__(self, cloud: Cloud, planned: Sequence[Planned], fault_rate: float) -> None:
        self._cloud = cloud
        self._planned = planned
        self._fault_rate = fault_rate

    async def prepare(self) -> None:
        """Create the sessions and inject the faults at the Face API."""
        cloud = self._cloud
        by_type: dict[str, set[str]] = defaultdict(set)
        for each in self._planned:
            if each.session_id and each.session_exists:
                by_type[each.session_type].add(each.session_id)
        for session_type, ids in by_type.items():
            body = {"ids": sorted(ids), "type": session_type}
            await cloud.ask(cloud.face, "POST", "/_local/sessions", body)
        faults: list[dict[str, Any]] = [
            {**fault, "session_id": each.session_id}
            for each in self._planned
            for fault in each.faults
        ]
        if self._fault_rate:
            kinds = list(RANDOM_FAULTS)
            faults.append({"fault": "random", "probability": self._fault_rate, "kinds": kinds})
        if faults:
            await cloud.ask(cloud.face, "POST", "/_local/faults", faults)

    async def publish(self) -> None:
        """Publish every message over the unmodified SDK."""
        async with (
            ServiceBusClient.from_connection_string(self._cloud.connection_string) as client,
            client.get_queue_sender(self._cloud.options.queue) as sender,
        ):
            for each in self._planned:
                await sender.send_messages(each.message())
                if each.twice:
                    await sender.send_messages(each.message())

    async def counts(self) -> Counter[str]:
        """Count the ended messages by outcome, according to the function's log."""
        return Counter(
            line["outcome"] for line in self._cloud.log_lines() if line.get("outcome") in FINAL
        )

    async def settled(self) -> bool:
        """Return whether only dead letters are left in the queue."""
        cloud = self._cloud
        queue = (await cloud.ask(cloud.broker, "GET", "/queues"))[cloud.options.queue]
        return not any(queue[state] for state in ("active", "locked", "scheduled", "deferred"))

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


def parser() -> argparse.ArgumentParser:
    """Return the parser of `make run ARGS="…"`."""
    parser = argparse.ArgumentParser(
        prog="make run", description="Runs the whole job on this machine, without Azure."
    )
    parser.add_argument("--messages", type=int, default=200, help="how many (default: 200)")
    parser.add_argument(
        "--face-rate",
        type=float,
        default=0,
        help="calls per second that the Face API allows (default: any number)",
    )
    parser.add_argument(
        "--fault-rate", type=float, default=0, help="share of calls that fail at random, 0 to 1"
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


def settings(face_rate: float) -> dict[str, str]:
    """Return the app settings for a run against a Face API with this rate limit; 0: none."""
    rate = face_rate * 0.8 if face_rate else 1000
    return {**FAST_SETTINGS, "FACE_MAX_CALLS_PER_SECOND": f"{rate:g}"}


def face_limit(face_rate: float) -> str:
    """Return the limit of a Face API that allows `face_rate` calls per second; 0: unlimited."""
    count, seconds = Fraction(face_rate).limit_denominator(60).as_integer_ratio()
    return f"{count}/{seconds}" if face_rate else "none"


async def main(arguments: Sequence[str]) -> int:
    """Run; return 0 only if every message ended where it should."""
    options = parser().parse_args(arguments)
    if options.messages < 0 or not 0 <= options.fault_rate < 1 or options.face_rate < 0:
        parser().error("--messages and --face-rate: 0 or more; --fault-rate: 0 to less than 1")
    console = Console()
    cloud_options = Options(
        face_limit=face_limit(options.face_rate),
        seed=options.seed,
        outcome_queue=OUTCOME_QUEUE if options.receipts else None,
        api_version=options.api_version,
        settings={
            **settings(options.face_rate),
            # The host then logs the current rate, which the desk shows.
            **({"PYTHON_ENABLE_OPENTELEMETRY": "true"} if options.serve else {}),
        },
    )
    console.print("starting broker, Face API, identity endpoint and Functions host on 127.0.0.1 …")
    try:
        async with Cloud(cloud_options) as cloud:
            ok = not options.messages or await _run(console, cloud, options, arguments)
            if options.serve:
                await _serve(console, cloud)
            return 0 if ok else 1
    except ServiceFailed as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 1


async def _run(
    console: Console, cloud: Cloud, options: argparse.Namespace, arguments: Sequence[str]
) -> bool:
    planned = plan(options.messages, options.seed, random_faults=options.fault_rate > 0)
    run = Run(cloud, planned, options.fault_rate)
    await run.prepare()
    started = time.monotonic()
    # A message that has not ended by then is reported as pending.
    limit = 60 + len(planned) / ((options.face_rate or 100) * 0.5) * (1 + 4 * options.fault_rate)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        ending = progress.add_task("messages ended", total=len(planned))
        publishing = asyncio.create_task(run.publish())
        while time.monotonic() - started < limit:
            progress.update(ending, completed=sum((await run.counts()).values()))
            if publishing.done() and await run.settled():
                break
            await asyncio.sleep(0.25)
        await publishing
        progress.update(ending, completed=sum((await run.counts()).values()))
    seconds = time.monotonic() - started
    ended = await run.check()
    result = as_json(planned, ended, seconds, await run.check_receipts(ended))
    for each in (*tables(planned, ended), *closing_lines(ended, result)):
        console.print(each)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if options.html:
        page(planned, ended, result, provenance("make run", arguments)).write(options.html)
    return bool(result["ok"])


async def _serve(console: Console, cloud: Cloud) -> None:
    """Keep the cloud up, and the desk if it is installed, until SIGTERM or SIGINT."""
    environment = serve_environment(cloud)
    desk = Service("revoker", ["desk", "--json"], cloud.folder / "desk.log", environment)
    _print_environment(console, cloud, environment)
    try:
        if all(find_spec(name) for name in DESK_NEEDS):
            await desk.start()
            console.print(f"The desk: {desk.facts['address']}", soft_wrap=True, highlight=False)
        await stopped()
        console.print("stopping …")
    finally:
        await desk.stop()


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
    try:
        sys.exit(asyncio.run(main(sys.argv[1:])))
    except KeyboardInterrupt:
        sys.exit(130)

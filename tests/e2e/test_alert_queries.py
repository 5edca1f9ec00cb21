"""The queries of alerts, workbook and runbook, run over lines that the function wrote.

The lines are real: they come from the local cloud. They stand in tables of the shape in which the
platform's exporter delivers them, so that a renamed field cannot silence an alert.
"""

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from typing import Any

import duckdb_kql
import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from local.cloud import Cloud, Options
from local.soak.scenarios import SCENARIOS
from tests.infra.project import ROOT, Project, at

type Line = dict[str, Any]

SETTINGS = {
    "CIRCUIT_BREAKER_BREAK_SECONDS": "0.5",
    "RETRY_INITIAL_DELAY_SECONDS": "0.05",
}


async def _play() -> tuple[list[Line], list[Line]]:
    """Lines of a quiet hour, and of one in which the role is missing."""
    async with Cloud(Options(settings=SETTINGS)) as cloud:
        client = ServiceBusClient.from_connection_string(cloud.connection_string)
        async with client, client.get_queue_sender(cloud.options.queue) as sender:

            async def publish(*bodies: str) -> None:
                await sender.send_messages([ServiceBusMessage(body) for body in bodies])

            async def until(*wanted: str) -> list[Line]:
                async with asyncio.timeout(50):
                    while not all(name in str(cloud.log_lines()) for name in wanted):
                        await asyncio.sleep(0.1)
                return cloud.log_lines()

            ids = await cloud.ask(cloud.face, "POST", "/_local/sessions", {"count": 6})
            await publish(*(json.dumps({"sessionId": each}) for each in ids))
            await publish('{"sessionId": "never-was"}', "nonsense")
            quiet = await until("'already_gone'", "'dead_lettered'", *ids)
            odd = {"fault": "status", "status": 400, "code": "SomethingNew", "session_id": "odd"}
            await cloud.ask(cloud.face, "POST", "/_local/faults", odd)
            await publish('{"sessionId": "odd"}')
            busy = {
                "fault": "status",
                "status": 429,
                "code": "429",
                "count": 1,
                "session_id": "busy",
            }
            await cloud.ask(cloud.face, "POST", "/_local/faults", busy)
            await publish('{"sessionId": "busy"}')
            await until("'unknown_code'", "'rate_changed'")
            await cloud.ask(cloud.face, "POST", "/_local/config", {"deny_role": True})
            await publish(*(json.dumps({"sessionId": f"later-{n}"}) for n in range(9)))
            every = await until("'deployment_fault'", "'circuit_open'", "'retry_scheduled'")
            return quiet, every[len(quiet) :]


@pytest.fixture(scope="module")
def played() -> tuple[list[Line], list[Line]]:
    return asyncio.run(_play())


RESOURCES = {
    type_: next(one["id"] for _, one in Project.load().of(type_, "default"))
    for type_ in ("Microsoft.Insights/components", "Microsoft.Web/sites")
}
INSIGHTS, APP = RESOURCES.values()
FACE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/face"


def ask(query: str, lines: Sequence[Line], executions: float = 0) -> list[Any]:
    """The rows that a query finds; the function ran as often half an hour ago, by the metrics.

    The workspace holds lines and metrics of other apps, too, and writes ids in lower case.
    """
    connection = duckdb_kql.connect()
    columns = "TimeGenerated TIMESTAMP, _ResourceId VARCHAR"
    connection.sql(f"CREATE TABLE AppTraces ({columns}, Message VARCHAR, AppRoleInstance VARCHAR)")
    connection.sql(f"CREATE TABLE AzureMetrics ({columns}, MetricName VARCHAR, Total DOUBLE)")
    now = datetime.now(UTC).replace(tzinfo=None)
    messages = ["Host lock lease acquired.", *(json.dumps(line) for line in lines)]
    traces = [(now, INSIGHTS.lower(), message, "instance-1") for message in messages]
    other = '{"event": "deployment_fault", "outcome": "deleted"}'
    traces.append((now, "/another/app", other, "instance-1"))
    connection.executemany("INSERT INTO AppTraces VALUES (?, ?, ?, ?)", traces)
    earlier, ran = now - timedelta(minutes=30), "AlwaysReadyFunctionExecutionCount"
    metrics = [
        (earlier, APP.lower(), ran, executions),
        (now, APP.lower(), ran, 1.0),  # its line may still be on its way
        (earlier, "/another/app", ran, 9.0),
        (earlier, "/the/namespace", "CompleteMessage", 9.0),  # somebody reads receipts
        (earlier, FACE.lower(), "TotalCalls", 60.0),
    ]
    connection.executemany("INSERT INTO AzureMetrics VALUES (?, ?, ?, ?)", metrics)
    return list(duckdb_kql.query(connection, query).fetchall())


ALERTS = {
    one["name"].removeprefix("revoker-")[:-14]: at(one, "properties.criteria.allOf.0.query")
    for _, one in Project.load().of("Microsoft.Insights/scheduledQueryRules", "default")
}


@pytest.mark.parametrize("alert", ALERTS)
def test_no_alert_in_a_quiet_hour(alert: str, played: tuple[list[Line], list[Line]]) -> None:
    """Deletions, a session already gone and a malformed message, all audited, raise no alert."""
    assert ask(ALERTS[alert], played[0], executions=8) == []
    assert ask(ALERTS[alert], []) == []


def one(lines: list[Line], outcome: str) -> Line:
    """A line of that outcome."""
    return next(line for line in lines if line.get("outcome") == outcome)


def slow(line: Line) -> Line:
    assert "ms_since_first_enqueued" in line
    return {**line, "ms_since_first_enqueued": 301_000.0}


def test_every_alert_is_raised_by_its_lines(played: tuple[list[Line], list[Line]]) -> None:
    """Each alert finds the trouble that it is named after, and no alert is left untried."""
    quiet, trouble = played
    gone, deleted = one(quiet, "already_gone"), one(quiet, "deleted")
    raised: dict[str, tuple[list[Line], float]] = {
        "circuit-open": (trouble, 0),
        "deployment-fault": (trouble, 0),
        "unknown-code": (trouble, 0),
        "already-gone": (several(gone, 5) + several(deleted, 16), 0),
        "slow-revocations": ([slow(deleted), *quiet], 0),
        "audit-lines-missing": ([], 3),
    }
    assert raised.keys() == ALERTS.keys()
    for alert, (lines, executions) in raised.items():
        assert ask(ALERTS[alert], lines, executions), alert


def several(line: Line, count: int, **fields: object) -> list[Line]:
    """Lines like this one about different sessions."""
    outcome = line["outcome"]
    return [{**line, "session_id": f"{outcome}-{n}", **fields} for n in range(count)]


def test_the_alert_names_the_publisher_whose_sessions_are_missing(
    played: tuple[list[Line], list[Line]],
) -> None:
    """Three of three are enough, however many another publisher's sessions are found."""
    gone, deleted = one(played[0], "already_gone"), one(played[0], "deleted")
    found = several(deleted, 30, publisher="/identity")
    rows = ask(ALERTS["already-gone"], [*found, *several(gone, 3, publisher="/shop")])
    assert [row[0] for row in rows] == ["/shop"]
    rows = ask(ALERTS["already-gone"], [*found, *several(gone, 3)])
    assert [row[0] for row in rows] == ["unnamed"]


def test_a_quiet_hour_with_few_missing_sessions_is_no_alert(
    played: tuple[list[Line], list[Line]],
) -> None:
    """No alert is raised by two, by half of few, by a fifth of many, by sessions that were deleted
    before, and by those whose earlier attempt may have deleted them."""
    gone, deleted = one(played[0], "already_gone"), one(played[0], "deleted")
    quiet: list[list[Line]] = [
        several(gone, 2),
        several(gone, 9) + several(deleted, 9),
        several(gone, 5) + several(deleted, 20),
        [{**line, "outcome": "already_gone"} for line in several(deleted, 9)] + several(deleted, 9),
        several(gone, 9, delivery_count=2),
        several(gone, 9, attempts=gone["attempts"] + 1),
    ]
    for lines in quiet:
        assert ask(ALERTS["already-gone"], lines) == []


WORKBOOK = json.loads((ROOT / "infra/workbook.json").read_bytes())["items"]
TILES = {item["name"]: item["content"]["query"] for item in WORKBOOK if item["type"] == 3}


@pytest.mark.parametrize("tile", TILES)
def test_every_tile_of_the_workbook_shows_something(
    tile: str, played: tuple[list[Line], list[Line]]
) -> None:
    """Each tile has rows when there are lines of all kinds."""
    query = TILES[tile].replace("{TimeRange:grain}", "1h")
    query = query.replace("__APPLICATION_INSIGHTS_ID__", INSIGHTS)
    query = query.replace("__FACE_ACCOUNT_ID__", FACE)
    assert ask(query.replace("__FACE_CALLS_PER_SECOND_QUOTA__", "10"), played[0] + played[1])


RUNBOOK = (ROOT / "docs/operations.md").read_text("utf-8")
QUERIES = re.findall(r"```kusto\n(.*?)```", RUNBOOK, re.DOTALL)


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_every_query_of_the_runbook_finds_something(
    number: int, played: tuple[list[Line], list[Line]]
) -> None:
    """Each query has rows when there are lines of all kinds."""
    query = QUERIES[number].replace("<session id>", "never-was")
    assert ask(query, played[0] + played[1])


TABLE = re.search(r"<!-- failures -->(.*?)<!-- /failures -->", RUNBOOK, re.DOTALL)
FAILURES = [
    [cell.strip() for cell in row.split("|")[1:4]]
    for row in (TABLE[1].strip().splitlines()[2:] if TABLE else [])
]


def test_every_failure_that_soak_plays_has_its_alerts() -> None:
    """The runbook's table has each scenario of the soak once (`*` stands for the parts of a name), and
    names alerts that exist, from the source that they have. Each failure has one from metrics, or a
    reason why none is needed."""
    metrics = {
        made["name"].removeprefix("revoker-")[:-14]
        for _, made in Project.load().of("Microsoft.Insights/metricAlerts", "default")
    }
    told = [name for row in FAILURES for name in re.findall(r"`([\w*]+)`", row[0])]
    for scenario in SCENARIOS:
        assert sum(fnmatch(scenario.name, name) for name in told) == 1, scenario.name
    for name in told:
        assert any(fnmatch(scenario.name, name) for scenario in SCENARIOS), name
    for names, from_metrics, from_lines in FAILURES:
        assert set(from_lines.split(", ")) - {""} <= ALERTS.keys(), names
        assert from_metrics.startswith("none: ") or set(from_metrics.split(", ")) <= metrics, names

"""What a month costs, from list prices (prices.json, with their date) and a few parameters.

    python -m infra.costs --revocations 1000000 --memory-mb 512
    make costs ARGS="--always-ready 2"

The table in README.md is what it prints by default; tests/infra compares them.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INFRA = Path(__file__).parent
SECONDS = 2_628_000
"""In a month."""

OPERATIONS_EACH = 4
"""Operations of the broker for a revocation: sent, received, its lock renewed, completed."""
ROWS_EACH = 2
"""Of telemetry for a revocation, of about 1 KB: log line, request."""
INSTANCE_GB = 0.75
"""Telemetry of an instance that waits: the worker's counters (27 KB in five minutes, measured against a
local endpoint) and the host's lines (0.5 GB, estimated)."""
METRICS_GB = 0.6
"""Metrics of the app and the Face account: some 25 rows a minute, of half a KB (estimated)."""
HOST_OPERATIONS = 300_000
"""Operations of the host on its storage account, for its locks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What is deployed, and how much it has to do."""

    revocations: int = 10_000
    seconds_each: float = 1.0
    tier: str = "Standard"
    units: int = 1
    memory_mb: int = 2048
    always_ready: int = 1
    private: bool = False


type Row = tuple[str, str, float, float]
"""What, how it is worked out, and its minimum and maximum cost."""


def function(use: Use, prices: dict[str, float]) -> list[Row]:
    """The function: executions, and memory by the second."""
    gb = use.memory_mb / 1024
    busy = use.revocations * use.seconds_each * gb
    executions = use.revocations / 1e6 * prices["function_million_executions"]
    rows = [
        (
            "Function, executions",
            f"{use.revocations:,} at {prices['function_million_executions']:.2f} a million",
            executions,
        )
    ]
    if use.always_ready:
        baseline = use.always_ready * gb * SECONDS * prices["function_always_ready_gb_second"]
        working = busy * prices["function_always_ready_execution_gb_second"]
        what = f"Function, {use.always_ready} with {gb:g} GB always ready"
        how = f"{use.always_ready * gb * SECONDS:,.0f} GB-s to be there, {busy:,.0f} GB-s to work"
        rows.append((what, how, baseline + working))
    else:
        free = prices["function_on_demand_free_gb_seconds"]
        paid = max(0.0, busy - free)
        how = f"{busy:,.0f} GB-s; {free:,.0f} are free"
        rows.append(("Function, memory", how, paid * prices["function_on_demand_gb_second"]))
    return [(what, how, cost, cost) for what, how, cost in rows]


def rows(use: Use, prices: dict[str, float]) -> list[Row]:
    """What a month costs, part by part."""
    if use.tier == "Premium" or use.private:
        cost = use.units * prices["service_bus_premium_unit_month"]
        bus: Row = ("Service Bus Premium", f"{use.units} messaging units", cost, cost)
    else:
        included = prices["service_bus_operations_included"]
        more = max(0.0, use.revocations * OPERATIONS_EACH - included) / 1e6
        cost = (
            prices["service_bus_standard_month"] + more * prices["service_bus_million_operations"]
        )
        bus = (
            "Service Bus Standard",
            f"base charge, {included:,.0f} operations included",
            cost,
            cost,
        )
    storage = HOST_OPERATIONS / 10_000 * prices["storage_10000_operations"]
    gb = use.revocations * ROWS_EACH / 1e6 + use.always_ready * INSTANCE_GB + METRICS_GB
    logs = [max(0.0, gb - free) * prices["logs_gb"] for free in (prices["logs_free_gb"], 0.0)]
    metric_alerts, log_alerts = alerts()
    told = (
        metric_alerts * prices["alert_metric_series_month"]
        + log_alerts * prices["alert_log_rule_5_minutes_month"]
    )
    face = use.revocations / 1000 * prices["face_1000_calls"]
    found: list[Row] = [
        bus,
        *function(use, prices),
        ("Storage", f"{HOST_OPERATIONS:,} operations of the host's locks", storage, storage),
        (
            "Logs",
            f"{gb:.2f} GB; {prices['logs_free_gb']:g} GB a billing account are free",
            logs[0],
            logs[1],
        ),
        (
            "Alerts",
            f"{metric_alerts} metric series, {log_alerts} log rules every 5 min",
            told,
            told,
        ),
        ("Face, deletes", "whether they are billed is not documented", 0.0, face),
    ]
    if use.private:
        cost = 4 * (prices["private_endpoint_month"] + prices["private_zone_month"])
        found.append(("Private networking", "4 endpoints, 4 zones", cost, cost))
    return found


def alerts() -> tuple[int, int]:
    """How many metric and log alerts are deployed."""
    types = [
        one["type"]
        for one in json.loads((INFRA / "snapshots/default.json").read_bytes())["resources"]
    ]
    return (
        types.count("Microsoft.Insights/metricAlerts"),
        types.count("Microsoft.Insights/scheduledQueryRules"),
    )


def table(use: Use, prices: dict[str, float]) -> str:
    """The costs as a Markdown table."""

    def amount(least: float, most: float) -> str:
        low, high = f"{least:,.2f}", f"{most:,.2f}"
        return low if low == high else f"{low} to {high}"

    parts = rows(use, prices)
    total = amount(sum(row[2] for row in parts), sum(row[3] for row in parts))
    lines = ["| what | how much | a month |", "|---|---|---|"]
    lines += [f"| {what} | {how} | {amount(low, high)} |" for what, how, low, high in parts]
    return "\n".join([*lines, f"| **sum** | | **{total}** |"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the prices' date and the table."""
    default = Use()
    parser = argparse.ArgumentParser(prog="costs", description="What a month costs.")
    parser.add_argument("--revocations", type=int, default=default.revocations)
    parser.add_argument("--seconds-each", type=float, default=default.seconds_each)
    parser.add_argument("--tier", choices=["Standard", "Premium"], default=default.tier)
    parser.add_argument("--units", type=int, default=default.units)
    parser.add_argument("--memory-mb", type=int, choices=[512, 2048, 4096], default=2048)
    parser.add_argument("--always-ready", type=int, default=default.always_ready)
    parser.add_argument("--private", action="store_true")
    prices = json.loads((INFRA / "prices.json").read_bytes())
    print(f"{prices['currency']}, list prices of {prices['as_of']}, {prices['region']}\n")
    print(table(Use(**vars(parser.parse_args(arguments))), prices))


if __name__ == "__main__":
    main()

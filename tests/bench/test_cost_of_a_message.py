"""What a message costs, in counts: no clock, so that a busy machine cannot make them fail."""

import json
import os
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from typing import Any

from bench.harness import ROOT, serve
from tests.local.broker_process import BrokerProcess

# Counted when last tuned; raise them only with a reason in the commit.
CALLS = 431
CALLS_WITH_TELEMETRY = 953
AWAITS = 31
CALLS_WITH_RECEIPT = 1003
TOLERANCE = 1.05
TELEMETRY_OFF = {"PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY": "false"}
# All lines in one export, whatever the machine's load.
TELEMETRY_ON = {
    "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY": "true",
    "OTEL_BLRP_SCHEDULE_DELAY": "60000",
}

# A latency keeps the rate below the rate limiter's first one, so that no message waits.
LATENCY_MILLISECONDS = 5


async def count(app: str, **environment: str) -> dict[str, Any]:
    async with serve() as server:
        await server.latency(LATENCY_MILLISECONDS)
        process = await create_subprocess_exec(
            *(sys.executable, "-m", "bench.count", "--app", app),
            stdout=PIPE,
            env={**os.environ, **server.environment, **TELEMETRY_OFF, **environment},
            cwd=ROOT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        found: dict[str, Any] = json.loads(output)
        return found


async def test_a_message_costs_what_it_did_when_last_tuned() -> None:
    """Calls and suspensions stay within 5 %; a saving of over 10 % has the bounds lowered."""
    found = await count(".")
    why = found["calls_by_part"]
    assert CALLS * 0.9 <= found["calls"] <= CALLS * TOLERANCE, why
    assert AWAITS * 0.9 <= found["awaits"] <= AWAITS * TOLERANCE, why


async def test_telemetry_costs_what_it_did_when_last_tuned() -> None:
    """The deployed function makes twice the calls; most of the rest are in the exporter."""
    found = await count(".", **TELEMETRY_ON)
    why = found["calls_by_part"]
    assert CALLS_WITH_TELEMETRY * 0.9 <= found["calls"] <= CALLS_WITH_TELEMETRY * TOLERANCE, why


async def test_a_receipt_costs_what_it_did_when_last_counted(broker: BrokerProcess) -> None:
    """With receipts on, a message costs its own calls and those that one send takes."""
    found = await count(
        ".",
        # Any queue but that of the revocations: nothing is read from it here.
        OUTCOME_QUEUE="session-revoked",
        SESSION_REVOKED_QUEUE="another",
        ServiceBusConnection=broker.connection_string,
        ServiceBusConnection__fullyQualifiedNamespace="",
    )
    why = found["calls_by_part"]
    assert CALLS_WITH_RECEIPT * 0.9 <= found["calls"] <= CALLS_WITH_RECEIPT * TOLERANCE, why
    assert broker.counts("session-revoked")["active"] > 0


async def test_the_same_job_on_another_client_costs_twice_as_much() -> None:
    """The SDK makes more than twice the calls per message."""
    assert (await count("bench/peers/azure_sdk"))["calls"] > 2 * CALLS

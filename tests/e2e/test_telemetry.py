"""What an exporter receives when messages travel through the local cloud."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from local.cloud import Cloud, Options
from local.host import worker
from local.host.configuration import read_host_json
from local.host.listener import Listener
from local.host.trigger import read_trigger
from tests.unit.fakes import Bench, verdict

ROOT = Path(__file__).parents[2]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@dataclass
class Exported:
    """What was exported so far, in memory."""

    spans: InMemorySpanExporter
    reader: InMemoryMetricReader

    def named(self, name: str, **attributes: object) -> list[ReadableSpan]:
        return [
            span
            for span in self.spans.get_finished_spans()
            if span.name == name
            and all((span.attributes or {}).get(key) == value for key, value in attributes.items())
        ]

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def total(self, name: str, **attributes: object) -> float:
        """Return a counter's value, or the number of a histogram's records."""
        points = [
            point
            for point in self.points(name)
            if all(point.attributes.get(key) == value for key, value in attributes.items())
        ]
        return float(
            sum(point.value if hasattr(point, "value") else point.count for point in points)
        )


@pytest.fixture(scope="module")
def exported() -> Exported:
    """The process's providers, which can be set but once, as the platform's worker sets them."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    return Exported(spans, reader)


@pytest.fixture
def fresh_app() -> Iterator[None]:
    level, at_sigterm = logging.getLogger().level, signal.getsignal(signal.SIGTERM)
    yield
    logging.getLogger().setLevel(level)
    signal.signal(signal.SIGTERM, at_sigterm)
    for name in [name for name in sys.modules if name == "function_app"]:
        del sys.modules[name]


@pytest.fixture
async def cloud(monkeypatch: pytest.MonkeyPatch, fresh_app: None) -> AsyncIterator[Cloud]:
    """The local cloud with its Functions host in this process, where the exporter is."""
    fast = {
        "FACE_MAX_CALLS_PER_SECOND": "1000",
        "RETRY_INITIAL_DELAY_SECONDS": "0.2",
    }
    async with Cloud(Options(hosts=0, settings=fast)) as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.syspath_prepend(str(ROOT))
        [function] = await worker.index(ROOT)
        host_json = read_host_json(json.loads((ROOT / "host.json").read_text()))
        listener = Listener(read_trigger(function, host_json, os.environ))
        running = asyncio.create_task(listener.run())
        yield made
        listener.drain()
        await running


async def publish(cloud: Cloud, *messages: ServiceBusMessage) -> None:
    async with (
        ServiceBusClient.from_connection_string(cloud.connection_string) as client,
        client.get_queue_sender(cloud.options.queue) as sender,
    ):
        await sender.send_messages(list(messages))


async def until_settled(cloud: Cloud, completed: int) -> None:
    async with asyncio.timeout(30):
        while True:
            ledger = await cloud.ask(cloud.broker, "GET", "/ledger")
            if sum(event["event"] == "completed" for event in ledger) >= completed:
                return
            await asyncio.sleep(0.1)


async def test_metrics_and_traces_tell_the_story(cloud: Cloud, exported: Exported) -> None:
    """Counters, histograms and spans show a deletion, a retry and a dead-letter."""
    await cloud.ask(cloud.face, "POST", "/_local/sessions", {"ids": ["plain", "retried"]})
    faults = [
        {
            "fault": "status",
            "status": 503,
            "code": "Busy",
            "retry_after": 1,
            "session_id": "retried",
            "count": 2,
        },
        {"fault": "status", "status": 400, "code": "BadArgument", "session_id": "bad"},
    ]
    await cloud.ask(cloud.face, "POST", "/_local/faults", faults)
    await publish(
        cloud,
        ServiceBusMessage('{"sessionId":"plain"}', application_properties={"traceparent": PARENT}),
        ServiceBusMessage(
            '{"sessionId":"retried"}', application_properties={"Diagnostic-Id": PARENT}
        ),
        ServiceBusMessage('{"sessionId":"bad"}'),
        ServiceBusMessage("not JSON"),
    )
    await until_settled(cloud, completed=4)  # one at once, and one after two copies

    assert exported.total("revoker.revocations", outcome="deleted") == 2
    assert exported.total("revoker.revocations", outcome="retry_scheduled", code="Busy") == 2
    assert exported.total("revoker.revocations", outcome="dead_lettered") == 2
    assert exported.total("revoker.revocation.duration") == 2
    assert exported.points("revoker.face.rate")[0].value > 0
    assert exported.points("revoker.face.rate.cause")[0].value == 0
    assert exported.points("revoker.face.waiting")[0].value == 0
    assert exported.points("revoker.circuit.state")[0].value == 0

    messages = exported.named("process session-revoked")
    assert len(messages) == 6
    published = [
        span for span in messages if span.context and span.context.trace_id == int(TRACE, 16)
    ]
    assert len(published) == 4  # the plain one; the retried one and its two copies
    assert all(span.kind is trace.SpanKind.CONSUMER for span in messages)
    assert len(exported.named("process session-revoked", outcome="deleted", attempts=1)) == 1
    assert (
        len(exported.named("process session-revoked", outcome="retry_scheduled", code="Busy")) == 2
    )
    text = json.dumps([span.to_json() for span in exported.spans.get_finished_spans()])
    for secret in ("retried", "Bearer", "SharedAccessKey", "not JSON"):
        assert secret not in text
    names = {key for span in messages for key in span.attributes or {}}
    assert not {name for name in names if "session_id" in name}


async def test_copies_stay_in_the_trace_even_if_the_publisher_began_none(
    exported: Exported,
) -> None:
    """Without a trace context of the publisher's, a copy carries that of the first handling."""
    bench = Bench(verdict(503, "x"), max_wait=0)
    await bench.handle()
    [copy] = bench.queue.copies
    span = exported.named("process session-revoked")[-1]
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" in str(copy.properties["traceparent"])


@pytest.mark.parametrize("wrong", ["", "garbage", "00-0-0-00", 7, None])
async def test_garbage_for_a_trace_context_is_passed_over(
    exported: Exported, wrong: object
) -> None:
    """What a publisher writes there breaks nothing."""
    from tests.unit.fakes import message

    bench = Bench()
    await bench.handle(message(properties={"traceparent": wrong}))
    assert len(bench.face.calls) == 1

"""What the function's metrics show."""

from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from .fakes import DELETED, Bench, message, verdict


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)
    return reader


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data = reader.get_metrics_data()
    assert data is not None
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


async def test_durations_are_recorded_by_outcome_and_code(reader: InMemoryMetricReader) -> None:
    """Their counts are the numbers of deliveries; a success has no code."""
    answers = (DELETED, verdict(503, "Busy"), verdict(400, "BadArgument", listed=True))
    bench = Bench(*answers, max_wait=0)
    for _ in answers:
        await bench.handle()
    await bench.handle(message(b"not JSON"))
    found = points(reader, "revoker.revocation.duration")
    assert [(dict(point.attributes), point.count) for point in found] == [
        ({"outcome": "deleted"}, 1),
        ({"outcome": "retry_scheduled", "code": "Busy"}, 1),
        ({"outcome": "dead_lettered", "code": "BadArgument"}, 1),
        ({"outcome": "dead_lettered"}, 1),
    ]


def test_gauges_show_the_gate(reader: InMemoryMetricReader) -> None:
    """A fresh process has its highest rate, no waiting call and a closed circuit."""
    Bench(FACE_MAX_CALLS_PER_SECOND="7")
    found = {
        name: points(reader, f"revoker.{name}")[0].value
        for name in ("face.rate", "face.rate.cause", "face.waiting", "circuit.state")
    }
    assert found == {"face.rate": 7, "face.rate.cause": 0, "face.waiting": 0, "circuit.state": 0}

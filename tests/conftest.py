"""Fixtures that more than one folder uses."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import sdk
from tests.local.broker_process import BrokerProcess, OwnQueue

# How long one example takes says more about what else this machine does than about the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

sdk.close_at_once()

NO_BROWSER = "not tried in a browser"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Start three workers for each processor with `-n auto`: most tests wait for others to answer."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # as xdist reads it
    return 3 * (os.process_cpu_count() or 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the tests that may take long, one for each worker in turn; none comes last then."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    long = [item for item in items if item.get_closest_marker("timeout")]
    rest = [item for item in items if item not in long]
    # xdist gives each worker a part of the list, one after the other.
    size = -(-len(rest) // workers)
    items[:] = [
        item
        for worker in range(workers)
        for item in long[worker::workers] + rest[worker * size : (worker + 1) * size]
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one visible line that the desk was not tried, which `s` alone does not."""
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple) and NO_BROWSER in report.longrepr[2]:
            terminalreporter.write_line(report.longrepr[2])
            break


@pytest.fixture
def broker() -> Iterator[BrokerProcess]:
    """A separate broker, with the queue session-revoked."""
    with BrokerProcess.running() as running:
        yield running


@pytest.fixture(scope="session")
def _shared_broker(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[BrokerProcess, Iterator[str]]]:
    names = [f"queue-{number:02}" for number in range(60)]
    with BrokerProcess.with_queues(tmp_path_factory.mktemp("broker"), names) as running:
        yield running, iter(names)


@pytest.fixture
def own_queue(_shared_broker: tuple[BrokerProcess, Iterator[str]]) -> Iterator[OwnQueue]:
    """A fresh queue in a broker that starts once; its faults end with the test."""
    broker, names = _shared_broker
    yield OwnQueue(broker, next(names))
    broker.control("DELETE", "/faults")

"""Fixtures that more than one folder uses."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.local.broker_process import BrokerProcess

# How long one example takes says more about what else this machine does than about the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

NO_BROWSER = "not tried in a browser"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one visible line that the desk was not tried, which `s` alone does not."""
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple) and NO_BROWSER in report.longrepr[2]:
            terminalreporter.write_line(report.longrepr[2])
            break


@pytest.fixture
def broker() -> Iterator[BrokerProcess]:
    """A broker of one's own, with the queue session-revoked."""
    with BrokerProcess.running() as running:
        yield running

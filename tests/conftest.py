"""Fixtures that more than one folder uses."""

from collections.abc import Iterator

import pytest

from tests.local.broker_process import BrokerProcess


@pytest.fixture
def broker() -> Iterator[BrokerProcess]:
    """A broker of one's own, with the queue session-revoked."""
    with BrokerProcess.running() as running:
        yield running

"""The broker with JavaScript clients: the SDK, and a third-party AMQP client."""

import pytest

from tests.peers import javascript


@pytest.mark.timeout(300)
@pytest.mark.parametrize("latency_ms", ["0", "10"])
@pytest.mark.parametrize("script", [javascript.OPERATIONS, javascript.PROTOCOL])
def test_every_check_passes(script: str, latency_ms: str) -> None:
    """Every operation, outcome and error is as the script expects, on loopback and over a network."""
    done = javascript.run(script, "--latency-ms", latency_ms)
    failed = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
    assert len(failed) == 1, done.stdout + done.stderr
    assert failed[0].endswith(" passed, 0 failed")
    assert done.returncode == 0

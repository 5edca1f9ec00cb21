"""Run our scripts for JavaScript clients against the broker: the SDK, and a third-party client."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests import node
from tests.local.broker_process import BrokerProcess

OPERATIONS, PROTOCOL = "operations.mjs", "protocol.mjs"
_QUEUES = 40
_PROPERTIES = {
    "maxDeliveryCount": 10,
    "requiresDuplicateDetection": True,
    "deadLetteringOnMessageExpiration": True,
}
_LOCKS = {"queue": "PT1M", "brief": "PT1S"}


def run(script: str, *broker_options: str) -> subprocess.CompletedProcess[str]:
    """Run a script against a new broker; skip where Node.js or the registry is missing.

    A script prints a line for each check, and exits with 1 if one of them failed.
    """
    folder = node.installed("peers", (Path(__file__).parent / "javascript").iterdir())
    queues = [
        {"name": f"{kind}-{n}", "properties": {**_PROPERTIES, "lockDuration": lock}}
        for kind, lock in _LOCKS.items()
        for n in range(_QUEUES)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        config = Path(temporary) / "config.json"
        config.write_text(json.dumps({"queues": queues}))
        with BrokerProcess.running(["--config", str(config), *broker_options]) as broker:
            facts = [broker.connection_string, str(broker.facts["control_port"])]
            return node.run([shutil.which("node") or "node", script, *facts], folder)

"""Run our scripts for JavaScript clients against the broker: the SDK's, and one of another house."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.local.broker_process import BrokerProcess

_SOURCES = Path(__file__).parent / "javascript"
_FOLDER = Path(__file__).parents[2] / "build" / "peers" / "javascript"
_QUEUES = 40
_PROPERTIES = {
    "maxDeliveryCount": 10,
    "requiresDuplicateDetection": True,
    "deadLetteringOnMessageExpiration": True,
}
_LOCKS = {"queue": "PT1M", "brief": "PT1S"}
INSTALL = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent")


def install() -> None:
    """Put the scripts and the pinned packages into the cache."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    lock = _FOLDER / "package-lock.json"
    sources = {path.name: path.read_bytes() for path in _SOURCES.iterdir()}
    is_current = lock.exists() and lock.read_bytes() == sources[lock.name]
    for name, content in sources.items():
        (_FOLDER / name).write_bytes(content)
    if not is_current or not (_FOLDER / "node_modules").exists():
        subprocess.run(INSTALL, cwd=_FOLDER, check=True)


def run(script: str) -> bool:
    """Run a script against a broker of its own; return whether all its checks passed."""
    node = shutil.which("node")
    if node is None:
        raise RuntimeError("Node.js is missing")
    queues = [
        {"name": f"{kind}-{n}", "properties": {**_PROPERTIES, "lockDuration": lock}}
        for kind, lock in _LOCKS.items()
        for n in range(_QUEUES)
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"queues": queues}))
        with BrokerProcess.running(["--config", str(config)]) as broker:
            facts = (broker.connection_string, str(broker.facts["control_port"]))
            return subprocess.run([node, script, *facts], cwd=_FOLDER).returncode == 0

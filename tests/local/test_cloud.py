"""The local cloud against what is deployed."""

import json
from pathlib import Path
from typing import Any

from local.cloud import QUEUE_PROPERTIES

SNAPSHOT = Path(__file__).parents[2] / "infra" / "snapshots" / "default.json"


def resources(value: object) -> list[dict[str, Any]]:
    """Return everything with a type, however deep it stands."""
    if isinstance(value, list):
        return [found for each in value for found in resources(each)]
    if not isinstance(value, dict):
        return []
    own = [value] if isinstance(value.get("type"), str) else []
    return own + [found for each in value.values() for found in resources(each)]


def test_queue_is_the_deployed_one() -> None:
    """The local queue has the deployed queue's properties."""
    [queue] = [
        each
        for each in resources(json.loads(SNAPSHOT.read_text()))
        if each["type"] == "Microsoft.ServiceBus/namespaces/queues"
    ]
    deployed = queue["properties"]
    assert {name: deployed[name] for name in QUEUE_PROPERTIES} == dict(QUEUE_PROPERTIES)

"""A Service Bus queue trigger, resolved from the binding, host.json and the app settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from local.host import worker
from local.host.configuration import HostError, HostJson


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A Service Bus queue trigger, its settings resolved."""

    function: worker.Function
    parameter: str
    binary: bool
    queue: str
    connection_string: str
    host_json: HostJson


def read_trigger(
    function: worker.Function, host_json: HostJson, settings: Mapping[str, str]
) -> Trigger:
    """Resolve a function's trigger the way the platform does.

    Raises:
        HostError: a setting is missing, or this host does not support the trigger.
    """
    [binding] = [found for found in function.bindings if found["type"].endswith("Trigger")]
    if binding["type"] != "serviceBusTrigger" or "queueName" not in binding:
        raise HostError(f"{function.name}: only Service Bus queue triggers are emulated")
    connection = settings.get(binding["connection"])
    if not connection:
        raise HostError(f"connection {binding['connection']} is not set to a connection string")
    return Trigger(
        function=function,
        parameter=binding["name"],
        binary=str(binding.get("dataType", "")).upper() == "BINARY",
        queue=resolve(binding["queueName"], settings),
        connection_string=connection,
        host_json=host_json,
    )


def resolve(text: str, settings: Mapping[str, str]) -> str:
    """Replace each %NAME% by the app setting of that name."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in settings:
            raise HostError(f"'%{match[1]}%' does not resolve to a value: there is no such setting")
        return settings[match[1]]

    return re.sub(r"%([^%]+)%", value, text)

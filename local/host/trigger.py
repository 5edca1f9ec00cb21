"""A Service Bus queue trigger, resolved from the binding, host.json and the app settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.host import worker


class HostError(Exception):
    """The app cannot be run; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A Service Bus queue trigger, its settings resolved. Times are seconds."""

    function: worker.Function
    parameter: str
    binary: bool
    queue: str
    connection_string: str
    max_concurrent_calls: int
    prefetch_count: int
    max_lock_renewal: float
    drain: float


def read_trigger(
    function: worker.Function,
    host_json: Mapping[str, Any],
    settings: Mapping[str, str],
    drain: float,
) -> Trigger:
    """Resolve a function's trigger the way the platform does.

    Raises:
        HostError: a setting is missing, or the trigger is not one that this host has.
    """
    [binding] = [found for found in function.bindings if found["type"].endswith("Trigger")]
    if binding["type"] != "serviceBusTrigger" or "queueName" not in binding:
        raise HostError(f"{function.name}: only Service Bus queue triggers are emulated")
    connection = settings.get(binding["connection"])
    if not connection:
        raise HostError(f"connection {binding['connection']} is not set to a connection string")
    options = host_json.get("extensions", {}).get("serviceBus", {})
    if options.get("autoCompleteMessages") is False:
        raise HostError("autoCompleteMessages: false is not emulated")
    return Trigger(
        function=function,
        parameter=binding["name"],
        binary=str(binding.get("dataType", "")).upper() == "BINARY",
        queue=resolve(binding["queueName"], settings),
        connection_string=connection,
        max_concurrent_calls=options.get("maxConcurrentCalls", 16),
        prefetch_count=options.get("prefetchCount", 0),
        max_lock_renewal=_seconds(options.get("maxAutoLockRenewalDuration", "00:05:00")),
        drain=drain,
    )


def resolve(text: str, settings: Mapping[str, str]) -> str:
    """Replace each %NAME% by the app setting of that name."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in settings:
            raise HostError(f"'%{match[1]}%' does not resolve to a value: there is no such setting")
        return settings[match[1]]

    return re.sub(r"%([^%]+)%", value, text)


def _seconds(time_span: str) -> float:
    hours, minutes, seconds = time_span.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)

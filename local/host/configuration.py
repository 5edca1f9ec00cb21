"""host.json, as far as it matters for a Service Bus queue trigger.

Names and defaults are those of the Service Bus extension 5.x and of the Flex Consumption plan. An
unknown key is refused. The platform ignores a misspelt key, and its default applies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MINUTE = 60.0
_KEYS = (
    "autoCompleteMessages",
    "clientRetryOptions",
    "enableCrossEntityTransactions",
    "maxAutoLockRenewalDuration",
    "maxBatchWaitTime",
    "maxConcurrentCalls",
    "maxConcurrentCallsPerSession",
    "maxConcurrentSessions",
    "maxMessageBatchSize",
    "minMessageBatchSize",
    "prefetchCount",
    "sessionIdleTimeout",
    "transportType",
    "webProxy",
)
_RETRY_KEYS = ("delay", "maxDelay", "maxRetries", "mode", "tryTimeout")
_TRANSPORTS = ("amqpTcp", "amqpWebSockets")
_MODES = ("exponential", "fixed")


class HostError(Exception):
    """The app cannot be run; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How the Service Bus client retries a failed operation. Times are seconds."""

    mode: str = "exponential"
    total: int = 3
    delay: float = 0.8
    max_delay: float = _MINUTE
    try_timeout: float = _MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class HostJson:
    """What host.json says. Times are seconds."""

    function_timeout: float | None = 30 * _MINUTE
    """How long an invocation may take; None: any time."""
    max_concurrent_calls: int = 16
    prefetch_count: int = 0
    max_lock_renewal: float = 5 * _MINUTE
    web_sockets: bool = False
    retries: Retries = Retries()


def read_host_json(document: Mapping[str, Any]) -> HostJson:
    """Read host.json.

    Raises:
        HostError: it has a value or a key that this host does not know.
    """
    here = "extensions.serviceBus"
    options = _known(document.get("extensions", {}).get("serviceBus", {}), _KEYS, here)
    for name, only in (("autoCompleteMessages", True), ("enableCrossEntityTransactions", False)):
        if options.get(name, only) is not only:
            raise HostError(f"{here}.{name}: {str(not only).lower()} is not emulated")
    if "webProxy" in options:
        raise HostError(f"{here}.webProxy is not emulated")
    defaults = HostJson()
    return HostJson(
        function_timeout=_function_timeout(document.get("functionTimeout")),
        max_concurrent_calls=_count(options, "maxConcurrentCalls", here)
        or defaults.max_concurrent_calls,
        prefetch_count=_count(options, "prefetchCount", here) or 0,
        max_lock_renewal=_span(options, "maxAutoLockRenewalDuration", here)
        or defaults.max_lock_renewal,
        web_sockets=_one_of(options, "transportType", _TRANSPORTS, here) == "amqpWebSockets",
        retries=_retries(options.get("clientRetryOptions", {}), f"{here}.clientRetryOptions"),
    )


def _retries(raw: Any, here: str) -> Retries:
    options, defaults = _known(raw, _RETRY_KEYS, here), Retries()
    total = _count(options, "maxRetries", here)
    return Retries(
        mode=_one_of(options, "mode", _MODES, here),
        total=defaults.total if total is None else total,
        delay=_span(options, "delay", here) or defaults.delay,
        max_delay=_span(options, "maxDelay", here) or defaults.max_delay,
        try_timeout=_span(options, "tryTimeout", here) or defaults.try_timeout,
    )


def _known(options: Any, keys: tuple[str, ...], here: str) -> dict[str, Any]:
    """Return the options under their own spelling: like the platform, it is not case-sensitive."""
    if not isinstance(options, dict):
        raise HostError(f"{here}: must be an object")
    by_lower = {key.lower(): key for key in keys}
    for key in options:
        if key.lower() not in by_lower:
            raise HostError(f"{here}.{key}: unknown; known are {', '.join(keys)}")
    return {by_lower[key.lower()]: value for key, value in options.items()}


def _count(options: Mapping[str, Any], name: str, here: str) -> int | None:
    value = options.get(name)
    if value is not None and (type(value) is not int or value < 0):
        raise HostError(f"{here}.{name}: must be a whole number, 0 or more")
    return value


def _one_of(options: Mapping[str, Any], name: str, values: tuple[str, ...], here: str) -> str:
    given = str(options.get(name, values[0]))
    for value in values:
        if given.lower() == value.lower():
            return value
    raise HostError(f"{here}.{name}: must be one of {', '.join(values)}")


def _span(options: Mapping[str, Any], name: str, here: str) -> float | None:
    value = options.get(name)
    return None if value is None else _seconds(value, f"{here}.{name}")


def _function_timeout(value: Any) -> float | None:
    if value is None:
        return HostJson().function_timeout
    return None if value == "-1" else _seconds(value, "functionTimeout")


def _seconds(time_span: Any, name: str) -> float:
    try:
        hours, minutes, seconds = str(time_span).split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        raise HostError(f"{name}: must be hh:mm:ss, not {time_span!r}") from None

"""The broker's configuration: queues, described as in Bicep, and access keys."""

import datetime
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import isodate  # type: ignore[import-untyped]

RIGHTS = ("Send", "Listen", "Manage")


class ConfigurationError(ValueError):
    """The configuration cannot be used; the text names the field."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """A queue's properties under their Bicep names, in snake case; durations in seconds.

    `default_ttl_seconds` may be infinite.
    """

    name: str
    lock_seconds: float = 60.0
    max_delivery_count: int = 10
    default_ttl_seconds: float = math.inf
    dead_letter_on_expiration: bool = False
    duplicate_detection: bool = False
    duplicate_window_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class AuthorizationRule:
    """A shared access key and what it may do: any of Send, Listen, Manage."""

    key_name: str
    key: str = field(repr=False)
    rights: frozenset[str]


@dataclass(frozen=True, slots=True)
class Configuration:
    queues: tuple[QueueSettings, ...]
    rules: tuple[AuthorizationRule, ...]


DEFAULT = Configuration(
    queues=(
        QueueSettings(
            name="session-revoked",
            default_ttl_seconds=2 * 86400.0,
            dead_letter_on_expiration=True,
            duplicate_detection=True,
        ),
    ),
    rules=(AuthorizationRule("k", "c2Vj", frozenset(("Send", "Listen"))),),
)

# Properties of a queue in Bicep that change nothing here, so that a description works as it is.
_WITHOUT_EFFECT = frozenset(
    ("enableBatchedOperations", "maxSizeInMegabytes", "maxMessageSizeInKilobytes")
)
# Those that would change the behaviour if they were on.
_MUST_BE_OFF = frozenset(
    (
        "autoDeleteOnIdle",
        "enableExpress",
        "enablePartitioning",
        "forwardDeadLetteredMessagesTo",
        "forwardTo",
        "requiresSession",
        "status",
    )
)


def load(path: Path) -> Configuration:
    """Read the configuration from a JSON file; raise ConfigurationError or OSError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"not JSON: {error}") from error
    return parse(document)


def parse(document: Any) -> Configuration:
    """Return the configuration that a JSON document describes; raise ConfigurationError."""
    fields = _object(document, "the document", ("queues", "authorizationRules"))
    queues = DEFAULT.queues
    if "queues" in fields:
        queues = tuple(
            _queue(item, f"queues[{index}]")
            for index, item in enumerate(_list(fields["queues"], "queues"))
        )
    names = [queue.name.lower() for queue in queues]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigurationError(f"queues[{index}].name: {queues[index].name!r} appears twice")
    rules = DEFAULT.rules
    if "authorizationRules" in fields:
        rules = tuple(
            _rule(item, f"authorizationRules[{index}]")
            for index, item in enumerate(_list(fields["authorizationRules"], "authorizationRules"))
        )
    return Configuration(queues, rules)


def _queue(value: Any, where: str) -> QueueSettings:
    fields = _object(value, where, ("name", "properties"))
    name = _text(fields.get("name"), f"{where}.name")
    where = f"{where}.properties"
    known = (
        "lockDuration",
        "maxDeliveryCount",
        "defaultMessageTimeToLive",
        "deadLetteringOnMessageExpiration",
        "requiresDuplicateDetection",
        "duplicateDetectionHistoryTimeWindow",
    )
    properties = _object(
        fields.get("properties", {}), where, (*known, *_WITHOUT_EFFECT, *_MUST_BE_OFF)
    )
    for key in _MUST_BE_OFF & properties.keys():
        if properties[key] not in (False, None, "", "Active"):
            raise ConfigurationError(f"{where}.{key}: not emulated; leave it out")
    defaults = QueueSettings(name)
    return QueueSettings(
        name=name,
        lock_seconds=_duration(properties, "lockDuration", where, defaults.lock_seconds, 300),
        max_delivery_count=_count(
            properties.get("maxDeliveryCount", defaults.max_delivery_count),
            f"{where}.maxDeliveryCount",
        ),
        default_ttl_seconds=_duration(
            properties, "defaultMessageTimeToLive", where, defaults.default_ttl_seconds
        ),
        dead_letter_on_expiration=_flag(properties, "deadLetteringOnMessageExpiration", where),
        duplicate_detection=_flag(properties, "requiresDuplicateDetection", where),
        duplicate_window_seconds=_duration(
            properties,
            "duplicateDetectionHistoryTimeWindow",
            where,
            defaults.duplicate_window_seconds,
            7 * 86400,
        ),
    )


def _rule(value: Any, where: str) -> AuthorizationRule:
    fields = _object(value, where, ("keyName", "key", "rights"))
    rights = _list(fields.get("rights"), f"{where}.rights")
    for index, right in enumerate(rights):
        if right not in RIGHTS:
            raise ConfigurationError(f"{where}.rights[{index}]: must be one of {', '.join(RIGHTS)}")
    return AuthorizationRule(
        _text(fields.get("keyName"), f"{where}.keyName"),
        _text(fields.get("key"), f"{where}.key"),
        frozenset(rights),
    )


def _object(value: Any, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: must be an object")
    for key in value:
        if key not in known:
            raise ConfigurationError(
                f"{where}.{key}: unknown; known are {', '.join(sorted(known))}"
            )
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ConfigurationError(f"{where}: must be a list with at least one entry")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip("/ "):
        raise ConfigurationError(f"{where}: must be text")
    return value


def _flag(properties: dict[str, Any], key: str, where: str) -> bool:
    value = properties.get(key, False)
    if not isinstance(value, bool):
        raise ConfigurationError(f"{where}.{key}: must be true or false")
    return value


def _count(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 2000:
        raise ConfigurationError(f"{where}: must be a whole number from 1 to 2000")
    return value


def _duration(
    properties: dict[str, Any], key: str, where: str, default: float, most: float = math.inf
) -> float:
    """Return seconds; infinite for the service's "forever" (10,000,000 days or more)."""
    value = properties.get(key)
    if value is None:
        return default
    try:
        duration = isodate.parse_duration(value)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{where}.{key}: must be an ISO 8601 duration") from error
    if not isinstance(duration, datetime.timedelta):
        raise ConfigurationError(f"{where}.{key}: years and months are not allowed")
    if duration >= datetime.timedelta(days=10_000_000):
        return math.inf
    if not 0 < duration.total_seconds() <= most:
        raise ConfigurationError(f"{where}.{key}: must be more than 0 and at most {most} seconds")
    return duration.total_seconds()

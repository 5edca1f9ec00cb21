"""Environment → Settings: read once, at start, with every problem reported in one error."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit

from .connection import ServiceBusConnection, WrongConnection, client_id, service_bus_connection
from .endpoint import face_endpoint, face_scope, token_scope
from .proxy import Proxy, proxy_for


class SettingsError(ValueError):
    """Some settings are missing or wrong; the message names each one and what would be right."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("wrong settings:\n" + "\n".join(f"  - {problem}" for problem in problems))


@dataclass(frozen=True, slots=True)
class Setting[T]:
    """One environment variable: its name, its default as text (None: required) and its parser.

    The parser takes the text and returns the value; it raises ValueError with a sentence that says
    what would be right.
    """

    name: str
    default: str | None
    parse: Callable[[str], T]


def _api_version(text: str) -> str:
    if not re.fullmatch(r"v\d+\.\d+(-preview\.\d+)?", text):
        raise ValueError("must look like v1.2 or v1.2-preview.1")
    return text


_SAY_NO_MORE_THAN_THE_STATUS = {
    *(re.sub("[^a-z]", "", status.phrase.lower()) for status in HTTPStatus),
    "accessdenied",
}


def _codes(text: str) -> frozenset[str]:
    codes = frozenset(code.strip() for code in text.split(",") if code.strip())
    if odd := sorted(code for code in codes if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", code)):
        raise ValueError(f"must be FaceError codes with commas between them; not a code: {odd[0]}")
    if odd := sorted(code for code in codes if code.lower() in _SAY_NO_MORE_THAN_THE_STATUS):
        raise ValueError(f"must not hold {odd[0]}, which firewalls and gateways answer")
    if known := codes & {"SessionNotFound", "PermissionDenied"}:
        raise ValueError(f"must not hold {min(known)}, which is not about the request")
    return codes


def _queue(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,258}[A-Za-z0-9])?", text):
        raise ValueError("must be the name of a Service Bus queue, e.g. session-revoked")
    return text


def _queue_or_none(text: str) -> str | None:
    try:
        return _queue(text) if text else None
    except ValueError:
        raise ValueError("must be the name of a Service Bus queue or topic, or empty") from None


def _number(least: float, most: float, unit: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:  # false for NaN, too
            raise ValueError(f"must be a number of {unit} from {least:g} to {most:g}")
        return value

    return parse


def _guaranteed(text: str) -> float | None:
    return _number(0.01, 10_000, "calls per second")(text) if text else None


def _count(least: int, most: int, unit: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number of {unit} from {least} to {most}")
        return int(text)

    return parse


_seconds = _number(0.001, 600, "seconds")

# One row a setting, keyed by the field of Settings that it fills. docs/settings.md, the Bicep app
# settings and local.settings.sample.json hold the same names (tests/infra keeps them equal).
TABLE: dict[str, Setting[Any]] = {
    "face_endpoint": Setting("FACE_ENDPOINT", None, face_endpoint),
    "face_api_version": Setting("FACE_API_VERSION", "v1.2-preview.1", _api_version),
    "face_token_scope": Setting("FACE_TOKEN_SCOPE", "", token_scope),
    "face_codes_not_retryable": Setting(
        "FACE_CODES_NOT_RETRYABLE", "BadArgument,InvalidRequestBody,UnsupportedFeature", _codes
    ),
    "queue": Setting("SESSION_REVOKED_QUEUE", "session-revoked", _queue),
    "outcome_queue": Setting("OUTCOME_QUEUE", "", _queue_or_none),
    "client_id": Setting("AZURE_CLIENT_ID", "", client_id),
    "connect_timeout": Setting("FACE_CONNECT_TIMEOUT_SECONDS", "5", _seconds),
    "total_timeout": Setting("FACE_TOTAL_TIMEOUT_SECONDS", "30", _number(0.001, 120, "seconds")),
    "token_timeout": Setting("TOKEN_TIMEOUT_SECONDS", "15", _seconds),
    "settle_timeout": Setting("SETTLE_TIMEOUT_SECONDS", "15", _number(0.001, 30, "seconds")),
    "retry_in_place_max": Setting("RETRY_IN_PLACE_MAX_SECONDS", "5", _number(0, 60, "seconds")),
    "backoff_base": Setting("RETRY_BACKOFF_BASE_SECONDS", "2", _seconds),
    "backoff_cap": Setting("RETRY_BACKOFF_CAP_SECONDS", "900", _number(0.001, 86_400, "seconds")),
    "retry_horizon": Setting("RETRY_HORIZON_HOURS", "48", _number(0.0001, 336, "hours")),
    "max_calls_per_second": Setting(
        "FACE_MAX_CALLS_PER_SECOND", "8", _number(0.1, 10_000, "calls per second")
    ),
    "min_calls_per_second": Setting("FACE_MIN_CALLS_PER_SECOND", "", _guaranteed),
    "maximum_instance_count": Setting("MAXIMUM_INSTANCE_COUNT", "2", _count(1, 1000, "instances")),
    "breaker_failures": Setting(
        "CIRCUIT_BREAKER_FAILURES", "10", _count(1, 1000, "failures in a row")
    ),
    "breaker_cool_down": Setting(
        "CIRCUIT_BREAKER_COOL_DOWN_SECONDS", "30", _number(0.001, 3600, "seconds")
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that the function reads from its environment. Times are seconds, but for the horizon."""

    service_bus: ServiceBusConnection
    face_endpoint: str
    face_api_version: str
    face_token_scope: str
    face_proxy: Proxy | None
    face_codes_not_retryable: frozenset[str]
    queue: str
    outcome_queue: str | None
    """Of the same namespace, or a topic of it: Service Bus takes what is sent to either alike."""
    client_id: str | None
    connect_timeout: float
    total_timeout: float
    token_timeout: float
    settle_timeout: float
    retry_in_place_max: float
    backoff_base: float
    backoff_cap: float
    retry_horizon: float
    """Hours."""
    max_calls_per_second: float
    min_calls_per_second: float | None
    """None: a part of the most (pacing.py)."""
    maximum_instance_count: int
    """How many instances may call at the same time at most, this one included."""
    breaker_failures: int
    breaker_cool_down: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read every setting.

        Raises:
            SettingsError: one or more are missing or wrong; it tells all of them at once.
        """
        problems: list[str] = []
        values: dict[str, Any] = {}
        for field, setting in TABLE.items():
            text = environment.get(setting.name, "").strip() or setting.default
            if text is None:
                problems.append(f"{setting.name} is not set: {_what_is_right(setting)}")
                continue
            try:
                values[field] = setting.parse(text)
            except ValueError as error:
                problems.append(f"{setting.name} {error}")
        try:
            values["service_bus"] = service_bus_connection(environment, values.get("queue"))
        except WrongConnection as error:
            problems += error.problems
        problems += _add_what_follows(values, environment)
        if problem := receipts_problem(
            values.get("outcome_queue"), values.get("queue"), values.get("service_bus")
        ):
            problems.append(problem)
        if not problems and values["connect_timeout"] > values["total_timeout"]:
            problems.append(
                "FACE_CONNECT_TIMEOUT_SECONDS must be at most FACE_TOTAL_TIMEOUT_SECONDS"
            )
        least = values.get("min_calls_per_second")
        if not problems and least is not None and least > values["max_calls_per_second"]:
            problems.append("FACE_MIN_CALLS_PER_SECOND must be at most FACE_MAX_CALLS_PER_SECOND")
        if not problems and values["backoff_base"] > values["backoff_cap"]:
            problems.append("RETRY_BACKOFF_BASE_SECONDS must be at most RETRY_BACKOFF_CAP_SECONDS")
        if problems:
            raise SettingsError([*dict.fromkeys(problems)])
        return cls(**values)


def _add_what_follows(values: dict[str, Any], environment: Mapping[str, str]) -> list[str]:
    """Add what follows from the endpoint of the Face API; return the problems with it."""
    problems = []
    endpoint: str = values.get("face_endpoint", "")
    try:
        if endpoint and "face_token_scope" in values:
            values["face_token_scope"] = face_scope(endpoint, values["face_token_scope"])
    except ValueError as error:
        problems.append(str(error))
    try:
        values["face_proxy"] = proxy_for(urlsplit(endpoint).hostname or "", environment)
    except ValueError as error:
        problems.append(str(error))
    return problems


def receipts_problem(
    outcome_queue: str | None, queue: str | None, connection: ServiceBusConnection | None
) -> str | None:
    """Return what keeps receipts from going to their queue, if they are wanted."""
    if outcome_queue is None:
        return None
    if queue is not None and outcome_queue.lower() == queue.lower():
        return "OUTCOME_QUEUE must not be SESSION_REVOKED_QUEUE: receipts are not revocations"
    if connection is not None and connection.is_for_one_queue:
        return "OUTCOME_QUEUE cannot be reached with a connection string for one queue (EntityPath)"
    return None


def _what_is_right(setting: Setting[Any]) -> str:
    try:
        setting.parse("")
    except ValueError as error:
        return f"it {error}"
    raise AssertionError(setting.name)  # a required setting refuses the empty text


assert {field.name for field in fields(Settings)} == {*TABLE, "service_bus", "face_proxy"}

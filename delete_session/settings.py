"""Environment → Settings: read once, at start, with every problem reported in one error."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self
from urllib.parse import urlsplit

from .connection import ServiceBusConnection, WrongConnection, client_id, service_bus_connection
from .endpoint import face_endpoint, face_scope, proxy_for, token_scope
from .verdict import KNOWN_CODES, is_generic


class SettingsError(ValueError):
    """Settings are missing or wrong; `problems` has a sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n  - ".join(["wrong settings:", *problems]))


@dataclass(frozen=True, slots=True)
class Setting[T]:
    """One environment variable. The parser raises ValueError with what would be right."""

    name: str
    default: str
    parse: Callable[[str], T]


def _api_version(text: str) -> str:
    if not re.fullmatch(r"v\d+\.\d+(-preview\.\d+)?", text):
        raise ValueError("must look like v1.2 or v1.2-preview.1")
    return text


def _codes(text: str) -> frozenset[str]:
    codes = frozenset(code.strip() for code in text.split(",") if code.strip())
    for code in sorted(codes):
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", code):
            raise ValueError(f"must be comma-separated FaceError codes; not a code: {code}")
        if is_generic(code):
            raise ValueError(f"must not contain {code}, which firewalls and gateways answer")
        if code in KNOWN_CODES:
            raise ValueError(f"must not contain {code}, which is not about the request")
    return codes


def _queue(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,258}[A-Za-z0-9])?", text):
        raise ValueError("must be the name of a Service Bus queue (or of a topic for receipts)")
    return text


def _number(minimum: float, maximum: float, unit: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not minimum <= value <= maximum:  # false for NaN, too
            raise ValueError(f"must be a number of {unit} from {minimum:g} to {maximum:g}")
        return value

    return parse


def _optional[T](parse: Callable[[str], T]) -> Callable[[str], T | None]:
    return lambda text: parse(text) if text else None


_rate = _number(0.01, 10_000, "calls per second")

# One row for each setting, keyed by the field of Settings that it fills. docs/settings.md, the Bicep
# app settings and local.settings.sample.json have the same names (tests/infra compares them).
TABLE: dict[str, Setting[Any]] = {
    "face_endpoint": Setting("FACE_ENDPOINT", "", face_endpoint),
    "face_api_version": Setting("FACE_API_VERSION", "v1.2-preview.1", _api_version),
    "face_token_scope": Setting("FACE_TOKEN_SCOPE", "", token_scope),
    "face_codes_not_retryable": Setting(
        "FACE_CODES_NOT_RETRYABLE", "BadArgument,InvalidRequestBody,UnsupportedFeature", _codes
    ),
    "queue": Setting("SESSION_REVOKED_QUEUE", "session-revoked", _queue),
    "outcome_queue": Setting("OUTCOME_QUEUE", "", _optional(_queue)),
    "client_id": Setting("AZURE_CLIENT_ID", "", client_id),
    "call_timeout": Setting("CALL_TIMEOUT_SECONDS", "30", _number(0.001, 60, "seconds")),
    "initial_delay": Setting("RETRY_INITIAL_DELAY_SECONDS", "2", _number(0.001, 600, "seconds")),
    "max_delay": Setting("RETRY_MAX_DELAY_SECONDS", "900", _number(0.001, 86_400, "seconds")),
    "retry_deadline_hours": Setting("RETRY_DEADLINE_HOURS", "48", _number(0.0001, 336, "hours")),
    "max_rate": Setting("FACE_MAX_CALLS_PER_SECOND", "8", _rate),
    "min_rate": Setting("FACE_MIN_CALLS_PER_SECOND", "", _optional(_rate)),
    "break_duration": Setting(
        "CIRCUIT_BREAKER_BREAK_SECONDS", "30", _number(0.001, 3600, "seconds")
    ),
}

_FORMERLY = {
    "CALL_TIMEOUT_SECONDS": "FACE_TOTAL_TIMEOUT_SECONDS",
    "RETRY_INITIAL_DELAY_SECONDS": "RETRY_BACKOFF_BASE_SECONDS",
    "RETRY_MAX_DELAY_SECONDS": "RETRY_BACKOFF_CAP_SECONDS",
    "RETRY_DEADLINE_HOURS": "RETRY_HORIZON_HOURS",
    "CIRCUIT_BREAKER_BREAK_SECONDS": "CIRCUIT_BREAKER_COOL_DOWN_SECONDS",
}
"""Names until 0.2, which still count where the new name is not set."""
_RETIRED_NAMES = ("TOKEN_TIMEOUT_SECONDS", "SETTLE_TIMEOUT_SECONDS", "MAXIMUM_INSTANCE_COUNT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that the function reads from its environment. Times are in seconds unless named otherwise."""

    service_bus: ServiceBusConnection
    face_endpoint: str
    face_api_version: str
    face_token_scope: str
    face_proxy: str | None = field(repr=False)
    face_codes_not_retryable: frozenset[str]
    queue: str
    outcome_queue: str | None
    """A queue or a topic of the same namespace."""
    client_id: str | None
    call_timeout: float
    initial_delay: float
    max_delay: float
    retry_deadline_hours: float
    max_rate: float
    """Calls per second."""
    min_rate: float | None
    """Calls per second; None: the limiter's default, a fraction of `max_rate`."""
    break_duration: float
    ignored: tuple[str, ...] = ()
    """Variables that look like settings of this app but have no effect."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read every setting.

        Raises:
            SettingsError: some are missing or wrong.
        """
        problems: list[str] = []
        values: dict[str, Any] = {}

        def read(attribute: str, parse: Callable[[], Any], prefix: str = "") -> None:
            try:
                values[attribute] = parse()
            except WrongConnection as error:
                problems.extend(error.problems)
            except ValueError as error:
                problems.append(prefix + str(error))

        for attribute, row in TABLE.items():
            former = _FORMERLY.get(row.name, row.name)
            given = environment.get(row.name, "").strip() or environment.get(former, "").strip()
            read(attribute, partial(row.parse, given or row.default), f"{row.name} ")
        read("service_bus", lambda: service_bus_connection(environment))
        endpoint: str = values.get("face_endpoint", "")
        scope: str | None = values.get("face_token_scope")
        if endpoint and scope is not None:  # the scope may follow from the endpoint
            read("face_token_scope", lambda: face_scope(endpoint, scope))
        read("face_proxy", lambda: proxy_for(urlsplit(endpoint).hostname or "", environment))
        if problem := receipts_problem(values.get("outcome_queue"), values.get("queue")):
            problems.append(problem)
        min_rate = values.get("min_rate")
        if not problems and min_rate is not None and min_rate > values["max_rate"]:
            problems.append("FACE_MIN_CALLS_PER_SECOND must be at most FACE_MAX_CALLS_PER_SECOND")
        if not problems and values["initial_delay"] > values["max_delay"]:
            problems.append("RETRY_INITIAL_DELAY_SECONDS must be at most RETRY_MAX_DELAY_SECONDS")
        if problems:
            raise SettingsError([*dict.fromkeys(problems)])  # both services may share a problem
        return cls(**values, ignored=_ignored(environment))


def receipts_problem(outcome_queue: str | None, queue: str | None) -> str | None:
    """Return why the outcome queue is unusable, or None."""
    if outcome_queue is not None and queue is not None and outcome_queue.lower() == queue.lower():
        return "OUTCOME_QUEUE must not be SESSION_REVOKED_QUEUE: receipts are not revocations"
    return None


def _ignored(environment: Mapping[str, str]) -> tuple[str, ...]:
    known = {*(setting.name for setting in TABLE.values()), *_FORMERLY.values()}
    ours = ("FACE_", "RETRY_", "CIRCUIT_BREAKER_", *_RETIRED_NAMES)
    return tuple(sorted(name for name in environment.keys() - known if name.startswith(ours)))

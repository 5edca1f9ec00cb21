"""How Service Bus is reached: the connection settings that the Functions host documents."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .endpoint import proxy_for

CONNECTION = "ServiceBusConnection"
"""Name of the trigger's connection; the function's own client reads the same settings."""

HOST_JSON = Path(__file__).parents[1] / "host.json"
_TRANSPORT = "AzureFunctionsJobHost__extensions__serviceBus__transportType"
_GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_EXPECTED = (
    f"set {CONNECTION}__fullyQualifiedNamespace to <name>.servicebus.windows.net "
    f"(.usgovcloudapi.net, .chinacloudapi.cn), or {CONNECTION} to a connection string"
)
_SUPPORTED = ("fullyQualifiedNamespace", "credential", "clientId", "managedIdentityResourceId")


class WrongConnection(ValueError):
    """The connection is missing or wrong; `problems` has a sentence for each setting."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBusConnection:
    """How to reach Service Bus: a connection string, or a namespace and an Entra identity."""

    connection_string: str | None = field(default=None, repr=False)
    fully_qualified_namespace: str | None = None
    client_id: str | None = None
    """Client id of a user-assigned identity."""
    resource_id: str | None = None
    """Resource id of a user-assigned identity, instead of its client id."""
    websockets: bool = False
    """AMQP over WebSockets (port 443) instead of AMQP (port 5671)."""
    proxy: str | None = field(default=None, repr=False)
    """URL of the proxy for WebSockets; AMQP has no proxy support."""

    @property
    def proxy_options(self) -> dict[str, Any] | None:
        """The proxy as azure.servicebus expects it."""
        if self.proxy is None:
            return None
        url = urlsplit(self.proxy)
        host = url.hostname or ""
        options = {
            # azure.servicebus appends the port and hands the result to aiohttp as a URL.
            "proxy_hostname": f"http://[{host}]" if ":" in host else f"http://{host}",
            "proxy_port": url.port or 80,
            "username": unquote(url.username or ""),
            "password": unquote(url.password or ""),
        }
        return {name: value for name, value in options.items() if value}


def client_id(text: str) -> str | None:
    """Return the client id of a user-assigned identity; None if the text is empty.

    Raises:
        ValueError: the text is not a client id.
    """
    if text and not re.fullmatch(_GUID, text):
        raise ValueError("must be the client id (a GUID) of a user-assigned identity, or empty")
    return text or None


def service_bus_connection(
    environment: Mapping[str, str], host_json: Path = HOST_JSON
) -> ServiceBusConnection:
    """Read how to reach Service Bus. Names and values may be in any letter case, as for the host.

    Raises:
        WrongConnection: the connection is missing or wrong.
    """
    values: dict[str, str] = {}  # by what follows "__", in lower case; "": the connection string
    problems: list[str] = []
    for name, value in environment.items():
        head, separator, part = name.partition("__")
        if head.lower() == CONNECTION.lower() and value.strip():
            values[part.lower()] = value.strip()
            if separator and part.lower() not in map(str.lower, _SUPPORTED):
                supported = ", ".join(f"__{each}" for each in _SUPPORTED)
                problems.append(f"{CONNECTION}__{part} is not supported (supported: {supported})")
    host, websockets, proxy = "", False, None
    try:
        host = _namespace(values)
    except ValueError as error:
        problems.append(str(error))
    if problem := _identity_problem(values):
        problems.append(problem)
    try:
        websockets = _uses_websockets(environment, host_json)
        proxy = proxy_for(host, environment) if websockets and host else None
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise WrongConnection(problems)
    connection_string = values.get("")
    return ServiceBusConnection(
        connection_string=connection_string,
        fully_qualified_namespace=None if connection_string else host,
        client_id=values.get("clientid"),
        resource_id=values.get("managedidentityresourceid"),
        websockets=websockets,
        proxy=proxy,
    )


def _namespace(values: Mapping[str, str]) -> str:
    """Return the host name of the namespace."""
    connection_string, namespace = values.get(""), values.get("fullyqualifiednamespace")
    if connection_string and namespace:
        raise ValueError(
            f"{CONNECTION} and {CONNECTION}__fullyQualifiedNamespace exclude each other"
        )
    if connection_string:
        endpoint = re.search(r"(?i)(?:^|;)\s*Endpoint=sb://([^/:;]+)", connection_string)
        if not endpoint:
            raise ValueError(f"{CONNECTION} must be a connection string, Endpoint=sb://…;…")
        if re.search(r"(?i);\s*EntityPath=", connection_string):
            raise ValueError(f"{CONNECTION} must be for the namespace, without EntityPath")
        return endpoint[1]
    if not namespace:
        raise ValueError(f"{CONNECTION} is not set: {_EXPECTED}")
    if not re.fullmatch(r"[A-Za-z0-9.-]+\.[A-Za-z0-9.-]+", namespace):
        raise ValueError(f"{CONNECTION}__fullyQualifiedNamespace must be a host name: {_EXPECTED}")
    return namespace


def _identity_problem(values: Mapping[str, str]) -> str | None:
    """Return what is wrong with the settings of the identity, or None."""
    if values.get("credential", "managedidentity").lower() != "managedidentity":
        return f"{CONNECTION}__credential must be managedidentity or not set"
    if "managedidentityresourceid" in values and "clientid" in values:
        names = f"{CONNECTION}__clientId and {CONNECTION}__managedIdentityResourceId"
        return f"{names} exclude each other"
    try:
        client_id(values.get("clientid", ""))
    except ValueError as error:
        return f"{CONNECTION}__clientId {error}"
    return None


def _uses_websockets(environment: Mapping[str, str], host_json: Path) -> bool:
    """Return whether the host's own connection uses WebSockets: an app setting, or host.json."""
    names = [name for name in environment if name.lower() == _TRANSPORT.lower()]
    value: Any = environment[names[0]].strip() if names else None
    if not value and host_json.exists():  # not on an operator's machine, where no host runs
        try:
            value = json.loads(host_json.read_text("utf-8-sig"))
        except ValueError:
            raise ValueError("host.json must be JSON without comments") from None
        for part in ("extensions", "serviceBus", "transportType"):
            value = value.get(part) if isinstance(value, dict) else None
    match str(value or "amqpTcp").lower():
        case "amqptcp":
            return False
        case "amqpwebsockets":
            return True
        case _:
            raise ValueError(
                f"{_TRANSPORT} (or transportType in host.json) must be amqpTcp or amqpWebSockets"
            )

"""The connection to Service Bus, read as the Functions host reads it and opened as the host does."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .proxy import Proxy, proxy_for

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.servicebus.aio import ServiceBusClient

CONNECTION = "ServiceBusConnection"
"""Name of the trigger's connection; the function's own client reads the same settings."""

HOST_JSON = Path(__file__).parents[1] / "host.json"
"""Where it lies when the app is deployed: beside function_app.py."""

_TRANSPORT = ("AzureFunctionsJobHost", "extensions", "serviceBus", "transportType")
_NOT_FOLLOWED = (
    "clientSecret",
    "clientCertificate",
    "managedIdentityClientId",
    "managedIdentityObjectId",
)
"""Would have the host log in as somebody else than the function."""

_SUFFIXES = "<name>.servicebus.windows.net (.usgovcloudapi.net, .chinacloudapi.cn)"
_GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_RESOURCE_ID = re.compile(
    rf"/subscriptions/{_GUID}/resourceGroups/[^/]+/providers/Microsoft\.ManagedIdentity"
    r"/userAssignedIdentities/[^/]+",
    re.IGNORECASE,
)


class WrongConnection(ValueError):
    """The connection is missing or wrong: a sentence for each setting that is."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class ServiceBusConnection:
    """How to reach Service Bus: a connection string, or a namespace and an Entra identity."""

    connection_string: str | None
    fully_qualified_namespace: str | None
    client_id: str | None
    resource_id: str | None = None
    """Of a user-assigned identity, instead of its client id."""
    websockets: bool = False
    """AMQP over WebSockets (port 443) instead of AMQP (port 5671)."""
    proxy: Proxy | None = None
    """Of the WebSockets; AMQP itself goes through none."""

    def __repr__(self) -> str:
        # The connection string may hold a key: it must not reach a log through a traceback.
        return f"ServiceBusConnection({self.fully_qualified_namespace or 'connection string'})"

    @property
    def is_for_one_queue(self) -> bool:
        """Whether the connection string has an EntityPath."""
        return bool(re.search(r"(?i);\s*EntityPath=", self.connection_string or ""))

    def open(self, retry_total: int) -> "tuple[ServiceBusClient, AsyncTokenCredential | None]":
        """Return a client, and the credential to be closed after it.

        Raises:
            ValueError: the connection string cannot be used.
        """
        # Imported with the first use: docs/decisions/broker-operations.md.
        from azure.servicebus import TransportType
        from azure.servicebus.aio import ServiceBusClient

        options: dict[str, Any] = {"retry_total": retry_total}
        if self.websockets:
            options["transport_type"] = TransportType.AmqpOverWebsocket
            options["http_proxy"] = _as_options(self.proxy)
        if self.connection_string:
            return ServiceBusClient.from_connection_string(self.connection_string, **options), None
        from .identity import credential

        assert self.fully_qualified_namespace is not None
        login = credential(self.client_id, resource_id=self.resource_id)
        return ServiceBusClient(self.fully_qualified_namespace, login, **options), login


def _as_options(proxy: Proxy | None) -> dict[str, Any] | None:
    if proxy is None:
        return None
    # Host and port as azure-servicebus puts them together again, into a URL for aiohttp.
    host, _, port = proxy.url.rpartition(":")
    login = {} if proxy.user is None else {"username": proxy.user, "password": proxy.password}
    return {"proxy_hostname": host, "proxy_port": int(port), **login}


def client_id(text: str) -> str | None:
    """Return the client id of a user-assigned identity; None if the text is empty.

    Raises:
        ValueError: it is no client id.
    """
    if text and not re.fullmatch(_GUID, text):
        raise ValueError("must be the client id (a GUID) of a user-assigned identity, or empty")
    return text or None


def service_bus_connection(
    environment: Mapping[str, str], queue: str | None = None, host_json: Path = HOST_JSON
) -> ServiceBusConnection:
    """Read how to reach Service Bus: names without regard to case, `:` for `__` as well.

    Args:
        environment: the app settings.
        queue: that a connection string with EntityPath must name.
        host_json: the host's configuration.

    Raises:
        WrongConnection: it is missing or wrong.
    """
    values = _section(environment, CONNECTION)
    problems: list[str] = []

    def read[T](reader: Callable[[], T], otherwise: T) -> T:
        try:
            return reader()
        except ValueError as error:
            problems.append(str(error))
            return otherwise

    host = read(lambda: _host(values, queue), "")
    nobody: tuple[str | None, str | None] = (None, None)
    identity = read(lambda: _identity(values), nobody)
    websockets = read(lambda: _over_websockets(environment, host_json), False)
    proxy = read(lambda: proxy_for(host, environment), None) if websockets and host else None
    if problems:
        raise WrongConnection(problems)
    connection_string = values.get("")
    return ServiceBusConnection(
        connection_string, None if connection_string else host, *identity, websockets, proxy
    )


def _host(values: Mapping[str, str], queue: str | None) -> str:
    """Return the host of the namespace."""
    connection_string, namespace = values.get(""), values.get("fullyqualifiednamespace")
    right = (
        f"set {CONNECTION}__fullyQualifiedNamespace to {_SUFFIXES}, "
        f"or {CONNECTION} to a connection string"
    )
    if connection_string and namespace:
        raise ValueError(
            f"{CONNECTION} and {CONNECTION}__fullyQualifiedNamespace exclude each other"
        )
    if connection_string:
        return _host_of(connection_string, queue)
    if not namespace:
        raise ValueError(f"{CONNECTION} is not set: {right}")
    if not re.fullmatch(r"[A-Za-z0-9.-]+\.[A-Za-z0-9.-]+", namespace):
        raise ValueError(f"{CONNECTION}__fullyQualifiedNamespace must be a host name: {right}")
    return namespace


def _host_of(connection_string: str, queue: str | None) -> str:
    endpoint = re.search(r"(?i)(?:^|;)\s*Endpoint=sb://([^/:;]+)", connection_string)
    if not endpoint:
        raise ValueError(f"{CONNECTION} must be a connection string, Endpoint=sb://…;…")
    entity = re.search(r"(?i);\s*EntityPath=([^;]*)", connection_string)
    if entity and queue is not None and entity[1].strip() != queue:
        raise ValueError(
            f"{CONNECTION} is for the queue {entity[1].strip()} (EntityPath), and "
            f"SESSION_REVOKED_QUEUE is {queue}: they must be the same, in letter case, too"
        )
    return endpoint[1]


def _section(environment: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the values of a section of .NET's configuration, by their path in small letters."""
    root = name.replace("__", ":").lower()
    found = {}
    for key, value in environment.items():
        path = key.replace("__", ":").lower()
        if value.strip() and (path == root or path.startswith(f"{root}:")):
            found[path[len(root) + 1 :]] = value.strip()
    return found


def _identity(values: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return client id and resource id of the user-assigned identity; at most one is given."""
    if values.get("credential", "managedidentity").lower() != "managedidentity":
        raise ValueError(f"{CONNECTION}__credential must be managedidentity or not set")
    for name in _NOT_FOLLOWED:
        if name.lower() in values:
            raise ValueError(
                f"{CONNECTION}__{name} is not supported: name a managed identity by "
                f"{CONNECTION}__clientId or __managedIdentityResourceId"
            )
    resource_id = values.get("managedidentityresourceid")
    if resource_id and "clientid" in values:
        raise ValueError(
            f"{CONNECTION}__clientId and {CONNECTION}__managedIdentityResourceId exclude each other"
        )
    if resource_id and not _RESOURCE_ID.fullmatch(resource_id):
        raise ValueError(
            f"{CONNECTION}__managedIdentityResourceId must be the resource id of a user-assigned "
            "identity, /subscriptions/…/userAssignedIdentities/<name>"
        )
    try:
        return client_id(values.get("clientid", "")), resource_id
    except ValueError as error:
        raise ValueError(f"{CONNECTION}__clientId {error}") from None


def _over_websockets(environment: Mapping[str, str], host_json: Path) -> bool:
    """Return whether the host's own connection goes over WebSockets."""
    where = "__".join(_TRANSPORT)
    value: Any = _section(environment, where).get("")
    if value is None:
        where = f"{'.'.join(_TRANSPORT[1:])} in host.json"
        try:
            value = json.loads(host_json.read_text("utf-8-sig"))
        except OSError:  # as on an operator's machine, where there is no host
            return False
        except ValueError:
            raise ValueError("host.json must be JSON without comments") from None
        for part in _TRANSPORT[1:]:
            members = value.items() if isinstance(value, dict) else ()
            value = next((found for name, found in members if name.lower() == part.lower()), None)
    match str(value or "amqpTcp").lower():
        case "amqptcp":
            return False
        case "amqpwebsockets":
            return True
        case _:
            raise ValueError(f"{where} must be amqpTcp or amqpWebSockets")

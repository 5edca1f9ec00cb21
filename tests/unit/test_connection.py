"""The connection to Service Bus: read as the Functions host reads it."""

import json
from pathlib import Path

import pytest

from delete_session.connection import (
    HOST_JSON,
    ServiceBusConnection,
    WrongConnection,
    service_bus_connection,
)

NAMESPACE = {"ServiceBusConnection__fullyQualifiedNamespace": "contoso.servicebus.windows.net"}
STRING = (
    "Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=hidden"
)
OVERRIDE = "AzureFunctionsJobHost__extensions__serviceBus__transportType"
CLIENT_ID = "11111111-2222-3333-4444-555555555555"
RESOURCE_ID = (
    f"/subscriptions/{CLIENT_ID}/resourceGroups/rg/providers/Microsoft.ManagedIdentity"
    "/userAssignedIdentities/id-revoker"
)


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({}, "ServiceBusConnection is not set: set ServiceBusConnection__fullyQualifiedNamespace"),
        ({"ServiceBusConnection": "AccountKey=x"}, "must be a connection string"),
        ({"ServiceBusConnection": STRING, **NAMESPACE}, "exclude each other"),
        ({"ServiceBusConnection__fullyQualifiedNamespace": "https://x.y/"}, "must be a host name"),
        ({"ServiceBusConnection__fullyQualifiedNamespace": "contoso"}, "must be a host name"),
        ({**NAMESPACE, "ServiceBusConnection__credential": "key"}, "must be managedidentity"),
        ({**NAMESPACE, "ServiceBusConnection__clientId": "me"}, "__clientId must be the client id"),
        (
            {**NAMESPACE, "ServiceBusConnection__clientSecret": "hidden"},
            "ServiceBusConnection__clientSecret is not supported",
        ),
        (
            {**NAMESPACE, "ServiceBusConnection__managedIdentityObjectId": CLIENT_ID},
            "ServiceBusConnection__managedIdentityObjectId is not supported",
        ),
        (
            {
                **NAMESPACE,
                "ServiceBusConnection__managedIdentityResourceId": RESOURCE_ID,
                "ServiceBusConnection__clientId": CLIENT_ID,
            },
            "ServiceBusConnection__managedIdentityResourceId exclude each other",
        ),
        (
            {"ServiceBusConnection": f"{STRING};EntityPath=other"},
            "ServiceBusConnection must be for the namespace, without EntityPath",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(environment: dict[str, str], what: str) -> None:
    """It names the setting, and repeats no key."""
    with pytest.raises(WrongConnection) as raised:
        service_bus_connection(environment)
    [problem] = raised.value.problems
    assert what in problem
    assert "hidden" not in problem


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Namespace, identity and transport each have their sentence."""
    environment = {"ServiceBusConnection__clientId": "me", OVERRIDE: "tcp"}
    with pytest.raises(WrongConnection) as raised:
        service_bus_connection(environment)
    assert len(raised.value.problems) == 3
    assert str(raised.value) == "; ".join(raised.value.problems)


@pytest.mark.parametrize(
    ("namespace", "credential", "client_id"),
    [
        ("fullyQualifiedNamespace", "credential", "clientId"),
        ("FULLYQUALIFIEDNAMESPACE", "Credential", "CLIENTID"),
        ("fullyqualifiednamespace", "CREDENTIAL", "clientid"),
    ],
)
@pytest.mark.parametrize("name", ["ServiceBusConnection", "servicebusconnection"])
@pytest.mark.parametrize("value", ["managedidentity", "managedIdentity", "ManagedIdentity"])
def test_letter_case_does_not_matter(
    name: str, namespace: str, credential: str, client_id: str, value: str
) -> None:
    """The host's configuration does not know any, neither in names nor in these values."""
    environment = {
        f"{name}__{namespace}": "contoso.servicebus.windows.net",
        f"{name}__{credential}": value,
        f"{name}__{client_id}": CLIENT_ID,
    }
    assert service_bus_connection(environment) == ServiceBusConnection(
        fully_qualified_namespace="contoso.servicebus.windows.net", client_id=CLIENT_ID
    )


def test_identity_may_be_named_by_its_resource_id() -> None:
    """Instead of the client id, as the host allows."""
    environment = {**NAMESPACE, "ServiceBusConnection__managedIdentityResourceId": RESOURCE_ID}
    found = service_bus_connection(environment)
    assert (found.client_id, found.resource_id) == (None, RESOURCE_ID)


def written(folder: Path, service_bus: object) -> Path:
    path = folder / "host.json"
    path.write_text(json.dumps({"version": "2.0", "extensions": {"serviceBus": service_bus}}))
    return path


@pytest.mark.parametrize(
    ("service_bus", "websockets"),
    [
        ({}, False),
        ({"transportType": "amqpTcp"}, False),
        ({"transportType": "amqpWebSockets"}, True),
        ({"transportType": "AMQPWEBSOCKETS"}, True),
        (None, False),
    ],
)
def test_transport_is_that_of_host_json(
    tmp_path: Path, service_bus: object, websockets: bool
) -> None:
    """The transport of the host's connection applies to the function's, too."""
    found = service_bus_connection(NAMESPACE, host_json=written(tmp_path, service_bus))
    assert found.websockets == websockets


@pytest.mark.parametrize("name", [OVERRIDE, OVERRIDE.upper()])
def test_app_setting_overrides_host_json(tmp_path: Path, name: str) -> None:
    """In both directions, as for the host."""
    for there, here, websockets in (
        ("amqpTcp", "amqpWebSockets", True),
        ("amqpWebSockets", "amqpTcp", False),
    ):
        path = written(tmp_path, {"transportType": there})
        found = service_bus_connection({**NAMESPACE, name: here}, host_json=path)
        assert found.websockets == websockets


def test_unknown_transport_is_refused(tmp_path: Path) -> None:
    """The sentence names both places that may hold it."""
    path = written(tmp_path, {"transportType": "amqp"})
    with pytest.raises(WrongConnection, match=r"or transportType in host\.json"):
        service_bus_connection(NAMESPACE, host_json=path)
    with pytest.raises(WrongConnection, match=f"^{OVERRIDE} "):
        service_bus_connection({**NAMESPACE, OVERRIDE: "amqp"}, host_json=path)
    path.write_text("// comment")
    with pytest.raises(WrongConnection, match=r"^host.json must be JSON"):
        service_bus_connection(NAMESPACE, host_json=path)


def test_without_host_json_it_is_amqp(tmp_path: Path) -> None:
    """As on an operator's machine, where the package is installed alone."""
    assert not service_bus_connection(NAMESPACE, host_json=tmp_path / "host.json").websockets


def test_host_json_is_the_one_that_is_deployed() -> None:
    """It lies beside function_app.py."""
    assert HOST_JSON.is_file()
    assert HOST_JSON.with_name("function_app.py").is_file()


def test_proxy_is_for_websockets_only(tmp_path: Path) -> None:
    """AMQP itself goes through none, neither the host's nor the function's."""
    for environment in (NAMESPACE, {"ServiceBusConnection": STRING}):
        with_proxy = {**environment, "HTTPS_PROXY": "http://proxy:3128"}
        assert service_bus_connection(with_proxy, host_json=tmp_path / "no").proxy is None
        with_proxy[OVERRIDE] = "amqpWebSockets"
        assert service_bus_connection(with_proxy).proxy == "http://proxy:3128"


@pytest.mark.parametrize(
    ("proxy", "options"),
    [
        ("http://proxy:3128", {"proxy_hostname": "http://proxy", "proxy_port": 3128}),
        (
            "http://me:p%40ss@[::1]:3128",
            {
                "proxy_hostname": "http://[::1]",
                "proxy_port": 3128,
                "username": "me",
                "password": "p@ss",
            },
        ),
    ],
)
def test_proxy_is_passed_on_as_the_sdk_expects_it(proxy: str, options: dict[str, object]) -> None:
    """Host, port and login apart; neither shows in a traceback."""
    connection = ServiceBusConnection(proxy=proxy, connection_string="hidden")
    assert connection.proxy_options == options
    assert "p@ss" not in repr(connection)
    assert "hidden" not in repr(connection)

"""Check every property of every resource against the models of Microsoft's management SDKs.

Without the Bicep compiler nobody tells that `minimalTlsVersion` is not a property of a namespace:
the platform would ignore it and the door stay open. The SDKs for Python are generated from the same
specifications as the compiler's types, so their models know every name and every value of an
enumeration. They are too large for the development environment; `make infra` installs them beside
checkov and runs:

    .venv-checkov/bin/python -m tests.infra.property_names

It exits with 1 when a name or a value is unknown. The SDKs are of other API versions than the
templates here and there; names do not change within a stable line.
"""

import enum
import importlib
import sys
import types
import typing
from pathlib import Path
from typing import Any

from tests.infra import bicep
from tests.infra.bicep import Call, Choice, Expression, Loop, Value

INFRA = Path(__file__).resolve().parents[2] / "infra"

MODELS = {
    "Microsoft.Authorization/roleAssignments": (
        "azure.mgmt.authorization.v2022_04_01.models",
        "RoleAssignmentCreateParameters",
    ),
    "Microsoft.Authorization/roleDefinitions": (
        "azure.mgmt.authorization.v2022_04_01.models",
        "RoleDefinition",
    ),
    "Microsoft.CognitiveServices/accounts": ("azure.mgmt.cognitiveservices.models", "Account"),
    "Microsoft.Insights/actionGroups": ("azure.mgmt.monitor.models", "ActionGroupResource"),
    "Microsoft.Insights/components": (
        "azure.mgmt.applicationinsights.v2020_02_02.models",
        "ApplicationInsightsComponent",
    ),
    "Microsoft.Insights/metricAlerts": ("azure.mgmt.monitor.models", "MetricAlertResource"),
    "Microsoft.Insights/workbooks": (
        "azure.mgmt.applicationinsights.v2023_06_01.models",
        "Workbook",
    ),
    "Microsoft.ManagedIdentity/userAssignedIdentities": ("azure.mgmt.msi.models", "Identity"),
    "Microsoft.Network/networkSecurityGroups": (
        "azure.mgmt.network.models",
        "NetworkSecurityGroup",
    ),
    "Microsoft.Network/privateDnsZones": ("azure.mgmt.privatedns.models", "PrivateZone"),
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": (
        "azure.mgmt.privatedns.models",
        "VirtualNetworkLink",
    ),
    "Microsoft.Network/privateEndpoints": ("azure.mgmt.network.models", "PrivateEndpoint"),
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": (
        "azure.mgmt.network.models",
        "PrivateDnsZoneGroup",
    ),
    "Microsoft.Network/virtualNetworks": ("azure.mgmt.network.models", "VirtualNetwork"),
    "Microsoft.Network/virtualNetworks/subnets": ("azure.mgmt.network.models", "Subnet"),
    "Microsoft.OperationalInsights/workspaces": ("azure.mgmt.loganalytics.models", "Workspace"),
    "Microsoft.ServiceBus/namespaces": ("azure.mgmt.servicebus.models", "SBNamespace"),
    "Microsoft.ServiceBus/namespaces/queues": ("azure.mgmt.servicebus.models", "SBQueue"),
    "Microsoft.Storage/storageAccounts": (
        "azure.mgmt.storage.models",
        "StorageAccountCreateParameters",
    ),
    "Microsoft.Storage/storageAccounts/blobServices": (
        "azure.mgmt.storage.models",
        "BlobServiceProperties",
    ),
    "Microsoft.Storage/storageAccounts/blobServices/containers": (
        "azure.mgmt.storage.models",
        "BlobContainer",
    ),
    "Microsoft.Web/serverfarms": ("azure.mgmt.web.models", "AppServicePlan"),
    "Microsoft.Web/sites": ("azure.mgmt.web.models", "Site"),
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": (
        "azure.mgmt.web.models",
        "CsmPublishingCredentialsPoliciesEntity",
    ),
}
"""Resource type → module and class of the model."""

WITHOUT_A_MODEL = {
    "Microsoft.Insights/diagnosticSettings",
    "Microsoft.Insights/scheduledQueryRules",
}
"""The monitor SDK left them out when it dropped its older API versions."""

EVERYWHERE = {"name", "parent", "scope", "dependsOn", "location", "tags"}
"""What Bicep itself knows on every resource."""

type Shape = dict[str, Any]
"""JSON name → type, as the model declares it."""


def shape(model: type[Any]) -> Shape:
    """The JSON names that a model knows, each with its type.

    There are two generations of models. The older keeps a map from attributes to JSON paths
    (`properties.maxDeliveryCount`) and names types as text; the newer annotates its attributes.
    """
    if hasattr(model, "_attribute_map"):
        return _older(model)
    hints = typing.get_type_hints(model, localns={"_models": _module_of(model)})
    # A model fills in its table of fields when the first object is made.
    model()
    fields: dict[str, Any] = model._attr_to_rest_field
    return {one._rest_name: hints.get(attribute, Any) for attribute, one in fields.items()}


def _older(model: type[Any]) -> Shape:
    known: Shape = {}
    for one in model._attribute_map.values():
        *path, last = one["key"].replace(r"\.", "\0").split(".")
        inner = known
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last.replace("\0", ".")] = _named(one["type"], model)
    return known


def _named(text: str, model: type[Any]) -> Any:
    if text.startswith("["):
        return list[_named(text[1:-1], model)]  # type: ignore[misc]
    return getattr(_module_of(model), text, Any)


def _module_of(model: type[Any]) -> types.ModuleType:
    return importlib.import_module(model.__module__.rpartition("._models")[0] or model.__module__)


def unknown(value: Value, wanted: Any, path: str) -> list[str]:
    """Names and values in `value` that the declared type does not know."""
    match value:
        case Choice():
            return unknown(value.then, wanted, path) + unknown(value.otherwise, wanted, path)
        case Loop():
            return unknown([value.body], wanted, path)
        case Expression() | Call() | None:
            return []
    options = _options(wanted)
    match value:
        case dict():
            shapes = [
                option if isinstance(option, dict) else _whole_shape(option)
                for option in options
                if isinstance(option, dict) or _is_model(option)
            ]
            if not shapes:
                return []  # a free dictionary
            return [
                problem
                for key, inner in value.items()
                for problem in _of_key(key, inner, shapes, f"{path}.{key}")
            ]
        case list():
            items = [typing.get_args(one)[0] for one in options if typing.get_origin(one) is list]
            item = items[0] if items else Any
            return [problem for one in value for problem in unknown(one, item, f"{path}[]")]
        case str():
            enums = [one for one in options if isinstance(one, type) and issubclass(one, enum.Enum)]
            values = {member.value for one in enums for member in one}
            if values and value not in values:
                return [f"{path} is {value!r}, not one of {sorted(values)}"]
    return []


def _of_key(key: str, value: Value, shapes: list[Shape], path: str) -> list[str]:
    for one in shapes:
        if key in one:
            return unknown(value, one[key], path)
    return [f"{path} is not known: there are {', '.join(sorted(shapes[0]))}"]


def _options(wanted: Any) -> list[Any]:
    """The types in `Optional[…]` and `Union[…]`, or the type itself."""
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        return [inner for one in typing.get_args(wanted) for inner in _options(one)]
    return [wanted]


def _is_model(option: Any) -> bool:
    return isinstance(option, type) and (
        hasattr(option, "_attribute_map") or hasattr(option, "_deserialize")
    )


def _whole_shape(model: type[Any]) -> Shape:
    """With the properties of the kinds derived from a base, such as the criteria of an alert."""
    known = dict(shape(model))
    for kind in model.__subclasses__():
        known = {**_whole_shape(kind), **known}
    return known


def check(files: dict[str, bicep.BicepFile]) -> tuple[int, list[str]]:
    """How many resources were checked, and what was not known."""
    checked, problems = 0, []
    for path, file in files.items():
        for one in file.resources:
            if one.existing or one.type in WITHOUT_A_MODEL:
                continue
            if one.type not in MODELS:
                problems.append(f"{path}: {one.symbol}: no model is named for {one.type}")
                continue
            module, name = MODELS[one.type]
            model = getattr(importlib.import_module(module), name)
            body = {key: value for key, value in one.body.items() if key not in EVERYWHERE}
            problems += unknown(body, model, f"{path}: {one.symbol}")
            if not unknown({"noSuchProperty": True}, model, ""):
                problems.append(f"{one.type}: its model takes anything, so nothing was checked")
            checked += 1
    return checked, problems


def main() -> int:
    checked, problems = check(bicep.load(INFRA))
    print(*problems, sep="\n", end="\n" if problems else "")
    print(
        f"property names: {checked} resources checked against the management SDKs "
        f"({', '.join(sorted(WITHOUT_A_MODEL))} have no model there), {len(problems)} unknown"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

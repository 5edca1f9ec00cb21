"""Policies: keys, rights and ways in."""

import re
from collections import Counter

from tests.infra.bicep import Call, Choice, Expression, Value, as_dict, at
from tests.infra.policies.registry import policy
from tests.infra.project import Project, unmet


@policy
def there_are_no_keys(project: Project) -> list[str]:
    """No key is read, made or passed on; no connection string with one."""
    traces = (
        r"\blist[A-Z]\w*\s*\(",
        r"\.list[A-Z]\w*\s*\(",
        r"(?i)accountkey=|sharedaccesskey|\bkey1\b|primarykey|secondarykey",
        r"(?i)authorizationRules",
        r"InstrumentationKey",
    )
    return [
        f"{path}: {found[0]!r}"
        for path, file in project.files.items()
        for trace in traces
        for found in re.finditer(trace, file.text)
    ]


@policy
def local_authentication_is_off(project: Project) -> list[str]:
    """Whatever has keys or passwords of its own has them switched off."""
    return unmet(
        project,
        {
            "Microsoft.ServiceBus/namespaces": {"properties.disableLocalAuth": True},
            "Microsoft.CognitiveServices/accounts": {"properties.disableLocalAuth": True},
            "Microsoft.Storage/storageAccounts": {
                "properties.allowSharedKeyAccess": False,
                "properties.defaultToOAuthAuthentication": True,
            },
            "Microsoft.Insights/components": {"properties.DisableLocalAuth": True},
            "Microsoft.OperationalInsights/workspaces": {
                "properties.features.disableLocalAuth": True
            },
            "Microsoft.Web/sites/basicPublishingCredentialsPolicies": {"properties.allow": False},
        },
    ) + [
        f"no basicPublishingCredentialsPolicies {name}"
        for name in ("ftp", "scm")
        if name
        not in {
            one.body.get("name")
            for _, one in project.resources(
                "Microsoft.Web/sites/basicPublishingCredentialsPolicies"
            )
        }
    ]


@policy
def traffic_is_encrypted(project: Project) -> list[str]:
    """HTTPS only, TLS 1.2 at least, no FTP."""
    return unmet(
        project,
        {
            "Microsoft.ServiceBus/namespaces": {"properties.minimumTlsVersion": "1.2"},
            "Microsoft.Storage/storageAccounts": {
                "properties.minimumTlsVersion": "TLS1_2",
                "properties.supportsHttpsTrafficOnly": True,
            },
            "Microsoft.Web/sites": {
                "properties.httpsOnly": True,
                "properties.siteConfig.minTlsVersion": "1.2",
                "properties.siteConfig.scmMinTlsVersion": "1.2",
                "properties.siteConfig.ftpsState": "Disabled",
            },
        },
    )


@policy
def no_blob_is_public(project: Project) -> list[str]:
    """Neither the account nor a container allows anonymous reading."""
    return unmet(
        project,
        {
            "Microsoft.Storage/storageAccounts": {
                "properties.allowBlobPublicAccess": False,
                "properties.allowCrossTenantReplication": False,
            },
            "Microsoft.Storage/storageAccounts/blobServices/containers": {
                "properties.publicAccess": "None"
            },
        },
    )


ROLES = {
    "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0": "Azure Service Bus Data Receiver",
    "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39": "Azure Service Bus Data Sender",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
}

ALLOWED_ASSIGNMENTS = Counter(
    {
        ("Azure Service Bus Data Receiver", "queue", "functionPrincipalId"): 1,
        ("Azure Service Bus Data Sender", "queue", "functionPrincipalId"): 1,
        ("Azure Service Bus Data Sender", "queue", "principalId in publisherPrincipalIds"): 1,
        ("Azure Service Bus Data Sender", "queue of receipts", "functionPrincipalId"): 1,
        (
            "Azure Service Bus Data Receiver",
            "queue of receipts",
            "principalId in readerPrincipalIds",
        ): 1,
        ("Storage Blob Data Owner", "storage account", "principalId"): 1,
        ("Storage Table Data Contributor", "storage account", "principalId"): 1,
        ("Monitoring Metrics Publisher", "component", "principalId"): 1,
        ("custom role sessionDeleter", "Face account", "principalId"): 1,
    }
)

SCOPES = {
    "Microsoft.ServiceBus/namespaces/queues": "queue",
    "Microsoft.Storage/storageAccounts": "storage account",
    "Microsoft.Insights/components": "component",
    "Microsoft.CognitiveServices/accounts": "Face account",
}


@policy
def role_assignments_are_in_the_allow_list(project: Project) -> list[str]:
    """Exactly the (role, scope, principal) triples of the list are assigned."""
    found: Counter[tuple[str, str, str]] = Counter()
    for file, one in project.resources("Microsoft.Authorization/roleAssignments"):
        definition = at(one.body, "properties.roleDefinitionId")
        role = "unknown"
        if isinstance(definition, Call) and definition.function == "subscriptionResourceId":
            match file.resolve(definition.arguments[-1]):
                case str(id_):
                    role = ROLES.get(id_, id_)
                case Expression(text):
                    role = f"custom role {text.removesuffix('.name')}"
        scope = one.body.get("scope")
        types = {other.symbol: other.type for other in file.resources}
        where = types.get(scope.text, "unknown") if isinstance(scope, Expression) else "whole group"
        if isinstance(scope, Expression) and scope.text == "outcomes":
            where = "queue of receipts"
        principal = at(one.body, "properties.principalId")
        who = principal.text if isinstance(principal, Expression) else repr(principal)
        loop = re.search(
            rf"resource {one.symbol} [^\n]*\[\s*for {who} in (\w+)", file.text, re.DOTALL
        )
        found[role, SCOPES.get(where, where), f"{who} in {loop[1]}" if loop else who] += 1
    return [f"not allowed: {extra}" for extra in found - ALLOWED_ASSIGNMENTS] + [
        f"missing: {absent}" for absent in ALLOWED_ASSIGNMENTS - found
    ]


@policy
def custom_role_may_delete_sessions_only(project: Project) -> list[str]:
    """There is one custom role; it has one data action and may be assigned in one group only."""
    roles = project.resources("Microsoft.Authorization/roleDefinitions")
    if len(roles) != 1:
        return [f"{len(roles)} custom roles"]
    ((file, role),) = roles
    properties = as_dict(role.body.get("properties"))
    wanted: Value = [
        {
            "actions": [],
            "notActions": [],
            "dataActions": ["Microsoft.CognitiveServices/accounts/Face/*/sessions/delete"],
            "notDataActions": [],
        }
    ]
    problems = []
    if properties.get("permissions") != wanted:
        problems.append(f"permissions are {properties.get('permissions')}")
    scopes = properties.get("assignableScopes")
    resolved = [file.resolve(one) for one in scopes] if isinstance(scopes, list) else scopes
    if resolved != [Expression("resourceGroup().id")]:
        problems.append(f"assignable in {resolved}")
    return problems


@policy
def private_networking_closes_every_door(project: Project) -> list[str]:
    """With the parameter set, all that is created is closed to the internet and has an endpoint."""
    problems = []
    for symbol in ("serviceBus", "storage", "face"):
        given = project.main.modules[symbol].parameters.get("publicNetworkAccess")
        if given != Choice("privateNetworking", "Disabled", "Enabled"):
            problems.append(f"main.bicep: {symbol} gets publicNetworkAccess {given}")
    for type_ in (
        "Microsoft.ServiceBus/namespaces",
        "Microsoft.Storage/storageAccounts",
        "Microsoft.CognitiveServices/accounts",
    ):
        for file, one in project.resources(type_):
            if at(one.body, "properties.publicNetworkAccess") != Expression("publicNetworkAccess"):
                problems.append(f"{file.path}: {one.symbol} does not follow publicNetworkAccess")
    tier = project.main.modules["serviceBus"].parameters.get("tier")
    if tier != Choice("privateNetworking", "Premium", Expression("serviceBusTier")):
        problems.append(f"private endpoints need the tier Premium, not {tier}")
    targets = project.files["modules/private-endpoints.bicep"].variables.get("targets")
    groups = {at(one, "groupId") for one in targets} if isinstance(targets, list) else set()
    problems += [
        f"no private endpoint for {group}"
        for group in ("namespace", "blob", "table", "account")
        if group not in groups
    ]
    return problems

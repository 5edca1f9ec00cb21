"""Policies: keys, rights and ways in."""

import re
from collections import Counter

from tests.infra.project import Project, Resource, at, policy, unmet

KEYS = re.compile(
    r"\blist[A-Z]\w*\s*\(|(?i:accountkey=|sharedaccesskey|\bkey1\b|primarykey|secondarykey)"
    r"|(?i:authorizationRules)|InstrumentationKey"
)


@policy
def there_are_no_keys(project: Project) -> list[str]:
    """No key is read, made or passed on; no connection string with one."""
    texts = {**project.bicep(), **{way: str(made) for way, made in project.snapshots.items()}}
    return [f"{path}: {key[0]!r}" for path, text in texts.items() for key in KEYS.finditer(text)]


@policy
def local_authentication_is_off(project: Project) -> list[str]:
    """Whatever has keys or passwords of its own has them switched off."""
    return unmet(
        project,
        """
        ServiceBus/namespaces           properties.disableLocalAuth                  true
        CognitiveServices/accounts      properties.disableLocalAuth                  true
        Storage/storageAccounts         properties.allowSharedKeyAccess              false
        Storage/storageAccounts         properties.defaultToOAuthAuthentication      true
        Insights/components             properties.DisableLocalAuth                  true
        OperationalInsights/workspaces  properties.features.disableLocalAuth         true
        Web/sites/basicPublishingCredentialsPolicies#/ftp  properties.allow          false
        Web/sites/basicPublishingCredentialsPolicies#/scm  properties.allow          false
        """,
    )


@policy
def traffic_is_encrypted(project: Project) -> list[str]:
    """HTTPS only, TLS 1.2 at least."""
    return unmet(
        project,
        """
        ServiceBus/namespaces    properties.minimumTlsVersion             "1.2"
        Storage/storageAccounts  properties.minimumTlsVersion             "TLS1_2"
        Storage/storageAccounts  properties.supportsHttpsTrafficOnly      true
        Web/sites                properties.httpsOnly                     true
        Web/sites                properties.siteConfig.minTlsVersion      "1.2"
        Web/sites                properties.siteConfig.scmMinTlsVersion   "1.2"
        """,
    )


@policy
def no_blob_is_public(project: Project) -> list[str]:
    """Neither the account nor a container allows anonymous reading."""
    return unmet(
        project,
        """
        Storage/storageAccounts                          properties.allowBlobPublicAccess        false
        Storage/storageAccounts                          properties.allowCrossTenantReplication  false
        Storage/storageAccounts/blobServices/containers  properties.publicAccess                 "None"
        """,
    )


ALLOWED = """
4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0  queue:session-revoked       Service Bus Data Receiver
69a216fc-b8fb-44d8-bc22-1f3c2cd27a39  queue:session-revoked       Service Bus Data Sender
b7e6dc6d-f1e8-4753-8033-0f276bb0955b  Storage/storageAccounts     Storage Blob Data Owner
0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3  Storage/storageAccounts     Storage Table Data Contributor
3913510d-42f4-4e42-8a64-420c390055eb  Insights/components         Monitoring Metrics Publisher
the-custom-role                       CognitiveServices/accounts  Liveness Session Deleter
"""
FUNCTION = re.compile(
    r"\[reference\('/[^']*Microsoft\.ManagedIdentity/userAssignedIdentities/id-revoker-\w{13}', "
    r"'[\d-]+'\)\.principalId\]"
)


@policy
def role_assignments_are_in_the_allow_list(project: Project) -> list[str]:
    """Exactly the (role, scope, principal) triples of the list are assigned; to each publisher that
    was named, to send to the queue; to each reader of receipts, to receive from theirs, to which the
    function then sends."""
    problems = []
    for way, variables in project.ways().items():
        custom = {
            one["name"] for _, one in project.of("Microsoft.Authorization/roleDefinitions", way)
        }
        found: Counter[tuple[str, str, str]] = Counter()
        for _, one in project.of("Microsoft.Authorization/roleAssignments", way):
            role = str(at(one, "properties.roleDefinitionId")).rpartition("/")[2]
            who = str(at(one, "properties.principalId"))
            if (
                FUNCTION.fullmatch(who)
                and at(one, "properties.principalType") == "ServicePrincipal"
            ):
                who = "function"
            found["the-custom-role" if role in custom else role, _scope(one), who] += 1
        lines = [line.split() for line in ALLOWED.strip().splitlines()]
        allowed = Counter((role, scope, "function") for role, scope, *_ in lines)
        receiver, sender = (role for role, *_ in lines[:2])
        for publisher in filter(None, variables.get("PUBLISHER_PRINCIPAL_IDS", "").split(", ")):
            allowed[sender, "queue:session-revoked", publisher] += 1
        for reader in filter(None, variables.get("RECEIPT_READER_PRINCIPAL_IDS", "").split(", ")):
            allowed[receiver, "queue:session-outcomes", reader] += 1
            allowed[sender, "queue:session-outcomes", "function"] = 1
        problems += [f"{way}: not allowed: {extra}" for extra in found - allowed]
        problems += [f"{way}: missing: {absent}" for absent in allowed - found]
    return problems


def _scope(assignment: Resource) -> str:
    """The type of what a role is assigned on; of a queue, its name."""
    target = assignment["id"].rpartition("/providers/Microsoft.Authorization/")[0]
    if "/providers/Microsoft." not in target:
        return "a whole group"
    parts = target.rpartition("/providers/Microsoft.")[2].split("/")
    if parts[-2:-1] == ["queues"]:
        return f"queue:{parts[-1]}"
    return "/".join([parts[0], *parts[1::2]])


@policy
def custom_role_may_delete_sessions_only(project: Project) -> list[str]:
    """There is one custom role; it has one data action and may be assigned in one group only."""
    problems = []
    wanted = {"dataActions": ["Microsoft.CognitiveServices/accounts/Face/*/sessions/delete"]}
    for way in project.snapshots:
        roles = [one for _, one in project.of("Microsoft.Authorization/roleDefinitions", way)]
        for one in roles:
            given = [
                {kind: actions for kind, actions in each.items() if actions}
                for each in at(one, "properties.permissions")
            ]
            scopes = at(one, "properties.assignableScopes")
            if given != [wanted] or scopes != [one["id"].partition("/providers/")[0]]:
                problems.append(f"{way}: {given} in {scopes}")
        if len(roles) != 1:
            problems.append(f"{way}: {len(roles)} custom roles")
    return problems


ENDPOINTS = {
    ("namespace", "ServiceBus/namespaces"),
    ("blob", "Storage/storageAccounts"),
    ("table", "Storage/storageAccounts"),
    ("account", "CognitiveServices/accounts"),
}
SUFFIXES = {
    "AzureCloud": "windows.net core.windows.net azure.com",
    "AzureUSGovernment": "usgovcloudapi.net core.usgovcloudapi.net azure.us",
}


@policy
def private_networking_closes_every_door(project: Project) -> list[str]:
    """With private networking, all that is created is closed to the internet, has an endpoint and a
    zone of its cloud, and the function's traffic goes through the network."""
    problems = []
    for way, variables in project.ways().items():
        if variables.get("PRIVATE_NETWORKING") != "true":
            continue
        problems += unmet(
            project,
            """
            ServiceBus/namespaces       properties.publicNetworkAccess        "Disabled"
            ServiceBus/namespaces       sku.name                              "Premium"
            Storage/storageAccounts     properties.publicNetworkAccess        "Disabled"
            Storage/storageAccounts     properties.networkAcls.defaultAction  "Deny"
            CognitiveServices/accounts  properties.publicNetworkAccess        "Disabled"
            """,
            way,
        )
        endpoints = [
            at(one, "properties.privateLinkServiceConnections.0.properties")
            for _, one in project.of("Microsoft.Network/privateEndpoints", way)
        ]
        reached = {
            (one["groupIds"][0], one["privateLinkServiceId"].rpartition("/Microsoft.")[2])
            for one in endpoints
        }
        if {(group, id_.rpartition("/")[0]) for group, id_ in reached} != ENDPOINTS:
            problems.append(f"{way}: private endpoints to {reached}")
        bus, storage, face = SUFFIXES[variables.get("AZURE_CLOUD", "AzureCloud")].split()
        names = (
            f"servicebus.{bus}",
            f"blob.{storage}",
            f"table.{storage}",
            f"cognitiveservices.{face}",
        )
        zones = {one["name"] for _, one in project.of("Microsoft.Network/privateDnsZones", way)}
        if zones != {f"privatelink.{name}" for name in names}:
            problems.append(f"{way}: zones {zones}")
        for _, app in project.of("Microsoft.Web/sites", way):
            if "/subnets/function" not in str(at(app, "properties.virtualNetworkSubnetId")):
                problems.append(f"{way}: the function's traffic leaves past the network")
    return problems

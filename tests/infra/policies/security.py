"""Policies: keys, rights and ways in."""

import re
from collections import Counter

from tests.infra.policies.agreement import queue_names
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
def nothing_is_open(project: Project) -> list[str]:
    """Keys, passwords and anonymous reading are off; HTTPS only, TLS 1.2 at least."""
    return unmet(
        project,
        """
        ServiceBus/namespaces           properties.disableLocalAuth                  true
        ServiceBus/namespaces           properties.minimumTlsVersion                 "1.2"
        CognitiveServices/accounts      properties.disableLocalAuth                  true
        Storage/storageAccounts         properties.allowSharedKeyAccess              false
        Storage/storageAccounts         properties.defaultToOAuthAuthentication      true
        Storage/storageAccounts         properties.allowBlobPublicAccess             false
        Storage/storageAccounts         properties.allowCrossTenantReplication       false
        Storage/storageAccounts         properties.minimumTlsVersion                 "TLS1_2"
        Storage/storageAccounts         properties.supportsHttpsTrafficOnly          true
        Storage/storageAccounts/blobServices/containers  properties.publicAccess     "None"
        Insights/components             properties.DisableLocalAuth                  true
        OperationalInsights/workspaces  properties.features.disableLocalAuth         true
        Web/sites                       properties.httpsOnly                         true
        Web/sites                       properties.siteConfig.minTlsVersion          "1.2"
        Web/sites                       properties.siteConfig.scmMinTlsVersion       "1.2"
        Web/sites/basicPublishingCredentialsPolicies#/ftp  properties.allow          false
        Web/sites/basicPublishingCredentialsPolicies#/scm  properties.allow          false
        """,
    )


ALLOWED = """
4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0  queue                       Service Bus Data Receiver
69a216fc-b8fb-44d8-bc22-1f3c2cd27a39  queue                       Service Bus Data Sender
b7e6dc6d-f1e8-4753-8033-0f276bb0955b  Storage/storageAccounts     Storage Blob Data Owner
0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3  Storage/storageAccounts     Storage Table Data Contributor
3913510d-42f4-4e42-8a64-420c390055eb  Insights/components         Monitoring Metrics Publisher
the-custom-role                       CognitiveServices/accounts  Liveness Session Deleter
"""
MONITORING_METRICS_PUBLISHER = "3913510d-42f4-4e42-8a64-420c390055eb"
MONITORING_READER = "43d0d8ad-25c7-4714-9337-8ba259a9fe05"
FUNCTION = re.compile(
    r"\[reference\('/[^']*Microsoft\.ManagedIdentity/userAssignedIdentities/id-revoker(-\w{13})?', "
    r"'[\d-]+'\)\.principalId\]"
)


@policy
def role_assignments_are_in_the_allow_list(project: Project) -> list[str]:
    """Exactly the (role, scope, principal) triples of the list are assigned, and to each person that
    was named what infra/README.md says."""
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
        queue, outcomes = queue_names(variables)
        readers = _people(variables, "RECEIPT_READER")
        people = {(sender, "queue", who) for who in _people(variables, "PUBLISHER")}
        people |= {(receiver, "outcomes", who) for who in readers}
        people |= {(sender, "outcomes", "function")} if readers else set()
        for who in _people(variables, "OPERATOR"):
            people |= {(sender, "queue", who), (receiver, "queue", who)}
            people |= {(sender, "outcomes", who)} if readers else set()
            people |= {("the-custom-role", "CognitiveServices/accounts", who)}
        for who in _people(variables, "OPERATOR") | _people(variables, "AUDITOR"):
            people |= {(MONITORING_READER, "Insights/components", who)}
        for who in _people(variables, "RECORD_WRITER"):
            people |= {(MONITORING_METRICS_PUBLISHER, "Insights/dataCollectionRules", who)}
        allowed.update(people)
        named = {"queue": f"queue:{queue}", "outcomes": f"queue:{outcomes}"}
        allowed = Counter(
            {(role, named.get(on, on), who): n for (role, on, who), n in allowed.items()}
        )
        problems += [f"{way}: not allowed: {extra}" for extra in found - allowed]
        problems += [f"{way}: missing: {absent}" for absent in allowed - found]
    return problems


def _people(variables: dict[str, str], kind: str) -> set[str]:
    return set(filter(None, variables.get(f"{kind}_PRINCIPAL_IDS", "").split(", ")))


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
    """With private networking, all that is created is closed to the internet and has an endpoint, in
    a new network with a zone of its cloud; the function's traffic goes through the network."""
    problems = []
    for way, variables in project.ways().items():
        brought = variables.get("INTEGRATION_SUBNET_ID", "")
        if variables.get("PRIVATE_NETWORKING") != "true" and not brought:
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
        wanted = {(group, type_) for group, type_ in ENDPOINTS if type_ not in project.brought(way)}
        if {(group, id_.rpartition("/")[0]) for group, id_ in reached} != wanted:
            problems.append(f"{way}: private endpoints to {reached}")
        bus, storage, face = SUFFIXES[variables.get("AZURE_CLOUD", "AzureCloud")].split()
        names = (
            f"servicebus.{bus}",
            f"blob.{storage}",
            f"table.{storage}",
            f"cognitiveservices.{face}",
        )
        zones = {one["name"] for _, one in project.of("Microsoft.Network/privateDnsZones", way)}
        if zones != (set() if brought else {f"privatelink.{name}" for name in names}):
            problems.append(f"{way}: zones {zones}")
        for _, app in project.of("Microsoft.Web/sites", way):
            subnet = str(at(app, "properties.virtualNetworkSubnetId"))
            if subnet != brought if brought else "/subnets/function" not in subnet:
                problems.append(f"{way}: the function's traffic leaves past the network")
    return problems


OWN_GROUP = "/resourceGroups/rg-revoker/"
ON_OTHERS = re.compile(
    r".*(/namespaces/[^/]+/queues/[^/]+|/queues/[^/]+/providers/Microsoft.Authorization/roleAssignments/.*"
    r"|/accounts/[^/]+/providers/Microsoft.(Authorization/roleAssignments|Insights/diagnosticSettings)/.*"
    r"|[^/]/providers/Microsoft.Authorization/roleDefinitions/.*"
    r"|/workspaces/[^/]+/tables/RevokerRecord_CL|/dataCollectionRules/.*)"
)


@policy
def what_is_brought_along_is_left_alone(project: Project) -> list[str]:
    """What is brought along is not created, and gets no more than infra/README.md says: queues and
    roles on them; on the Face account a role and a diagnostic setting; in the workspace the record."""
    problems = []
    for way in project.snapshots:
        for type_ in project.brought(way):
            kind, _, which = type_.partition("#")
            created = [one for _, one in project.of(f"Microsoft.{kind}", way) if which in one["id"]]
            problems += [f"{way}: {one['id']} is created" for one in created]
        problems += [
            f"{way}: {one['id']} is changed"
            for one in project.snapshots[way]
            if OWN_GROUP not in one["id"] and not ON_OTHERS.fullmatch(one["id"])
        ]
    return problems


@policy
def two_deployments_share_a_namespace(project: Project) -> list[str]:
    """The two landing zones use one namespace, and no resource belongs to both."""
    one, other = (project.snapshots[way] for way in ("landing-zone", "landing-zone-face-elsewhere"))
    both = {x["id"].lower() for x in one} & {x["id"].lower() for x in other}
    spaces = {x["name"].split("/")[0] for x in (*one, *other) if x["type"].endswith("/queues")}
    return [f"{id_} belongs to both" for id_ in both] + [f"{spaces}"] * (len(spaces) != 1)

"""No policy finds a problem in the project, and each finds the mistakes that are seeded for it.

A mistake in what Resource Manager would be given is seeded in the snapshots. That the snapshots are
what the Bicep files say is checked by `make infra`, where the compiler finds its own kind of mistakes,
too (infra/check_bicep.py).
"""

import copy
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tests.infra.policies  # noqa: F401  they put themselves on the list
from tests.infra.policies.agreement import REFUSED_PROPERTIES
from tests.infra.project import FILES, POLICIES, ROOT, Project, at


@dataclass(frozen=True, slots=True)
class Made:
    """A resource is made wrong: the value at a path, in the first of its type whose id has `which`.

    A value of `...` takes the path away; a path that ends with a dot adds the value to a list.
    """

    name: str
    type: str
    path: str
    value: Any
    which: str = ""
    way: str = "default"

    def make(self, project: Project, folder: Path) -> Project:
        snapshots = copy.deepcopy(project.snapshots)
        type_ = f"Microsoft.{self.type}"
        found = (x for x in snapshots[self.way] if x["type"] == type_ and self.which in x["id"])
        parent: Any = next(found)
        above, _, last = self.path.rpartition(".")
        parent = at(parent, above) if above else parent
        if isinstance(parent, list):
            parent[int(last) if last else slice(len(parent), None)] = self.value
        elif self.value is ...:
            del parent[last]
        else:
            assert parent.get(last) != self.value
            parent[last] = self.value
        return Project(project.root, snapshots)


@dataclass(frozen=True, slots=True)
class Written:
    """A file says something wrong, where a text stands first."""

    name: str
    file: str
    right: str
    wrong: str

    def make(self, project: Project, folder: Path) -> Project:
        path = folder / self.file
        text = path.read_text("utf-8")
        assert self.right in text
        path.write_text(text.replace(self.right, self.wrong, 1), "utf-8")
        return Project.load(folder)


SITE, QUEUE = "Web/sites", "ServiceBus/namespaces/queues"
ROLE, ASSIGNMENT = "Authorization/roleDefinitions", "Authorization/roleAssignments"
METRIC_ALERT, LOG_ALERT = "Insights/metricAlerts", "Insights/scheduledQueryRules"
SETTINGS = "properties.siteConfig.appSettings"
CONFIG = "properties.functionAppConfig"
MOST, READY = (f"{CONFIG}.scaleAndConcurrency.{x}" for x in ("maximumInstanceCount", "alwaysReady"))
GROUP = "properties.privateLinkServiceConnections.0.properties.groupIds.0"
TARGET = "properties.privateLinkServiceConnections.0.properties.privateLinkServiceId"
WINDOW = "properties.duplicateDetectionHistoryTimeWindow"
CRITERION = "properties.criteria.allOf.0"
DEFINITION = "properties.roleDefinitionId"
DATA_OWNER = "/roleDefinitions/090c5cfd-751d-490a-894a-3ce6f1109419"
FACE_RECOGNIZER = "/roleDefinitions/9894cab4-e18a-44aa-828b-cb588cd6f2d7"
SOMEBODY = "33333333-3333-4333-8333-333333333333"
AUDITOR = "77777777-7777-4777-8777-777777777777"
READ = "Microsoft.CognitiveServices/accounts/Face/*/read"
ON_GROUP = "/subscriptions/x/resourceGroups/y/providers/Microsoft.Authorization/roleAssignments/z"
ON_NAMESPACE = ON_GROUP.replace("/p", "/providers/Microsoft.ServiceBus/namespaces/n/p", 1)
MAIN, SHARED, STORAGE = (
    "infra/main.bicep",
    "infra/modules/shared.bicep",
    "infra/modules/storage.bicep",
)
ON_REVOCATIONS = ON_NAMESPACE.replace("/n/p", "/n/queues/session-revoked/p")
RENEWAL, README = '"maxAutoLockRenewalDuration": "00:', "infra/README.md"

# fmt: off
MISTAKES: dict[str, list[Made | Written]] = {
    "role_assignments_are_in_the_allow_list": [
        Made("a wider role on the queue", ASSIGNMENT, DEFINITION, DATA_OWNER, "/queues/"),
        Made("publishers may send to every queue", ASSIGNMENT, "id", ON_NAMESPACE, "/queues/"),
        Made("a role on the whole resource group", ASSIGNMENT, "id", ON_GROUP, "/storageAccounts/"),
        Made("a built-in Face role", ASSIGNMENT, DEFINITION, FACE_RECOGNIZER, "/accounts/"),
        Made("a wrong principal", ASSIGNMENT, "properties.principalType", "User"),
        Made("a right for somebody else", ASSIGNMENT, "properties.principalId", SOMEBODY),
        Made("readers of receipts read revocations", ASSIGNMENT, "id", ON_REVOCATIONS,
             "/session-outcomes/", "receipts"),
        Made("a sending auditor", ASSIGNMENT, "properties.principalId", AUDITOR, "/queues/",
             "landing-zone"),
        Made("a stranger reads receipts", ASSIGNMENT, "properties.principalId", SOMEBODY,
             "/session-outcomes/", "receipts"),
        Made("a stranger writes the record", ASSIGNMENT, "properties.principalId", SOMEBODY,
             "/dataCollectionRules/", "landing-zone"),
    ],
    "what_is_brought_along_is_left_alone": [
        Made("a namespace that was brought along", "ServiceBus/namespaces/queues", "type",
             "Microsoft.ServiceBus/namespaces", way="landing-zone"),
        Made("logs of a foreign namespace", "Insights/diagnosticSettings", "id",
             ON_NAMESPACE.replace("Authorization/roleAssignments", "Insights/diagnosticSettings"),
             "/accounts/", "landing-zone"),
    ],
    "two_deployments_share_a_namespace": [
        Made("a name for both", SITE, "id", "/subscriptions/00000000-0000-0000-0000-000000000002/"
             "resourceGroups/rg-revoker/providers/Microsoft.Web/sites/func-bank-revoker",
             way="landing-zone-face-elsewhere"),
        Made("two namespaces", QUEUE, "name", "sb-other/q", way="landing-zone-face-elsewhere"),
    ],
    "custom_role_may_delete_sessions_only": [
        Made("a second data action", ROLE, "properties.permissions.0.dataActions.", [READ]),
        Made("a management action", ROLE, "properties.permissions.0.actions.", ["*/read"]),
        Made("a role for a subscription", ROLE, "properties.assignableScopes.0", "/subscriptions/x"),
    ],
    "nothing_is_open": [
        Made("connection strings", "ServiceBus/namespaces", "properties.disableLocalAuth", False),
        Made("keys of Face", "CognitiveServices/accounts", "properties.disableLocalAuth", ...),
        Made("a deployment password", f"{SITE}/basicPublishingCredentialsPolicies",
             "properties.allow", True, "/scm"),
        Made("telemetry by key", "Insights/components", "properties.DisableLocalAuth", False),
        Made("TLS 1.0", "ServiceBus/namespaces", "properties.minimumTlsVersion", "1.0"),
        Made("an old TLS", SITE, "properties.siteConfig.minTlsVersion", "1.1"),
        Made("public blobs", "Storage/storageAccounts", "properties.allowBlobPublicAccess", True),
    ],
    "there_are_no_keys": [
        Written("a key read by the template", STORAGE, ".primaryEndpoints.blob", ".listKeys().x"),
    ],
    "private_networking_closes_every_door": [
        Made("open storage", "Storage/storageAccounts", "properties.publicNetworkAccess", "Enabled",
             way="private"),
        Made("a wrong endpoint", "Network/privateEndpoints", GROUP, "file", "-table-", "private"),
        Made("an endpoint to another service", "Network/privateEndpoints", TARGET, "/x/Microsoft."
             "Storage/storageAccounts/s", "service-bus", "private"),
        Made("a zone of another cloud", "Network/privateDnsZones", "name",
             "privatelink.blob.core.windows.net", "blob", "us-government"),
        Made("traffic past it", SITE, "properties.virtualNetworkSubnetId", None, way="private"),
        Made("another subnet", SITE, "properties.virtualNetworkSubnetId", "x", way="landing-zone"),
    ],
    "settings_are_the_same_everywhere": [
        Written("one without documentation", "docs/settings.md", "| `CALL_TIMEOUT_SECONDS`", "| T"),
        Made("a missing setting", SITE, f"{SETTINGS}.RETRY_DEADLINE_HOURS.name", "RETRY_DEADLINE"),
        Made("another default", SITE, f"{SETTINGS}.CIRCUIT_BREAKER_BREAK_SECONDS.value", "1000"),
        Made("no identity", SITE, f"{SETTINGS}.AZURE_CLIENT_ID.value", ""),
        Written("a misspelt one in the sample", "local.settings.sample.json", "DEADLINE_HOURS", "H"),
        Written("one that cannot be changed", SHARED, "  RETRY_DEADLINE_HOURS: string?\n", ""),
    ],
    "function_app_is_flex_consumption": [
        Made("one that the plan refuses", SITE, f"{SETTINGS}.", [
            {"name": "FUNCTIONS_WORKER_RUNTIME", "value": "python"}]),
        *(Made(f"{name}, which the plan refuses", SITE, f"properties.siteConfig.{name}", "x")
          for name in sorted(REFUSED_PROPERTIES)),
    ],
    "readme_lists_the_parameters": [
        Written("an unknown parameter", README, "` `ALERT_EMAIL` |", "` `ALERT_MAIL` |"),
    ],
    "outputs_do_not_come_back_as_inputs": [
        Written("one that does", MAIN, "output FACE_ACCOUNT string", "output FACE_ACCOUNT_ID string"),
    ],
    "queue_fits_the_host_and_the_retries": [
        Written("locks that outlive renewal", "host.json", f"{RENEWAL}10:00", f"{RENEWAL}00:30"),
        Written("prefetched messages", "host.json", '"prefetchCount": 0', '"prefetchCount": 100'),
        Made("short lives", QUEUE, "properties.defaultMessageTimeToLive", "P1D"),
        Made("expired and gone", QUEUE, "properties.deadLetteringOnMessageExpiration", False),
        Made("forgotten ids", QUEUE, WINDOW, "PT1H"),
        Made("ids remembered for too long", QUEUE, WINDOW, "PT3H"),
    ],
    "receipts_are_sent_where_somebody_reads_them": [
        Made("receipts that come again are kept", QUEUE, "properties.requiresDuplicateDetection",
             False, "-outcomes", "receipts"),
        Made("a window that is too short", QUEUE, WINDOW, "PT1H", "-outcomes", "receipts"),
        Made("receipts are not sent", SITE, f"{SETTINGS}.OUTCOME_QUEUE.value", "", way="receipts"),
        Made("receipts without readers", SITE, f"{SETTINGS}.OUTCOME_QUEUE.value", "session-outcomes"),
    ],
    "audit_lines_leave_the_process": [
        Written("another way of telemetry", "host.json", "OpenTelemetry", "ApplicationInsights"),
        Written("settings that nothing reads", "host.json", '"logLevel"',
                '"applicationInsights": {}, "logLevel"'),
        Made("everybody's lines", SITE, f"{SETTINGS}.PYTHON_APPLICATIONINSIGHTS_LOGGER_NAME.value", ""),
    ],
    "python_version_is_the_same_everywhere": [
        Made("another Python in Azure", SITE, f"{CONFIG}.runtime.version", "3.12"),
    ],
    "calls_follow_the_face_quota": [
        Made("a parameter that does nothing", SITE, MOST, 2, way="large"),
        Made("all of it", SITE, f"{SETTINGS}.FACE_MAX_CALLS_PER_SECOND.value", "50", way="large"),
        Made("four that take all", SITE, f"{SETTINGS}.FACE_MAX_CALLS_PER_SECOND.value", "8",
             way="none-always-ready"),
    ],
    "one_instance_always_listens": [
        Made("nothing that listens", SITE, READY, []),
        Made("an instance for another function", SITE, f"{READY}.0.name", "function:revoke"),
    ],
    "operators_are_told": [
        Made("no alert for few messages that wait for ever", METRIC_ALERT,
             f"{CRITERION}.timeAggregation", "Maximum", "queue-never-empties"),
        Made("none for dead letters", METRIC_ALERT, f"{CRITERION}.metricName", "x", "dead-letters"),
        Made("an unknown window", METRIC_ALERT, "properties.windowSize", "P1H"),
        Made("an alert below", METRIC_ALERT, f"{CRITERION}.operator", "LessThan", "abandoned"),
        Made("an alert on another queue", METRIC_ALERT, f"{CRITERION}.dimensions.0.values.0", "x"),
        Made("an alert without an action", LOG_ALERT, "properties.actions.actionGroups", [],
             "deployment-fault", "publishers-and-alerts"),
        Made("metrics that go nowhere", "Insights/diagnosticSettings",
             "properties.metrics.0.enabled", False, "/sites/"),
    ],
    "workbook_is_filled_in": [
        Written("a placeholder that stays", "infra/workbook.json", "__FACE_ACCOUNT_ID__", "__ID__"),
    ],
    "every_way_to_deploy_has_its_snapshot": [
        Written("a way without", README, "| `none-always-ready` |", "| `never-ready` |"),
        Written("a variable in none", README, "`ALERT_EMAIL=on-call@example.com`, ", ""),
    ],
    "what_if_can_tell_every_name": [Made("a late name", ASSIGNMENT, "name", "[guid(reference('x'))]")],
    "everything_is_tagged": [
        Made("no tags", "Insights/components", "tags", ...),
        Made("without the company's", SITE, "tags.cost-centre", ..., way="landing-zone"),
    ],
    "names_come_from_one_token": [Made("a name to fight for", SITE, "name", "func-revoker")],
    "suppressions_have_reasons": [
        Written("none", STORAGE, "// checkov:skip=CKV_AZURE_206:L", "// checkov:skip=CKV_AZURE_206 L"),
    ],
    "package_holds_the_function_only": [
        Written("the emulator deployed, too", ".funcignore", "__pycache__", "!/local\n__pycache__"),
        Written("no code", ".funcignore", "!/delete_session\n", ""),
    ],
    "deployment_uses_no_secret": [
        Written("one", ".github/workflows/deploy.yml", "vars.AZURE_CLIENT_ID", "secrets.CREDENTIALS"),
        Written("always the public cloud", ".github/workflows/deploy.yml", "azd config set", "#"),
        Written("any azd", ".github/workflows/deploy.yml", "version: 1.", "channel: 1."),
    ],
}
# fmt: on
SEEDED = [(name, mistake) for name, mistakes in MISTAKES.items() for mistake in mistakes]


@pytest.fixture(scope="module")
def project() -> Project:
    return Project.load()


@pytest.mark.parametrize("name", POLICIES)
def test_policy(name: str, project: Project) -> None:
    """The policy finds no problem in the repository."""
    problems = POLICIES[name](project)
    assert not problems, "\n".join(problems)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that policies read; the other names at the top of the repository, empty."""
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (tmp_path / path.name).touch() if path.is_file() else (tmp_path / path.name).mkdir()
    for name in FILES:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
    return tmp_path


@pytest.mark.parametrize(("name", "mistake"), SEEDED, ids=lambda one: getattr(one, "name", one))
def test_seeded_mistake_is_caught(name: str, mistake: Made | Written, folder: Path) -> None:
    """The policy finds something with the mistake that it does not find without it."""
    project = Project.load(folder)
    before = POLICIES[name](project)
    assert set(POLICIES[name](mistake.make(project, folder))) - set(before)


def test_every_policy_catches_a_mistake() -> None:
    """No policy is on the list that finds nothing: each has a seeded mistake that it catches."""
    assert MISTAKES.keys() == POLICIES.keys()

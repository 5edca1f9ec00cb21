"""Each seeded mistake is made in a copy of the project, one at a time."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.policies import POLICIES
from tests.infra.project import FILES, ROOT, Project

INFRA = "infra/modules"


@dataclass(frozen=True, slots=True)
class Mistake:
    name: str
    file: str
    right: str
    """Text that stands in the file, once or more; the first is replaced."""
    wrong: str
    caught_by: str


MISTAKES = [
    Mistake(
        "a wider role for the function on the queue",
        f"{INFRA}/service-bus.bicep",
        "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0",
        "090c5cfd-751d-490a-894a-3ce6f1109419",  # Azure Service Bus Data Owner
        "role_assignments_are_in_the_allow_list",
    ),
    Mistake(
        "publishers may send to every queue",
        f"{INFRA}/service-bus.bicep",
        "serviceBusDataSender)\n    scope: queue",
        "serviceBusDataSender)\n    scope: namespace",
        "role_assignments_are_in_the_allow_list",
    ),
    Mistake(
        "readers of receipts may read what was published",
        f"{INFRA}/receipts.bicep",
        "serviceBusDataReceiver)\n    scope: outcomes",
        "serviceBusDataReceiver)\n    scope: namespace",
        "role_assignments_are_in_the_allow_list",
    ),
    Mistake(
        "receipts that come again are kept",
        f"{INFRA}/receipts.bicep",
        "requiresDuplicateDetection: true",
        "requiresDuplicateDetection: false",
        "queue_fits_the_host_and_the_retries",
    ),
    Mistake(
        "a role on the whole resource group",
        f"{INFRA}/storage.bicep",
        "  scope: account\n",
        "",
        "role_assignments_are_in_the_allow_list",
    ),
    Mistake(
        "a built-in Face role instead of the custom one",
        f"{INFRA}/face-access.bicep",
        "roleDefinitions', sessionDeleter.name)",
        "roleDefinitions', '9894cab4-e18a-44aa-828b-cb588cd6f2d7')",
        "role_assignments_are_in_the_allow_list",
    ),
    Mistake(
        "a second data action",
        f"{INFRA}/face-access.bicep",
        "Face/*/sessions/delete'\n",
        "Face/*/sessions/delete'\n          'Microsoft.CognitiveServices/accounts/Face/*/read'\n",
        "custom_role_may_delete_sessions_only",
    ),
    Mistake(
        "a management action in the custom role",
        f"{INFRA}/face-access.bicep",
        "actions: []",
        "actions: ['*/read']",
        "custom_role_may_delete_sessions_only",
    ),
    Mistake(
        "connection strings of Service Bus allowed",
        f"{INFRA}/service-bus.bicep",
        "disableLocalAuth: true",
        "disableLocalAuth: false",
        "local_authentication_is_off",
    ),
    Mistake(
        "keys of the Face account allowed",
        f"{INFRA}/face.bicep",
        "    disableLocalAuth: true\n",
        "",
        "local_authentication_is_off",
    ),
    Mistake(
        "passwords for deployment allowed",
        f"{INFRA}/function-app.bicep",
        "allow: false",
        "allow: true",
        "local_authentication_is_off",
    ),
    Mistake(
        "a key read by the template",
        f"{INFRA}/storage.bicep",
        "output accountName string = account.name",
        "output accountName string = account.listKeys().keys[0].value",
        "there_are_no_keys",
    ),
    Mistake(
        "TLS 1.0 for Service Bus",
        f"{INFRA}/service-bus.bicep",
        "minimumTlsVersion: '1.2'",
        "minimumTlsVersion: '1.0'",
        "traffic_is_encrypted",
    ),
    Mistake(
        "FTP on",
        f"{INFRA}/function-app.bicep",
        "ftpsState: 'Disabled'",
        "ftpsState: 'AllAllowed'",
        "traffic_is_encrypted",
    ),
    Mistake(
        "public blobs allowed",
        f"{INFRA}/storage.bicep",
        "allowBlobPublicAccess: false",
        "allowBlobPublicAccess: true",
        "no_blob_is_public",
    ),
    Mistake(
        "storage open in a private deployment",
        "infra/main.bicep",
        "    principalId: identity.properties.principalId\n"
        "    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'",
        "    principalId: identity.properties.principalId\n    publicNetworkAccess: 'Enabled'",
        "private_networking_closes_every_door",
    ),
    Mistake(
        "a setting that the code reads is missing",
        f"{INFRA}/function-app.bicep",
        "    CIRCUIT_BREAKER_FAILURES: '10'\n",
        "",
        "settings_are_the_same_everywhere",
    ),
    Mistake(
        "a setting misspelt in the local sample",
        "local.settings.sample.json",
        "RETRY_HORIZON_HOURS",
        "RETRY_HORIZON_HOUR",
        "settings_are_the_same_everywhere",
    ),
    Mistake(
        "a setting missing from its documentation",
        "docs/settings.md",
        "| `SETTLE_TIMEOUT_SECONDS` |",
        "| SETTLE_TIMEOUT_SECONDS |",
        "settings_are_the_same_everywhere",
    ),
    Mistake(
        "a parameter that the README does not know",
        "infra/README.md",
        "| `alertEmail` | `ALERT_EMAIL` |",
        "| `alertEmail` | `ALERT_MAIL` |",
        "readme_lists_the_parameters",
    ),
    Mistake(
        "a default that is not the code's",
        f"{INFRA}/function-app.bicep",
        "FACE_MAX_CALLS_PER_SECOND: '8'",
        "FACE_MAX_CALLS_PER_SECOND: '80'",
        "settings_are_the_same_everywhere",
    ),
    Mistake(
        "a module parameter misspelt",
        "infra/main.bicep",
        "    faceEndpoint: faceAccess",
        "    faceEndPoint: faceAccess",
        "modules_fit_together",
    ),
    Mistake(
        "an output that does not exist",
        "infra/main.bicep",
        "storage.outputs.accountName",
        "storage.outputs.name",
        "modules_fit_together",
    ),
    Mistake(
        "a value that the module does not allow",
        "infra/main.bicep",
        "tier: privateNetworking ? 'Premium' : serviceBusTier",
        "tier: privateNetworking ? 'Premium' : 'Basic'",
        "modules_fit_together",
    ),
    Mistake(
        "a default out of its own bounds",
        "infra/main.bicep",
        "param logRetentionDays int = 90",
        "param logRetentionDays int = 7",
        "parameters_are_described_and_constrained",
    ),
    Mistake(
        "an output that comes back as an input",
        "infra/main.bicep",
        "output FACE_ACCOUNT string",
        "output FACE_ACCOUNT_NAME string",
        "parameter_file_fits",
    ),
    Mistake(
        "locks that outlive their renewal",
        "host.json",
        '"maxAutoLockRenewalDuration": "00:10:00"',
        '"maxAutoLockRenewalDuration": "00:00:30"',
        "queue_fits_the_host_and_the_retries",
    ),
    Mistake(
        "messages that die before their retries end",
        f"{INFRA}/service-bus.bicep",
        "defaultMessageTimeToLive: 'P2D'",
        "defaultMessageTimeToLive: 'P1D'",
        "queue_fits_the_host_and_the_retries",
    ),
    Mistake(
        "revocations that vanish when they expire",
        f"{INFRA}/service-bus.bicep",
        "deadLetteringOnMessageExpiration: true",
        "deadLetteringOnMessageExpiration: false",
        "queue_fits_the_host_and_the_retries",
    ),
    Mistake(
        "duplicates forgotten too early",
        f"{INFRA}/service-bus.bicep",
        "'PT2H'",
        "'PT10M'",
        "queue_fits_the_host_and_the_retries",
    ),
    Mistake(
        "messages prefetched with their locks running",
        "host.json",
        '"prefetchCount": 0',
        '"prefetchCount": 100',
        "queue_fits_the_host_and_the_retries",
    ),
    Mistake(
        "audit lines sampled away",
        "host.json",
        '"isEnabled": false',
        '"isEnabled": true',
        "host_keeps_every_audit_line",
    ),
    Mistake(
        "another Python in Azure",
        f"{INFRA}/function-app.bicep",
        "version: '3.13'",
        "version: '3.12'",
        "python_version_is_the_same_everywhere",
    ),
    Mistake(
        "instances without a thought of the quota",
        "infra/main.bicep",
        "param maximumInstanceCount int = 2",
        "param maximumInstanceCount int = 100",
        "instances_follow_the_face_quota",
    ),
    Mistake(
        "nothing that listens until the platform sees messages",
        "infra/main.bicep",
        "param alwaysReadyInstances int = 1",
        "param alwaysReadyInstances int = 0",
        "one_instance_always_listens",
    ),
    Mistake(
        "an instance ready for another function",
        f"{INFRA}/function-app.bicep",
        "name: 'function:delete_session'",
        "name: 'function:revoke'",
        "one_instance_always_listens",
    ),
    Mistake(
        "no alert for a few messages that wait for ever",
        f"{INFRA}/alerts.bicep",
        "aggregation: 'Minimum'",
        "aggregation: 'Maximum'",
        "operators_are_told",
    ),
    Mistake(
        "a preview API version",
        f"{INFRA}/storage.bicep",
        "storageAccounts@2025-06-01'",
        "storageAccounts@2025-06-01-preview'",
        "api_versions_are_stable",
    ),
    Mistake(
        "no alert for dead letters",
        f"{INFRA}/alerts.bicep",
        "metric: 'DeadletteredMessages'",
        "metric: 'CompleteMessage'",
        "operators_are_told",
    ),
    Mistake(
        "the emulator deployed with the function",
        ".funcignore",
        "\ntests\n",
        "\n",
        "package_holds_the_function_only",
    ),
    Mistake(
        "a stored secret in the deploy workflow",
        ".github/workflows/deploy.yml",
        "vars.AZURE_CLIENT_ID",
        "secrets.AZURE_CREDENTIALS",
        "deployment_uses_no_secret",
    ),
    Mistake(
        "a brace too few",
        f"{INFRA}/network.bicep",
        "    securityRules: []\n  }\n",
        "    securityRules: []\n",
        "two_grammars_read_every_file",
    ),
    Mistake(
        "a suppressed check without a reason",
        f"{INFRA}/storage.bicep",
        "// checkov:skip=CKV_AZURE_206:Locks",
        "// checkov:skip=CKV_AZURE_206 Locks",
        "suppressions_have_reasons",
    ),
    Mistake(
        "a resource without tags",
        f"{INFRA}/monitoring.bicep",
        "  tags: tags\n",
        "",
        "everything_is_tagged",
    ),
    Mistake(
        "a name that the next deployment would fight for",
        f"{INFRA}/function-app.bicep",
        "name: 'func-revoker-${token}'",
        "name: 'func-revoker'",
        "names_come_from_one_token",
    ),
    Mistake(
        "a parameter that does nothing",
        f"{INFRA}/function-app.bicep",
        "instanceMemoryMB: instanceMemoryMB",
        "instanceMemoryMB: 2048",
        "nothing_is_unused",
    ),
    Mistake(
        "an app setting that the plan refuses",
        f"{INFRA}/function-app.bicep",
        "    AZURE_CLIENT_ID: identityClientId\n",
        "    AZURE_CLIENT_ID: identityClientId\n    FUNCTIONS_WORKER_RUNTIME: 'python'\n",
        "function_app_is_flex_consumption",
    ),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
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


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_seeded_mistake_is_caught(mistake: Mistake, copy: Path) -> None:
    """The policy named for a mistake finds nothing without it and something with it."""
    caught = POLICIES[mistake.caught_by]
    assert caught(Project.load(copy)) == []
    path = copy / mistake.file
    text = path.read_text("utf-8")
    assert mistake.right in text
    path.write_text(text.replace(mistake.right, mistake.wrong, 1), "utf-8")
    assert caught(Project.load(copy)) != []


def test_every_policy_catches_a_mistake() -> None:
    """No policy is on the list that finds nothing: each has a seeded mistake that it catches."""
    assert {one.caught_by for one in MISTAKES} == POLICIES.keys()

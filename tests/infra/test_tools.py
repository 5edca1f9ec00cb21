"""The tools beside the Bicep files: preflight and costs."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import preflight
from infra.check_bicep import ORDER, unordered
from infra.check_checkov import problems_in, suppressions
from infra.costs import Use, table
from infra.snapshot import BICEP, ROOT

IDS = "/subscriptions/s-2/resourceGroups/rg-hub/providers/Microsoft."
FACE = f"{IDS}CognitiveServices/accounts/my-face"
BUS = f"{IDS}ServiceBus/namespaces/sb"
VNET = f"{IDS}Network/virtualNetworks/vnet"
ZONE = f"{IDS}Network/privateDnsZones/privatelink.blob.core.windows.net"

FAKE = """#!{python}
import json, sys
answers = json.load(open({answers!r}))
words = " ".join(sys.argv[1:])
for start, answer in answers.items():
    if words.startswith(start) and str(answer).startswith("!"):
        print("ERROR: " + answer, file=sys.stderr)
        sys.exit(1)
    if words.startswith(start):
        print(answer if isinstance(answer, str) else json.dumps(answer))
        sys.exit(0)
print("ERROR: (AuthorizationFailed) no right to " + words, file=sys.stderr)
sys.exit(1)
"""
PROVIDERS = "App CognitiveServices Insights ManagedIdentity Network OperationalInsights ServiceBus"
ANSWERS = {
    "account show": {"id": "s-1", "name": "dev", "environmentName": "AzureCloud"},
    "group exists": True,
    "group show": {"id": "/g/rg", "location": "westeurope", "tags": {"azd-env-name": "dev"}},
    "provider list": [
        {"namespace": f"Microsoft.{name}", "registrationState": "Registered"}
        for name in [*PROVIDERS.split(), "Storage", "Web"]
    ],
    "functionapp list-flexconsumption-locations": [{"name": "westeurope"}],
    "functionapp list-flexconsumption-runtimes": [
        {"version": "3.12"},
        {
            "version": "3.13",
            "sku": {
                "instanceMemoryMB": [{"size": 512}, {"size": 2048, "isDefault": True}],
                "maximumInstanceCount": {
                    "lowestMaximumInstanceCount": 1,
                    "highestMaximumInstanceCount": 1000,
                },
            },
        },
    ],
    "cognitiveservices account list": ["face"],
    f"resource show --ids {IDS}ManagedIdentity": "!(ResourceNotFound) it was not found",
    f"resource show --ids {FACE}": {
        "kind": "Face",
        "properties": {
            "customSubDomainName": "my-face",
            "callRateLimit": {"count": 10.0, "renewalPeriod": 1.0},
        },
    },
    f"resource show --ids {BUS}": {"sku": {"name": "Premium"}},
    f"resource show --ids {IDS}OperationalInsights": {"name": "log"},
    f"resource show --ids {VNET}": {"id": VNET, "name": "vnet", "location": "westeurope"},
    f"network vnet subnet show --ids {VNET}/subnets/out": {
        "name": "out",
        "addressPrefix": "10.0.0.0/27",
        "delegations": [{"serviceName": "Microsoft.App/environments"}],
    },
    f"network vnet subnet show --ids {VNET}/subnets/in": {
        "name": "in",
        "addressPrefixes": ["10.0.1.0/29"],
        "ipConfigurations": [{}],
    },
    "network private-dns link vnet list": [{"virtualNetwork": {"id": VNET.upper()}}],
    "rest --method get": {"roleAssignmentsRemainingCount": 3900},
    "deployment group validate": {},
    "ad signed-in-user show": '"me"',
    "role assignment list": ["Owner"],
    "version": "azd version 1.25.1 (commit x)",
}
ENVIRONMENT = {
    "AZURE_RESOURCE_GROUP": "rg",
    "AZURE_ENV_NAME": "dev",
    "FACE_ACCOUNT_ID": FACE,
    "FACE_API_VERSION": "v1.2",
    "SERVICE_BUS_NAMESPACE_ID": BUS,
    "LOG_ANALYTICS_WORKSPACE_ID": f"{IDS}OperationalInsights/workspaces/log",
    "INTEGRATION_SUBNET_ID": f"{VNET}/subnets/out",
    "PRIVATE_ENDPOINT_SUBNET_ID": f"{VNET}/subnets/in",
    "PRIVATE_DNS_ZONE_IDS": ZONE,
}


def subnet(name: str, **properties: object) -> dict[str, object]:
    """The answer for a subnet with these properties."""
    key = f"network vnet subnet show --ids {VNET}/subnets/{name}"
    was = ANSWERS[key]
    assert isinstance(was, dict)
    return {key: was | properties}


LOGS = "/subscriptions/logs/resourceGroups/rg-logs/providers/Microsoft.X/workspaces/log"
GONE = f"{IDS}ManagedIdentity/userAssignedIdentities/gone"


def offering(**sku: object) -> dict[str, object]:
    """The answer of a region that offers Python 3.13 with these limits."""
    return {"functionapp list-flexconsumption-runtimes": [{"version": "3.13", "sku": sku}]}


type Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run preflight with an az and an azd that give these answers; return its code and its lines."""

    def with_answers(answers: dict[str, object], **environment: str) -> tuple[int, str]:
        given = {**answers, **ANSWERS, **answers}

        def run(_: str, *words: str, seconds: int = 0) -> str:
            asked = " ".join(words)
            answer = next((given[start] for start in given if asked.startswith(start)), "!no right")
            if str(answer).startswith("!"):
                raise preflight.Unknown(str(answer))
            return answer if isinstance(answer, str) else json.dumps(answer)

        monkeypatch.setattr(preflight, "run", run)
        return preflight.main({**ENVIRONMENT, **environment}), capsys.readouterr().out

    return with_answers


def test_preflight_checks_the_ids_of_all_people() -> None:
    """No variable with people is left out."""
    parameters = (ROOT / "infra" / "main.bicepparam").read_text("utf-8")
    assert set(re.findall(r"'(\w+)_PRINCIPAL_IDS'", parameters)) == set(preflight.PEOPLE)


def test_preflight_lets_a_sound_deployment_go(tmp_path: Path) -> None:
    """Run as azd does, it finds nothing wrong; what cannot be known beforehand is said."""
    given = tmp_path / "answers.json"
    given.write_text(json.dumps(ANSWERS), "utf-8")
    for name in ("az", "azd"):
        program = tmp_path / name
        program.write_text(FAKE.format(python=sys.executable, answers=str(given)), "utf-8")
        program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "infra/preflight.py"],
        cwd=ROOT,
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok       Face account: my-face: 10 calls in 1 s" in said
    assert "ok       namespace: sb, Premium" in said
    assert "ok       subnets: subnets of vnet" in said
    assert "unknown  liveness" in said
    assert said.endswith("preflight: 0 wrong, 1 not known\n")


@pytest.mark.parametrize(
    ("answers", "environment", "wanted"),
    [
        ({}, {"AZURE_SUBSCRIPTION_ID": "s-2"}, "wrong    sign-in: az is at subscription s-1"),
        (
            {},
            {"AZURE_CLOUD": "AzureUSGovernment"},
            "wrong    sign-in: az is signed in to AzureCloud",
        ),
        ({}, {"FACE_API_VERSION": ""}, "set FACE_API_VERSION to the version that your service"),
        (
            {"config get": '"AzureCloud"'},
            {"AZURE_CLOUD": "AzureChinaCloud"},
            "wrong    azd: azd is not set to AzureChinaCloud: 'azd config set cloud.name",
        ),
        ({}, {"PUBLISHER_PRINCIPAL_IDS": "a, b"}, "wrong    inputs: PUBLISHER_PRINCIPAL_IDS: 'a'"),
        ({}, {"RECEIPT_READER_PRINCIPAL_IDS": "c"}, "inputs: RECEIPT_READER_PRINCIPAL_IDS: 'c'"),
        ({}, {"TAGS": "team=fraud"}, "wrong    inputs: TAGS is not JSON: Expecting value: line 1"),
        ({}, {"NAMES": ""}, "wrong    inputs: NAMES is not JSON"),
        ({}, {"NAMES": '["app"]'}, "wrong    inputs: NAMES is not a JSON object of strings"),
        ({}, {"TAGS": '{"team": 7}'}, "wrong    inputs: TAGS is not a JSON object of strings"),
        ({}, {"ACTION_GROUP_IDS": "pager"}, "wrong    inputs: ACTION_GROUP_IDS: 'pager'"),
        ({"group exists": False}, {}, "wrong    resource group: there is no resource group rg"),
        ({"provider list": []}, {}, "wrong    resource providers: not registered: Microsoft.App"),
        ({}, {"AZURE_LOCATION": "moon"}, "wrong    region: moon does not offer Flex Consumption"),
        ({"functionapp list-flexconsumption-runtimes": []}, {}, "does not offer Python 3.13"),
        (
            offering(maximumInstanceCount={"lowestMaximumInstanceCount": 40}),
            {},
            "accepts no maximum below 40 instances: set MAXIMUM_INSTANCE_COUNT=40",
        ),
        ({}, {"MAXIMUM_INSTANCE_COUNT": "2000"}, "accepts 1000 instances at most"),
        (offering(instanceMemoryMB=[{"size": 4096}]), {}, "offers instances of 4096 MB"),
        (
            {f"resource show --ids {FACE}": {"kind": "Face", "properties": {}}},
            {},
            "wrong    Face account: my-face has no custom subdomain",
        ),
        (
            {"role assignment list": ["Contributor", "Role Based Access Control Administrator"]},
            {},
            "wrong    rights: you may not define and assign roles in rg",
        ),
        (
            {
                "role assignment list --assignee me --scope /subscriptions/logs": ["Reader"],
                f"resource show --ids {LOGS}": {"name": "log"},
            },
            {"LOG_ANALYTICS_WORKSPACE_ID": LOGS, "RECORD_WRITER_PRINCIPAL_IDS": "anyone"},
            "wrong    rights: you may not define and assign roles in rg-logs",
        ),
        (
            {},
            {"FACE_ACCOUNT_NAME": "x"},
            "FACE_ACCOUNT_NAME is no longer read: set FACE_ACCOUNT_ID",
        ),
        ({}, {"SERVICE_BUS_NAMESPACE_ID": f"{BUS}/queues/q"}, "SERVICE_BUS_NAMESPACE_ID: '/subs"),
        ({}, {"PRIVATE_ENDPOINT_SUBNET_ID": ""}, "PRIVATE_ENDPOINT_SUBNET_ID: set both or none"),
        ({}, {"USER_ASSIGNED_IDENTITY_ID": GONE}, f"USER_ASSIGNED_IDENTITY_ID: there is no {GONE}"),
        (
            {f"resource show --ids {BUS}": {"sku": {"name": "Standard"}}},
            {},
            "wrong    namespace: a Standard namespace has no private endpoints",
        ),
        (
            {f"resource show --ids {BUS}": {"sku": {"name": "Basic"}}},
            {},
            "wrong    namespace: a Basic namespace detects no duplicates",
        ),
        ({}, {"AZURE_LOCATION": "northeurope"}, "wrong    subnets: vnet is in westeurope: bring a"),
        (subnet("out", delegations=[]), {}, "out is delegated to nothing: delegate it to"),
        (subnet("out", addressPrefix="10.0.0.0/28"), {}, "out is smaller than a /27"),
        (subnet("in", ipConfigurations=[{}, {}]), {}, "in has no 2 addresses left"),
        (
            {"rest --method get": {"roleAssignmentsRemainingCount": 3}},
            {},
            "role assignments: the subscription takes 3 more role assignments",
        ),
        (
            {"deployment group validate": "!RequestDisallowedByPolicy: 'tags' was disallowed"},
            {},
            "wrong    policies: a policy denies it",
        ),
        ({"version": "azd version 1.24.0"}, {}, "wrong    azd: azd 1.24.0 is older than 1.25"),
    ],
)
def test_preflight_says_what_is_wrong(
    ask: Ask, answers: dict[str, object], environment: dict[str, str], wanted: str
) -> None:
    """Each trouble ends with exit code 1 and a line that names it."""
    code, said = ask(answers, **environment)
    assert (code, wanted in said) == (1, True), said


def test_preflight_names_a_zone_that_is_not_linked(ask: Ask) -> None:
    """It is no error, since the network may resolve names elsewhere."""
    code, said = ask({"network private-dns link vnet list": []})
    wanted = "unknown  subnets: privatelink.blob.core.windows.net: not linked to vnet"
    assert (code, wanted in said) == (0, True), said


def test_preflight_stops_nothing_that_it_cannot_ask(ask: Ask) -> None:
    """Without a sign-in all that rests on it is skipped; a group without a tag is only said."""
    code, said = ask({"account show": "not json"})
    assert (code, "skipped  rights: needs: sign-in, resource group" in said) == (0, True), said
    code, said = ask({"group show": {"id": "/g/rg", "location": "westeurope"}})
    assert (code, "azd-env-name=None" in said, "ok       rights" in said) == (0, True, True), said


def test_costs_in_the_readme_are_those_of_the_prices() -> None:
    """The table in infra/README.md is what the script prints by default, with the prices' date."""
    prices = json.loads((ROOT / "infra/prices.json").read_bytes())
    readme = (ROOT / "infra/README.md").read_text("utf-8")
    assert f"<!-- costs -->\n{table(Use(), prices)}\n<!-- /costs -->" in readme
    assert f"of {prices['as_of']}" in readme


def test_costs_follow_the_parameters() -> None:
    """Memory, tier, instances and private networking each change the sum; no instance costs none."""
    prices = json.loads((ROOT / "infra/prices.json").read_bytes())
    uses = (Use(memory_mb=512), Use(tier="Premium"), Use(always_ready=2), Use(private=True))
    sums = {table(use, prices).rpartition("**sum**")[2] for use in (Use(), *uses)}
    assert len(sums) == 5
    assert "| Function, memory | 20,000 GB-s; 100,000 are free | 0.00 |" in table(
        Use(always_ready=0), prices
    )


def test_checkov_report_is_read_strictly() -> None:
    """A file not read, a failed check and a suppression of nothing are problems; a suppression that
    is used is none."""
    bicep = "resource a 'Some.One/as@1' = {\n  // checkov:skip=A:why\n  // checkov:skip=B:why\n}\n"
    suppressed = suppressions([bicep])
    failed = [
        {"check_id": check, "check_name": "x", "file_path": "/d.json", "resource": "Some.One/as.n"}
        for check in "AC"
    ]
    report = {"results": {"parsing_errors": ["b.json"], "failed_checks": failed}}
    assert problems_in(report, suppressed) == [
        "cannot read b.json",
        "C x: /d.json Some.One/as.n",
        "B is suppressed for nothing: Some.One/as",
    ]


def test_the_workflows_take_the_cli_that_the_snapshots_are_made_with() -> None:
    """GitHub's workflows install the version of the Bicep CLI that the project is checked with."""
    for name in ("test", "deploy"):
        workflow = (ROOT / f".github/workflows/{name}.yml").read_text("utf-8")
        assert f"az bicep install --version v{BICEP}\n" in workflow


def test_an_existing_resource_is_not_looked_up_before_it_exists() -> None:
    """It is conditional, waits for the resource that creates it, or stands in a module that waits."""
    module = {"type": "Microsoft.Resources/deployments"}
    resources: dict[str, dict[str, object]] = {
        name: {**module, "dependsOn": [ORDER[name]] if name in ORDER else []}
        for name in {*ORDER, *ORDER.values()}
    }
    for one in resources.values():
        one["properties"] = {"template": {"resources": {}}}
    resources |= {
        "conditional": {"type": "x", "existing": True, "condition": "[parameters('brought')]"},
        "waits": {"type": "x", "existing": True, "dependsOn": ["conditional"]},
    }
    assert list(unordered({"resources": resources})) == []
    early = {"account": {"type": "x", "existing": True}}
    resources["face"]["properties"] = {"template": {"resources": early}}
    resources["queue"] = {**resources["queue"], "dependsOn": []}
    resources["early"] = early["account"]
    assert list(unordered({"resources": resources})) == [
        "main.bicep: queue does not wait for serviceBus",
        "main.bicep: early may not exist yet",
        "face: account may not exist yet",
    ]

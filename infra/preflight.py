"""What would stop a deployment, asked of Azure before it begins.

    python3 infra/preflight.py        # or: make preflight; azd runs it before it provisions

It reads the variables that main.bicepparam reads, asks by the Azure CLI, and changes nothing. The exit
code is 1 if something is wrong. Checks that cannot run (no Azure CLI, no right to look) are reported
and do not block. It needs the standard library of any Python 3 only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

INFRA = Path(__file__).parent
AZ_SECONDS = 60
PROVIDERS = (
    *("App", "CognitiveServices", "Insights", "ManagedIdentity", "Network"),
    *("OperationalInsights", "ServiceBus", "Storage", "Web"),
)
API_VERSIONS = ("v1.1-preview.1", "v1.2-preview.1", "v1.2", "v1.3-preview.1")
PYTHON = "3.13"
MEMORY_MB = 2048
"""The default of the parameter instanceMemoryMB."""
AZD = (1, 25)
"""From this version on the documented azd commands hold: `azd down` asks about groups without tag."""
DEFINES_ROLES = {"Owner", "User Access Administrator"}
CREATES = {"Owner", "Contributor"}
PEOPLE = ("PUBLISHER", "RECEIPT_READER", "OPERATOR", "AUDITOR", "RECORD_WRITER")
SUBNET = "Microsoft.Network/virtualNetworks/subnets"
BROUGHT = {
    "FACE_ACCOUNT_ID": "Microsoft.CognitiveServices/accounts",
    "SERVICE_BUS_NAMESPACE_ID": "Microsoft.ServiceBus/namespaces",
    "USER_ASSIGNED_IDENTITY_ID": "Microsoft.ManagedIdentity/userAssignedIdentities",
    "LOG_ANALYTICS_WORKSPACE_ID": "Microsoft.OperationalInsights/workspaces",
    "INTEGRATION_SUBNET_ID": SUBNET,
    "PRIVATE_ENDPOINT_SUBNET_ID": SUBNET,
    "PRIVATE_DNS_ZONE_IDS": "Microsoft.Network/privateDnsZones",
    "ACTION_GROUP_IDS": "Microsoft.Insights/actionGroups",
}
"""What may be brought along: the variable, and the type of its resource ids."""
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Unknown(Exception):
    """The answer is not known; the text says why."""


class Wrong(Exception):
    """It would stop the deployment; the text says what is wrong and what to do."""


def run(*command: str, seconds: int = AZ_SECONDS) -> str:
    """What a command prints.

    Raises:
        Unknown: it is not there, or fails.
    """
    path = shutil.which(command[0])
    if path is None:
        raise Unknown(command[0] + " is not on the PATH")
    try:
        done = subprocess.run(
            [path, *command[1:]], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unknown(f"{command[0]} did not answer within {seconds} s") from None
    if done.returncode:
        raise Unknown(" ".join(done.stderr.split()[-100:]) or "no reason given")
    return done.stdout


def az(*arguments: str, seconds: int = AZ_SECONDS) -> Any:
    """The JSON that the Azure CLI answers with."""
    text = run("az", *arguments, "--output", "json", seconds=seconds)
    return json.loads(text) if text.strip() else None


class Deployment:
    """What is to be deployed: the variables, and what earlier checks found out."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.group = self.get("AZURE_RESOURCE_GROUP")
        self.location = self.get("AZURE_LOCATION")
        self.group_id = ""

    def get(self, name: str, default: str = "") -> str:
        """Return a variable without the blanks around it, or the default where it is empty."""
        return self.environment.get(name, "").strip() or default

    def list(self, name: str) -> list[str]:
        """Return the items of a variable, which stand between commas."""
        return [item.strip() for item in self.get(name).split(",") if item.strip()]

    @property
    def private(self) -> bool:
        """Whether traffic stays in a virtual network."""
        return self.get("PRIVATE_NETWORKING") == "true" or bool(self.get("INTEGRATION_SUBNET_ID"))


def is_id(text: str, type_: str) -> bool:
    """Say whether a text is a resource id of that type."""
    names = type_.split("/")
    pattern = f"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/{re.escape(names[0])}"
    pattern += "".join(f"/{name}/[^/]+" for name in names[1:])
    return re.fullmatch(pattern, text, re.IGNORECASE) is not None


def show(variable: str, id_: str, *command: str) -> Any:
    """Return a resource that is brought along.

    Raises:
        Wrong: it does not exist.
    """
    try:
        return az(*(command or ("resource", "show")), "--ids", id_)
    except Unknown as problem:
        if "NotFound" in str(problem) or "not found" in str(problem):
            raise Wrong(f"{variable}: there is no {id_}: correct the id") from None
        raise


def signed_in(it: Deployment) -> str:
    """Compare the sign-in with the cloud and the subscription that are meant."""
    account = az("account", "show")
    cloud = it.get("AZURE_CLOUD", "AzureCloud")
    if account.get("environmentName") != cloud:
        raise Wrong(
            f"az is signed in to {account.get('environmentName')}, and AZURE_CLOUD says {cloud}: "
            f"set AZURE_CLOUD, or 'az cloud set --name {cloud}'"
        )
    wanted = it.get("AZURE_SUBSCRIPTION_ID")
    if wanted and account["id"] != wanted:
        raise Wrong(
            f"az is at subscription {account['id']}, azd at {wanted}: 'az account set -s {wanted}'"
        )
    return f"subscription {account['name']} ({account['id']})"


def api_version(it: Deployment) -> str:
    """Check that the version of the Face API is given."""
    version = it.get("FACE_API_VERSION")
    if version not in API_VERSIONS:
        raise Wrong(
            f"{version!r} is none of {', '.join(API_VERSIONS)}: set FACE_API_VERSION to the version "
            "that your service creates sessions with. Its calls show it: POST /face/VERSION/... With "
            "another one, the Face API may not find the sessions, and they would live on"
        )
    return version


def inputs(it: Deployment) -> str:
    """Check that JSON is JSON, and that ids look like ids."""
    for variable in ("TAGS", "NAMES"):
        try:
            given = json.loads(it.environment.get(variable, "{}"))
        except ValueError as error:
            raise Wrong(f"{variable} is not JSON: {error}") from None
        if not isinstance(given, dict) or not all(isinstance(each, str) for each in given.values()):
            raise Wrong(f'{variable} is not a JSON object of strings, such as {{"name": "text"}}')
    for kind in PEOPLE:
        for name in it.list(f"{kind}_PRINCIPAL_IDS"):
            if not GUID.fullmatch(name):
                raise Wrong(f"{kind}_PRINCIPAL_IDS: {name!r} is not an object id (a GUID)")
    for variable, type_ in BROUGHT.items():
        for name in it.list(variable):
            if not is_id(name, type_):
                raise Wrong(f"{variable}: {name!r} is not the resource id of a {type_}")
    if it.get("FACE_ACCOUNT_NAME"):
        raise Wrong("FACE_ACCOUNT_NAME is no longer read: set FACE_ACCOUNT_ID to its resource id")
    if bool(it.get("INTEGRATION_SUBNET_ID")) != bool(it.get("PRIVATE_ENDPOINT_SUBNET_ID")):
        raise Wrong("INTEGRATION_SUBNET_ID and PRIVATE_ENDPOINT_SUBNET_ID: set both or none")
    return "JSON is JSON, and ids are ids"


def resource_group(it: Deployment) -> str:
    """Find the resource group, and the tag that azd asks for."""
    if not it.group:
        raise Unknown("AZURE_RESOURCE_GROUP is not set")
    if not az("group", "exists", "--name", it.group):
        raise Wrong(f"there is no resource group {it.group}: 'az group create'")
    group = az("group", "show", "--name", it.group)
    it.group_id, it.location = group["id"], it.location or group["location"]
    name = it.get("AZURE_ENV_NAME")
    tag = (group.get("tags") or {}).get("azd-env-name")
    if name and tag != name:
        raise Unknown(
            f"{it.group} has the tag azd-env-name={tag}: 'azd down' will ask once more, and fail "
            f"with --no-prompt; 'az group update -n {it.group} --tags azd-env-name={name}' ends that"
        )
    return f"{it.group} in {group['location']}"


def providers(_: Deployment) -> str:
    """Check that all resource providers are registered."""
    states = {one["namespace"].lower(): one["registrationState"] for one in az("provider", "list")}
    missing = [
        f"Microsoft.{name}"
        for name in PROVIDERS
        if states.get(f"microsoft.{name.lower()}") != "Registered"
    ]
    if missing:
        raise Wrong(f"not registered: {', '.join(missing)}: 'az provider register -n NAME'")
    return "all resource providers are registered"


def region(it: Deployment) -> str:
    """Check that the region offers the plan with this Python."""
    if not it.location:
        raise Unknown("AZURE_LOCATION is not set")
    where = it.location.replace(" ", "").lower()
    offered = az("functionapp", "list-flexconsumption-locations")
    if where not in {one["name"].replace(" ", "").lower() for one in offered}:
        raise Wrong(f"{it.location} does not offer Flex Consumption: choose another region")
    runtimes = az(
        *("functionapp", "list-flexconsumption-runtimes", "--location", it.location),
        *("--runtime", "python"),
    )
    offered = next((one for one in runtimes if one.get("version") == PYTHON), None)
    if offered is None:
        raise Wrong(f"{it.location} does not offer Python {PYTHON} on Flex Consumption")
    # As the stacks API of the platform has it, which the Azure CLI asks.
    limits = offered.get("sku", {}).get("maximumInstanceCount") or {}
    lowest, highest = (
        limits.get("lowestMaximumInstanceCount"),
        limits.get("highestMaximumInstanceCount"),
    )
    count = int(it.get("MAXIMUM_INSTANCE_COUNT", "1"))
    if lowest and count < lowest:
        raise Wrong(
            f"{it.location} accepts no maximum below {lowest} instances: set "
            f"MAXIMUM_INSTANCE_COUNT={lowest}; from 40 on, the rate is not divided among them"
        )
    if highest and count > highest:
        raise Wrong(
            f"{it.location} accepts {highest} instances at most: lower MAXIMUM_INSTANCE_COUNT"
        )
    sizes = [int(one["size"]) for one in offered.get("sku", {}).get("instanceMemoryMB") or []]
    if sizes and MEMORY_MB not in sizes:
        raise Wrong(
            f"{it.location} offers instances of {', '.join(map(str, sizes))} MB: set the parameter "
            "instanceMemoryMB to one of them"
        )
    return f"{it.location} offers Flex Consumption with Python {PYTHON}, from {lowest or '?'} instances"


def face_account(it: Deployment) -> str:
    """Check the Face account that is named, or that one can be created."""
    id_ = it.get("FACE_ACCOUNT_ID")
    if not id_:
        if not az("cognitiveservices", "account", "list", "--query", "[?kind=='Face'].name"):
            raise Unknown(
                "the subscription has no Face account yet: the first one must be made in the portal, "
                "where the terms of responsible use are accepted"
            )
        return "one will be created"
    account = show("FACE_ACCOUNT_ID", id_)
    name, properties = id_.rpartition("/")[2], account.get("properties", {})
    if account["kind"] not in ("Face", "CognitiveServices", "AIServices"):
        raise Wrong(f"{name} is of the kind {account['kind']}, not Face")
    if not properties.get("customSubDomainName"):
        raise Wrong(f"{name} has no custom subdomain, and takes no Entra tokens without one")
    limit = properties.get("callRateLimit") or {}
    if not limit.get("count"):
        return f"{name}: reports no rate limit"
    return f"{name}: {limit['count']:g} calls in {limit['renewalPeriod']:g} s"


def namespace(it: Deployment) -> str:
    """Check the tier of the namespace that is brought along."""
    id_ = it.get("SERVICE_BUS_NAMESPACE_ID")
    if not id_:
        return "one will be created"
    tier = show("SERVICE_BUS_NAMESPACE_ID", id_)["sku"]["name"]
    if tier == "Basic":
        raise Wrong("a Basic namespace detects no duplicates: bring a Standard or Premium one")
    if it.private and tier != "Premium":
        raise Wrong(f"a {tier} namespace has no private endpoints: bring a Premium one")
    return f"{id_.rpartition('/')[2]}, {tier}"


def others(it: Deployment) -> str:
    """Check that the workspace, the identity and the action groups exist."""
    names = ("LOG_ANALYTICS_WORKSPACE_ID", "USER_ASSIGNED_IDENTITY_ID", "ACTION_GROUP_IDS")
    found = [show(name, id_)["name"] for name in names for id_ in it.list(name)]
    return ", ".join(found) or "none brought along"


def subnets(it: Deployment) -> str:
    """Check region, delegation and size of the subnets, and that the zones are linked."""
    integration, endpoints = it.get("INTEGRATION_SUBNET_ID"), it.get("PRIVATE_ENDPOINT_SUBNET_ID")
    if not integration:
        return "none brought along"
    network = show("INTEGRATION_SUBNET_ID", integration.rpartition("/subnets/")[0])
    where = it.location.replace(" ", "").lower()
    if where and network["location"] != where:
        raise Wrong(f"{network['name']} is in {network['location']}: bring a network in {where}")
    subnet = show("INTEGRATION_SUBNET_ID", integration, "network", "vnet", "subnet", "show")
    services = [one["serviceName"] for one in subnet.get("delegations") or []]
    if services != ["Microsoft.App/environments"]:
        raise Wrong(
            f"{subnet['name']} is delegated to {', '.join(services) or 'nothing'}: delegate it to "
            "Microsoft.App/environments"
        )
    if free(subnet, whole=True) < 32:
        raise Wrong(f"{subnet['name']} is smaller than a /27: bring a larger one")
    subnet = show("PRIVATE_ENDPOINT_SUBNET_ID", endpoints, "network", "vnet", "subnet", "show")
    created = ("SERVICE_BUS_NAMESPACE_ID", "FACE_ACCOUNT_ID")
    needed = 2 + sum(not it.get(name) for name in created)
    if free(subnet) < needed:
        raise Wrong(f"{subnet['name']} has no {needed} addresses left: bring a larger one")
    unlinked = []
    for id_ in it.list("PRIVATE_DNS_ZONE_IDS"):
        parts = id_.split("/")
        links = az(
            *("network", "private-dns", "link", "vnet", "list", "--subscription", parts[2]),
            *("--resource-group", parts[4], "--zone-name", parts[8]),
        )
        ids = {one["virtualNetwork"]["id"].lower() for one in links}
        if network["id"].lower() not in ids:
            unlinked.append(parts[8])
    if unlinked:
        raise Unknown(
            f"{', '.join(unlinked)}: not linked to {network['name']}. Link them, unless the network "
            "resolves names elsewhere"
        )
    return f"subnets of {network['name']}"


def free(subnet: dict[str, Any], *, whole: bool = False) -> int:
    """Count the addresses of a subnet: all, or those that are left."""
    prefix = subnet.get("addressPrefix") or subnet["addressPrefixes"][0]
    size: int = 2 ** (32 - int(prefix.partition("/")[2]))
    # Azure keeps five addresses of each subnet.
    return size if whole else size - 5 - len(subnet.get("ipConfigurations") or [])


def role_quota(_: Deployment) -> str:
    """Check that the subscription takes a dozen more role assignments."""
    subscription = az("account", "show")["id"]
    usage = az(
        *("rest", "--method", "get", "--url"),
        f"/subscriptions/{subscription}/providers/Microsoft.Authorization/"
        "roleAssignmentsUsageMetrics?api-version=2019-08-01-preview",
    )
    left: int = usage["roleAssignmentsRemainingCount"]
    if left < 20:
        raise Wrong(f"the subscription takes {left} more role assignments: remove unused ones")
    return f"{left} role assignments left"


def policies(it: Deployment) -> str:
    """Have Azure validate the deployment, which evaluates the policies that deny."""
    try:
        az(
            *("deployment", "group", "validate", "--resource-group", it.group, "--no-prompt"),
            *("--template-file", str(INFRA / "main.bicep")),
            *("--parameters", str(INFRA / "main.bicepparam")),
            seconds=300,
        )
    except Unknown as problem:
        if "RequestDisallowedByPolicy" in str(problem):
            raise Wrong(f"a policy denies it: get an exemption, or change it: {problem}") from None
        raise
    return "no policy denies the deployment"


def liveness_approved(_: Deployment) -> str:
    """Say that this shows only later."""
    raise Unknown(
        "only the first session shows whether the subscription is approved for liveness detection: if "
        "not, the Face API answers 403 UnsupportedFeature"
    )


def may_assign_roles(it: Deployment) -> str:
    """Check the rights where something will be created or assigned."""
    me = az("ad", "signed-in-user", "show", "--query", "id")
    brought = [it.get("FACE_ACCOUNT_ID"), it.get("SERVICE_BUS_NAMESPACE_ID")]
    if it.get("RECORD_WRITER_PRINCIPAL_IDS"):
        brought.append(it.get("LOG_ANALYTICS_WORKSPACE_ID"))
    scopes = {it.group_id, *("/".join(id_.split("/")[:5]) for id_ in brought if id_)}
    for scope in sorted(scopes):
        found = az(
            *("role", "assignment", "list", "--assignee", me, "--scope", scope),
            *("--include-inherited", "--include-groups", "--query", "[].roleDefinitionName"),
        )
        for needed, why in (
            (DEFINES_ROLES, "define and assign roles"),
            (CREATES, "create resources"),
        ):
            if not needed & set(found):
                raise Wrong(
                    f"you may not {why} in {scope.rpartition('/')[2]}: it takes "
                    f"{' or '.join(sorted(needed))}, you have {', '.join(found) or 'none'} "
                    "(a custom role may do, too)"
                )
    return "you may create resources, and define and assign roles"


def azd_version(it: Deployment) -> str:
    """Check that azd is new enough for the documented commands, and set to the cloud."""
    found = re.search(r"(\d+)\.(\d+)\.\d+", run("azd", "version"))
    if found is None:
        raise Unknown("azd does not tell its version")
    if (int(found[1]), int(found[2])) < AZD:
        raise Wrong(f"azd {found[0]} is older than {AZD[0]}.{AZD[1]}: the commands may not hold")
    cloud = it.get("AZURE_CLOUD", "AzureCloud")
    if cloud != "AzureCloud" and cloud not in run("azd", "config", "get", "cloud.name"):
        raise Wrong(f"azd is not set to {cloud}: 'azd config set cloud.name {cloud}'")
    return f"azd {found[0]}"


@dataclass(frozen=True)
class Check:
    """One question; it is skipped if one that it rests on has no good answer."""

    name: str
    ask: Callable[[Deployment], str]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("inputs", inputs),
    Check("API version", api_version),
    Check("azd", azd_version),
    Check("sign-in", signed_in),
    Check("resource group", resource_group, ("sign-in",)),
    Check("resource providers", providers, ("sign-in",)),
    Check("region", region, ("sign-in",)),
    Check("Face account", face_account, ("inputs", "sign-in")),
    Check("namespace", namespace, ("inputs", "sign-in")),
    Check("other resources", others, ("inputs", "sign-in")),
    Check("subnets", subnets, ("inputs", "sign-in")),
    Check("liveness", liveness_approved, ("sign-in",)),
    Check("rights", may_assign_roles, ("sign-in", "resource group")),
    Check("role assignments", role_quota, ("sign-in",)),
    Check("policies", policies, ("inputs", "API version", "resource group")),
)


def check(deployment: Deployment) -> list[tuple[str, str, str]]:
    """Ask everything: name, state (ok, wrong, unknown, skipped) and what was found."""
    results: list[tuple[str, str, str]] = []
    failed: set[str] = set()
    for one in CHECKS:
        lacking = [name for name in one.needs if name in failed]
        if lacking:
            results.append((one.name, "skipped", f"needs: {', '.join(lacking)}"))
            failed.add(one.name)
            continue
        try:
            results.append((one.name, "ok", one.ask(deployment)))
        except (Wrong, Unknown) as problem:
            state = "wrong" if isinstance(problem, Wrong) else "unknown"
            results.append((one.name, state, str(problem)))
            # A group that only lacks a tag is there.
            if not (one.name == "resource group" and deployment.group_id):
                failed.add(one.name)
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            results.append((one.name, "unknown", f"unexpected answer: {problem!r}"))
            failed.add(one.name)
    return results


def main(environment: dict[str, str] | None = None) -> int:
    """Print a line for each check; return the exit code."""
    results = check(Deployment(dict(os.environ) if environment is None else environment))
    for name, state, text in results:
        print(f"{state:<8} {name}: {text}")
    wrong = sum(state == "wrong" for _, state, _ in results)
    unknown = sum(state in ("unknown", "skipped") for _, state, _ in results)
    print(f"preflight: {wrong} wrong, {unknown} not known")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

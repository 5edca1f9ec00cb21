"""What would stop a deployment, asked of Azure before it begins.

    python3 infra/preflight.py        # or: make preflight; azd runs it before it provisions

It reads the variables that main.bicepparam reads, asks by the Azure CLI, and changes nothing. The exit
code is 1 if something is wrong. What cannot be asked (no Azure CLI, no right to look) is
said, and stops nothing.
The standard library of any Python 3 is all that it needs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

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
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Unknown(Exception):
    """Cannot be told; the text says why."""


class Wrong(Exception):
    """It would stop the deployment; the text says what is wrong and what to do."""


def run(*command: str) -> str:
    """What a command prints.

    Raises:
        Unknown: it is not there, or fails.
    """
    path = shutil.which(command[0])
    if path is None:
        raise Unknown(command[0] + " is not on the PATH")
    try:
        done = subprocess.run(
            [path, *command[1:]], capture_output=True, text=True, timeout=AZ_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unknown(f"{command[0]} did not answer within {AZ_SECONDS} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise Unknown(said[-1][:300])
    return done.stdout


def az(*arguments: str) -> Any:
    """The JSON that the Azure CLI answers with."""
    text = run("az", *arguments, "--output", "json")
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
    """Check that ids look like ids."""
    for variable in ("PUBLISHER_PRINCIPAL_IDS", "RECEIPT_READER_PRINCIPAL_IDS"):
        for name in it.get(variable).split(","):
            if name.strip() and not GUID.fullmatch(name.strip()):
                raise Wrong(f"{variable}: {name.strip()!r} is not an object id (a GUID)")
    for name in it.get("ACTION_GROUP_IDS").split(","):
        if name.strip() and "/providers/microsoft.insights/actiongroups/" not in name.lower():
            raise Wrong(f"ACTION_GROUP_IDS: {name.strip()!r} is not the id of an action group")
    return "ids are ids"


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
    name = it.get("FACE_ACCOUNT_NAME")
    if not name:
        if not az("cognitiveservices", "account", "list", "--query", "[?kind=='Face'].name"):
            raise Unknown(
                "the subscription has no Face account yet: the first one must be made in the portal, "
                "where the terms of responsible use are accepted"
            )
        return "one will be created"
    group = it.get("FACE_RESOURCE_GROUP", it.group)
    account = az("cognitiveservices", "account", "show", "--name", name, "--resource-group", group)
    if account["kind"] not in ("Face", "CognitiveServices", "AIServices"):
        raise Wrong(f"{name} is of the kind {account['kind']}, not Face")
    properties = account.get("properties", {})
    if not properties.get("customSubDomainName"):
        raise Wrong(f"{name} has no custom subdomain, and takes no Entra tokens without one")
    limit = properties.get("callRateLimit") or {}
    told = f"{limit['count']:g} calls in {limit['renewalPeriod']:g} s" if limit.get("count") else ""
    return f"{name}: {told or 'says no rate limit of its own'}"


def liveness_approved(_: Deployment) -> str:
    """Say that nobody can tell beforehand."""
    raise Unknown(
        "whether the subscription is approved for liveness detection shows with the first session "
        "only: without, the Face API answers 403 UnsupportedFeature"
    )


def may_assign_roles(it: Deployment) -> str:
    """Check the rights where something will be created or assigned."""
    me = az("ad", "signed-in-user", "show", "--query", "id")
    scopes = [it.group_id]
    if it.get("FACE_ACCOUNT_NAME") and it.get("FACE_RESOURCE_GROUP"):
        scopes.append(f"{it.group_id.rpartition('/')[0]}/{it.get('FACE_RESOURCE_GROUP')}")
    for scope in scopes:
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
    Check("Face account", face_account, ("sign-in",)),
    Check("liveness", liveness_approved, ("sign-in",)),
    Check("rights", may_assign_roles, ("sign-in", "resource group")),
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

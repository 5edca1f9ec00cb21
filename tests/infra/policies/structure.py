"""Policies: the ways to deploy, names, tags, and what the Bicep files promise to their readers."""

import json
import re

from infra.snapshot import REQUIRED
from tests.infra.project import Project, at, policy


@policy
def every_way_to_deploy_has_its_snapshot(project: Project) -> list[str]:
    """infra/README.md and infra/snapshots name the same ways, and each variable that main.bicepparam
    reads is set in one of them."""
    ways = project.ways()
    problems = [f"no snapshot {name}" for name in sorted(ways.keys() - project.snapshots.keys())]
    problems += [f"no way {name}" for name in sorted(project.snapshots.keys() - ways.keys())]
    set_ = {name for variables in ways.values() for name in (*variables, *REQUIRED)}
    return problems + [
        f"no way sets {name}" for name in sorted(set(project.variables().values()) - set_)
    ]


@policy
def what_if_can_tell_every_name(project: Project) -> list[str]:
    """No name and no id waits for something that only the deployment will know."""
    return [
        f"{way}: {one['type']} {one['name']}"
        for way, resources in project.snapshots.items()
        for one in resources
        if "[" in one["name"] or "[" in one["id"]
    ]


@policy
def names_come_from_one_token(project: Project) -> list[str]:
    """What must be unique in the world has the name that was given or ends with the deployment's
    token; another environment has another one."""
    tokens: dict[str, set[str]] = {}
    for way, variables in project.ways().items():
        for type_ in ("Web/sites", "ServiceBus/namespaces", "Storage/storageAccounts"):
            for _, one in project.of(f"Microsoft.{type_}", way):
                if one["name"] in json.loads(variables.get("NAMES", "{}")).values():
                    continue
                token = re.sub(r"^[a-z]+-?revoker-?([a-z0-9]{13})$", r"\1", one["name"])
                tokens.setdefault(variables.get("AZURE_ENV_NAME", "dev"), set()).add(token)
    every = sorted(token for some in tokens.values() for token in some)
    right = len(set(every)) == len(tokens) and all(len(token) == 13 for token in every)
    return [] if right else [f"tokens: {tokens}"]


WITHOUT_TAGS = re.compile(
    r"Microsoft\.(Authorization/.*|Insights/diagnosticSettings|.*/(privateDnsZoneGroups|queues|tables|"
    r"blobServices|containers|basicPublishingCredentialsPolicies))"
)


@policy
def everything_is_tagged(project: Project) -> list[str]:
    """Every resource that can carry tags has those of the deployment."""
    return [
        f"{way}: {one['name']} has the tags {one.get('tags')}"
        for way, resources in project.snapshots.items()
        for one in resources
        if not WITHOUT_TAGS.fullmatch(one["type"])
        and (
            at(one, "tags.workload") != "liveness-session-revoker"
            or "azd-env-name" not in one["tags"]
            or json.loads(project.ways()[way].get("TAGS", "{}")).items() - one["tags"].items()
        )
    ]


@policy
def outputs_do_not_come_back_as_inputs(project: Project) -> list[str]:
    """azd keeps outputs as environment variables; main.bicepparam reads none of them. Else the name
    of a Face account that was created would look like an existing one the next time."""
    outputs = re.findall(r"^output (\w+) ", project.text("infra/main.bicep"), re.MULTILINE)
    return [f"{name} would come back" for name in outputs if name in project.variables().values()]


@policy
def suppressions_have_reasons(project: Project) -> list[str]:
    """Every check that is skipped says why."""
    return [
        f"{path}: {line.strip()}"
        for path, text in project.bicep().items()
        for line in text.splitlines()
        if re.search(r"checkov:skip|#disable", line)
        and not re.search(r"// checkov:skip=\w+:.{20,}|#disable-next-line [\w-]+ // .{20,}", line)
    ]

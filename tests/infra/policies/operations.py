"""Policies: what operators see, what is deployed and how."""

import fnmatch
import re
from typing import Any

from tests.infra import bicep
from tests.infra.bicep import Expression, at
from tests.infra.policies.registry import policy
from tests.infra.project import Project


@policy
def operators_are_told(project: Project) -> list[str]:
    """Service Bus and Face send logs, each trouble has its alert, the workbook has its plots."""
    problems = []
    for path, symbol in (
        ("modules/service-bus.bicep", "namespace"),
        ("modules/face-access.bicep", "account"),
    ):
        if not any(
            one.type == "Microsoft.Insights/diagnosticSettings"
            and one.body.get("scope") == Expression(symbol)
            and at(one.body, "properties.workspaceId") == Expression("workspaceId")
            for one in project.files[path].resources
        ):
            problems.append(f"{path}: {symbol} has no diagnostic setting")
    alerts = project.files["modules/alerts.bicep"]
    every = list(bicep.walk(alerts.variables.get("queueAlerts"))) + list(
        bicep.walk(alerts.variables.get("logAlerts"))
    )
    text = "\n".join(one.text if isinstance(one, Expression) else str(one) for one in every)
    problems += [
        f"no alert looks at {what}"
        for what in (
            "DeadletteredMessages",
            "ActiveMessages",
            "Minimum",  # of those that wait: however few, they have waited long
            '"circuit_open"',
            '"deployment_fault"',
            "Success == false",
            "ms_since_first_enqueued",
        )
        if what not in text
    ]
    threshold = [
        at(one, "threshold") for one in every if at(one, "metric") == "DeadletteredMessages"
    ]
    if threshold != [0]:
        problems.append(f"the dead-letter alert has the threshold {threshold}")
    workbook: dict[str, Any] = project.json("infra/workbook.json")
    plots = {item["name"] for item in workbook["items"]}
    problems += [
        f"the workbook lacks {plot}"
        for plot in ("latency", "outcomes", "dead-letter-reasons", "rate")
        if plot not in plots
    ]
    monitoring = project.files["modules/monitoring.bicep"].text
    problems += [
        f"{placeholder} in the workbook is not replaced"
        for placeholder in set(re.findall(r"__[A-Z_]+__", project.text("infra/workbook.json")))
        if f"'{placeholder}'" not in monitoring
    ]
    return problems


DEPLOYED = {"function_app.py", "host.json", "requirements.txt", "delete_session"}


@policy
def package_holds_the_function_only(project: Project) -> list[str]:
    """.funcignore keeps everything at the top of the repository out but what is deployed."""
    lines = project.text(".funcignore").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]

    def ignored(name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)

    problems = [f"{name} is left out" for name in DEPLOYED if ignored(name)]
    problems += [
        f"{path.name} would be deployed"
        for path in project.root.iterdir()
        if path.name not in DEPLOYED and not ignored(path.name)
    ]
    return problems


@policy
def deployment_uses_no_secret(project: Project) -> list[str]:
    """The workflow signs in with a federated credential and hands every parameter over; azd finds
    the app by its tag."""
    workflow, azd = project.text(".github/workflows/deploy.yml"), project.text("azure.yaml")
    problems = []
    if "secrets." in workflow:
        problems.append("the workflow reads a secret")
    if (
        "id-token: write" not in workflow
        or "--federated-credential-provider github" not in workflow
    ):
        problems.append("the workflow does not sign in with a federated credential")
    problems += [
        f"the workflow does not set {name}"
        for name in project.parameters.environment
        if f"{name}:" not in workflow
    ]
    ((_, app),) = project.resources("Microsoft.Web/sites")
    service = re.search(r"services:\n  (\w+):", azd)
    tag = f"'azd-service-name': '{service[1] if service else None}'"
    if tag not in project.files["modules/function-app.bicep"].text:
        problems.append(f"no app is tagged {tag}")
    if "tags" not in app.body or project.main.scope != "resourceGroup":
        problems.append("azd cannot find the app")
    return problems

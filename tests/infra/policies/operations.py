"""Policies: what operators see, what is deployed and how."""

import re

from tests.infra.project import Project, at, policy, unmet

METRIC_ALERTS = {
    "dead-letters": ("DeadletteredMessages", "Maximum", 0),
    "queue-backs-up": ("ActiveMessages", "Maximum", 1000),
    "queue-never-empties": ("ActiveMessages", "Minimum", 0),
    "retries-pile-up": ("ScheduledMessages", "Maximum", 100),
    "retries-never-end": ("ScheduledMessages", "Minimum", 0),
    "messages-abandoned": ("AbandonMessage", "Total", 10),
    "broker-server-errors": ("ServerErrors", "Total", 10),
    "broker-user-errors": ("UserErrors", "Total", 100),
    "broker-throttles": ("ThrottledRequests", "Total", 0),
}
"""What needs nothing from the function: metric, aggregation and threshold by default."""
WINDOWS = {"PT1M", "PT5M", "PT15M", "PT30M", "PT1H", "PT6H", "PT12H", "P1D"}


@policy
def operators_are_told(project: Project) -> list[str]:
    """Each trouble that the broker's metrics show has its alert, on the queue; alerts go where the
    deployment says; Service Bus, the app and Face send what the alerts and the workbook ask for."""
    problems = []
    for way, variables in project.ways().items():
        found, groups = {}, set()
        for _, one in project.of("Microsoft.Insights/metricAlerts", way):
            criterion = at(one, "properties.criteria.allOf.0")
            rule = tuple(criterion[each] for each in ("metricName", "timeAggregation", "threshold"))
            found[one["name"].removeprefix("revoker-")[:-14]] = rule
            groups.add(str([each["actionGroupId"] for each in at(one, "properties.actions")]))
            if at(criterion, "dimensions.0.values") != [
                variables.get("QUEUE_NAME", "session-revoked")
            ]:
                problems.append(f"{way}: {one['name']} looks at more than the queue")
            if criterion["operator"] != "GreaterThan" or not at(one, "properties.enabled"):
                problems.append(f"{way}: {one['name']} does not alert above its threshold")
            if at(one, "properties.windowSize") not in WINDOWS:
                problems.append(f"{way}: {one['name']} has no window that Azure Monitor knows")
        problems += [
            f"{way}: {name}: {found.get(name)}, not {METRIC_ALERTS.get(name)}"
            for name in sorted(found.keys() | METRIC_ALERTS.keys())
            if found.get(name) != METRIC_ALERTS.get(name)
        ]
        for _, one in project.of("Microsoft.Insights/scheduledQueryRules", way):
            groups.add(str(at(one, "properties.actions.actionGroups")))
        wanted = sum(bool(variables.get(name)) for name in ("ALERT_EMAIL", "ACTION_GROUP_IDS"))
        if len(groups) != 1 or groups.pop().count("/actionGroups/") != wanted:
            problems.append(f"{way}: alerts do not go to {wanted} action groups")
    return problems + unmet(
        project,
        """
        Insights/diagnosticSettings#/namespaces/  properties.logs.0     {"categoryGroup": "allLogs", "enabled": true}
        Insights/diagnosticSettings#/sites/       properties.metrics.0  {"category": "AllMetrics", "enabled": true}
        Insights/diagnosticSettings#/accounts/    properties.logs.0     {"categoryGroup": "audit", "enabled": true}
        Insights/diagnosticSettings#/accounts/    properties.metrics.0  {"category": "AllMetrics", "enabled": true}
        """,  # noqa: E501
    )


@policy
def workbook_is_filled_in(project: Project) -> list[str]:
    """Every placeholder in the workbook is replaced."""
    bicep = project.text("infra/modules/workbook.bicep")
    placeholders = set(re.findall(r"__[A-Z_]+__", project.text("infra/workbook.json")))
    return [f"{one} is not replaced" for one in sorted(placeholders) if f"{one}:" not in bicep]


DEPLOYED = {"function_app.py", "host.json", "requirements.txt", "delete_session"}


@policy
def package_holds_the_function_only(project: Project) -> list[str]:
    """.funcignore leaves everything out and then names what is deployed."""
    lines = project.text(".funcignore").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    wanted = ["/*", *sorted(f"!/{name}" for name in DEPLOYED), "__pycache__"]
    found = [patterns[0], *sorted(patterns[1:-1]), patterns[-1]]
    return [] if found == wanted else [f".funcignore: {patterns}"]


@policy
def deployment_uses_no_secret(project: Project) -> list[str]:
    """The workflow signs in to the right cloud with a federated credential, by a pinned azd, and
    hands every parameter over; azd finds the app by its tag."""
    workflow, azd = project.text(".github/workflows/deploy.yml"), project.text("azure.yaml")
    problems = []
    if "secrets." in workflow:
        problems.append("the workflow reads a secret")
    federated = "--federated-credential-provider github"
    if "id-token: write" not in workflow or federated not in workflow:
        problems.append("the workflow does not sign in with a federated credential")
    problems += [
        f"the workflow lacks {wanted!r}"
        for wanted in (
            "environment: ${{ vars.AZURE_CLOUD || 'AzureCloud' }}",
            'azd config set cloud.name "$AZURE_CLOUD"',
        )
        if wanted not in workflow
    ]
    if not re.search(r"uses: Azure/setup-azd@.*\n( .*\n)*? +version: \d+\.\d+\.\d+\n", workflow):
        problems.append("the workflow takes any azd")
    problems += [
        f"the workflow does not set {name}"
        for name in sorted(set(project.variables().values()))
        if f"{name}:" not in workflow
    ]
    service = re.search(r"services:\n  (\w+):", azd)
    problems += [
        f"{way}: azd cannot find the app"
        for way, app in project.of("Microsoft.Web/sites")
        if not service or at(app, "tags.azd-service-name") != service[1]
    ]
    return problems

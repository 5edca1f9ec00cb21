"""Policies: numbers and names that Bicep shares with the code and with other files."""

import math
import re
from collections import Counter
from typing import Any

from delete_session.connection import CONNECTION
from delete_session.settings import TABLE
from tests.infra.bicep import Call, Expression, Value, as_dict, at
from tests.infra.policies.registry import policy
from tests.infra.project import Project, unmet


def code_settings() -> set[str]:
    """Every setting that the code reads: its table, and the connection by identity."""
    return {one.name for one in TABLE.values()} | {
        f"{CONNECTION}__{part}" for part in ("fullyQualifiedNamespace", "credential", "clientId")
    }


PLATFORM_SETTINGS = {
    "AzureWebJobsStorage__accountName",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY",
}
"""What the Functions host and the Python worker read in Azure."""

LOCAL_SETTINGS = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"}
"""What the Functions Core Tools need on a laptop."""

AZURE_ONLY = {f"{CONNECTION}__credential", f"{CONNECTION}__clientId"}
"""A laptop has no managed identity: there, whoever is logged in connects."""

LOCAL_ONLY = {CONNECTION}
"""A connection string: for the local broker, never in Azure."""

SET_BY_DEPLOYMENT = {
    *("FACE_ENDPOINT", "SESSION_REVOKED_QUEUE", "OUTCOME_QUEUE", "AZURE_CLIENT_ID"),
}
"""The template knows their values: no parameter changes them."""


def app_settings(project: Project) -> dict[str, Value]:
    """The app settings in Bicep, without those that a deployment overrides."""
    value = project.files["modules/function-app.bicep"].variables.get("appSettings")
    return as_dict(value.arguments[0]) if isinstance(value, Call) else {}


@policy
def settings_are_the_same_everywhere(project: Project) -> list[str]:
    """The code, Bicep, docs/settings.md and the local sample name the same settings, with the same
    defaults."""
    problems: list[str] = []

    def compare(where: str, found: set[str], wanted: set[str]) -> None:
        problems.extend(f"{where} lacks {name}" for name in sorted(wanted - found))
        problems.extend(f"{where} has {name}, unknown" for name in sorted(found - wanted))

    code = code_settings()
    in_bicep = app_settings(project)
    compare("Bicep", set(in_bicep), code | PLATFORM_SETTINGS)
    documented = project.documented_settings()
    compare("docs/settings.md", set(documented), code | PLATFORM_SETTINGS | LOCAL_ONLY)
    problems += [
        f"docs/settings.md names {name} twice" for name, n in Counter(documented).items() if n > 1
    ]
    sample: dict[str, str] = project.json("local.settings.sample.json")["Values"]
    compare("the local sample", set(sample), (code - AZURE_ONLY) | LOCAL_SETTINGS)
    tuning = project.main.types.get("Tuning", frozenset())
    compare(
        "the type Tuning",
        set(tuning),
        {one.name for one in TABLE.values()} - SET_BY_DEPLOYMENT,
    )
    for setting in TABLE.values():
        if setting.name in SET_BY_DEPLOYMENT:
            continue
        for where, values in (("Bicep", in_bicep), ("the local sample", sample)):
            if values.get(setting.name, setting.default) != setting.default:
                problems.append(
                    f"{where}: {setting.name} is {values[setting.name]!r}, "
                    f"the code's default is {setting.default!r}"
                )
    return problems


def _default(name: str) -> float:
    return float(next(one.default for one in TABLE.values() if one.name == name) or "nan")


def seconds(duration: Value) -> float:
    """Seconds of an ISO 8601 duration (P2D, PT1M) or of hh:mm:ss; NaN for anything else."""
    text = duration if isinstance(duration, str) else ""
    if found := re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", text):
        days, hours, minutes, rest = (int(part or 0) for part in found.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)
    if found := re.fullmatch(r"(\d\d):(\d\d):(\d\d)", text):
        hours, minutes, rest = (int(part) for part in found.groups())
        return float((hours * 60 + minutes) * 60 + rest)
    return math.nan


@policy
def queue_fits_the_host_and_the_retries(project: Project) -> list[str]:
    """The numbers of the queue, of host.json and of the retry settings hold together."""
    queues = {
        one.symbol: one for _, one in project.resources("Microsoft.ServiceBus/namespaces/queues")
    }
    one, receipts = queues["queue"], as_dict(queues["outcomes"].body.get("properties"))
    queue = as_dict(one.body.get("properties"))
    host: dict[str, Any] = project.json("host.json")
    bus: dict[str, Any] = host["extensions"]["serviceBus"]
    lock = seconds(queue.get("lockDuration"))
    renewed = seconds(bus.get("maxAutoLockRenewalDuration"))
    timeout = seconds(host.get("functionTimeout"))
    deliveries = queue.get("maxDeliveryCount")
    deliveries = deliveries if isinstance(deliveries, int) else 0
    live = seconds(queue.get("defaultMessageTimeToLive"))
    window = seconds(queue.get("duplicateDetectionHistoryTimeWindow"))
    horizon = _default("RETRY_HORIZON_HOURS") * 3600
    # One invocation at its longest: waiting in place, two tokens (a 401 asks for another), two
    # calls, sending a receipt and settling.
    longest = (
        _default("RETRY_IN_PLACE_MAX_SECONDS")
        + 2 * _default("TOKEN_TIMEOUT_SECONDS")
        + 2 * _default("FACE_TOTAL_TIMEOUT_SECONDS")
        + 4 * _default("SETTLE_TIMEOUT_SECONDS")
    )
    rules = {
        "a lock lasts 30 s to 5 min (the broker's most)": 30 <= lock <= 300,
        "the host renews locks for longer than one lasts": renewed > lock,
        "a lock is renewed until the function's time is out": renewed >= timeout,
        "the longest invocation ends in time": 2 * longest <= timeout,
        "at least 5 crashes, at most 20, before the broker gives up": 5 <= deliveries <= 20,
        "messages live exactly as long as they are retried": live == horizon,
        "what expires is dead-lettered": queue.get("deadLetteringOnMessageExpiration") is True,
        "duplicates are detected": queue.get("requiresDuplicateDetection") is True,
        "receipts that come again are dropped for as long as revocations are": (
            receipts.get("requiresDuplicateDetection") is True
            and seconds(receipts.get("duplicateDetectionHistoryTimeWindow")) >= window
        ),
        "duplicates are detected over all deliveries of a message, and 7 days at most": (
            deliveries * (renewed + lock) <= window <= 7 * 86_400
        ),
        "a scheduled copy comes before the horizon": _default("RETRY_BACKOFF_CAP_SECONDS") < live,
        "no sessions: a message is settled by its lock token": queue.get("requiresSession")
        is False,
        "no partitions: duplicates are detected in the whole queue": queue.get("enablePartitioning")
        is False,
        "the host completes messages": bus.get("autoCompleteMessages") is True,
        # Prefetched messages wait with their lock running, and nobody renews it.
        "nothing is prefetched": bus.get("prefetchCount") == 0,
        "one instance keeps the allowed rate busy at 1 s a call": (
            bus.get("maxConcurrentCalls", 0) >= _default("FACE_MAX_CALLS_PER_SECOND")
        ),
        "the queue's name is the code's default": project.main.variables.get("queueName")
        == TABLE["queue"].default,
    }
    return [f"does not hold: {rule}" for rule, holds in rules.items() if not holds]


@policy
def host_keeps_every_audit_line(project: Project) -> list[str]:
    """Sampling is off, information is logged, the supported bundle is used, telemetry goes the way
    that the app settings say."""
    host: dict[str, Any] = project.json("host.json")
    sampling = host["logging"]["applicationInsights"]["samplingSettings"]["isEnabled"]
    rules = {
        "sampling is off": sampling is False,
        "information is logged": host["logging"]["logLevel"]["default"] == "Information",
        "the extension bundle is version 4": host["extensionBundle"]
        == {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"},
        "OpenTelemetry in host.json and in the app settings": (
            host.get("telemetryMode") == "OpenTelemetry"
            and app_settings(project).get("PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY") == "true"
        ),
    }
    return [f"does not hold: {rule}" for rule, holds in rules.items() if not holds]


@policy
def instances_follow_the_face_quota(project: Project) -> list[str]:
    """The default of maximumInstanceCount is what uses up the quota at the default rate."""
    main = project.main
    quota = main.parameters["faceCallsPerSecondQuota"].default
    count = main.parameters["maximumInstanceCount"].default
    wanted = math.ceil(
        (quota if isinstance(quota, int) else 0) / _default("FACE_MAX_CALLS_PER_SECOND")
    )
    return [] if count == wanted else [f"{count} instances, {wanted} use up the quota"]


@policy
def one_instance_always_listens(project: Project) -> list[str]:
    """By default one instance of the function is always ready, under the function's own name."""
    problems = []
    count = project.main.parameters["alwaysReadyInstances"].default
    if not isinstance(count, int) or count < 1:
        problems.append(f"{count} instances are always ready")
    function = _first(r"async def (\w+)\(message", project.text("delete_session/trigger.py"))
    bicep = project.files["modules/function-app.bicep"].text
    if f"name: 'function:{function}'" not in bicep:
        problems.append(f"none is ready for the function {function}")
    return problems


@policy
def python_version_is_the_same_everywhere(project: Project) -> list[str]:
    """.python-version, pyproject.toml and the function app's runtime agree."""
    ((_, app),) = project.resources("Microsoft.Web/sites")
    pyproject = project.text("pyproject.toml")
    found = {
        "the function app": at(app.body, "properties.functionAppConfig.runtime.version"),
        ".python-version": project.text(".python-version").strip(),
        "requires-python": _first(r'requires-python = ">=([\d.]+)"', pyproject),
        "mypy": _first(r'python_version = "([\d.]+)"', pyproject),
        "ruff": _first(r'target-version = "py(\d+)"', pyproject).replace("3", "3.", 1),
    }
    return [] if len(set(map(str, found.values()))) == 1 else [f"{found}"]


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""


@policy
def function_app_is_flex_consumption(project: Project) -> list[str]:
    """FC1 on Linux, one user-assigned identity, the package fetched by it; no setting that the plan
    refuses."""
    problems = unmet(
        project,
        {
            "Microsoft.Web/serverfarms": {
                "sku.name": "FC1",
                "sku.tier": "FlexConsumption",
                "properties.reserved": True,
            },
            "Microsoft.Web/sites": {
                "kind": "functionapp,linux",
                "identity.type": "UserAssigned",
                "properties.functionAppConfig.runtime.name": "python",
                "properties.functionAppConfig.deployment.storage.type": "blobContainer",
                "properties.functionAppConfig.deployment.storage.authentication.type": (
                    "UserAssignedIdentity"
                ),
                "properties.functionAppConfig.scaleAndConcurrency.maximumInstanceCount": Expression(
                    "maximumInstanceCount"
                ),
                "properties.functionAppConfig.scaleAndConcurrency.instanceMemoryMB": Expression(
                    "instanceMemoryMB"
                ),
            },
        },
    )
    refused = {
        "FUNCTIONS_WORKER_RUNTIME",
        "FUNCTIONS_EXTENSION_VERSION",
        "WEBSITE_RUN_FROM_PACKAGE",
        "WEBSITE_CONTENTSHARE",
        "SCM_DO_BUILD_DURING_DEPLOYMENT",
    }
    problems += [
        f"{name} is refused by the plan" for name in refused & app_settings(project).keys()
    ]
    return problems


@policy
def readme_lists_the_parameters(project: Project) -> list[str]:
    """infra/README.md has a row for each parameter of main.bicep, with the variable that
    main.bicepparam reads for it."""
    rows = dict(
        re.findall(
            r"^\| `(\w+)` \| (?:`(\w+)`)? ?\|", project.text("infra/README.md"), re.MULTILINE
        )
    )
    text = project.text("infra/main.bicepparam")
    variables = dict(
        re.findall(r"^param (\w+) = .*?readEnvironmentVariable\('(\w+)'", text, re.MULTILINE)
    )
    wanted = {name: variables.get(name, "") for name in project.main.parameters}
    return [
        f"infra/README.md: {name}: {rows.get(name)!r} instead of {wanted.get(name)!r}"
        for name in sorted(rows.keys() | wanted.keys())
        if rows.get(name) != wanted.get(name)
    ]

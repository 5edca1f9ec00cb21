"""Policies: numbers and names that the infrastructure shares with the code and with other files."""

import math
import re
from collections import Counter
from typing import Any

import delete_session
from delete_session.connection import CONNECTION
from delete_session.settings import TABLE
from tests.infra.project import Project, Resource, at, policy, unmet


def code_settings() -> set[str]:
    """Every setting that the code reads: its table, and the connection by identity."""
    return {one.name for one in TABLE.values()} | {
        f"{CONNECTION}__{part}" for part in ("fullyQualifiedNamespace", "credential", "clientId")
    }


# What the Functions host and the Python worker read in Azure.
PLATFORM_SETTINGS = {
    *(f"AzureWebJobsStorage__{part}" for part in ("blobServiceUri", "tableServiceUri")),
    *(f"AzureWebJobsStorage__{part}" for part in ("credential", "clientId")),
    *(f"APPLICATIONINSIGHTS_{part}_STRING" for part in ("CONNECTION", "AUTHENTICATION")),
    *(f"PYTHON_APPLICATIONINSIGHTS_{part}" for part in ("ENABLE_TELEMETRY", "LOGGER_NAME")),
}
PUBLIC_CLOUD = {"AzureWebJobsStorage__accountName"}
# What the Functions Core Tools need on a laptop, and what a laptop has not: a managed identity.
LOCAL_SETTINGS = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"}
AZURE_ONLY = {f"{CONNECTION}__credential", f"{CONNECTION}__clientId"}
# The template knows their values: no parameter changes them.
SET_BY_DEPLOYMENT = {
    *("FACE_ENDPOINT", "FACE_API_VERSION", "SESSION_REVOKED_QUEUE", "OUTCOME_QUEUE"),
    "AZURE_CLIENT_ID",
}
IDENTITY = re.compile(r"\[reference\('[^']+/id-revoker(-\w{13})?', '[\d-]+'\)\.clientId\]")
SETTINGS = "properties.siteConfig.appSettings"
LOGGER = delete_session.__name__
RATE = "FACE_MAX_CALLS_PER_SECOND"
COUNT = "properties.functionAppConfig.scaleAndConcurrency.maximumInstanceCount"
CRASHES = 10
"""Deliveries in a row, each at its longest, over which a copy scheduled again is recognized."""
QUEUES = "Microsoft.ServiceBus/namespaces/queues"


def queue_names(variables: dict[str, str]) -> tuple[str, str]:
    """The queue of a way to deploy, and that of its receipts."""
    name = variables.get("QUEUE_NAME", TABLE["queue"].default or "")
    return name, "session-outcomes" if name == TABLE["queue"].default else f"{name}-outcomes"


def app_settings(app: Resource) -> dict[str, str]:
    """The settings of a function app."""
    return {one["name"]: one["value"] for one in at(app, SETTINGS)}


@policy
def settings_are_the_same_everywhere(project: Project) -> list[str]:
    """The code, the deployment, docs/settings.md and the local sample name the same settings, with
    the same defaults."""
    problems: list[str] = []

    def compare(where: str, found: set[str], wanted: set[str]) -> None:
        problems.extend(f"{where} lacks {name}" for name in sorted(wanted - found))
        problems.extend(f"{where} has {name}, unknown" for name in sorted(found - wanted))

    code = code_settings()
    deployed = {way: app_settings(app) for way, app in project.of("Microsoft.Web/sites")}
    for way, values in deployed.items():
        public = project.ways()[way].get("AZURE_CLOUD", "AzureCloud") == "AzureCloud"
        compare(
            f"the snapshot {way}",
            set(values),
            code | PLATFORM_SETTINGS | (PUBLIC_CLOUD if public else set()),
        )
        problems += [
            f"{way}: {name} is not the function's identity"
            for name, value in values.items()
            if re.search("client_?id$", name, re.IGNORECASE) and not IDENTITY.fullmatch(value)
        ]
    documented = project.documented_settings()
    compare(
        "docs/settings.md", set(documented), code | PLATFORM_SETTINGS | PUBLIC_CLOUD | {CONNECTION}
    )
    problems += [
        f"docs/settings.md names {name} twice" for name, n in Counter(documented).items() if n > 1
    ]
    sample: dict[str, str] = project.json("local.settings.sample.json")["Values"]
    compare("the local sample", set(sample), (code - AZURE_ONLY) | LOCAL_SETTINGS)
    shared = (
        project.bicep()["modules/shared.bicep"].partition("type Tuning = {")[2].partition("}")[0]
    )
    tuning = re.findall(r"^  (\w+): string\?$", shared, re.MULTILINE)
    names = {one.name for one in TABLE.values()}
    compare("the type Tuning", set(tuning), names - SET_BY_DEPLOYMENT)
    for setting in TABLE.values():
        if setting.name in SET_BY_DEPLOYMENT:
            continue
        for where, values in (*deployed.items(), ("the local sample", sample)):
            value = values.get(setting.name, setting.default)
            if value != setting.default and not (setting.name == RATE and where in deployed):
                problems.append(f"{where}: {setting.name} is {value!r}, not {setting.default!r}")
    return problems


def _default(name: str) -> float:
    return float(next(one.default for one in TABLE.values() if one.name == name) or "nan")


@policy
def calls_follow_the_face_quota(project: Project) -> list[str]:
    """The instances, always-ready ones on top, share 80 % of the quota that is given, or that the
    account reports, or of the 10 that S0 allows. From 40 on, a region's minimum, each may use it."""
    problems = []
    for way, variables in project.ways().items():
        quota = variables.get("FACE_CALLS_PER_SECOND_QUOTA")
        count = int(variables.get("MAXIMUM_INSTANCE_COUNT", "1"))
        ready = int(variables.get("ALWAYS_READY_INSTANCES", "1"))
        share = 0.8 / (count + ready if 1 < count < 40 else max(1, ready))
        for _, app in project.of("Microsoft.Web/sites", way):
            rate = app_settings(app).get(RATE, "")
            # What an account that exists reports is known only when it is asked.
            asked = "'callRateLimit'" in rate and "10000), 80), 100), 1), 100))]" in rate
            if not (asked and not quota) and rate != f"{float(quota or 10) * share:g}":
                problems.append(f"{way}: {RATE} is {rate}")
            if at(app, COUNT) != count:
                problems.append(f"{way}: not {count} instances at most")
    return problems


def seconds(duration: object) -> float:
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
    host: dict[str, Any] = project.json("host.json")
    bus: dict[str, Any] = host["extensions"]["serviceBus"]
    renewed = seconds(bus.get("maxAutoLockRenewalDuration"))
    timeout = seconds(host.get("functionTimeout"))
    horizon = _default("RETRY_DEADLINE_HOURS") * 3600
    # One invocation at its longest: waiting in place, two tokens (a 401 asks for another), two
    # calls, sending a receipt and settling.
    longest = (
        2.5 * _default("RETRY_INITIAL_DELAY_SECONDS")
        + 3 * _default("CALL_TIMEOUT_SECONDS")
        + 4 * _default("CALL_TIMEOUT_SECONDS") / 2
    )
    problems = []
    for way, one in project.of(QUEUES):
        name, outcomes = queue_names(project.ways().get(way, {}))
        if one["name"].endswith(f"/{outcomes}"):
            continue
        queue: dict[str, Any] = one["properties"]
        lock, live = seconds(queue.get("lockDuration")), seconds(queue["defaultMessageTimeToLive"])
        deliveries = queue.get("maxDeliveryCount", 0)
        window = seconds(queue.get("duplicateDetectionHistoryTimeWindow"))
        # fmt: off
        rules = {
            "what expires is dead-lettered": queue.get("deadLetteringOnMessageExpiration") is True,
            "duplicates are detected": queue.get("requiresDuplicateDetection") is True,
            # A message is settled by its lock token, and duplicates detected in the whole queue.
            "no sessions": queue.get("requiresSession") is False,
            "no partitions": queue.get("enablePartitioning") is False,
            "a lock lasts 30 s to 5 min (the broker's most)": 30 <= lock <= 300,
            "the host renews locks for longer than one lasts": renewed > lock,
            "a lock is renewed until the function's time is out": renewed >= timeout,
            "the longest invocation ends in time": 2 * longest <= timeout,
            "at least 5 crashes, at most 20, before the broker gives up": 5 <= deliveries <= 20,
            "messages live an hour longer than they are retried": live == horizon + 3600,
            "duplicates are detected over ten crashes in a row, as long as needed and no longer":
                CRASHES * (renewed + lock) <= window <= 1.25 * CRASHES * (renewed + lock),
            "a scheduled copy comes before the horizon": _default("RETRY_MAX_DELAY_SECONDS") < live,
            "the host completes messages": bus.get("autoCompleteMessages") is True,
            # Prefetched messages wait with their lock running, and the host does not renew it.
            "nothing is prefetched": bus.get("prefetchCount") == 0,
            "one instance keeps the allowed rate busy at 1 s a call":
                bus.get("maxConcurrentCalls", 0) >= _default(RATE),
            "the queue has its name": one["name"].endswith(f"/{name}"),
        }
        # fmt: on
        problems += [f"{way}: does not hold: {rule}" for rule, holds in rules.items() if not holds]
    return problems


@policy
def receipts_are_sent_where_somebody_reads_them(project: Project) -> list[str]:
    """There is a queue of receipts, and the function sends to it, where readers are named, and
    nowhere else. A receipt that comes again is dropped for as long as a revocation is."""
    problems = []
    for way, variables in project.ways().items():
        queues = {one["name"].rpartition("/")[2]: one for _, one in project.of(QUEUES, way)}
        outcomes = queue_names(variables)[1]
        receipts = queues.pop(outcomes, None)
        wanted = outcomes if variables.get("RECEIPT_READER_PRINCIPAL_IDS") else ""
        if (receipts is not None) != bool(wanted):
            problems.append(f"{way}: the queue {outcomes}: {receipts}")
        for _, app in project.of("Microsoft.Web/sites", way):
            if (name := app_settings(app).get("OUTCOME_QUEUE")) != wanted:
                problems.append(f"{way}: OUTCOME_QUEUE is {name!r}")
        windows = [
            seconds(at(one, "properties.duplicateDetectionHistoryTimeWindow"))
            for one in (receipts, *queues.values())
        ]
        detects = at(receipts, "properties.requiresDuplicateDetection") is True
        if receipts is not None and not (detects and windows[0] == max(windows)):
            problems.append(f"{way}: receipts that come again are kept")
    return problems


@policy
def audit_lines_leave_the_process(project: Project) -> list[str]:
    """The host logs information and leaves telemetry to the worker, whose handler hangs on the
    code's logger."""
    host: dict[str, Any] = project.json("host.json")
    bundle = {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"}
    wanted = {
        "logging.logLevel.default": "Information",
        "extensionBundle": bundle,
        "telemetryMode": "OpenTelemetry",
    }
    problems = [f"host.json: {path}" for path, value in wanted.items() if at(host, path) != value]
    # With OpenTelemetry, this section of host.json is not read.
    problems += ["host.json: applicationInsights"] * ("applicationInsights" in host["logging"])
    worker = f"{SETTINGS}.PYTHON_APPLICATIONINSIGHTS"
    return problems + unmet(
        project,
        f"""
        Web/sites  {worker}_ENABLE_TELEMETRY.value  "true"
        Web/sites  {worker}_LOGGER_NAME.value       "{LOGGER}"
        """,
    )


@policy
def one_instance_always_listens(project: Project) -> list[str]:
    """One instance of the function is always ready, under the function's own name, but where the
    deployment says otherwise."""
    package = (project.root / "delete_session").glob("*.py")
    code = "\n".join(path.read_text("utf-8") for path in package)
    functions = re.findall(r"async def (\w+)\(message", code)
    problems = []
    for way, app in project.of("Microsoft.Web/sites"):
        ready = at(app, "properties.functionAppConfig.scaleAndConcurrency.alwaysReady")
        count = int(project.ways().get(way, {}).get("ALWAYS_READY_INSTANCES", "1"))
        wanted = [{"name": f"function:{name}", "instanceCount": count} for name in functions]
        if ready != (wanted[:1] if count else []):
            problems.append(f"{way}: always ready: {ready}")
    return problems


@policy
def python_version_is_the_same_everywhere(project: Project) -> list[str]:
    """.python-version, pyproject.toml and the function app's runtime agree."""

    pyproject = project.text("pyproject.toml")
    found = {
        name: ".".join(re.findall(pattern, pyproject)[0])
        for name, pattern in (
            ("requires-python", r'requires-python = ">=(3)\.(\d+)"'),
            ("mypy", r'python_version = "(3)\.(\d+)"'),
            ("ruff", r'target-version = "py(3)(\d+)"'),
        )
    }
    found[".python-version"] = project.text(".python-version").strip()
    found |= {
        way: at(app, "properties.functionAppConfig.runtime.version")
        for way, app in project.of("Microsoft.Web/sites")
    }
    return [] if len(set(map(str, found.values()))) == 1 else [f"{found}"]


# azure-pipelines-tasks issue 21032, terraform-azurerm-avm-res-web-site pull request 345.
REFUSED_PROPERTIES = {
    *("ftpsState", "use32BitWorkerProcess", "linuxFxVersion", "netFrameworkVersion", "alwaysOn"),
    *("functionAppScaleLimit", "preWarmedInstanceCount", "functionsRuntimeScaleMonitoringEnabled"),
}
REFUSED_SETTINGS = {
    *("FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_EXTENSION_VERSION", "WEBSITE_RUN_FROM_PACKAGE"),
    *("WEBSITE_CONTENTSHARE", "SCM_DO_BUILD_DURING_DEPLOYMENT"),
}


@policy
def function_app_is_flex_consumption(project: Project) -> list[str]:
    """FC1 on Linux, one user-assigned identity, the package fetched by it, the parameters passed
    on; no setting and no property that the plan refuses."""
    config = "properties.functionAppConfig"
    problems = unmet(
        project,
        f"""
        Web/serverfarms  sku.name             "FC1"
        Web/serverfarms  sku.tier             "FlexConsumption"
        Web/serverfarms  properties.reserved  true
        Web/sites        kind                 "functionapp,linux"
        Web/sites        identity.type        "UserAssigned"
        Web/sites        {config}.runtime.name                               "python"
        Web/sites        {config}.deployment.storage.type                    "blobContainer"
        Web/sites        {config}.deployment.storage.authentication.type     "UserAssignedIdentity"
        Web/sites        {config}.scaleAndConcurrency.instanceMemoryMB       2048
        """,
    )
    for way, app in project.of("Microsoft.Web/sites"):
        refused = REFUSED_SETTINGS & app_settings(app).keys()
        refused |= REFUSED_PROPERTIES & at(app, "properties.siteConfig").keys()
        problems += [f"{way}: {name} is refused by the plan" for name in sorted(refused)]
    return problems


@policy
def readme_lists_the_parameters(project: Project) -> list[str]:
    """infra/README.md has a row for each parameter of main.bicep, with the variable that
    main.bicepparam reads for it."""
    text = project.text("infra/README.md")
    rows = dict(re.findall(r"^\| [^`|]+ \| `([a-z]\w+)`(?: `([A-Z_]+)`)? \|", text, re.MULTILINE))
    wanted = {name: project.variables().get(name, "") for name in project.parameters()}
    return [
        f"infra/README.md: {name}: {rows.get(name)!r} instead of {wanted.get(name)!r}"
        for name in sorted(rows.keys() | wanted.keys())
        if rows.get(name) != wanted.get(name)
    ]

"""What is deployed: what it imports, what is in the package, and that the files agree."""

import json
import re
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path

from delete_session.handler import CONCURRENT, HOLD_SECONDS
from delete_session.settings import TABLE

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "FACE_ENDPOINT": "https://contoso.cognitiveservices.azure.com",
    "ServiceBusConnection__fullyQualifiedNamespace": "contoso.servicebus.windows.net",
    "SESSION_REVOKED_QUEUE": "session-revoked",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_app_imports_only_what_is_deployed() -> None:
    """Loading the app imports neither the exporter nor anything that is not deployed."""
    code = "import sys, json, function_app; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(python(code).stdout)
    assert not [name for name in modules if name.startswith("azure.monitor")]
    assert "opentelemetry.sdk" not in modules
    assert not [name for name in modules if re.match(r"(local|revoker|bench|tests|proton)\b", name)]


def test_wrong_settings_end_the_start_with_all_problems() -> None:
    """The app does not load with wrong settings; the error names each of them."""
    wrong = {"FACE_ENDPOINT": "http://contoso", "FACE_MAX_CALLS_PER_SECOND": "fast"}
    result = python("import function_app", **wrong)
    assert result.returncode != 0
    assert "FACE_ENDPOINT must be" in result.stderr
    assert "FACE_MAX_CALLS_PER_SECOND must be" in result.stderr


def test_package_holds_the_function_and_nothing_else() -> None:
    """.funcignore leaves host.json, requirements.txt, function_app.py and delete_session."""

    def listed(*options: str) -> set[str]:
        command = ["git", "ls-files", "--cached", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return set(done.stdout.splitlines())

    ignored = listed("--ignored", "--exclude-from=.funcignore")
    kept = {path.partition("/")[0] for path in listed() - ignored}
    assert kept == {"host.json", "requirements.txt", "function_app.py", "delete_session"}


def test_what_is_deployed_is_pinned_and_named() -> None:
    """requirements.txt pins every direct dependency exactly, with its hashes; the tests run with the
    same pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    deployed, tested = (
        re.findall(
            r"^[^ #\n].*(?:\n    --hash=sha256:[0-9a-f]{64}.*)*", path.read_text(), re.MULTILINE
        )
        for path in (ROOT / "requirements.txt", ROOT / "requirements-dev.txt")
    )
    pin = re.compile(r"([A-Za-z0-9._-]+)==[A-Za-z0-9.]+ \\\n    --hash")
    names = {found[1] for each in deployed if (found := pin.match(each))}
    assert len(names) == len(deployed)
    assert set(deployed) <= set(tested)
    assert set(project["dependencies"]) <= names
    asked_for = {"azure-functions", "azure-servicebus", "azure-identity", "httpx"}
    assert asked_for <= names


def test_host_holds_a_message_for_longer_than_the_function_does() -> None:
    """Lock renewal and function timeout outlast the longest hold and one call on top of it."""
    host = json.loads((ROOT / "host.json").read_text())
    service_bus = host["extensions"]["serviceBus"]
    call_timeout = float(TABLE["call_timeout"].default or 0)
    for duration in (host["functionTimeout"], service_bus["maxAutoLockRenewalDuration"]):
        hours, minutes, seconds = (int(part) for part in duration.split(":"))
        length = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        assert length.total_seconds() >= HOLD_SECONDS + 2 * call_timeout
    assert service_bus["maxConcurrentCalls"] == CONCURRENT
    assert service_bus["autoCompleteMessages"] is True

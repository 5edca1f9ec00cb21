"""`revoker doctor` and `revoker session`: what they say about each seeded fault."""

import re
from email.utils import formatdate
from pathlib import Path
from time import time

import pytest
from aiohttp import web
from azure.servicebus.exceptions import ServiceBusAuthorizationError

from delete_session.endpoint import SCOPE
from local.broker.certificates import self_signed
from revoker.caller import Caller
from revoker.doctor import network, service_bus, tokens
from revoker.doctor.face import read_right
from revoker.failure import Failure
from revoker.service_bus_errors import explain
from tests.revoker.clouds import CloudThread
from tests.revoker.conftest import LONG_LOCKS, OneQueue, Ran, revoker
from tests.revoker.servers import serving
from tests.unit.fakes import verdict


def examined(environment: dict[str, str], *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the exit code, and the failed checks by name."""
    ran = revoker(environment, "doctor", "--json", *arguments)
    checks = ran.json["checks"]
    return ran.code, {each["name"]: each for each in checks if each["state"] == "failed"}


def the_fault(environment: dict[str, str], *arguments: str) -> tuple[str, str, str]:
    """Return name, detail and remedy of the only check that failed."""
    code, wrong = examined(environment, *arguments)
    assert (code, len(wrong)) == (1, 1), wrong
    (check,) = wrong.values()
    return check["name"], check["detail"], check["remedy"]


def test_finds_nothing_wrong_in_a_healthy_deployment(cloud: CloudThread) -> None:
    """All checks pass; nothing is sent or deleted."""
    (existing,) = cloud.ask(cloud.cloud.face, "POST", "/_local/sessions", {"count": 1})
    before = cloud.ask(cloud.cloud.broker, "GET", "/queues")
    ran = revoker(cloud.cloud.environment, "doctor")
    assert ran.code == 0, ran.out
    assert ran.out.splitlines()[-1] == "All 14 checks passed."
    assert re.search(r"SessionNotFound in \d+\.\d s$", ran.out, re.MULTILINE)
    assert cloud.ask(cloud.cloud.broker, "GET", "/queues") == before
    sessions = cloud.ask(cloud.cloud.face, "GET", "/_local/sessions")
    assert existing in [each["id"] for each in sessions]


@pytest.mark.parametrize(
    ("variable", "value", "cause"),
    [
        ("FACE_ENDPOINT", "", "FACE_ENDPOINT must be"),
        ("FACE_API_VERSION", "2024-01-01", "must look like v1.2"),
        ("FACE_MAX_CALLS_PER_SECOND", "many", "must be a number"),
    ],
)
def test_names_each_setting_that_is_wrong(
    cloud: CloudThread, variable: str, value: str, cause: str
) -> None:
    """A regional endpoint, a missing setting and invalid ones are each named."""
    name, detail, _ = the_fault(cloud.cloud.environment | {variable: value})
    assert name == "settings"
    assert variable in detail
    assert cause in detail


def test_names_an_endpoint_that_does_not_exist(cloud: CloudThread) -> None:
    """A wrong endpoint shows as a name that cannot be resolved."""
    environment = cloud.cloud.environment | {"FACE_TOKEN_SCOPE": SCOPE}
    name, detail, action = the_fault(
        environment, "--face-endpoint", "https://no-such-resource.invalid"
    )
    assert (name, "no-such-resource.invalid" in detail) == ("Face name", True)
    assert "FACE_ENDPOINT" in action


def test_session_names_the_setting_for_an_unknown_cloud(cloud: CloudThread) -> None:
    """No token is requested for an endpoint whose scope is unknown."""
    environment = cloud.cloud.environment | {"FACE_ENDPOINT": "https://face.contoso.com"}
    ran = revoker(environment, "session", "s-1")
    assert ran.code == 2
    assert "set FACE_TOKEN_SCOPE to the scope" in " ".join(ran.err.split())


def test_names_an_endpoint_that_is_not_a_face_api(cloud: CloudThread) -> None:
    """If an endpoint answers but knows no version of the API, the remedy is to check it."""
    with serving(lambda _: web.Response(status=404)) as endpoint:
        name, detail, action = the_fault(cloud.cloud.environment, "--face-endpoint", endpoint)
    assert name == "API version"
    assert "does not know any version" in detail
    assert "check FACE_ENDPOINT" in action


def test_names_the_api_versions_that_the_resource_knows(cloud: CloudThread) -> None:
    """For an unknown version, the remedy names those that the resource knows."""
    name, detail, action = the_fault(cloud.cloud.environment, "--api-version", "v9.9")
    assert name == "API version"
    assert "v9.9" in detail
    assert "FACE_API_VERSION" in action
    assert "knows v1.2-preview.1, v1.2" in action


def test_names_the_role_that_is_missing(cloud: CloudThread) -> None:
    """PermissionDenied means that the right is missing; the remedy is the one the function logs."""
    with cloud.configured(cloud.cloud.face, deny_role=True):
        name, detail, action = the_fault(cloud.cloud.environment)
    assert name == "Face right to delete"
    assert "right to delete sessions is missing" in detail
    assert action == verdict(403, "PermissionDenied").remedy


def test_names_a_resource_that_is_not_approved(cloud: CloudThread) -> None:
    """UnsupportedFeature means that approval is missing, not a role."""
    with cloud.configured(cloud.cloud.face, feature_unsupported=True):
        _, detail, action = the_fault(cloud.cloud.environment)
    assert "not approved" in detail
    assert "limited access" in action


def test_names_a_token_that_has_expired(cloud: CloudThread) -> None:
    """An expired token fails its own check, and the checks that need a token are skipped."""
    with cloud.configured(cloud.cloud.identity, issue="expired"):
        ran = revoker(cloud.cloud.environment, "doctor")
        name, detail, action = the_fault(cloud.cloud.environment)
    assert (name, "expired" in detail, "clock" in action) == ("Face token", True, True)
    assert (ran.code, ran.out.count("Face token failed")) == (1, 2)
    assert ran.out.splitlines()[-1] == "1 of 14 checks failed, 2 were skipped."


def test_names_a_token_for_something_else(cloud: CloudThread) -> None:
    """For a token with another audience, both audiences are named."""
    with cloud.configured(cloud.cloud.identity, issue="wrong_audience"):
        name, detail, _ = the_fault(cloud.cloud.environment)
    assert (name, "for https://management.azure.com" in detail) == ("Face token", True)


def test_names_an_identity_that_gives_no_token(cloud: CloudThread) -> None:
    """If the identity endpoint fails, it is the token that is missing and not a right."""
    with cloud.configured(cloud.cloud.identity, fail=True, fail_status=400):
        name, detail, action = the_fault(cloud.cloud.environment)
    assert name == "Face token"
    assert "No Microsoft Entra token" in detail
    assert "the app has the identity" in action


def test_names_a_queue_that_is_missing(cloud: CloudThread) -> None:
    """A missing queue is reported as missing, and not as a missing right."""
    code, wrong = examined(cloud.cloud.environment, "--queue", "nowhere")
    assert code == 1
    assert all("nowhere does not exist" in each["detail"] for each in wrong.values())
    assert set(wrong) == {
        *("queue, right to receive", "dead letters, right to receive", "queue, right to send"),
    }


def test_names_a_queue_of_receipts_that_is_missing(cloud: CloudThread) -> None:
    """Where receipts are wanted, their queue must exist, and the remedy names its setting."""
    name, detail, action = the_fault(cloud.cloud.environment | {"OUTCOME_QUEUE": "nowhere"})
    assert name == "receipts, right to send"
    assert "nowhere does not exist" in detail
    assert "--outcome-queue or OUTCOME_QUEUE" in action


def test_says_whether_receipts_are_wanted(cloud: CloudThread, queue: OneQueue) -> None:
    """A queue of receipts that takes messages passes, with nothing sent; off, a line says so."""

    def line(environment: dict[str, str], *arguments: str) -> str:
        ran = revoker(environment, "doctor", *arguments)
        assert ran.code == 0, ran.out
        (found,) = (line for line in ran.out.splitlines() if "receipts" in line)
        return found.strip()

    off = line(cloud.cloud.environment)
    assert off.startswith(
        "ok  receipts, right to send: not needed, because OUTCOME_QUEUE is not set"
    )
    environment = cloud.cloud.environment | queue.environment
    on = line(environment, "--outcome-queue", LONG_LOCKS)
    assert on.endswith(f"{LONG_LOCKS}: a sender was opened, and nothing was sent")


def test_names_the_right_to_send_that_is_missing(cloud: CloudThread, queue: OneQueue) -> None:
    """With the right to listen alone, only the check of the right to send fails."""
    listener = queue.broker.with_key("listener", "c2Vj")
    environment = cloud.cloud.environment | queue.environment | {"ServiceBusConnection": listener}
    name, detail, action = the_fault(environment)
    assert name == "queue, right to send"
    assert "no right to Send" in detail
    assert "Azure Service Bus Data Sender" in action


def test_names_the_right_to_receive_that_is_missing(cloud: CloudThread, queue: OneQueue) -> None:
    """With the right to send alone, the checks of the queue and of its dead letters fail."""
    sender = queue.broker.with_key("sender", "c2Vj")
    environment = cloud.cloud.environment | queue.environment | {"ServiceBusConnection": sender}
    _, wrong = examined(environment)
    assert set(wrong) == {"queue, right to receive", "dead letters, right to receive"}
    assert all("Azure Service Bus Data Receiver" in each["remedy"] for each in wrong.values())


def test_names_a_namespace_that_cannot_be_reached(cloud: CloudThread) -> None:
    """For a closed port, the remedy names the port, and the Face API is still checked."""
    name, detail, action = the_fault(cloud.cloud.environment | at("127.0.0.1:9"))
    assert (name, "127.0.0.1:9" in detail, "port 9" in action) == ("Service Bus TLS", True, True)
    assert action.startswith("Is the local cloud still running")
    assert action.endswith(" ServiceBusConnection.")


def at(address: str) -> dict[str, str]:
    """Return a connection string for a broker at this address."""
    keys = "SharedAccessKeyName=k;SharedAccessKey=c2Vj;UseDevelopmentEmulator=true;"
    return {"ServiceBusConnection": f"Endpoint=sb://{address};{keys}"}


def test_names_an_address_that_is_not_one(cloud: CloudThread) -> None:
    """A port that is not a number is a failed check, and no other check suffers from it."""
    name, detail, action = the_fault(cloud.cloud.environment | at("namespace:port"))
    assert (name, "not an address" in detail) == ("Service Bus name", True)
    assert action == "Correct ServiceBusConnection."


def test_names_who_intercepts_tls(cloud: CloudThread, tmp_path: Path) -> None:
    """For a certificate that is not trusted, its issuer is named."""
    context = self_signed("Example Corp Proxy", tmp_path)
    with serving(lambda _: web.Response(status=404), context) as endpoint:
        name, detail, action = the_fault(cloud.cloud.environment, "--face-endpoint", endpoint)
    assert name == "Face TLS"
    assert "Example Corp Proxy" in detail
    assert "a proxy intercepts TLS" in action


async def test_trusts_the_authorities_that_the_function_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private authority is trusted if SSL_CERT_FILE names it."""
    context = self_signed("Example Corp Proxy", tmp_path)
    certificate = str(tmp_path / "certificate.pem")
    with serving(lambda _: web.Response(), context) as endpoint:
        target = network.Target.of(endpoint, 443, tls=True, setting="X")
        with pytest.raises(Failure, match="cannot be trusted"):
            await network.connect(target, Caller.LOGIN)
        monkeypatch.setenv("SSL_CERT_FILE", certificate)
        assert "Example Corp Proxy" in await network.connect(target, Caller.LOGIN)


async def test_leaves_service_bus_behind_a_proxy_to_its_client() -> None:
    """Where only the proxy leads to Service Bus, a direct connection would prove nothing."""
    environment = {
        "ServiceBusConnection__fullyQualifiedNamespace": "contoso.servicebus.windows.net",
        "AzureFunctionsJobHost__extensions__serviceBus__transportType": "amqpWebSockets",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    name, tls, *_ = service_bus.checks(environment)
    assert "left to the proxy" in await name.probe()
    assert "left to the proxy" in await tls.probe()


def test_names_a_clock_that_is_off(cloud: CloudThread) -> None:
    """The Face API's Date header shows by how much the clock is off, and in which direction."""

    def an_hour_ahead(_: web.Request) -> web.Response:
        return web.json_response(
            {"error": {"code": "SessionNotFound", "message": ""}},
            status=404,
            headers={"Date": formatdate(time() + 3600, usegmt=True)},
        )

    with serving(an_hour_ahead) as endpoint:
        name, detail, action = the_fault(cloud.cloud.environment, "--face-endpoint", endpoint)
    assert name == "clock"
    assert re.search(r"(3599|360\d) s behind", detail)
    assert "NTP" in action


def test_a_token_that_cannot_be_read_is_not_a_fault() -> None:
    """A token that is not a JSON Web Token passes, and names no caller."""
    assert tokens.read("opaque", "https://a/.default") == "for an unnamed caller"
    assert tokens.read("a.b.c", "https://a/.default") == "for an unnamed caller"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((401, "401"), (401, "PermissionDenied"), (403, "PermissionDenied"), (403, "403")),
        *((404, "404"), (302, "HTTP 302")),
    ],
)
def test_has_the_remedy_that_the_function_has(status: int, code: str) -> None:
    """If the function's log names a remedy for an answer, the doctor names the same one."""
    answer = verdict(status, code)
    with pytest.raises(Failure) as failed:
        read_right(answer, Caller.FUNCTION)
    assert failed.value.remedy == answer.remedy


@pytest.mark.parametrize(
    ("status", "code", "message", "action"),
    [
        (401, "PermissionDenied", "", "assign your login the role"),
        (403, "403", "Access denied due to Virtual Network/Firewall rules.", "let it in"),
        (403, "403", "Public access is disabled.", "has the private endpoint"),
        (403, "403", "", "between this machine and FACE_ENDPOINT"),
        (401, "401", "", "az login --tenant"),
        (400, "400", "Token tenant a does not match resource tenant.", "az login --tenant"),
    ],
)
def test_does_not_blame_the_function_for_a_login(
    status: int, code: str, message: str, action: str
) -> None:
    """A person who is refused is told so, and not to change the resource for the function."""
    with pytest.raises(Failure) as failed:
        read_right(verdict(status, code, message=message), Caller.LOGIN)
    assert failed.value.cause.startswith("Your login on this machine was refused.")
    assert action in failed.value.remedy
    assert "says nothing about the function: do not change the resource" in failed.value.remedy


@pytest.mark.parametrize("code", ["UnsupportedFeature", "404"])
def test_a_fault_of_the_resource_is_the_same_for_everybody(code: str) -> None:
    """Its remedy does not depend on who asked."""
    answer = verdict(404 if code == "404" else 403, code)
    remedies = set()
    for caller in Caller:
        with pytest.raises(Failure) as failed:
            read_right(answer, caller)
        remedies.add(failed.value.remedy)
    assert len(remedies) == 1


async def test_a_port_that_is_closed_to_a_laptop_opens_no_firewall() -> None:
    """The remedy for the function would be wrong for a person on their own machine."""
    target = network.Target(host="0.0.0.0", port=9, tls=False, setting="S")
    with pytest.raises(Failure) as failed:
        await network.connect(target, Caller.LOGIN)
    assert "do not open a firewall" in failed.value.remedy


@pytest.mark.parametrize("caller", Caller)
def test_says_who_has_no_right_to_the_queue(caller: Caller) -> None:
    """And gives the right to them, not to somebody else."""
    failure = explain(ServiceBusAuthorizationError(), "ns", "q", "Send", caller=caller)
    assert failure.cause.startswith(f"{caller} has no right to Send")
    assert ("yourself" in failure.remedy) == (caller is not Caller.FUNCTION)
    assert "Azure Service Bus Data Sender" in failure.remedy


def test_never_names_itself_as_the_remedy(cloud: CloudThread) -> None:
    """Other verbs name the doctor; the doctor does not."""
    environment = cloud.cloud.environment | at("127.0.0.1:9")
    assert "revoker doctor" not in revoker(environment, "doctor").out
    assert "revoker doctor" in revoker(environment, "status").err


@pytest.mark.parametrize(
    ("status", "code", "action"),
    [
        (403, "UnsupportedFeature", "limited access"),
        (400, "NobodyKnows", "documentation"),
        (429, "429", "other callers"),
        (500, "Unspecified", "Try again"),
    ],
)
def test_has_a_remedy_where_the_function_has_none(status: int, code: str, action: str) -> None:
    """Answers for which the deployment is not to blame have remedies of the doctor's own."""
    answer = verdict(status, code)
    assert answer.remedy is None
    with pytest.raises(Failure) as failed:
        read_right(answer, Caller.FUNCTION)
    assert action in failed.value.remedy


# ---- revoker session ----


def ask(cloud: CloudThread, *arguments: str) -> Ran:
    return revoker(cloud.cloud.environment, "session", *arguments)


def test_session_exists_is_gone_or_cannot_be_told(cloud: CloudThread) -> None:
    """The exit code is 1 if it exists, under either type, 0 if it is gone, 3 if it is unknown."""
    body = {"ids": ["a-session"], "type": "liveness"}
    cloud.ask(cloud.cloud.face, "POST", "/_local/sessions", body)
    found = ask(cloud, "a-session", "--json")
    assert (found.code, found.json["existence"]) == (1, "exists")
    assert found.json["session_type"] == "liveness"
    gone = ask(cloud, "another")
    assert (gone.code, "is gone" in gone.out) == (0, True)
    other_type = ask(cloud, "a-session", "--type", "livenessWithVerify")
    assert "a-session was not found as livenessWithVerify" in other_type.out
    assert "gone" not in other_type.out
    with cloud.configured(cloud.cloud.face, deny_role=True):
        unknown = ask(cloud, "a-session")
    assert unknown.code == 3
    assert "may not read sessions" in unknown.err
    wrong_version = ask(cloud, "a-session", "--api-version", "v9.9", "--json")
    assert wrong_version.code == 3
    assert wrong_version.json["remedy"] == verdict(404, "404").remedy
    assert ask(cloud, "a/b").code == 2
    assert revoker({}, "session", "a").code == 2

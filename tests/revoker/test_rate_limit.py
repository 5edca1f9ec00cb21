"""The doctor's check of the Face account's own rate limit, against an Azure Resource Manager that is
an HTTP server on this machine."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web

from delete_session.endpoint import SCOPE
from revoker.doctor import account, rate_limit
from revoker.doctor.account import MANAGERS, Limit
from revoker.doctor.rate_limit import INSTANCES, PERCENT_OF_LIMIT, Rates, judge
from revoker.doctor.runner import Result, State, Warned, run
from revoker.failure import Failure
from tests.revoker.clouds import CloudThread
from tests.revoker.conftest import revoker
from tests.revoker.servers import serving

ROOT = Path(__file__).parents[2]
ONE, TWO = ("00000000-0000-0000-0000-00000000000" + digit for digit in "12")
ENDPOINT = "https://my-face.cognitiveservices.azure.com"
ID = (
    f"/subscriptions/{ONE}/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/my-face"
)
TEN = {"count": 10.0, "renewalPeriod": 1.0}


def described(limit: Any, endpoint: str = f"{ENDPOINT}/", name: str = "my-face") -> dict[str, Any]:
    """Return an account as Azure Resource Manager describes it."""
    properties = {"customSubDomainName": name, "endpoint": endpoint, "callRateLimit": limit}
    return {"id": f"{ID[:-7]}{name}", "name": name, "kind": "Face", "properties": properties}


OTHER = described({"count": "many"}, "https://other.cognitiveservices.azure.com/", "other")


@dataclass
class Manager:
    """What the server has, by subscription; and what it was asked."""

    accounts: dict[str, Any]
    """A list, or the answer itself."""
    asked: list[web.Request] = field(default_factory=list)
    hang: bool = False
    address: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        if self.hang:
            await asyncio.sleep(60)
        parts = request.path.strip("/").split("/")
        if parts == ["subscriptions"]:
            found = [{"subscriptionId": each, "state": "Enabled"} for each in self.accounts]
            return web.json_response({"value": found, "count": {"value": len(found)}})
        accounts = self.accounts[parts[1]]
        if isinstance(accounts, web.Response):
            return accounts
        if "resourceGroups" in parts:
            named = [each for each in accounts if each["name"] == parts[-1]]
            return web.json_response(named[0]) if named else refusal(404, "ResourceNotFound")
        # One account a page.
        page = int(request.query.get("$skiptoken", "0"))
        answer: dict[str, Any] = {"value": accounts[page : page + 1]}
        if page + 1 < len(accounts):
            answer["nextLink"] = f"{self.address}{request.path}?api-version=x&$skiptoken={page + 1}"
        return web.json_response(answer)

    @property
    def paths(self) -> list[str]:
        return [each.path for each in self.asked]


def refusal(status: int, code: str) -> web.Response:
    said = {"error": {"code": code, "message": "The client '…' does not have authorization."}}
    return web.json_response(said, status=status)


@contextmanager
def managing(
    monkeypatch: pytest.MonkeyPatch, accounts: dict[str, Any], *, hang: bool = False
) -> Iterator[Manager]:
    """Run an Azure Resource Manager in the place of the public cloud's."""
    manager = Manager(accounts, hang=hang)
    with serving(manager.answer) as manager.address:
        monkeypatch.setitem(MANAGERS, SCOPE, manager.address)
        yield manager


@pytest.fixture
def environment(cloud: CloudThread, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings for an account in Azure, and the local cloud's identity."""
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.setenv(name, cloud.cloud.environment[name])
    return {
        "FACE_ENDPOINT": ENDPOINT,
        "FACE_MAX_CALLS_PER_SECOND": "8",
        "MAXIMUM_INSTANCE_COUNT": "2",
    }


def examined(environment: dict[str, str]) -> Result:
    """Run this check alone."""
    (check,) = rate_limit.checks(environment)
    (result,) = asyncio.run(run([replace(check, needs=())]))
    return result


def skipped(environment: dict[str, str]) -> str:
    """Run this check alone, which has to be skipped; return why: one line, without a remedy."""
    result = examined(environment)
    assert result.state is State.SKIPPED, result
    assert result.remedy == ""
    assert "\n" not in result.detail
    assert "Traceback" not in result.detail
    return result.detail


def test_shows_the_limit_beside_the_settings(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account is found by its endpoint, on any page, in any subscription that may be read."""
    accounts = {TWO: refusal(403, "AuthorizationFailed"), ONE: [OTHER, described(TEN)]}
    with managing(monkeypatch, accounts) as manager:
        result = examined(environment)
    assert result == Result(
        "Face rate limit",
        State.OK,
        "my-face allows 10 calls in 1 s; FACE_MAX_CALLS_PER_SECOND is 8, 80 % of it for each "
        "instance; MAXIMUM_INSTANCE_COUNT is 2; FACE_MIN_CALLS_PER_SECOND is empty, which means 0.2",
    )
    assert {each.method for each in manager.asked} == {"GET"}
    for each in manager.asked:
        bearer = each.headers["authorization"].removeprefix("Bearer ")
        claims = jwt.decode(bearer, options={"verify_signature": False})
        assert claims["aud"] == manager.address


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (TEN, "10 calls in 1 s; "),
        ({"count": 100, "renewalPeriod": 10, "rules": []}, "100 calls in 10 s (10 a second); "),
    ],
)
def test_reads_a_limit_in_a_window_of_any_length(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, limit: Any, shown: str
) -> None:
    """10 calls in 1 s and 100 calls in 10 s are the same rate."""
    with managing(monkeypatch, {ONE: [described(limit)]}):
        result = examined(environment)
    assert result.state is State.OK
    assert shown in result.detail
    assert "80 % of it" in result.detail


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        (None, "my-face tells no rate limit for all its calls"),
        ({}, "my-face tells no rate limit for all its calls"),
        ({"count": 10, "renewalPeriod": None}, "my-face tells no rate limit for all its calls"),
        ({"count": 0, "renewalPeriod": 0}, "my-face tells no rate limit for all its calls"),
        (
            {"count": 1e-300, "renewalPeriod": 1e300},
            "my-face tells no rate limit for all its calls",
        ),
        (
            {"count": None, "renewalPeriod": None, "rules": [{"key": "face", "count": 30.0}]},
            "my-face tells no rate limit for all its calls, only 1 for single paths",
        ),
        ({"count": "ten", "renewalPeriod": 1}, "the callRateLimit of my-face cannot be read"),
        ([10, 1], "the callRateLimit of my-face cannot be read"),
        ("10/s", "the callRateLimit of my-face cannot be read"),
    ],
)
def test_says_so_if_the_account_tells_no_limit(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, limit: Any, why: str
) -> None:
    """A limit that is missing, null or of another shape is one sentence, and no fault."""
    with managing(monkeypatch, {ONE: [described(limit)]}):
        assert skipped(environment) == why


@pytest.mark.parametrize(
    ("accounts", "why"),
    [
        ({}, "this login may read no subscription"),
        ({ONE: []}, "no account with the endpoint my-face.cognitiveservices.azure.com in one sub"),
        ({ONE: [OTHER], TWO: []}, "in 2 subscriptions; --face-account names one"),
        (
            {ONE: refusal(403, "AuthorizationFailed")},
            "this login may not read the Face account (HTTP 403 AuthorizationFailed)",
        ),
        ({ONE: web.Response(status=401)}, "this login may not read the Face account (HTTP 401)"),
        ({ONE: refusal(429, "TooManyRequests")}, "answered HTTP 429 TooManyRequests"),
        ({ONE: web.Response(status=302)}, "answered HTTP 302"),
        ({ONE: web.json_response([1, 2])}, "cannot be read"),
        ({ONE: web.json_response({"value": [{"name": 5}]})}, "cannot be read"),
        ({ONE: web.Response(text="<html>Sign in</html>")}, "cannot be read"),
        ({ONE: web.Response(body=b"no gzip", headers={"content-encoding": "gzip"})}, "DecodingErr"),
    ],
)
def test_says_so_if_the_account_cannot_be_read(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, accounts: Any, why: str
) -> None:
    """A refusal, no subscription, no such account and an odd answer are each one sentence."""
    with managing(monkeypatch, accounts) as manager:
        assert why in skipped(environment)
    assert len(manager.asked) == len(set(manager.paths)), "asked more than once"


def test_waits_for_no_answer_for_long(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an answer in time there is one sentence, after one attempt."""
    monkeypatch.setattr(rate_limit, "LOOKUP_SECONDS", 0.5)
    with managing(monkeypatch, {ONE: []}, hang=True) as manager:
        before = time.monotonic()
        assert skipped(environment).endswith("did not answer within 0.5 s")
        assert time.monotonic() - before < 5
    assert manager.paths == ["/subscriptions"]


def test_says_so_if_nobody_is_there(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, cloud: CloudThread
) -> None:
    """A closed port, and an identity without a token, are each one sentence."""
    monkeypatch.setitem(MANAGERS, SCOPE, "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 does not answer: ConnectError" in skipped(environment)
    with cloud.configured(cloud.cloud.identity, fail=True, fail_status=400):
        assert "No Microsoft Entra token" in skipped(environment)
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setitem(MANAGERS, SCOPE, "https://management.invalid")
    assert "HTTPS_PROXY must be" in skipped(environment)


def test_a_login_for_the_face_api_alone_is_one_sentence(tmp_path: Path) -> None:
    """If the Azure CLI refuses the second token, standard error stays empty."""
    az = tmp_path / "az"
    az.write_text(
        "#!/bin/sh\n"
        'case "$*" in *management*) echo "ERROR: AADSTS50076: use MFA" >&2; exit 1;; esac\n'
        """echo '{"accessToken": "opaque", "expires_on": 4000000000}'\n"""
    )
    az.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("IDENTITY_", "FACE_"))}
    environment = kept | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "FACE_ENDPOINT": "https://no-such-resource.invalid",
        "FACE_TOKEN_SCOPE": SCOPE,
        "FACE_ACCOUNT_ID": ID,
    }
    command = [sys.executable, "-m", "revoker", "doctor", "--json"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    check = json.loads(done.stdout)["checks"][-1]
    assert (check["name"], check["state"]) == ("Face rate limit", "skipped")
    assert check["detail"] == (
        "No Microsoft Entra token: ERROR: AADSTS50076: use MFA (for https://management.azure.com)"
    )


def test_searches_a_bounded_number_of_subscriptions(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many subscriptions the first ones are searched, and of many pages the first ones."""
    monkeypatch.setattr(account, "MAX_SUBSCRIPTIONS", 2)
    monkeypatch.setattr(account, "MAX_PAGES", 3)
    many = {f"s-{number}": [OTHER] * 9 for number in range(5)}
    with managing(monkeypatch, many) as manager:
        assert "in the first 2 of 5 subscriptions" in skipped(environment)
    assert len(manager.asked) == 1 + 2 * 3


def test_follows_no_link_to_another_host(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token for Azure Resource Manager is sent nowhere else."""
    with managing(monkeypatch, {}) as elsewhere:
        stranger = web.json_response({"value": [], "nextLink": f"{elsewhere.address}/more"})
        with managing(monkeypatch, {ONE: stranger}):
            assert "sees no account" in skipped(environment)
    assert elsewhere.asked == []


def test_asks_only_where_it_is_told_to(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a subscription, only that one is searched; with a resource id, nothing is."""
    with managing(monkeypatch, {ONE: [described(TEN)], TWO: []}) as manager:
        within = examined(environment | {"AZURE_SUBSCRIPTION_ID": ONE})
        assert (within.state, len(manager.asked)) == (State.OK, 1)
        named = examined(environment | {"FACE_ACCOUNT_ID": ID})
        assert (named.state, manager.paths[1:]) == (State.OK, [ID])
        missing = skipped(environment | {"FACE_ACCOUNT_ID": f"{ID}2"})
        assert missing.endswith("answered HTTP 404 ResourceNotFound")


def test_a_gateway_of_ones_own_has_the_account_that_is_named(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that is no account's own is not searched for; the resource id names the account."""
    environment |= {"FACE_ENDPOINT": "https://face.example.com", "FACE_TOKEN_SCOPE": SCOPE}
    with managing(monkeypatch, {ONE: [described(TEN)]}) as manager:
        assert "name the account by --face-account" in skipped(environment)
        assert manager.asked == []
        assert examined(environment | {"FACE_ACCOUNT_ID": ID}).state is State.OK
    other = environment | {"FACE_TOKEN_SCOPE": "api://gateway/.default"}
    assert "FACE_TOKEN_SCOPE" in skipped(other)


def test_a_wrong_resource_id_is_a_fault(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no resource id, and the id of another endpoint's account, are to be corrected."""
    wrong = examined(environment | {"FACE_ACCOUNT_ID": "my-face"})
    assert (wrong.state, "--face-account" in wrong.remedy) == (State.FAILED, True)
    with managing(monkeypatch, {ONE: [described(TEN), OTHER]}):
        other = examined(environment | {"FACE_ACCOUNT_ID": ID.replace("my-face", "other")})
    assert other.state is State.FAILED
    assert "other has the endpoint other.cognitiveservices.azure.com, not my-face" in other.detail


@pytest.mark.parametrize(
    "wrong",
    [
        {"FACE_ENDPOINT": ""},
        {"FACE_MAX_CALLS_PER_SECOND": "many"},
        {"MAXIMUM_INSTANCE_COUNT": "0"},
    ],
)
def test_is_skipped_if_the_settings_are_wrong(
    environment: dict[str, str], wrong: dict[str, str]
) -> None:
    """The check of the settings says what is wrong with them."""
    assert skipped(environment | wrong) == "its settings are wrong"


@pytest.mark.parametrize(
    ("suffix", "manager"),
    [
        ("com", "https://management.azure.com"),
        ("us", "https://management.usgovcloudapi.net"),
        ("cn", "https://management.chinacloudapi.cn"),
    ],
)
def test_asks_the_manager_of_its_own_cloud(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, suffix: str, manager: str
) -> None:
    """The endpoint's suffix decides over the manager and the scope of its tokens."""
    scopes = []

    async def no_token(scope: str, client_id: str | None) -> str:
        scopes.append(scope)
        raise Failure("No token.", "")

    monkeypatch.setattr(rate_limit, "token", no_token)
    environment |= {"FACE_ENDPOINT": f"https://my-face.cognitiveservices.azure.{suffix}"}
    assert skipped(environment) == f"No token (for {manager})"
    assert scopes == [f"{manager}/.default"]


# ---- the judgement ----


@pytest.mark.parametrize("limit", [Limit(10, 1), Limit(100, 10)])
@pytest.mark.parametrize(
    ("rates", "cause", "remedy"),
    [
        (Rates(12, None), "FACE_MAX_CALLS_PER_SECOND is 12, more than that;", "to 8 (80 %"),
        (Rates(10, None), "FACE_MAX_CALLS_PER_SECOND is 10, all of it for one", "to 8 (80 %"),
        (
            Rates(12, None, most_is_set=False),
            "since it is not set here)",
            "See what the app itself has",
        ),
        (Rates(8, 5), "SECOND is 5, so that 2 instances leave nothing", "leave it empty"),
        (Rates(8, 0.5, 20), "is 0.5, so that 20 instances leave nothing", "leave it empty"),
        (Rates(10, 10, 1), "is 10, so that it leaves nothing", "leave it empty"),
    ],
)
def test_warns_if_the_settings_take_the_whole_limit(
    limit: Limit, rates: Rates, cause: str, remedy: str
) -> None:
    """One instance at full speed, or all at the rate they never fall below, leave nothing."""
    with pytest.raises(Warned) as warned:
        judge("my-face", limit, rates)
    assert cause in warned.value.cause
    assert "my-face allows" in warned.value.cause
    assert remedy in warned.value.remedy


@pytest.mark.parametrize(
    "rates",
    [Rates(8, None), Rates(9.9, 4.9), Rates(0.1, 0.01), Rates(8, 5, 1), Rates(8, None, 1000)],
)
def test_does_not_warn_of_what_leaves_something(rates: Rates) -> None:
    """What infra/ deploys by default is no reason for a warning."""
    said = judge("my-face", Limit(10, 1), rates)
    assert f"FACE_MAX_CALLS_PER_SECOND is {rates.most:g}" in said
    assert "FACE_MIN_CALLS_PER_SECOND is " in said


@pytest.mark.parametrize(("given", "least"), [("", "0.2"), ("1", "0.4"), (" 40 ", "0.01")])
def test_the_guaranteed_share_follows_from_the_number_of_instances(given: str, least: str) -> None:
    """As in the limiter, all instances together have a twentieth of the most of one."""
    said = judge("my-face", Limit(10, 1), Rates.read({INSTANCES.name: given}))
    assert said.endswith(f"FACE_MIN_CALLS_PER_SECOND is empty, which means {least}")
    assert ("COUNT is 2 (the default, since it is not set here);" in said) is not bool(given)


def test_proposes_what_infra_would_set() -> None:
    """Tier F0 allows 20 calls a minute: 80 % of it, in thousandths as in infra/."""
    with pytest.raises(Warned, match=r"Set FACE_MAX_CALLS_PER_SECOND to 0\.266 \(80 %"):
        judge("f0", Limit(20, 60), Rates(8, None))
    with pytest.raises(Warned, match="Have the account's limit raised"):
        judge("tiny", Limit(6, 60), Rates(8, None))


def test_reckons_as_infra_does() -> None:
    """The part for each instance and the number of instances are those of the Bicep files."""
    access = (ROOT / "infra/modules/face-access.bicep").read_text()
    assert re.findall(r"quotaThousandths \* (\d+) / 100\)", access) == [str(PERCENT_OF_LIMIT)]
    main = (ROOT / "infra/main.bicep").read_text()
    assert re.findall(r"param maximumInstanceCount int = (\d+)", main) == [INSTANCES.default]
    assert Rates(8, None).instances == INSTANCES.parse(INSTANCES.default or "")


def test_a_warning_is_no_failure(cloud: CloudThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command shows a warning with its remedy; the exit code is 0."""
    monkeypatch.setattr(rate_limit, "is_loopback", lambda _: False)
    settings = cloud.cloud.environment | {"FACE_MAX_CALLS_PER_SECOND": "12"}
    accounts = {ONE: [described(TEN, settings["FACE_ENDPOINT"])]}
    with managing(monkeypatch, accounts):
        ran = revoker(settings, "doctor", "--face-account", ID)
        told = revoker(settings, "doctor", "--face-account", ID, "--json").json
    assert ran.code == 0
    assert "warning  Face rate limit: my-face allows 10 calls in 1 s; FACE_MAX" in ran.out
    assert "\n         → Set FACE_MAX_CALLS_PER_SECOND to 8" in ran.out
    assert ran.out.splitlines()[-1] == "All 15 checks passed, 1 gave a warning."
    assert told["healthy"] is True
    assert told["checks"][-1]["state"] == "warning"

"""The local Face API, by hand-made requests: paths, tokens, quota and every fault."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from local import tokens
from local.face.faults import BadRule, Faults, Rule

from .conftest import KEY, Emulator, bearer

NESTED = "/face/v1.2-preview.1/detectLivenessWithVerify/singleModal/sessions"
FLAT = "/face/v1.2/detectLivenessWithVerify-sessions"


class Api:
    """A client with a good token, and the control API."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def delete(self, session_id: str = "a", base: str = NESTED, **more: Any) -> httpx.Response:
        return self.client.delete(f"{base}/{session_id}", **more)

    def tell(self, what: str, body: Any) -> Any:
        response = self.client.post(f"/_local/{what}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def sessions(self) -> set[str]:
        return {each["id"] for each in self.client.get("/_local/sessions").json()}


@contextmanager
def opened(service: Emulator) -> Iterator[Api]:
    """A client of the service, which has the sessions a and b."""
    headers = {"Authorization": f"Bearer {bearer()}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=3) as client:
        made = Api(client)
        made.tell("sessions", {"ids": ["a", "b"]})
        yield made


@pytest.fixture
def api(face_service: Emulator) -> Iterator[Api]:
    with opened(face_service) as made:
        yield made


def error(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a FaceError, which body and header agree on."""
    code: str = response.json()["error"]["code"]
    assert response.headers["x-ms-error-code"] == code
    assert response.headers["apim-request-id"]
    return response.status_code, code


@pytest.mark.parametrize(
    ("base", "status"),
    [
        (NESTED, 200),
        (NESTED.replace("v1.2-preview.1", "v1.1-preview.1"), 200),
        (FLAT, 204),
        (FLAT.replace("v1.2", "v1.3-preview.1"), 204),
    ],
)
def test_deletion_works_once_on_both_path_shapes(api: Api, base: str, status: int) -> None:
    """The success status follows the version; then the session is not found."""
    response = api.delete(base=base)
    assert (response.status_code, response.content) == (status, b"")
    assert error(api.delete(base=base)) == (404, "SessionNotFound")
    assert api.sessions() == {"b"}


@pytest.mark.parametrize(
    "base",
    [
        NESTED.replace("v1.2-preview.1", "v1.2"),
        FLAT.replace("v1.2", "v1.2-preview.1"),
        NESTED.replace("v1.2-preview.1", "v9"),
        "/face/v1.2/nothing",
        "/",
    ],
)
def test_wrong_path_or_version_is_not_a_missing_session(api: Api, base: str) -> None:
    """An unknown path or version has a different code."""
    assert error(api.delete(base=base)) == (404, "404")


def test_session_of_the_other_family_can_be_unknown(api: Api) -> None:
    """With separate families, only the path shape under which it was created knows a session."""
    api.tell("config", {"separate_families": True})
    for base, other in ((NESTED, FLAT), (FLAT, NESTED)):
        created = api.client.post(base, json={"livenessOperationMode": "Passive"}).json()[
            "sessionId"
        ]
        assert error(api.delete(created, other)) == (404, "SessionNotFound")
        listed = {each["id"] for each in api.client.get(NESTED).json()}
        assert (created in listed) is (base == NESTED)
        assert api.delete(created, base).is_success
    api.tell("config", {"separate_families": False})


def test_session_of_the_other_type_is_not_found(api: Api) -> None:
    """The path has to be that of the session's type."""
    other = NESTED.replace("WithVerify", "")
    assert error(api.delete(base=other)) == (404, "SessionNotFound")
    assert "a" in api.sessions()


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": "Basic eDp5"},
        {"Authorization": "Bearer not-a-token"},
        {"Authorization": f"Bearer {bearer(lifetime_seconds=-10)}"},
        {
            "Authorization": f"Bearer {tokens.issue('x' * 32, tokens.AUDIENCE, lifetime_seconds=9)[0]}"
        },
        {"Authorization": f"Bearer {tokens.issue(KEY, 'https://x', lifetime_seconds=9)[0]}"},
    ],
)
def test_wrong_token_is_refused(api: Api, headers: dict[str, str]) -> None:
    """Signature, audience and expiry have to be right."""
    assert error(api.delete(headers=headers)) == (401, "401")
    assert "a" in api.sessions()


def test_token_without_the_role_may_not_delete(api: Api) -> None:
    """Who holds no role gets PermissionDenied, from the platform and not from the operation."""
    headers = {"Authorization": f"Bearer {bearer(may_delete=False)}"}
    response = api.delete(headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "PermissionDenied"
    assert "x-ms-error-code" not in response.headers
    assert "a" in api.sessions()


def test_key_is_refused(api: Api) -> None:
    """Local authentication is off."""
    assert api.delete(headers={"Ocp-Apim-Subscription-Key": "0" * 32}).status_code == 403


@pytest.mark.parametrize(
    ("switch", "expected"),
    [
        ("reject_tokens", (401, "401")),
        ("deny_role", (401, "PermissionDenied")),
        ("feature_unsupported", (403, "UnsupportedFeature")),
    ],
)
def test_deployment_can_be_made_wrong_and_right(
    api: Api, switch: str, expected: tuple[int, str]
) -> None:
    """A switch refuses everyone until it is put back."""
    api.tell("config", {switch: True})
    response = api.delete()
    assert (response.status_code, response.json()["error"]["code"]) == expected
    api.tell("config", {switch: False})
    assert api.delete().status_code == 200


def test_quota_is_kept_and_says_when_to_come_back(api: Api) -> None:
    """More calls than the limit allows are throttled, whatever else the answer would be."""
    api.tell("config", {"limit": "5/30", "limit_shape": "sliding"})
    answers = [api.delete("unknown") for _ in range(12)]
    assert [answer.status_code for answer in answers] == 5 * [404] + 7 * [429]
    throttled = answers[-1]
    assert error(throttled) == (429, "429")
    assert throttled.headers["Retry-After"] == "30"
    assert "Please retry after 30 seconds." in throttled.json()["error"]["message"]
    api.tell("config", {"retry_after_header": False})
    assert "Retry-After" not in api.delete("unknown").headers


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "fault", ["status", "disconnect", "garbage", "truncate", "huge", "html", "empty", "other_json"]
)
def test_fault_strikes_before_or_after_the_deletion(api: Api, fault: str, after: bool) -> None:
    """Each fault applies to one session, `count` times, before or after the deletion."""
    api.tell(
        "faults",
        {"fault": fault, "session_id": "a", "count": 1, "before": not after, "status": 503},
    )
    assert api.delete("b").status_code == 200
    try:
        assert api.delete().status_code == 503
    except httpx.TransportError:
        assert fault in ("disconnect", "garbage", "truncate")
    assert ("a" in api.sessions()) is not after
    assert api.delete().status_code == (404 if after else 200)


def test_slow_and_silent_answers(api: Api) -> None:
    """Latency delays the right answer; a hang gives none."""
    api.tell("faults", {"fault": "latency", "seconds": 0.3, "session_id": "a"})
    api.tell("faults", {"fault": "hang", "seconds": 30, "session_id": "b"})
    started = time.monotonic()
    assert api.delete().status_code == 200
    assert time.monotonic() - started >= 0.3
    with pytest.raises(httpx.ReadTimeout):
        api.delete("b", timeout=0.3)


def test_redirect_and_headers(api: Api) -> None:
    """A redirect points elsewhere; Retry-After may be anything."""
    api.tell("faults", {"fault": "redirect", "count": 1})
    assert api.delete().is_redirect
    api.tell("faults", {"fault": "status", "status": 429, "code": "429", "retry_after": 7})
    assert api.delete().headers["Retry-After"] == "7"


def test_random_faults_are_the_same_for_the_same_seed_in_any_order() -> None:
    """Randomness depends on the session and the number of its call, not on the order of calls."""
    ids = [f"s-{number}" for number in range(100)]
    rule = {"fault": "random", "probability": 0.5, "kinds": ["status:500", "disconnect"]}

    def struck(order: list[str], seed: int) -> dict[str, str | None]:
        faults = Faults(seed)
        faults.rules.append(Rule.read(rule))
        met = {each: faults.next_fault("DELETE", f"/{each}", each) for each in order}
        return {each: fault.fault if fault else None for each, fault in met.items()}

    assert struck(ids, 1) == struck(ids[::-1], 1) != struck(ids, 2)
    assert {"status", "disconnect", None} == set(struck(ids, 1).values())


def test_calls_are_recorded(new_face_service: Emulator) -> None:
    """The record has the caller, the time, the call and the answer."""
    with opened(new_face_service) as api:
        api.delete()
        api.delete("unknown")
        [deleted, missed] = api.client.get("/_local/calls").json()
        assert (deleted["session_id"], deleted["status"], deleted["method"]) == ("a", 200, "DELETE")
        assert (missed["status"], missed["code"]) == (404, "SessionNotFound")
        assert deleted["token_id"]
        assert api.client.get("/_local/calls?after=1").json() == [missed]
        assert api.client.get("/_local/stats").json()["calls"] == {"DELETE 200": 1, "DELETE 404": 1}


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("faults", {"fault": "explode"}),
        ("faults", {"fault": "status", "status": 1000}),
        ("faults", {"fault": "random"}),
        ("faults", {"fault": "random", "kinds": ["status:x"]}),
        ("faults", {"fault": "status", "probability": 2}),
        ("faults", {"fault": "status", "unknown": 1}),
        ("faults", [1]),
        ("config", {"limit": "fast"}),
        ("config", {"limit": "0/1"}),
        ("config", {"limit": 10}),
        ("config", {"limit_shape": "round"}),
        ("config", {"latency_seconds": -1}),
        ("config", {"latency_seconds": True}),
        ("config", {"unknown": 1}),
        ("config", []),
        ("sessions", {"type": "face"}),
        ("sessions", {"ids": [1]}),
    ],
)
def test_wrong_control_input_is_told(api: Api, what: str, body: Any) -> None:
    """What cannot be read is refused with the reason, and changes nothing."""
    response = api.client.post(f"/_local/{what}", json=body)
    assert response.status_code == 400
    assert response.json()["error"]
    assert api.delete().status_code == 200


def test_limit_can_be_changed_and_counts_anew(api: Api) -> None:
    """A new limit begins with none of the calls before it; another switch does not touch it."""
    api.tell("config", {"limit": "1/60", "limit_shape": "sliding"})
    assert [api.delete("unknown").status_code for _ in range(2)] == [404, 429]
    api.tell("config", {"latency_seconds": 0.01})
    assert api.delete("unknown").status_code == 429
    assert api.tell("config", {"limit": "none"})["limit_shape"] == "sliding"
    assert api.delete("unknown").status_code == 404


@pytest.mark.parametrize(
    ("base", "parts"),
    [
        (NESTED, {"Parameters": '{"livenessOperationMode": "Passive"}'}),
        (FLAT, {"livenessOperationMode": "Passive", "authTokenTimeToLiveInSeconds": "60"}),
    ],
)
def test_form_with_an_image_creates_a_session(api: Api, base: str, parts: dict[str, str]) -> None:
    """The older path shape takes one part of JSON beside the image, the newer one many of text."""
    image = {"VerifyImage": ("face.jpg", b"an ignored image")}
    created = api.client.post(base, data=parts, files=image).json()
    assert created["authToken"]
    shown = api.client.get(f"{base}/{created['sessionId']}").json()
    assert shown["status"] == "NotStarted"
    assert ("results" in shown) is (base == FLAT)
    assert (
        api.client.post(base, data={"livenessOperationMode": "x"}, files=image).status_code == 400
    )


@pytest.mark.parametrize(
    ("path", "allowed"), [(NESTED, "GET, POST"), (FLAT, "POST"), (f"{FLAT}/a", "GET, DELETE")]
)
def test_other_method_is_refused_with_those_allowed(api: Api, path: str, allowed: str) -> None:
    """A method that the path does not have is no missing resource."""
    response = api.client.put(path)
    assert error(response) == (405, "MethodNotAllowed")
    assert response.headers["Allow"] == allowed


PLATFORM = {
    "role_missing": (401, "PermissionDenied", "Principal does not have access"),
    "network_rules": (403, "403", "Virtual Network/Firewall rules"),
    "public_access_disabled": (403, "AccessDenied", "configure private endpoint"),
    "tenant_mismatch": (400, "Tenant provided in token does not match resource token", "tenant"),
    "no_subdomain": (400, "BadRequest", "Please provide a custom subdomain"),
    "not_approved": (403, "InvalidRequest", "Invalid request has been sent."),
    "unknown_code": (400, "SomethingNobodyKnows", "not documented"),
}


@pytest.mark.parametrize("name", PLATFORM)
def test_answer_of_the_platform_can_be_asked_for_by_name(api: Api, name: str) -> None:
    """A fault with the name of an answer gives that answer, and leaves the session alone."""
    api.tell("faults", {"fault": name, "count": 1})
    response = api.delete()
    status, code, part = PLATFORM[name]
    said = response.json()["error"]
    assert (response.status_code, said["code"]) == (status, code)
    assert part in said["message"]
    assert response.headers.get("x-ms-error-code") == (code if name == "unknown_code" else None)
    assert api.sessions() == {"a", "b"}
    assert api.delete().status_code == 200


def test_answers_of_gateways_have_other_shapes(api: Api) -> None:
    """The quota's body is no FaceErrorResponse, and a gateway's is a page."""
    api.tell("faults", [{"fault": "quota", "count": 1}, {"fault": "gateway_html", "count": 1}])
    quota = api.delete()
    assert (quota.status_code, quota.json()["statusCode"]) == (403, 403)
    assert quota.json()["message"].startswith("Out of call volume quota.")
    page = api.delete()
    assert (page.status_code, page.headers["Content-Type"].partition(";")[0]) == (502, "text/html")


def test_error_can_stand_within_another(api: Api) -> None:
    """The operation's own code may be the inner one; the rule says which."""
    api.tell("faults", {"fault": "not_approved", "count": 1})
    assert api.delete().json()["error"]["innererror"]["code"] == "UnsupportedFeature"
    rule = {"fault": "status", "status": 400, "code": "Outer", "inner_code": "BadArgument"}
    api.tell("faults", {**rule, "count": 1})
    said = api.delete().json()["error"]
    assert (said["code"], said["innererror"]["code"]) == ("Outer", "BadArgument")


@pytest.mark.parametrize("rule", [{"retry_after": "1\x1f"}, {"headers": {"a": "\r\n"}}])
def test_a_header_that_cannot_be_sent_is_refused(rule: dict[str, object]) -> None:
    """Otherwise the server would close the connection, and the client would see no status."""
    with pytest.raises(BadRule, match="printable"):
        Rule.read({"fault": "status", "status": 429, **rule})

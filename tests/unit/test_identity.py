"""The token: fetched once for all, renewed in time, dropped when refused; over a real socket."""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import AzureCliCredential, ManagedIdentityCredential

import delete_session.log  # noqa: F401  # the levels of the log, as deployed
from delete_session.endpoint import SCOPE
from delete_session.identity import TokenSource, TokenUnavailable, credential
from local.broker.serving import serve_http
from tests.unit.recording_proxy import RecordingProxy


class Endpoint:
    """A managed-identity endpoint that counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.lifetime = 3600
        self.status = 200
        self.hang = 0.0
        self.queries: list[dict[str, str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.calls += 1
        number = self.calls
        self.queries.append(dict(request.query))
        await asyncio.sleep(self.hang)
        body = {
            "access_token": f"token-{number}",
            "expires_on": str(int(time.time()) + self.lifetime),
            "resource": request.query["resource"],
            "token_type": "Bearer",
        }
        if self.status != 200:
            body = {"statusCode": str(self.status), "message": "An unexpected error occurred"}
        return web.json_response(body, status=self.status)


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Endpoint]:
    served = Endpoint()
    app = web.Application()
    app.router.add_get("/msi/token", served.handle)
    async with serve_http(app, 0) as port:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "h")
        yield served


async def test_token_is_fetched_once_for_all_who_wait(endpoint: Endpoint) -> None:
    """A hundred messages at once make one request."""
    endpoint.hang = 0.05
    tokens = TokenSource(
        "11111111-2222-3333-4444-555555555555",
        "https://cognitiveservices.azure.us/.default",
        timeout=5,
    )
    assert {*await asyncio.gather(*(tokens.get() for _ in range(100)))} == {"token-1"}
    assert await tokens.get() == "token-1"
    assert endpoint.calls == 1
    assert endpoint.queries[0]["resource"] == "https://cognitiveservices.azure.us"
    assert endpoint.queries[0]["client_id"] == "11111111-2222-3333-4444-555555555555"


async def test_refused_token_is_fetched_anew(endpoint: Endpoint) -> None:
    """Dropping forgets the credential's own cache, too; dropping an old token changes nothing."""
    tokens = TokenSource(None, SCOPE, timeout=5)
    first = await tokens.get()
    tokens.drop(first)
    second = await tokens.get()
    tokens.drop(first)
    assert await tokens.get() == second != first
    assert endpoint.calls == 2


async def test_token_about_to_expire_is_renewed(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token is replaced minutes before it expires."""
    endpoint.lifetime = 200
    tokens = TokenSource(None, SCOPE, timeout=5)
    assert await tokens.get() == "token-1"
    assert await tokens.get() != "token-1"


async def test_failed_renewal_uses_what_is_still_valid(endpoint: Endpoint) -> None:
    """While the held token is valid, a failing endpoint does not matter."""
    endpoint.lifetime = 200
    tokens = TokenSource(None, SCOPE, timeout=5)
    assert await tokens.get() == "token-1"
    endpoint.status = 500
    assert await tokens.get() == "token-1"


@pytest.mark.parametrize("status", [400, 500, 503])
async def test_failing_endpoint_is_told(endpoint: Endpoint, status: int) -> None:
    """Without a token, the error gives the reason, and the next call tries again."""
    endpoint.status = status
    tokens = TokenSource(None, SCOPE, timeout=5)
    with pytest.raises(TokenUnavailable):
        await tokens.get()
    endpoint.status = 200
    assert (await tokens.get()).startswith("token-")


async def test_hanging_endpoint_ends_in_time(endpoint: Endpoint) -> None:
    """Fetching a token takes no longer than it may."""
    endpoint.hang = 5
    started = time.monotonic()
    tokens = TokenSource(None, SCOPE, timeout=0.2)
    with pytest.raises(TokenUnavailable, match=r"no token within 0\.2 s"):
        await tokens.get()
    assert time.monotonic() - started < 3


async def test_cancelled_waiter_does_not_fail_the_others(endpoint: Endpoint) -> None:
    """One invocation that is cancelled takes no token away from the rest."""
    endpoint.hang = 0.1
    tokens = TokenSource(None, SCOPE, timeout=5)
    first, second = (asyncio.create_task(tokens.get()) for _ in range(2))
    await asyncio.sleep(0.02)
    first.cancel()
    assert await second == "token-1"


async def test_platform_decides_which_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """Managed identity in Azure, the Azure CLI's login elsewhere, nothing else anywhere."""
    monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)
    laptop = credential(None)
    assert isinstance(laptop, AzureCliCredential)
    await laptop.close()
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("IDENTITY_HEADER", "h")
    cloud = credential(None)
    assert isinstance(cloud, ManagedIdentityCredential)
    await cloud.close()


async def test_identity_may_be_named_by_its_resource_id(endpoint: Endpoint) -> None:
    """The endpoint is asked under the name that App Service knows: mi_res_id."""
    async with credential(None, resource_id="/subscriptions/1/id") as identity:
        await identity.get_token(SCOPE)
    [query] = endpoint.queries
    assert query["mi_res_id"] == "/subscriptions/1/id"
    assert "client_id" not in query


async def test_identity_endpoint_is_never_asked_through_a_proxy(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says of proxies, the secret header goes to the endpoint only."""
    async with RecordingProxy().running() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert await TokenSource(None, SCOPE, timeout=5).get() == "token-1"
        assert proxy.requests == []


SECRET = "eyJhbGciOiJub25lIn0.SECRET.sig"


@pytest.mark.parametrize(
    "answer",
    [
        f'{{"access_token": "{SECRET}", "resource": "r"}}',
        f'{{"access_token": "{SECRET}", "expires_on": "17',
        f'{{"access_token": "t", "expires_on": "{SECRET}", "resource": "r"}}',
        f'{{"data": {{"access_token": "{SECRET}"}}}}',
        SECRET,
    ],
    ids=["no expiry", "cut off", "token as expiry", "wrapped", "bare"],
)
@pytest.mark.parametrize("status", [200, 400])
async def test_no_answer_of_the_endpoint_leaks_a_token(
    status: int,
    answer: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither an error, as Service Bus and the Face API get it, nor a line of the log repeats it."""

    async def handle(_: web.Request) -> web.Response:
        return web.Response(text=answer, status=status, content_type="application/json")

    app = web.Application()
    app.router.add_get("/msi/token", handle)
    async with serve_http(app, 0) as port:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "h")
        with pytest.raises(TokenUnavailable) as unavailable:
            await TokenSource(None, SCOPE, timeout=5).get()
        async with credential(None) as identity:
            with pytest.raises(ClientAuthenticationError) as refused:
                await identity.get_token(SCOPE)
    shown = "".join(
        map("".join, map(traceback.format_exception, (unavailable.value, refused.value)))
    )
    assert "the identity endpoint gave no token" in shown
    assert SECRET not in shown + caplog.text

"""The local managed-identity endpoint, with the unmodified azure-identity and by hand."""

from typing import Any

import httpx
import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError
from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

from local import tokens

from .conftest import KEY, Emulator

SCOPE = f"{tokens.AUDIENCE}/.default"


@pytest.fixture
def identity(identity_service: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("IDENTITY_ENDPOINT", identity_service.facts["endpoint"])
    monkeypatch.setenv("IDENTITY_HEADER", identity_service.facts["header"])
    return identity_service


def tell(identity: Emulator, **config: Any) -> None:
    httpx.post(f"{identity.url}/_local/config", json=config).raise_for_status()


def ask(identity: Emulator, header: str | None = None, **query: str) -> httpx.Response:
    return httpx.get(
        identity.facts["endpoint"],
        params={"api-version": "2019-08-01", "resource": tokens.AUDIENCE, **query},
        headers={"X-IDENTITY-HEADER": header or identity.facts["header"]},
    )


async def test_managed_identity_credential_gets_a_token(identity: Emulator) -> None:
    """azure-identity asks as it does on the platform, and the token is good."""
    async with ManagedIdentityCredential() as credential:
        token = await credential.get_token(SCOPE)
    assert tokens.check(token.token, KEY, tokens.AUDIENCE).may_delete


async def test_default_credential_gets_a_token(
    identity: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DefaultAzureCredential, told to use nothing else, does the same."""
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    async with DefaultAzureCredential() as credential:
        assert (await credential.get_token(SCOPE)).token


async def test_failure_is_told(identity: Emulator) -> None:
    """A failing endpoint gives no token."""
    tell(identity, fail=True)
    async with ManagedIdentityCredential(retry_total=0) as credential:
        with pytest.raises((CredentialUnavailableError, ClientAuthenticationError)):
            await credential.get_token(SCOPE)


@pytest.mark.parametrize(
    ("issue", "error"),
    [
        ("expired", jwt.ExpiredSignatureError),
        ("wrong_audience", jwt.InvalidAudienceError),
        ("wrong_signature", jwt.InvalidSignatureError),
    ],
)
def test_bad_tokens_on_request(identity: Emulator, issue: str, error: type[Exception]) -> None:
    """Told to, it issues what the Face API refuses."""
    tell(identity, issue=issue)
    token = ask(identity).json()["access_token"]
    with pytest.raises(error):
        tokens.check(token, KEY, tokens.AUDIENCE)


def test_token_without_the_role_on_request(identity: Emulator) -> None:
    """Told to, it issues a token that may not delete."""
    tell(identity, issue="no_role")
    token = ask(identity).json()["access_token"]
    assert not tokens.check(token, KEY, tokens.AUDIENCE).may_delete


@pytest.mark.parametrize(
    ("header", "query", "status"),
    [
        ("wrong", {}, 401),
        (None, {"api-version": "2017-09-01"}, 400),
        (None, {"resource": ""}, 400),
    ],
)
def test_request_is_checked(
    identity: Emulator, header: str | None, query: dict[str, str], status: int
) -> None:
    """Header, version and resource have to be right."""
    response = ask(identity, header, **query)
    assert response.status_code == status
    assert response.json()["message"]


@pytest.mark.parametrize("config", [{"issue": "x"}, {"unknown": 1}, {"fail": "yes"}, []])
def test_wrong_config_is_told(identity: Emulator, config: Any) -> None:
    """What cannot be read is refused with the reason."""
    assert httpx.post(f"{identity.url}/_local/config", json=config).status_code == 400
    assert ask(identity).status_code == 200


def test_requests_are_recorded(new_identity_service: Emulator) -> None:
    """Every request for a token is on record."""
    ask(new_identity_service)
    [call] = new_identity_service.control("GET", "calls")
    assert (call["status"], call["resource"]) == (200, tokens.AUDIENCE)

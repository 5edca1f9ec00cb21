"""Microsoft's own client, azure-ai-vision-face as it is, against the local Face API.

It sends tokens over plain HTTP only when each call says `enforce_https=False`, which the SDK
documents for its authentication policy.
"""

import time
from typing import Any

import httpx
import pytest
from azure.ai.vision.face import FaceSessionClient
from azure.ai.vision.face.aio import FaceSessionClient as AsyncFaceSessionClient
from azure.ai.vision.face.models import (
    CreateLivenessSessionContent,
    CreateLivenessWithVerifySessionContent,
    LivenessOperationMode,
)
from azure.core.credentials import AccessToken, AzureKeyCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)

from local import tokens

from .conftest import KEY, Emulator, bearer

PLAIN: dict[str, Any] = {"enforce_https": False}
MODE = LivenessOperationMode.PASSIVE


class Credential:
    """Gives out one token."""

    def __init__(self, token: str | None = None) -> None:
        self._token = token or bearer()

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == (f"{tokens.AUDIENCE}/.default",)
        return AccessToken(self._token, int(time.time()) + 3600)


class AsyncCredential(Credential):
    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:  # type: ignore[override]
        return super().get_token(*scopes)

    async def close(self) -> None: ...

    async def __aenter__(self) -> "AsyncCredential":
        return self

    async def __aexit__(self, *_: object) -> None: ...


def client_of(service: Emulator, credential: Any = None) -> FaceSessionClient:
    return FaceSessionClient(service.url, credential or Credential(), retry_total=0)


def test_liveness(face_service: Emulator) -> None:
    """The SDK creates, reads and deletes a liveness session; then it is not found."""
    content = CreateLivenessSessionContent(
        liveness_operation_mode=MODE,
        device_correlation_id="device",
        auth_token_time_to_live_in_seconds=60,
    )
    with client_of(face_service) as client:
        created = client.create_liveness_session(content, **PLAIN)
        shown = client.get_liveness_session_result(created.session_id, **PLAIN)
        client.delete_liveness_session(created.session_id, **PLAIN)
        with pytest.raises(ResourceNotFoundError) as caught:
            client.delete_liveness_session(created.session_id, **PLAIN)
    assert created.auth_token
    assert shown.id == created.session_id
    assert shown.session_expired is False
    assert shown.auth_token_time_to_live_in_seconds == 60
    assert shown.created_date_time.timestamp() == pytest.approx(time.time(), abs=60)
    assert caught.value.status_code == 404
    assert caught.value.error is not None
    assert caught.value.error.code == "SessionNotFound"


@pytest.mark.parametrize("image", [None, b"an ignored image"])
def test_liveness_with_verify(face_service: Emulator, image: bytes | None) -> None:
    """The SDK creates, with an image or without, reads and deletes a session with verify."""
    content = CreateLivenessWithVerifySessionContent(
        liveness_operation_mode=MODE, device_correlation_id="device"
    )
    with client_of(face_service) as client:
        created = client.create_liveness_with_verify_session(content, verify_image=image, **PLAIN)
        shown = client.get_liveness_with_verify_session_result(created.session_id, **PLAIN)
        client.delete_liveness_with_verify_session(created.session_id, **PLAIN)
        with pytest.raises(ResourceNotFoundError):
            client.get_liveness_with_verify_session_result(created.session_id, **PLAIN)
    assert shown.id == created.session_id


def test_list(face_service: Emulator) -> None:
    """The SDK lists the sessions of each type in the order of their ids, page by page."""
    ids = [f"listed-{number}" for number in range(5)]
    for kind, some in (("liveness", ids[3:] + ids[:3]), ("livenessWithVerify", ["another"])):
        httpx.post(f"{face_service.url}/_local/sessions", json={"ids": some, "type": kind})
    with client_of(face_service) as client:
        pages = [client.get_liveness_sessions(start=each, top=2, **PLAIN) for each in ("", *ids)]
        others = client.get_liveness_with_verify_sessions(start="an", **PLAIN)
        with pytest.raises(HttpResponseError, match="top"):
            client.get_liveness_sessions(top=1001, **PLAIN)
    assert [[each.id for each in page] for page in pages] == [
        *(ids[at : at + 2] for at in range(5)),
        [],
    ]
    assert others[0].id == "another"
    assert others[0].session_expired is False


async def test_asynchronously(face_service: Emulator) -> None:
    """The asynchronous SDK creates, reads and deletes sessions of both types."""
    device: dict[str, Any] = {"liveness_operation_mode": MODE, "device_correlation_id": "d"}
    async with AsyncFaceSessionClient(face_service.url, AsyncCredential(), retry_total=0) as client:
        one = await client.create_liveness_session(CreateLivenessSessionContent(**device), **PLAIN)
        two = await client.create_liveness_with_verify_session(
            CreateLivenessWithVerifySessionContent(**device), verify_image=None, **PLAIN
        )
        shown = await client.get_liveness_session_result(one.session_id, **PLAIN)
        await client.delete_liveness_session(one.session_id, **PLAIN)
        with pytest.raises(ResourceNotFoundError):
            await client.delete_liveness_session(two.session_id, **PLAIN)
        await client.delete_liveness_with_verify_session(two.session_id, **PLAIN)
    assert shown.id == one.session_id
    assert httpx.get(f"{face_service.url}/_local/sessions").json() == []  # noqa: ASYNC210


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "401", ClientAuthenticationError),
        (403, "PermissionDenied", HttpResponseError),
        (403, "UnsupportedFeature", HttpResponseError),
        (429, "429", HttpResponseError),
        (500, "Unspecified", HttpResponseError),
    ],
)
def test_errors(
    face_service: Emulator, status: int, code: str, kind: type[HttpResponseError]
) -> None:
    """The SDK reads status and code of an error as the service gave them."""
    rule = {"fault": "status", "status": status, "code": code}
    httpx.post(f"{face_service.url}/_local/faults", json=rule)
    with client_of(face_service) as client, pytest.raises(kind) as caught:
        client.delete_liveness_session("any", **PLAIN)
    assert caught.value.status_code == status
    assert caught.value.error is not None
    assert caught.value.error.code == code


def test_a_wrong_token_and_a_key(face_service: Emulator) -> None:
    """The SDK is refused with a token for another service, and with a key."""
    token, _ = tokens.issue(KEY, "https://vault.azure.net", lifetime_seconds=3600)
    elsewhere = Credential(token)
    with client_of(face_service, elsewhere) as client, pytest.raises(ClientAuthenticationError):
        client.delete_liveness_session("any", **PLAIN)
    key = AzureKeyCredential("0" * 32)
    with client_of(face_service, key) as client, pytest.raises(HttpResponseError) as caught:
        client.delete_liveness_session("any")
    assert caught.value.status_code == 403


def test_the_sdk_waits_as_told(face_service: Emulator) -> None:
    """The SDK's own retries heed Retry-After of a 429 and then get through."""
    rule = {"fault": "status", "status": 429, "retry_after": 1, "count": 1}
    httpx.post(f"{face_service.url}/_local/sessions", json={"ids": ["a"]})
    httpx.post(f"{face_service.url}/_local/faults", json=rule)
    begun = time.monotonic()
    with FaceSessionClient(face_service.url, Credential(), retry_total=1) as client:
        client.delete_liveness_with_verify_session("a", **PLAIN)
    assert 0.9 < time.monotonic() - begun < 3

"""A deployment in Azure Government behind a proxy: from its app settings to the deletion."""

import time
from pathlib import Path

import pytest
from aiohttp import web

from delete_session.app import create_handler
from delete_session.settings import Settings
from local.broker.certificates import self_signed
from local.broker.serving import serve_http
from tests.unit.fakes import message
from tests.unit.recording_proxy import RecordingProxy

FACE = "contoso.cognitiveservices.azure.us"
SETTINGS = {
    "FACE_ENDPOINT": f"https://{FACE}/",
    "servicebusconnection__FULLYQUALIFIEDNAMESPACE": "contoso.servicebus.usgovcloudapi.net",
    "servicebusconnection__CREDENTIAL": "managedIdentity",
}


async def test_session_is_deleted_through_the_proxy_with_a_token_of_its_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy sees the Face API's name and nothing else; the identity endpoint is asked directly."""
    resources: list[str] = []
    deleted: list[tuple[str, str]] = []

    async def identity(request: web.Request) -> web.Response:
        resources.append(request.query["resource"])
        token = {"access_token": "t-1", "token_type": "Bearer", "resource": resources[-1]}
        return web.json_response({**token, "expires_on": str(int(time.time()) + 3600)})

    async def face(request: web.Request) -> web.Response:
        deleted.append((request.path, request.headers["Authorization"]))
        return web.Response(headers={"apim-request-id": "r-1"})

    inside, outside = web.Application(), web.Application()
    inside.router.add_get("/msi/token", identity)
    outside.router.add_delete("/{path:.*}", face)
    tls = self_signed("Azure Government", tmp_path, FACE)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    async with (
        serve_http(inside, 0) as identity_port,
        serve_http(outside, 0, tls) as face_port,
        RecordingProxy(face_port).running() as proxy,
    ):
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{identity_port}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "secret")
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        settings = Settings.from_environment({**SETTINGS, "HTTPS_PROXY": proxy.url})
        handler = create_handler(settings)
        await handler.handle(message(b'{"sessionId":"s-1"}'))
        await handler.face.close()
    assert resources == ["https://cognitiveservices.azure.us"]
    [(path, authorization)] = deleted
    assert path.endswith("/sessions/s-1")
    assert authorization == "Bearer t-1"
    assert proxy.asked_for == [f"{FACE}:443"]
    assert len(proxy.requests) == 1
    assert not {"secret", "t-1"} & set(" ".join(proxy.requests).split())

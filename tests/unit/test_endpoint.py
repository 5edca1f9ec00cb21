"""FACE_ENDPOINT: what takes an Entra token, and which."""

import pytest

from delete_session.endpoint import SCOPE, face_endpoint, face_scope, proxy_for, token_scope

CUSTOM_SUBDOMAIN = "must be the account's custom-subdomain endpoint"


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("contoso.cognitiveservices.azure.com", "must be"),
        ("http://contoso.cognitiveservices.azure.com", "must be"),
        ("https://", "must be"),
        ("https://[::1", "is not a URL"),
        ("https://contoso.cognitiveservices.azure.com:port", "is not a URL"),
        ("http://10.0.0.1", "must be"),
        ("https://user@contoso.cognitiveservices.azure.com", "without path, query"),
        ("https://contoso.cognitiveservices.azure.com/face", "without path, query"),
        ("https://contoso.cognitiveservices.azure.com?x=1", "without path, query"),
    ],
)
def test_endpoint_that_takes_no_entra_token_is_refused(endpoint: str, why: str) -> None:
    """Only https with a custom subdomain is right, or plain http to a loopback address."""
    with pytest.raises(ValueError, match=why) as raised:
        face_endpoint(endpoint)
    assert str(raised.value).startswith(CUSTOM_SUBDOMAIN)


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:1234", "http://localhost:1", "http://[::1]:1", "https://127.0.0.1"],
)
def test_loopback_endpoint_may_be_plain_http(endpoint: str) -> None:
    """On one machine, no certificate is needed, and the tokens are those of the public cloud."""
    assert face_endpoint(f"{endpoint}/") == endpoint
    assert face_scope(endpoint) == SCOPE


@pytest.mark.parametrize("cloud", ["com", "us", "cn"])
def test_scope_is_that_of_the_endpoint_s_cloud(cloud: str) -> None:
    """A token for the public cloud is of no use in another one."""
    endpoint = face_endpoint(f"https://Contoso-1.CognitiveServices.azure.{cloud}:443/")
    assert face_scope(endpoint) == f"https://cognitiveservices.azure.{cloud}/.default"


@pytest.mark.parametrize(
    "host",
    [
        "face.contoso.com",
        "contoso.cognitiveservices.azure.de",
        "contoso.cognitiveservices.azure.com.evil.com",
        "evilcognitiveservices.azure.com",
        "contoso.privatelink.cognitiveservices.azure.com",
        "cognitiveservices.azure.com",
        "westeurope.api.cognitive.microsoft.com",
        "contoso.services.ai.azure.com",
        "10.0.0.1",
    ],
)
def test_other_hosts_need_a_scope(host: str) -> None:
    """Nothing is guessed about a host in no known cloud; a scope that is given is used as it is."""
    endpoint = face_endpoint(f"https://{host}")
    with pytest.raises(ValueError, match=r"^FACE_ENDPOINT is not .* set FACE_TOKEN_SCOPE"):
        face_scope(endpoint)
    assert face_scope(endpoint, "api://contoso/.default") == "api://contoso/.default"


def test_scope_that_is_given_comes_before_the_cloud_s() -> None:
    """FACE_TOKEN_SCOPE is used as it is, also where a scope is known."""
    assert face_scope("https://contoso.cognitiveservices.azure.com", "x/.default") == "x/.default"


@pytest.mark.parametrize("text", ["contoso", "https://contoso", "/.default", "a b/.default"])
def test_what_is_no_scope_is_refused(text: str) -> None:
    """A resource is not enough: Entra takes scopes."""
    with pytest.raises(ValueError, match="must be a scope"):
        token_scope(text)


def test_scope_may_be_empty() -> None:
    """As in the sample settings."""
    assert token_scope("") == ""


HOST = "contoso.cognitiveservices.azure.com"


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://proxy"}, None),
        ({"HTTPS_PROXY": "http://proxy"}, "http://proxy"),
        ({"https_proxy": "proxy:3128", "HTTPS_PROXY": "http://a"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://me:p%40ss@proxy:3128"}, "http://me:p%40ss@proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": ".azure.com"}, None),
        ({"HTTPS_PROXY": "http://proxy", "no_proxy": "other.com"}, "http://proxy"),
    ],
)
def test_proxy_is_the_environment_s(environment: dict[str, str], proxy: str | None) -> None:
    """HTTPS_PROXY and NO_PROXY count, in either case; the lower-case name wins."""
    assert proxy_for(HOST, environment) == proxy


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_this_machine_is_reached_without_a_proxy(host: str) -> None:
    """A proxy elsewhere would look for itself."""
    assert proxy_for(host, {"HTTPS_PROXY": "http://proxy"}) is None


@pytest.mark.parametrize("proxy", ["socks5://me:hidden@proxy", "https://hidden", "http://hidden:x"])
def test_unusable_proxy_is_refused_without_its_password(proxy: str) -> None:
    """The error names the setting and does not repeat the value."""
    with pytest.raises(ValueError, match=r"^HTTPS_PROXY must be") as raised:
        proxy_for(HOST, {"HTTPS_PROXY": proxy})
    assert "hidden" not in str(raised.value)

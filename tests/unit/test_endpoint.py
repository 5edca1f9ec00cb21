"""FACE_ENDPOINT: what takes an Entra token, and which."""

import pytest

from delete_session.endpoint import SCOPE, face_endpoint, face_scope, token_scope

CUSTOM_SUBDOMAIN = "must be the account's custom-subdomain endpoint"


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("contoso.cognitiveservices.azure.com", "must be"),
        ("http://contoso.cognitiveservices.azure.com", "must be"),
        ("https://", "must be"),
        ("https://[::1", "is not a URL"),
        ("https://contoso.cognitiveservices.azure.com:port", "is not a URL"),
        ("https://10.0.0.1", "IP addresses accept no"),
        ("http://10.0.0.1", "must be"),
        ("https://user@contoso.cognitiveservices.azure.com", "without path, query"),
        ("https://contoso.cognitiveservices.azure.com/face", "without path, query"),
        ("https://contoso.cognitiveservices.azure.com?x=1", "without path, query"),
        ("https://westeurope.api.cognitive.microsoft.com", "regional endpoints"),
        ("https://WestEurope.API.cognitive.microsoft.com", "regional endpoints"),
        ("https://api.cognitive.microsoft.com", "regional endpoints"),
        ("https://virginia.api.cognitive.microsoft.us", "regional endpoints"),
        ("https://chinaeast2.api.cognitive.azure.cn", "regional endpoints"),
        ("https://contoso.services.ai.azure.com", "a Foundry endpoint"),
        ("https://contoso.services.ai.azure.us", "a Foundry endpoint"),
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

"""Which proxy the environment names for a host."""

import pytest

from delete_session.proxy import Proxy, proxy_for

HOST = "contoso.cognitiveservices.azure.com"


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy:3128", Proxy("proxy", 3128)),
        ("http://proxy", Proxy("proxy", 80)),
        ("proxy:3128", Proxy("proxy", 3128)),
        ("http://[::1]:3128/", Proxy("::1", 3128)),
        ("http://me:p%40ss@proxy:3128", Proxy("proxy", 3128, "me", "p@ss")),
    ],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_https_proxy_is_read(name: str, text: str, proxy: Proxy) -> None:
    """With or without a scheme, and with a login."""
    assert proxy_for(HOST, {name: text}) == proxy


def test_small_letters_come_first() -> None:
    """As everywhere else where both are read."""
    environment = {"HTTPS_PROXY": "http://a", "https_proxy": "http://b"}
    assert proxy_for(HOST, environment) == Proxy("b", 80)


@pytest.mark.parametrize("environment", [{}, {"HTTPS_PROXY": " "}, {"HTTP_PROXY": "http://proxy"}])
def test_without_https_proxy_there_is_none(environment: dict[str, str]) -> None:
    """HTTP_PROXY is for calls without TLS, and there are none."""
    assert proxy_for(HOST, environment) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_this_machine_is_reached_directly(host: str) -> None:
    """A proxy elsewhere would look for itself."""
    assert proxy_for(host, {"HTTPS_PROXY": "http://proxy"}) is None


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("*", True),
        (HOST.upper(), True),
        ("other.com, azure.com", True),
        (".azure.com", True),
        ("zure.com", False),
        ("contoso", False),
        (f"x.{HOST}", False),
        (",", False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_no_proxy_names_hosts_and_domains(name: str, no_proxy: str, direct: bool) -> None:
    """A host is reached directly if it or a domain that it is in is listed."""
    found = proxy_for(HOST, {"HTTPS_PROXY": "http://proxy", name: no_proxy})
    assert (found is None) == direct


@pytest.mark.parametrize(
    "text",
    [
        "socks5://me:hidden@proxy",
        "https://hidden",
        "http://",
        "http://hidden:port",
        "http://[hidden",
    ],
)
def test_what_cannot_be_used_is_refused(text: str) -> None:
    """The error names the setting and does not repeat what may hold a password."""
    with pytest.raises(ValueError, match=r"^HTTPS_PROXY must be") as raised:
        proxy_for(HOST, {"HTTPS_PROXY": text})
    assert "hidden" not in str(raised.value)


def test_password_is_not_shown() -> None:
    """Neither in a traceback with the settings in it, nor in the address that errors repeat."""
    proxy = Proxy("::1", 3128, "me", "hidden")
    assert "hidden" not in repr(proxy)
    assert proxy.url == "http://[::1]:3128"

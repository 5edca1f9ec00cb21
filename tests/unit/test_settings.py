"""Settings: every problem at once, each with the name and what would be right."""

import pytest

from delete_session.settings import TABLE, Settings, SettingsError

RIGHT = {
    "FACE_ENDPOINT": "https://contoso.cognitiveservices.azure.com/",
    "ServiceBusConnection__fullyQualifiedNamespace": "contoso.servicebus.windows.net",
}


def problems(environment: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environment)
    return caught.value.problems


def test_defaults_are_the_documented_ones() -> None:
    """With nothing but the two endpoints set, everything else has its default."""
    settings = Settings.from_environment(RIGHT)
    assert settings.face_endpoint == "https://contoso.cognitiveservices.azure.com"
    assert settings.face_api_version == "v1.2-preview.1"
    assert settings.queue == "session-revoked"
    assert settings.client_id is None
    assert settings.max_calls_per_second == 8
    assert (settings.backoff_base, settings.backoff_cap) == (2, 900)
    assert (settings.retry_in_place_max, settings.retry_horizon) == (5, 48)


def test_every_problem_is_reported_at_once() -> None:
    """One error names each setting that is wrong."""
    environment = {
        "FACE_ENDPOINT": "ftp://x",
        "FACE_API_VERSION": "latest",
        "FACE_TOTAL_TIMEOUT_SECONDS": "soon",
        "AZURE_CLIENT_ID": "me",
    }
    found = problems(environment)
    assert len(found) == 5
    for name in (*environment, "ServiceBusConnection"):
        assert any(problem.startswith(name) for problem in found)


def test_missing_endpoint_says_what_would_be_right() -> None:
    """A setting that is not set is named, with its form."""
    [problem] = problems({**RIGHT, "FACE_ENDPOINT": " "})
    assert problem.startswith("FACE_ENDPOINT is not set: it must be the account's custom-subdomain")


@pytest.mark.parametrize(
    "endpoint",
    [
        "contoso.cognitiveservices.azure.com",
        "http://contoso.cognitiveservices.azure.com",
        "https://westeurope.api.cognitive.microsoft.com",
        "https://",
        "https://[::1",
        "https://10.0.0.1",
        "http://10.0.0.1",
        "https://user@contoso.cognitiveservices.azure.com",
        "https://contoso.cognitiveservices.azure.com/face",
        "https://contoso.cognitiveservices.azure.com?x=1",
        "https://contoso.cognitiveservices.azure.com:port",
    ],
)
def test_endpoint_that_takes_no_entra_token_is_refused(endpoint: str) -> None:
    """Only https with a custom subdomain is right, or plain http to a loopback address."""
    [problem] = problems({**RIGHT, "FACE_ENDPOINT": endpoint})
    assert problem.startswith("FACE_ENDPOINT must be the account's custom-subdomain endpoint")


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:1234", "http://localhost:1", "http://[::1]:1", "https://127.0.0.1"],
)
def test_loopback_endpoint_may_be_plain_http(endpoint: str) -> None:
    """On one machine, no certificate is needed."""
    assert Settings.from_environment({**RIGHT, "FACE_ENDPOINT": endpoint}).face_endpoint == endpoint


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("FACE_CONNECT_TIMEOUT_SECONDS", "0"),
        ("FACE_CONNECT_TIMEOUT_SECONDS", "31"),
        ("FACE_TOTAL_TIMEOUT_SECONDS", "nan"),
        ("FACE_TOTAL_TIMEOUT_SECONDS", "inf"),
        ("TOKEN_TIMEOUT_SECONDS", "-1"),
        ("SETTLE_TIMEOUT_SECONDS", "1e9"),
        ("RETRY_IN_PLACE_MAX_SECONDS", "61"),
        ("RETRY_BACKOFF_BASE_SECONDS", "901"),
        ("RETRY_BACKOFF_CAP_SECONDS", "1"),
        ("RETRY_HORIZON_HOURS", "0"),
        ("FACE_MAX_CALLS_PER_SECOND", "0"),
        ("CIRCUIT_BREAKER_FAILURES", "0"),
        ("CIRCUIT_BREAKER_FAILURES", "2.5"),
        ("CIRCUIT_BREAKER_COOL_DOWN_SECONDS", "x"),
        ("SESSION_REVOKED_QUEUE", "a b"),
        ("SESSION_REVOKED_QUEUE", "/a"),
        ("AZURE_CLIENT_ID", "0000"),
    ],
)
def test_number_or_name_out_of_range_is_refused(name: str, wrong: str) -> None:
    """The problem names the setting; the values of others do not matter."""
    found = problems({**RIGHT, name: wrong})
    assert len(found) == 1
    assert name in found[0] or name.split("_")[0] in found[0]


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({}, "is not set"),
        ({"ServiceBusConnection": "AccountKey=x"}, "must be a connection string"),
        (
            {
                "ServiceBusConnection": "Endpoint=sb://x;SharedAccessKey=hidden",
                "ServiceBusConnection__fullyQualifiedNamespace": "x.y",
            },
            "exclude each other",
        ),
        ({"ServiceBusConnection__fullyQualifiedNamespace": "https://x.y/"}, "must be a host name"),
        (
            {
                "ServiceBusConnection__fullyQualifiedNamespace": "x.y",
                "ServiceBusConnection__credential": "key",
            },
            "must be managedidentity",
        ),
        (
            {
                "ServiceBusConnection__fullyQualifiedNamespace": "x.y",
                "ServiceBusConnection__clientId": "me",
            },
            "__clientId must be the client id",
        ),
    ],
)
def test_connection_is_checked(environment: dict[str, str], what: str) -> None:
    """The trigger's connection is read under the host's own names, and no key is repeated."""
    [problem] = problems({"FACE_ENDPOINT": RIGHT["FACE_ENDPOINT"], **environment})
    assert what in problem
    assert "hidden" not in problem


def test_connection_string_is_not_shown() -> None:
    """A traceback with the settings in it shows no key."""
    settings = Settings.from_environment(
        {
            "FACE_ENDPOINT": RIGHT["FACE_ENDPOINT"],
            "ServiceBusConnection": "Endpoint=sb://127.0.0.1;SharedAccessKey=hidden",
        }
    )
    assert "hidden" not in repr(settings)


def test_identity_of_the_connection_is_read() -> None:
    """Namespace and client id come from the host's identity-based settings."""
    client_id = "11111111-2222-3333-4444-555555555555"
    settings = Settings.from_environment(
        {
            **RIGHT,
            "ServiceBusConnection__credential": "managedidentity",
            "ServiceBusConnection__clientId": client_id,
        }
    )
    assert settings.service_bus.client_id == client_id
    assert repr(settings.service_bus) == "ServiceBusConnection(contoso.servicebus.windows.net)"


def test_numbers_tell_their_unit_in_the_name() -> None:
    """A setting that is a number says in its name what it counts."""
    for setting in TABLE.values():
        if setting.default and setting.default.replace(".", "").isdigit():
            assert setting.name.endswith(("_SECONDS", "_HOURS", "_PER_SECOND", "_FAILURES"))

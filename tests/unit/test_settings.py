"""Settings: every problem at once, each with the name and what would be right."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from delete_session import settings as module
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
    assert (settings.max_rate, settings.min_rate) == (8, None)
    assert (settings.initial_delay, settings.max_delay) == (2, 900)
    assert (settings.call_timeout, settings.retry_deadline_hours) == (30, 48)


def test_every_problem_is_reported_at_once() -> None:
    """One error names each setting that is wrong."""
    environment = {
        "FACE_ENDPOINT": "ftp://x",
        "FACE_API_VERSION": "latest",
        "CALL_TIMEOUT_SECONDS": "soon",
        "AZURE_CLIENT_ID": "me",
    }
    found = problems(environment)
    assert len(found) == 5
    for name in (*environment, "ServiceBusConnection"):
        assert any(problem.startswith(name) for problem in found)


def test_missing_endpoint_says_what_would_be_right() -> None:
    """A setting that is not set is named, with its form."""
    [problem] = problems({**RIGHT, "FACE_ENDPOINT": " "})
    assert problem.startswith("FACE_ENDPOINT must be the account's custom-subdomain")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("CALL_TIMEOUT_SECONDS", "nan"),
        ("CALL_TIMEOUT_SECONDS", "61"),
        ("RETRY_INITIAL_DELAY_SECONDS", "901"),
        ("RETRY_MAX_DELAY_SECONDS", "1"),
        ("RETRY_DEADLINE_HOURS", "0"),
        ("FACE_MAX_CALLS_PER_SECOND", "0"),
        ("CIRCUIT_BREAKER_BREAK_SECONDS", "x"),
        ("SESSION_REVOKED_QUEUE", "a b"),
        ("SESSION_REVOKED_QUEUE", "/a"),
        ("AZURE_CLIENT_ID", "0000"),
    ],
)
def test_number_or_name_out_of_range_is_refused(name: str, wrong: str) -> None:
    """The problem names the setting; the values of others do not matter."""
    found = problems({**RIGHT, name: wrong})
    assert len(found) == 1
    assert name in found[0] or name.split("_", maxsplit=1)[0] in found[0]


def test_former_names_still_count() -> None:
    """A deployment of 0.2 keeps its retry deadline; the new name wins where both are set."""
    former = {**RIGHT, "RETRY_HORIZON_HOURS": "24"}
    assert Settings.from_environment(former).retry_deadline_hours == 24
    both = {**former, "RETRY_DEADLINE_HOURS": "12"}
    assert Settings.from_environment(both).retry_deadline_hours == 12


def test_retired_and_unknown_settings_are_named() -> None:
    """What has no effect is no error, and is listed so that it can be logged once."""
    given = {
        **RIGHT,
        "SETTLE_TIMEOUT_SECONDS": "x",
        "FACE_MAX_CALLS": "9",
        "RETRY_HORIZON_HOURS": "48",
    }
    assert Settings.from_environment(given).ignored == ("FACE_MAX_CALLS", "SETTLE_TIMEOUT_SECONDS")


def test_connection_string_is_not_shown() -> None:
    """A traceback with the settings in it shows no key."""
    settings = Settings.from_environment(
        {
            "FACE_ENDPOINT": RIGHT["FACE_ENDPOINT"],
            "ServiceBusConnection": "Endpoint=sb://127.0.0.1;SharedAccessKey=hidden",
        }
    )
    assert "hidden" not in repr(settings)


def test_problems_of_the_connection_are_among_the_others() -> None:
    """What is wrong with the connection, with its transport and with a proxy is all told."""
    found = problems(
        {
            "FACE_ENDPOINT": "https://face.contoso.com",
            "ServiceBusConnection__credential": "key",
            "AzureFunctionsJobHost__extensions__serviceBus__transportType": "carrier pigeon",
            "HTTPS_PROXY": "socks5://proxy",
        }
    )
    assert [problem.partition(" ")[0] for problem in found] == [
        "ServiceBusConnection",
        "ServiceBusConnection__credential",
        "AzureFunctionsJobHost__extensions__serviceBus__transportType",
        "FACE_ENDPOINT",
        "HTTPS_PROXY",
    ]


def test_proxy_is_checked_whatever_the_endpoint_is() -> None:
    """A wrong endpoint hides no other problem."""
    found = problems({**RIGHT, "FACE_ENDPOINT": "ftp://x", "HTTPS_PROXY": "socks5://proxy"})
    assert [problem.partition(" ")[0] for problem in found] == ["FACE_ENDPOINT", "HTTPS_PROXY"]


def test_a_problem_is_told_once() -> None:
    """A proxy that neither the Face API nor Service Bus can be reached through is one problem."""
    environment = {
        **RIGHT,
        "AzureFunctionsJobHost__extensions__serviceBus__transportType": "amqpWebSockets",
        "HTTPS_PROXY": "socks5://me:hidden@proxy",
    }
    [problem] = problems(environment)
    assert problem == "HTTPS_PROXY must be the address of an HTTP proxy, http://<host>:<port>"


@pytest.mark.parametrize(
    ("environment", "scope"),
    [
        ({}, "https://cognitiveservices.azure.com/.default"),
        (
            {"FACE_ENDPOINT": "https://contoso.cognitiveservices.azure.us"},
            "https://cognitiveservices.azure.us/.default",
        ),
        (
            {
                "FACE_ENDPOINT": "https://face.contoso.com",
                "FACE_TOKEN_SCOPE": "api://contoso/.default",
            },
            "api://contoso/.default",
        ),
    ],
)
def test_scope_follows_the_endpoint_or_is_given(environment: dict[str, str], scope: str) -> None:
    """The cloud of the endpoint decides, unless FACE_TOKEN_SCOPE does."""
    assert Settings.from_environment({**RIGHT, **environment}).face_token_scope == scope


def test_wrong_scope_is_the_one_problem() -> None:
    """A wrong scope is one problem, not also a missing one."""
    environment = {"FACE_ENDPOINT": "https://face.contoso.com", "FACE_TOKEN_SCOPE": "contoso"}
    [problem] = problems({**RIGHT, **environment})
    assert problem.startswith("FACE_TOKEN_SCOPE must be a scope that ends with /.default")


def test_proxy_is_read_for_both_services() -> None:
    """Over WebSockets, Service Bus is reached as the Face API is; NO_PROXY names exceptions."""
    environment = {
        **RIGHT,
        "AzureFunctionsJobHost__extensions__serviceBus__transportType": "amqpWebSockets",
        "HTTPS_PROXY": "http://proxy:3128",
    }
    settings = Settings.from_environment(environment)
    assert settings.face_proxy == settings.service_bus.proxy == "http://proxy:3128"
    environment["NO_PROXY"] = ".servicebus.windows.net"
    settings = Settings.from_environment(environment)
    assert (settings.face_proxy, settings.service_bus.proxy) == ("http://proxy:3128", None)


def test_numbers_tell_their_unit_in_the_name() -> None:
    """A setting that is a number says in its name what it counts."""
    units = ("_SECONDS", "_HOURS", "_PER_SECOND")
    for setting in TABLE.values():
        if setting.default and setting.default.replace(".", "").isdigit():
            assert setting.name.endswith(units), setting.name


def test_receipts_are_off_unless_they_have_a_queue() -> None:
    """Receipts are off by default; the setting names a queue or a topic of the namespace."""
    assert Settings.from_environment(RIGHT).outcome_queue is None
    named = Settings.from_environment({**RIGHT, "OUTCOME_QUEUE": "session-outcomes"})
    assert named.outcome_queue == "session-outcomes"


@pytest.mark.parametrize("wrong", ["a b", "session-revoked", "Session-Revoked"])
def test_receipts_do_not_go_where_revocations_come_from(wrong: str) -> None:
    """A receipt in the queue of revocations would be taken for one, and answered in turn."""
    [problem] = problems({**RIGHT, "OUTCOME_QUEUE": wrong})
    assert problem.startswith("OUTCOME_QUEUE must")


@pytest.fixture(scope="module")
def names_read() -> set[str]:
    """Fields that the deployed code reads as `settings.FIELD`, outside the settings' own module."""
    assert module.__file__
    home = Path(module.__file__)
    return {
        node.attr
        for path in home.parent.glob("*.py")
        if path != home
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("settings")
    }


@pytest.mark.parametrize("field", [field.name for field in fields(Settings)])
def test_every_setting_is_read(field: str, names_read: set[str]) -> None:
    """A field of the settings that no code reads is a knob without effect."""
    assert field in names_read

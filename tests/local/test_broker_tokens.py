"""The broker's reading of shared access signatures."""

import pytest
from azure.servicebus._pyamqp.utils import generate_sas_token

from local.broker.configuration import AuthorizationRule
from local.broker.queues import Refused
from local.broker.tokens import Grant, entity_path, verify

RULES = [
    AuthorizationRule("k", "c2Vj", frozenset(("Send", "Listen"))),
    AuthorizationRule("root", "k/e+y=", frozenset(("Manage",))),
]


def token(resource: str, name: str = "k", key: str = "c2Vj", expiry: int = 2000) -> str:
    text: str = generate_sas_token(resource, name, key, expiry)  # type: ignore[no-untyped-call]
    return text


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        ("sb://127.0.0.1:5672/Orders", "orders"),
        ("amqps://host/orders/$management", "orders"),
        ("amqp://host/orders/$DeadLetterQueue", "orders/$deadletterqueue"),
        ("sb://host/", ""),
    ],
)
def test_a_valid_token_grants_its_resource(resource: str, path: str) -> None:
    """A token grants its key's rights on its resource until its expiry."""
    assert verify(token(resource), RULES, 1000) == Grant(path, RULES[0].rights, 2000)


def test_a_grant_covers_what_is_below_its_path() -> None:
    """Rights reach down, not up or sideways, and end; Manage includes the others."""
    grant = verify(token("sb://host/orders"), RULES, 1000)
    assert grant.allows("Listen", "Orders", 1999)
    assert grant.allows("Listen", "orders/$deadletterqueue", 1999)
    assert not grant.allows("Listen", "orders2", 1999)
    assert not grant.allows("Listen", "orders", 2000)
    manage = verify(token("sb://host/", "root", "k/e+y="), RULES, 1000)
    assert manage.allows("Send", "anything", 1999)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("eyJ0eXAi", "not a shared access signature"),
        ("SharedAccessSignature sr=x", "malformed"),
        (token("sb://host/a", name="x"), "key that does not exist"),
        (token("sb://host/a", key="x"), "invalid signature"),
        (token("sb://host/a").replace("se=2000", "se=3000"), "invalid signature"),
        (token("sb://host/a", expiry=1000), "expired"),
    ],
)
def test_a_bad_token_is_refused(text: str, why: str) -> None:
    """Whatever is wrong with a token, the answer is 401 and says what."""
    with pytest.raises(Refused, match=why) as refused:
        verify(text, RULES, 1000)
    assert refused.value.status == 401


@pytest.mark.parametrize("address", ["amqps://127.0.0.1:5672/queue", "queue", "/queue", "queue/"])
def test_all_forms_of_an_address_name_the_queue(address: str) -> None:
    """Libraries write a queue's address in several ways."""
    assert entity_path(address) == "queue"

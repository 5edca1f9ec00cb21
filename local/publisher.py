"""What `make run` publishes: a mix that holds every row of the table in docs/failures.md.

Each message has the faults that the Face API injects for its session, and the place where it should
end.
"""

import json
import random
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from azure.servicebus import ServiceBusMessage

_SHOWN_EVERY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One message to publish."""

    kind: str
    """What it is meant to show."""
    message_id: str
    body: bytes
    session_id: str | None = None
    session_type: str = "livenessWithVerify"
    session_exists: bool = True
    content_type: str | None = "application/json"
    properties: dict[str, str] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)
    """Rules of faults for this session's calls, without the session's id."""
    ends: tuple[str, ...] = ("deleted",)
    """Where it may end: deleted, already_gone, or the reason in the dead-letter queue."""
    twice: bool = False
    """Published a second time under the same message id."""

    def message(self) -> ServiceBusMessage:
        """Return the message as the SDK sends it."""
        return ServiceBusMessage(
            self.body,
            message_id=self.message_id,
            content_type=self.content_type,
            subject="session-revoked",
            application_properties=dict[str | bytes, int | float | bytes | bool | str | UUID](
                self.properties.items()
            ),
        )


def plan(
    count: int, seed: int, *, random_faults: bool, show: Callable[[int], None] = lambda _: None
) -> list[Planned]:
    """Plan messages, in random order, the same for the same seed.

    Args:
        count: how many; every kind is among them if there are enough.
        seed: random seed.
        random_faults: whether an answer may be lost although the deletion took effect, so that
            what should end as deleted may also end as already gone.
        show: called now and then with the number of messages planned.
    """
    chance = random.Random(seed)
    special = list(_special(chance))
    messages = special[:count]
    while len(messages) < count:
        if len(messages) % _SHOWN_EVERY == 0:
            show(len(messages))
        # The rest are mostly plain ones, and some more of the special kinds.
        if chance.random() < 0.15:
            messages.append(chance.choice(list(_special(chance))))
        else:
            messages.append(_valid(chance, "plain"))
    show(count)
    chance.shuffle(messages)
    if random_faults:
        return [_with(each, ends=_or_gone(each.ends)) for each in messages]
    return messages


def _or_gone(ends: tuple[str, ...]) -> tuple[str, ...]:
    return (*ends, "already_gone") if "deleted" in ends else ends


def _with(planned: Planned, **changes: Any) -> Planned:
    fields = {name: getattr(planned, name) for name in Planned.__dataclass_fields__}
    return Planned(**{**fields, **changes})


def _id(chance: random.Random) -> str:
    return str(UUID(int=chance.getrandbits(128), version=4))


def _valid(chance: random.Random, kind: str, **fields: Any) -> Planned:
    session_id = fields.pop("session_id", None) or _id(chance)
    body: dict[str, object] = {"sessionId": session_id}
    if fields.get("session_type"):
        body["sessionType"] = fields["session_type"]
    body |= fields.pop("more", {})
    return Planned(
        kind=kind,
        message_id=_id(chance),
        session_id=session_id,
        body=json.dumps(body).encode(),
        **fields,
    )


def _status(status: int, code: str | None, count: int | None = None, **more: Any) -> dict[str, Any]:
    fault = {"fault": "status", "status": status, "count": count, "method": "DELETE", **more}
    return fault | ({"code": code} if code else {})


def _odd(chance: random.Random) -> Iterator[Planned]:
    """Yield messages with wrong informative members, whose sessions are still deleted."""
    odd = "odd: "
    for name, value in (
        ("sessionType null", {"sessionType": None}),
        ("revokedAt without offset", {"revokedAt": "2026-01-02T03:04:05"}),
        ("reason an object", {"reason": {"code": 7}, "revokedAt": 1767323045}),
        ("half of a surrogate pair", {"reason": "\ud83d", "ticket": ["\ude00"]}),
        ("NaN", {"score": float("nan")}),
    ):
        yield _valid(chance, odd + name, more=value)
    stray: dict[str, str] = {"cloudEvents:subject": "x"}
    yield _valid(chance, odd + "stray cloudEvents property", properties=stray)
    attributes = {"specversion": "1.0", "id": _id(chance), "source": "/identity", "type": "revoked"}
    yield _valid(
        chance,
        odd + "CloudEvents, binary mode, octets",
        content_type="application/octet-stream",
        properties={f"cloudEvents:{name}": value for name, value in attributes.items()},
    )
    plain = _valid(chance, odd + "not UTF-8")
    yield _with(plain, body=plain.body.replace(b"{", b'{"reason": "gel\xf6scht", '))
    for kind, content_type in (("without content type", None), ("as JSON", "application/json")):
        inner = _valid(chance, "")
        event = {**attributes, "data": json.loads(inner.body)}
        yield _with(
            inner,
            kind=f"{odd}CloudEvent {kind}",
            content_type=content_type,
            body=json.dumps(event).encode(),
        )
    inner = _valid(chance, odd + "CloudEvent with data_base64")
    yield _with(
        inner,
        content_type="application/cloudevents+json",
        body=json.dumps({**attributes, "data_base64": b64encode(inner.body).decode()}).encode(),
    )


def _special(chance: random.Random) -> Iterator[Planned]:
    def valid(kind: str, **fields: Any) -> Planned:
        return _valid(chance, kind, **fields)

    # What publishers may send.
    yield valid("sessionType liveness", session_type="liveness")
    yield valid(
        "all optional fields and an unknown one",
        more={"reason": "fraud", "revokedAt": "2026-01-02T03:04:05Z", "ticket": {"id": 7}},
    )
    session_id = _id(chance)
    attributes = {"specversion": "1.0", "id": _id(chance), "source": "/identity", "type": "revoked"}
    yield Planned(
        kind="CloudEvents, structured mode",
        message_id=_id(chance),
        session_id=session_id,
        content_type="application/cloudevents+json; charset=utf-8",
        body=json.dumps({**attributes, "data": {"sessionId": session_id}}).encode(),
    )
    yield valid(
        "CloudEvents, binary mode",
        properties={f"cloudEvents:{name}": value for name, value in attributes.items()},
    )
    yield from _odd(chance)
    yield valid("duplicate message id", twice=True)
    twin = _id(chance)
    yield valid("session named twice", session_id=twin, ends=("deleted", "already_gone"))
    yield valid("session named twice", session_id=twin, ends=("deleted", "already_gone"))
    yield valid("session unknown", session_exists=False, ends=("already_gone",))

    # What can never work.
    for status, code in (
        (400, "BadArgument"),
        (403, "UnsupportedFeature"),
        (422, "InvalidRequestBody"),
    ):
        yield valid(f"{status} {code}", faults=[_status(status, code)], ends=(code,))

    yield valid(
        "UnsupportedFeature below another code",
        faults=[{"fault": "not_approved", "method": "DELETE"}],
        ends=("UnsupportedFeature",),
    )

    # Something in front of the operation refuses for a while.
    for answer in (
        *("role_missing", "network_rules", "public_access_disabled", "tenant_mismatch"),
        *("no_subdomain", "quota", "gateway_html", "unknown_code"),
    ):
        yield valid(
            f"{answer}, then right", faults=[{"fault": answer, "count": 2, "method": "DELETE"}]
        )
    for number in (402, 405, 407, 410, 413, 421, 425, 431):
        yield valid(f"{number} without code, then right", faults=[_status(number, None, count=1)])
    # The deployment is wrong for a while.
    for status, fault in ((401, "401"), (403, "PermissionDenied"), (404, "404")):
        yield valid(f"{status} {fault}, then right", faults=[_status(status, fault, count=2)])

    # Transient.
    transient: tuple[tuple[int, str | None], ...] = (
        (408, None),
        (409, "ConcurrentOperationConflict"),
        (429, "429"),
        (500, "Unspecified"),
        (502, None),
        (503, "ServiceUnavailable"),
        (504, None),
    )
    for status, name in transient:
        wait = {"retry_after": 1} if status == 429 else {}
        yield valid(
            f"{status} {name or 'without code'}, then right",
            faults=[_status(status, name, count=1, **wait)],
        )
    for fault in (
        "disconnect",
        "hang",
        "garbage",
        "truncate",
        "huge",
        "html",
        "empty",
        "other_json",
    ):
        yield valid(
            f"{fault}, then right",
            faults=[{"fault": fault, "count": 1, "method": "DELETE", "seconds": 30}],
        )
    yield valid(
        "answer lost after the deletion",
        faults=[{"fault": "disconnect", "count": 1, "method": "DELETE", "before": False}],
        ends=("already_gone",),
    )

    # Malformed.
    broken: tuple[tuple[str, bytes, str | None], ...] = (
        ("not JSON", b"sessionId=1", "application/json"),
        ("not UTF-8", b'{"sessionId": "\xff"}', "application/json"),
        ("UTF-16", '{"sessionId": "a"}'.encode("utf-16"), "application/json"),
        (
            "binary XML",
            b"@\x06string\x083http://schemas.microsoft.com/2003/10/Serialization/\x99\x01a",
            None,
        ),
        ("empty", b"", "application/json"),
        ("an array", b"[]", "application/json"),
        ("two ids", b'{"sessionId": "a", "sessionId": "b"}', "application/json"),
        ("no sessionId", b'{"session": "x"}', "application/json"),
        ("sessionId with a slash", b'{"sessionId": "../x"}', "application/json"),
        ("sessionId too long", b'{"sessionId": "%s"}' % (b"a" * 129), "application/json"),
        ("unknown sessionType", b'{"sessionId": "a", "sessionType": "face"}', "application/json"),
        ("too large", b'{"sessionId": "a", "x": "%s"}' % (b"x" * 70_000), "application/json"),
        ("CloudEvent without data", b'{"specversion": "1.0"}', "application/cloudevents+json"),
    )
    for kind, body, content_type in broken:
        yield Planned(
            kind=f"malformed: {kind}",
            message_id=_id(chance),
            body=body,
            content_type=content_type,
            ends=("MalformedMessage",),
        )

"""Faults on request at the local Face API: rules, and which one applies to a call.

POST /_local/faults adds a rule, e.g. {"fault": "status", "status": 503, "count": 3}. Besides the
faults below, `fault` takes the name of an answer of answers.py, e.g. {"fault": "quota"}.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

from local.face.answers import ANSWERS

FAULTS = (
    "status",  # answers with `status`, `code`, `message`, `inner_code`, `retry_after`, `headers`
    "disconnect",  # closes the connection without an answer
    "hang",  # answers after `seconds`, long after any client has gone
    "latency",  # answers as it would, after `seconds`
    "garbage",  # bytes that are not HTTP
    "truncate",  # a body shorter than its Content-Length
    "huge",  # an error with a body of some megabytes
    "html",  # an error page of a gateway, with `status`
    "empty",  # an error without a body
    "redirect",  # sends the client elsewhere
    "other_json",  # an error whose JSON has another shape
    "random",  # with `probability`, one of `kinds`: "status:503", "hang:1", "disconnect", …
    *ANSWERS,
)


class BadRule(ValueError):
    """A rule cannot be read; the text says why."""


@dataclass(slots=True)
class Rule:
    """One rule, as POST /_local/faults takes it. A condition that is None holds for every call."""

    fault: str
    status: int = 503
    code: str | None = None
    message: str = "injected"
    inner_code: str | None = None
    """Code of an `innererror`, in which gateways wrap the operation's own error."""
    retry_after: float | str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 30.0
    session_id: str | None = None
    method: str | None = None
    path_prefix: str | None = None
    count: int | None = None
    """The number of calls that it still applies to; None: all."""
    probability: float = 1.0
    before: bool = True
    """Whether the fault comes before the call takes effect, or after."""
    kinds: tuple[str, ...] = ()

    @classmethod
    def read(cls, raw: Any) -> Self:
        """Read one rule.

        Raises:
            BadRule: it is invalid.
        """
        if not isinstance(raw, dict):
            raise BadRule("a rule is a JSON object")
        if unknown := set(raw) - set(cls.__dataclass_fields__):
            raise BadRule(f"unknown: {', '.join(sorted(unknown))}")
        if raw.get("fault") not in FAULTS:
            raise BadRule(f"fault: expected one of {', '.join(FAULTS)}")
        rule = cls(**{**raw, "kinds": tuple(raw.get("kinds", ()))})
        numbers = (rule.seconds, rule.probability, rule.status)
        if not all(isinstance(number, int | float) for number in numbers):
            raise BadRule("seconds, probability and status are numbers")
        if not 0 <= rule.probability <= 1 or rule.seconds < 0 or not 100 <= rule.status <= 599:
            raise BadRule("probability: 0 to 1; seconds: 0 or more; status: 100 to 599")
        header_values = (rule.code, rule.retry_after, *rule.headers.values())
        if not all(str(value).isprintable() for value in header_values):
            # aiohttp's server would not send it, and close the connection without an answer.
            raise BadRule("code, retry_after and headers: printable characters only")
        if rule.fault == "random" and not rule.kinds:
            raise BadRule("kinds: expected at least one")
        for kind in rule.kinds:
            _one_of_many(kind)
        return rule

    def concerns(self, method: str, path: str, session_id: str | None) -> bool:
        """Whether the rule is about such a call."""
        return (
            self.count != 0
            and self.session_id in (None, session_id)
            and self.method in (None, method)
            and (self.path_prefix is None or path.startswith(self.path_prefix))
        )


def _one_of_many(kind: str) -> Rule:
    """Return the rule that a word of `kinds` stands for, e.g. "status:503" or "latency:0.2"."""
    name, _, value = kind.partition(":")
    if name not in FAULTS or name == "random":
        raise BadRule(f"kinds: {name} is no fault")
    try:
        if name == "status":
            return Rule(fault="status", status=int(value), code=None)
        return Rule(fault=name, seconds=float(value) if value else 30.0)
    except ValueError:
        raise BadRule(f"kinds: {kind} has no number after the colon") from None


class Faults:
    """The rules in force.

    Randomness depends only on the seed, the session and the number of its call, so that the order of
    concurrent calls changes nothing.
    """

    def __init__(self, seed: int) -> None:
        self.rules: list[Rule] = []
        self._seed = seed
        self._calls: Counter[str] = Counter()

    def next_fault(self, method: str, path: str, session_id: str | None) -> Rule | None:
        """Return the first fault that applies to this call, if any."""
        key = session_id or path
        self._calls[key] += 1
        chance = random.Random(f"{self._seed}/{key}/{self._calls[key]}")
        for rule in self.rules:
            if rule.concerns(method, path, session_id) and chance.random() < rule.probability:
                if rule.count is not None:
                    rule.count -= 1
                if rule.fault != "random":
                    return rule
                chosen = _one_of_many(chance.choice(rule.kinds))
                # Half of the lost calls lose only their answer.
                chosen.before = chance.random() < 0.5
                return chosen
        return None

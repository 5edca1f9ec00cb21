"""The state of the Face API, independent of HTTP."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from local.face.faults import Faults
from local.face.limit import Counter as CallCounter
from local.face.limit import Limit, Shape, counter_for
from local.face.sessions import Sessions


@dataclass(slots=True)
class Config:
    """What can be changed while it runs, by POST /_local/config."""

    limit: str = "10/1"
    """COUNT/SECONDS, as Azure's `callRateLimit` has `count` and `renewalPeriod`; or "none"."""
    limit_shape: str = Shape.FIXED
    latency_seconds: float = 0.0
    retry_after_header: bool = True
    reject_tokens: bool = False
    deny_role: bool = False
    feature_unsupported: bool = False
    separate_families: bool = False
    """Whether a session is unknown under the path shape under which it was not created."""

    def changed(self, values: Any) -> "Config":
        """Return a copy with new values.

        Raises:
            ValueError: the text says what is wrong with them.
        """
        if not isinstance(values, dict):
            raise ValueError("expected a JSON object")
        now = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name, value in values.items():
            if name not in now:
                raise ValueError(f"unknown: {name}")
            if not _is_like(value, now[name]):
                raise ValueError(f"{name}: expected something like {now[name]!r}")
        changed = Config(**{**now, **values})
        Limit.parse(changed.limit, changed.limit_shape)
        return changed


@dataclass(slots=True)
class State:
    """Sessions, limit, faults, and every call so far."""

    config: Config
    faults: Faults
    sessions: Sessions = field(default_factory=Sessions)
    calls: list[dict[str, Any]] = field(default_factory=list)
    counter: CallCounter = field(init=False)

    def __post_init__(self) -> None:
        self.counter = self._counter()

    def configure(self, values: Any) -> None:
        """Change the configuration; a new limit counts from now on.

        Raises:
            ValueError: nothing was changed; the text says why.
        """
        before, self.config = self.config, self.config.changed(values)
        now = self.config
        if (now.limit, now.limit_shape) != (before.limit, before.limit_shape):
            self.counter = self._counter()

    def _counter(self) -> CallCounter:
        return counter_for(Limit.parse(self.config.limit, self.config.limit_shape))

    def statistics(self) -> dict[str, Any]:
        """Count the calls by method and status, and find the maximum in any one second."""
        by = Counter(f"{call['method']} {call['status']}" for call in self.calls)
        most = max(_in_one_second(call["time"] for call in self.calls), default=0)
        return {"calls": dict(by), "most_in_one_second": most}


def _is_like(value: object, example: object) -> bool:
    match example:
        case bool() | str():
            return isinstance(value, bool if isinstance(example, bool) else str)
        case _:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and value >= 0  # type: ignore[operator]


def _in_one_second(times: Iterable[float]) -> Iterator[int]:
    window: deque[float] = deque()
    for time in times:
        window.append(time)
        while window[0] <= time - 1:
            window.popleft()
        yield len(window)

"""A scenario, and what several of them share.

Times are a twentieth of the deployed ones where nothing else is said, so that outages shrink: the
break duration is 1.5 s instead of 30, the initial delay 0.1 s instead of 2, a lock lasts 3 s instead
of 60.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.cloud import Options
from local.soak.invariants import Evidence, Published, Threshold
from local.soak.stage import Stage

COOL_DOWN = 1.5
SCALED: Mapping[str, str] = {
    "CALL_TIMEOUT_SECONDS": "1.5",
    "RETRY_INITIAL_DELAY_SECONDS": "0.1",
    "RETRY_MAX_DELAY_SECONDS": "45",
    "CIRCUIT_BREAKER_BREAK_SECONDS": str(COOL_DOWN),
    "FACE_MAX_CALLS_PER_SECOND": "100",
}
LOCK: Mapping[str, object] = {"lockDuration": "PT3S"}

TRANSIENT = (
    *("status:500", "status:502", "status:503", "status:504", "status:408", "status:409"),
    *("status:401", "status:404", "disconnect", "garbage", "html", "truncate", "huge", "empty"),
    *("redirect", "other_json", "latency:0.2", "hang:5"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario."""

    name: str
    play: Callable[[Stage], Awaitable[None]]
    """Publishes, breaks and restores; afterwards, the scenario waits until the queue is empty."""
    limit: float
    """Maximum seconds until the queue holds only dead letters."""
    settings: Mapping[str, str] = field(default_factory=lambda: SCALED)
    options: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Callable[[Stage, Evidence], list[Threshold]] = lambda _stage, _evidence: []
    on_request: bool = False
    """Played only when it is named."""
    sends_receipts: bool = True
    """Whether every function version in it sends receipts; if not, it is played without them."""

    @property
    def what(self) -> str:
        """What happens, in one sentence."""
        return (self.play.__doc__ or "").strip()

    def cloud(self, seed: int) -> Options:
        """Return the cloud that it plays on."""
        values = {"queue_properties": LOCK, **self.options}
        return Options(seed=seed, settings=self.settings, **values)


COPIES = 0.008
"""RETRY_INITIAL_DELAY_SECONDS where nearly all retries should be scheduled copies."""


def with_settings(**changes: float) -> dict[str, str]:
    """Return the scaled settings, some of them changed."""
    return {**SCALED, **{name: f"{value:g}" for name, value in changes.items()}}


def transient(share: float) -> dict[str, Any]:
    """Return a rule of faults: this share of all calls fails with a transient error."""
    return {"fault": "random", "probability": share, "kinds": list(TRANSIENT), "method": "DELETE"}


def rejected(each: Published, status: int, code: str) -> dict[str, Any]:
    """Return a rule of faults: every call for this session is refused."""
    return {
        "fault": "status",
        "status": status,
        "code": code,
        "message": "refused by the scenario",
        "session_id": each.session_id,
    }


def rejected_end(status: int, code: str) -> dict[str, Any]:
    """Return where a message ends if the calls for its session are refused like that."""
    return {"ends": (code,), "description": f"^HTTP {status} {code}: refused by the scenario"}

"""The scenarios, by theme: what is done to the cloud while revocations pass through it.

In each module, a play (what happens) stands beside its bar (what must hold of it, beyond the
invariants).
"""

from local.soak.scenarios import (
    broker_faults,
    clocks,
    crashes,
    drains,
    failing_calls,
    outages,
    publishers,
    storms,
    upgrades,
)
from local.soak.scenarios.scenario import Scenario

_THEMES = (
    storms,
    failing_calls,
    outages,
    drains,
    upgrades,
    crashes,
    broker_faults,
    publishers,
    clocks,
)
SCENARIOS: tuple[Scenario, ...] = tuple(each for theme in _THEMES for each in theme.SCENARIOS)
"""The longest theme first: the others find their place beside it."""
SHORT = failing_calls.SHORT

__all__ = ["SCENARIOS", "SHORT", "Scenario"]

"""The scenarios, by theme: faults of the cloud while revocations pass through it.

Each module has the plays (what happens) beside their thresholds (what must hold, beyond the
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
"""The longest theme first, so that the others run beside it."""
SHORT = failing_calls.SHORT

__all__ = ["SCENARIOS", "SHORT", "Scenario"]

"""The list of policies, and how one is put on it."""

from collections.abc import Callable

from tests.infra.project import Project

type Policy = Callable[[Project], list[str]]
"""Takes the project and returns its problems, a sentence each."""

POLICIES: dict[str, Policy] = {}


def policy(function: Policy) -> Policy:
    """Put a policy on the list."""
    POLICIES[function.__name__] = function
    return function

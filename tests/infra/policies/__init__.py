"""What must hold of the infrastructure, policy by policy.

test_policies.py wants no problem from any; test_mutations.py wants each of many seeded mistakes
found by the policy that is there for it.
"""

from tests.infra.policies import agreement, operations, security, structure
from tests.infra.policies.registry import POLICIES

__all__ = ["POLICIES", "agreement", "operations", "security", "structure"]

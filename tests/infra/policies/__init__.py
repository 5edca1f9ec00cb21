"""What must hold of the infrastructure, policy by policy (test_policies.py)."""

from tests.infra.policies import agreement, operations, security, structure

__all__ = ["agreement", "operations", "security", "structure"]

import pytest

from tests.infra.policies import POLICIES
from tests.infra.project import Project


@pytest.fixture(scope="module")
def project() -> Project:
    return Project.load()


@pytest.mark.parametrize("name", POLICIES)
def test_policy(name: str, project: Project) -> None:
    """The policy finds no problem in the repository."""
    assert POLICIES[name](project) == []

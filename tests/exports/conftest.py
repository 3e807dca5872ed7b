import pytest

from .stories import story


@pytest.fixture(scope="session")
def told():
    """A story of a simulated study with 12 prompts and 2 seeds."""
    return story()

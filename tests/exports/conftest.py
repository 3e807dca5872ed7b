import json
from pathlib import Path

import pytest

import ldmopt

from .stories import story

QUICKSTART = Path(__file__).with_name("rulebook.json")
"""A rulebook of an earlier quickstart, kept so that tests do not follow each new run's figures."""


@pytest.fixture(scope="session")
def book():
    """Give a rulebook with one recommendation, `item`, of the setting that is asked for."""
    plain = json.loads(QUICKSTART.read_text())
    row = plain["recommendations"][0]

    def made(**setting):
        items = [{**row, "id": "item", "setting": setting}]
        return ldmopt.Rulebook.from_data({**plain, "recommendations": items})

    return made


@pytest.fixture(scope="session")
def told():
    """A story of a simulated study with 12 prompts and 2 seeds."""
    return story()

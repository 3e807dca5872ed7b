"""A recorded table gives what was recorded, and refuses what was not."""

import pytest
from tables import PEAK, write_table

from ldmopt.contracts import Setting
from ldmopt.errors import UserError
from ldmopt.recording import COSTS, QUALITY, Recording

SETTING = {"sampler": "euler", "steps": 8, "guidance": 7.5, "size": "64x64", "backend": "torch",
           "batch": 1}


@pytest.fixture
def table(tmp_path):
    return Recording.read(write_table(tmp_path / "table"))


def test_seconds_are_put_together_from_parts(table):
    cost = table.cost(SETTING)
    assert cost.seconds == pytest.approx(0.004 + 0.008 + 8 * 0.012 + 8 * 0.0002)
    assert cost.peak_memory_bytes == PEAK[1]
    assert cost.calls_by_kind["guided"].count == 8
    unguided = table.cost({**SETTING, "guidance": 1.0})
    assert unguided.seconds == pytest.approx(0.012 + 8 * 0.007 + 8 * 0.0002)
    pair = table.cost({**SETTING, "batch": 2})
    assert pair.latency_seconds == pytest.approx(2 * pair.seconds)
    assert pair.peak_memory_bytes == PEAK[2]


@pytest.mark.parametrize(("sampler", "steps", "calls"),
                         [("pndm", 50, 51), ("heun", 8, 15), ("euler", 4, 4)])
def test_calls_of_samplers_that_call_more_often(table, sampler, steps, calls):
    assert table.network_calls(sampler, steps) == calls


def test_a_samplers_own_arithmetic_counts(table):
    pndm, euler = (table.cost({**SETTING, "sampler": name}) for name in ("pndm", "euler"))
    assert pndm.seconds - euler.seconds == pytest.approx(0.012 + 8 * 0.0001)


def test_what_was_not_recorded_has_no_cost(table):
    assert table.cost({**SETTING, "batch": 4}) is None
    assert table.cost({**SETTING, "size": "96x96"}) is None
    assert Setting(sampler="lms", steps=8, guidance=7.5, size="64x64") not in table.row


@pytest.mark.parametrize("name", [QUALITY, COSTS])
def test_a_missing_or_damaged_file_is_named(tmp_path, name):
    folder = write_table(tmp_path / "table")
    (folder / name).write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=name):
        Recording.read(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        Recording.read(folder)

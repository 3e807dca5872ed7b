"""Several pictures a call: the same pictures, each call timed once, and shared out evenly."""

from contextlib import closing

import faults
import numpy as np
import pytest

from ldmopt.child.host import ProcessHost
from ldmopt.contracts import Block, Setting
from ldmopt.errors import GenerationError
from ldmopt.model import describe
from ldmopt.study.equivalence import decibels
from ldmopt.testing import open_space, open_worker

SETTING = Setting(steps=4, guidance=4.0, size="64x64", sampler="ddim", fault="none", watch="off")
BLOCKS = [Block(f"{count} houses", count) for count in range(5)]


def open_host(**more):
    return ProcessHost(describe("standin"), plugins=["faults"], **more)


def test_a_batch_makes_the_pictures_of_single_calls():
    with closing(open_host()) as host:
        alone = [picture.digest for picture, _ in host.generate(SETTING, BLOCKS)]
        together = list(host.generate(SETTING.replace({"batch": 2}), BLOCKS))
    assert [picture.digest for picture, _ in together] == alone
    assert [picture.block for picture, _ in together] == BLOCKS
    for _, cost in together:
        assert cost.batch == 2
        assert cost.latency_seconds == pytest.approx(2 * cost.seconds)
        assert sum(cost.seconds_by_phase.values()) == pytest.approx(cost.seconds)
        assert cost.calls_by_kind["guided"].count == 4
        assert cost.warmup_seconds > 0
    seconds = [cost.seconds for _, cost in together]
    assert seconds[0] == seconds[1] and seconds[2] == seconds[3]
    assert len(set(seconds)) == 3


def test_a_call_that_lacks_blocks_is_filled_up(tmp_path, monkeypatch):
    seen = tmp_path / "prompts.txt"
    monkeypatch.setenv("WATCH_FILE", str(seen))
    with closing(open_host()) as host:
        made = list(host.generate(SETTING.replace({"batch": 3, "watch": "on"}), BLOCKS))
    assert len(made) == 5
    prompts = seen.read_text().splitlines()
    assert prompts == ["", "", "", *(block.prompt for block in BLOCKS), BLOCKS[3].prompt]


@pytest.mark.parametrize(("guidance", "kind"), [(4.0, "guided"), (1.0, "unguided")])
def test_guided_and_unguided_calls_are_told_apart(guidance, kind):
    with closing(open_host()) as host:
        setting = SETTING.replace({"guidance": guidance, "batch": 2})
        _, cost = next(iter(list(host.generate(setting, BLOCKS[:2]))))
    assert set(cost.calls_by_kind) == {kind, "step"}


def test_the_deadline_of_a_call_is_that_of_its_pictures():
    one = 1.6 * faults.SLOW_SECONDS
    with closing(open_host(deadline_seconds=one)) as host:
        slow = SETTING.replace({"fault": "slow", "batch": 3})
        assert len(list(host.generate(slow, BLOCKS[:3]))) == 3
        with pytest.raises(GenerationError) as caught:
            list(host.generate(slow.replace({"fault": "hang"}), BLOCKS[:3]))
    assert caught.value.kind == "deadline"
    assert f"within {3 * one:g} s" in caught.value.reason


@pytest.fixture(scope="module")
def worker():
    return open_worker("miniature")


def made(worker, blocks, **values):
    setting = open_space(worker).canonical({"steps": 5, **values})
    plan = worker.prepare(setting)
    with worker.edited(plan):
        size = plan.batch
        calls = [worker.calls(plan, blocks[i : i + size]) for i in range(0, len(blocks), size)]
        return [pixels for pictures, _ in calls for pixels in pictures]


@pytest.mark.real
@pytest.mark.parametrize("values", [
    {"sampler": "pndm"}, {"sampler": "dpmpp_2m", "guidance": 1.0}, {"sampler": "euler_a"},
    {"sampler": "kdpm2_a"}, {"sampler": "dpmpp_2m_sde"}, {"sampler": "ddim", "backend": "onnx"},
], ids=str)
def test_each_picture_of_a_batch_has_its_own_noise(worker, values):
    alone = made(worker, BLOCKS[:3], **values)
    together = made(worker, BLOCKS[:3], **values, batch=2)
    for left, right in zip(alone, together, strict=True):
        assert decibels(left, right) > 40
    assert decibels(alone[0], alone[1]) < 30


@pytest.mark.real
def test_a_block_decides_what_ancestral_samplers_add(worker):
    """The scheduler must be handed the picture's generator: else noise comes from anywhere."""
    import torch

    torch.manual_seed(1)
    first = made(worker, BLOCKS[:1], sampler="euler_a")
    torch.manual_seed(2)
    again = made(worker, BLOCKS[1:2] + BLOCKS[:1], sampler="euler_a")
    assert np.array_equal(first[0], again[1])

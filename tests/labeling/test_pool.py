import numpy as np
import pytest

from ldmopt.labeling import pool as pools
from ldmopt.labeling.pool import read_front, read_pool
from ldmopt.study import records
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_run
from tests.labeling.worlds import BLOCKS, front, trial


def test_prompts_kept_for_confirmation_are_never_offered(run):
    folder = RunFolder(run)
    frozen = read_run(run)[2].user_attrs[records.FROZEN]
    held_out = {prompt for prompt, _ in frozen["held_out"]}
    everything, found = read_pool(folder), read_front(folder)
    assert held_out and not held_out & {block.prompt for block in everything.blocks}
    assert not held_out & {block.prompt for block in found.blocks}
    # Its pictures are stored: leaving them out is the pool's doing.
    stored = {line["prompt"] for line in folder.read_journal() if "digest" in line}
    assert held_out <= stored


def test_a_pool_holds_each_picture_once(run):
    for digests in read_pool(RunFolder(run)).blocks.values():
        assert len(digests) == len(set(digests)) >= 2


def test_settings_with_equal_pictures_share_a_look():
    names = tuple(f"shared-{place}" for place in range(12))
    found = front([trial(0, 1.0, 0.5), trial(1, 0.5, 0.6, pictures=names),
                   trial(2, 0.4, 0.6, pictures=names)])
    assert len(found.layout.pictures) == 3 and len(found.win_rate) == 2
    assert np.array_equal(found.layout.pictures[1], found.layout.pictures[2])
    assert len(found.digests) == 24 and set(found.look) == {0, 1}


def test_a_picture_that_two_looks_share_is_one_picture():
    names = ("0-0", *(f"other-{place}" for place in range(1, 12)))
    found = front([trial(0, 1.0, 0.5), trial(1, 0.5, 0.5, pictures=names)])
    assert len(found.digests) == 23
    assert found.layout.pictures[0, 0] == found.layout.pictures[1, 0]


def test_failed_and_infeasible_settings_are_left_out_but_the_default_is_not():
    trials = [trial(0, 9.0, 0.5, feasible=False), trial(1, 0.5, 0.6),
              trial(2, 0.4, 0.7, feasible=False),
              trial(3, 0.4, 0.7, failure={"kind": "crash", "reason": ""})]
    found = front(trials)
    assert len(found.layout.pictures) == 2 and found.digests[0] == "0-0"


def test_memory_counts_where_all_of_it_is_known():
    known = [trial(0, 1.0, 0.5, memory=10**9), trial(1, 0.5, 0.6, memory=10**8)]
    assert front(known).layout.costs.shape == (2, 2)
    assert front([known[0], trial(1, 0.5, 0.6)]).layout.costs.shape == (2, 1)


def test_looks_far_from_the_front_are_left_out_first(monkeypatch):
    monkeypatch.setattr(pools, "LOOKS", 3)
    found = front([trial(0, 1.0, 0.5), trial(1, 0.9, 0.1), trial(2, 0.5, 0.6),
                   trial(3, 0.4, 0.55)])
    assert {digest.split("-")[0] for digest in found.digests} == {"0", "2", "3"}


@pytest.mark.parametrize("trials", [[], [trial(0, 1.0, 0.5)],
                                    [trial(0, 1, 0.5), trial(1, 1, 0.5, feasible=False)]])
def test_without_two_looks_there_is_no_front(trials):
    assert front(trials) is None


def test_only_kept_blocks_are_in():
    found = front([trial(0, 1.0, 0.5), trial(1, 0.5, 0.5)], kept=[2, 3, 7])
    assert found.blocks == (BLOCKS[2], BLOCKS[3], BLOCKS[7])
    assert list(found.layout.prompt) == [0, 0, 1]

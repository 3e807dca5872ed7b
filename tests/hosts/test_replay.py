"""A replayed table is a host and a scorer like others, without pictures."""

import numpy as np
import pytest
from tables import write_table

from ldmopt.contracts import Block, Picture, Setting
from ldmopt.errors import GenerationError, UserError
from ldmopt.hosts.replay import HELD_OUT_SEEDS_FROM, ReplayHost
from ldmopt.recording import Recording
from ldmopt.scorers.replay import ReplayScorer

SETTING = Setting(sampler="euler", steps=8, guidance=7.5, size="64x64", backend="torch", batch=1,
                  deepcache=1)
DEFAULT = Setting({**SETTING, "sampler": "pndm", "steps": 50})
BLOCKS = [Block("prompt 0", 0), Block("prompt 3", 1)]


@pytest.fixture
def table(tmp_path):
    return Recording.read(write_table(tmp_path / "table"))


def test_it_books_recorded_seconds_and_gives_a_tag_a_block(table):
    host = ReplayHost(table)
    made = list(host.generate(SETTING, BLOCKS))
    cost = table.cost(SETTING)
    assert [picture.block for picture, _ in made] == BLOCKS
    assert host.busy_seconds == pytest.approx(2 * cost.seconds)
    assert len({picture.digest for picture, _ in made}) == 2
    again = Picture.from_png(made[0][0].png, BLOCKS[0])
    assert again.digest == made[0][0].digest


def test_the_scorer_looks_up_what_was_recorded(table):
    host, scorer = ReplayHost(table), ReplayScorer(table)
    left = [picture for picture, _ in host.generate(SETTING, BLOCKS)]
    right = [picture for picture, _ in host.generate(DEFAULT, BLOCKS)]
    places = [table.blocks.index(block) for block in BLOCKS]
    row = table.row[table.picture(SETTING)]
    for score, place in zip(scorer.score(left), places, strict=True):
        assert score.value == pytest.approx(table.members[row, place].mean(), abs=1e-4)
    forth, back = scorer.compare(left, right), scorer.compare(right, left)
    for one, other in zip(forth, back, strict=True):
        assert one.probability < 0.5
        assert one.probability == pytest.approx(1 - other.probability)
    assert scorer.compare(left, left)[0].probability == 0.5


def test_held_out_seeds_are_those_of_the_table(table):
    host = ReplayHost(table)
    [(later, _)] = host.generate(SETTING, [Block("prompt 0", HELD_OUT_SEEDS_FROM)])
    [(first, _)] = host.generate(SETTING, [Block("prompt 0", 0)])
    assert np.array_equal(later.pixels, first.pixels)


def test_what_the_table_lacks_is_refused_by_name(table):
    host = ReplayHost(table)
    with pytest.raises(GenerationError, match="steps=5"):
        list(host.generate(Setting({**SETTING, "steps": 5}), BLOCKS))
    with pytest.raises(GenerationError, match="batch=4"):
        host.memory(Setting({**SETTING, "batch": 4}))
    with pytest.raises(GenerationError, match="an unknown prompt"):
        list(host.generate(SETTING, [Block("an unknown prompt", 0)]))


def test_a_picture_is_no_tag(table):
    picture = Picture(np.zeros((16, 16, 3), np.uint8), BLOCKS[0])
    with pytest.raises(UserError, match="only its own tags"):
        ReplayScorer(table).score([picture])

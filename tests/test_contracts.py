import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldmopt.contracts import Block, BlockWin, Calls, Cost, Picture, Quality, Setting

values = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8))
settings = st.dictionaries(st.text(min_size=1, max_size=8), values, max_size=5)


@given(settings)
def test_settings_are_equal_whatever_the_order(data):
    backwards = dict(reversed(list(data.items())))
    assert Setting(data) == Setting(backwards)
    assert hash(Setting(data)) == hash(Setting(backwards))
    assert Setting(json.loads(Setting(data).json())) == Setting(data)


def test_settings_cannot_be_changed():
    setting = Setting(steps=4)
    with pytest.raises(TypeError):
        setting["steps"] = 5  # type: ignore[index]
    assert setting.replace({"steps": 5}) == Setting(steps=5)
    assert setting == Setting(steps=4)


def test_digest_depends_on_shape_and_pixels_only():
    block = Block("a", 0)
    pixels = np.arange(2 * 8 * 3, dtype=np.uint8)
    wide, tall = Picture(pixels.reshape(2, 8, 3), block), Picture(pixels.reshape(8, 2, 3), block)
    assert wide.digest != tall.digest
    assert wide.digest == Picture(pixels.reshape(2, 8, 3), Block("b", 1), b"x").digest


def test_digest_is_the_published_one():
    import hashlib

    pixels = np.full((1, 2, 3), 7, np.uint8)
    wanted = hashlib.sha256(b"\2\0\0\0\1\0\0\0" + b"\7" * 6).hexdigest()
    assert Picture(pixels, Block("", 0)).digest == wanted


def test_cost_and_quality_survive_json():
    cost = Cost(1.5, 1.5, {"denoise": 1.5}, {"guided": Calls(4, 1.0), "step": Calls(4, 0.1)}, 7)
    assert Cost.from_dict(json.loads(json.dumps(cost.to_dict()))) == cost
    assert cost.network_evaluations == 4
    assert Cost.from_dict({**cost.to_dict(), "of_a_later_version": 1}) == cost
    blocks = (BlockWin("a", 1, 0.6), BlockWin("a", 2, 0.5), BlockWin("b", 1, 0.5, tie=True))
    quality = Quality(0.6, 0.5, 0.7, blocks)
    assert quality.to_dict()["blocks"] == [["a", 1, 0.6], ["a", 2, 0.5], ["b", 1, 0.5, True]]
    assert [Quality(0.5, 0.5, 0.5, (row,)).certain for row in blocks] == [False, True, False]
    assert Quality.from_dict(json.loads(json.dumps(quality.to_dict()))) == quality


def test_a_stored_picture_is_read_when_its_pixels_are_asked_for():
    block, loads = Block("a", 0), []
    made = Picture(np.full((2, 3, 3), 9, np.uint8), block, b"file")

    def load():
        loads.append(1)
        return made

    stored = Picture.stored(made.digest, block, load)
    assert (stored.digest, stored.block) == (made.digest, block)
    assert made.digest[:12] in repr(stored) and not loads
    assert np.array_equal(stored.pixels, made.pixels) and stored.png == b"file"
    assert stored.size == made.size == (3, 2)
    assert loads


def test_pictures_cannot_be_changed():
    mine = np.zeros((2, 3, 3), np.uint8)
    picture = Picture(mine, Block("a", 0))
    for name in ("pixels", "block", "png", "digest", "anything"):
        with pytest.raises(AttributeError):
            setattr(picture, name, None)
    with pytest.raises(ValueError, match="read-only"):
        picture.pixels[0, 0, 0] = 1
    assert mine.flags.writeable

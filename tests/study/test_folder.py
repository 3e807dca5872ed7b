"""Stored pictures: found by digest, opened only when they are looked at."""

import numpy as np
import pytest

from ldmopt.child.png import encode
from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError
from ldmopt.study.folder import RunFolder

BLOCK = Block("a tree", 3)


@pytest.fixture
def kept(tmp_path):
    folder = RunFolder(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    digest = folder.keep(Picture(pixels, BLOCK, encode(pixels, "a tree")))
    return folder, digest, pixels


def test_a_stored_picture_is_the_one_that_was_kept(kept):
    folder, digest, pixels = kept
    picture = folder.picture(digest, BLOCK)
    assert picture.digest == digest and picture.block == BLOCK
    assert np.array_equal(picture.pixels, pixels)
    assert picture.png == folder.picture_path(digest).read_bytes()


@pytest.mark.parametrize(("damage", "words"), [
    (lambda path: path.unlink(), "cannot be read"),
    (lambda path: path.write_bytes(b"no picture"), "cannot be read"),
    (lambda path: path.write_bytes(path.read_bytes()[:200]), "cannot be read"),
    (lambda path: path.write_bytes(encode(np.zeros((20, 30, 3), np.uint8), "")),
     "not the one that its name says"),
])
def test_a_damaged_picture_is_named_when_it_is_opened(kept, damage, words):
    folder, digest, _ = kept
    damage(folder.picture_path(digest))
    picture = folder.picture(digest, BLOCK)
    for look in (lambda: picture.pixels, lambda: picture.png, lambda: picture.size):
        with pytest.raises(UserError, match=words) as caught:
            look()
        assert digest in str(caught.value)

"""A constructed front: settings of known cost and worth, pictures by name, features by rule."""

import numpy as np

from ldmopt.contracts import Block, BlockWin, Cost, Setting, Trial
from ldmopt.distillation.intervals import win_rate
from ldmopt.labeling.pool import Pool, front_of

BLOCKS = [Block(f"prompt {place // 2}", place % 2) for place in range(12)]


def trial(number, seconds, win, *, memory=None, pictures=None, blocks=BLOCKS, **more):
    """A finished trial whose every block reads the same win rate."""
    names = pictures or tuple(f"{number}-{place}" for place in range(len(blocks)))
    quality = win_rate([BlockWin(block.prompt, block.seed, win + 0.01 * (place % 3 - 1))
                        for place, block in enumerate(blocks)])
    cost = Cost(seconds, seconds, peak_memory_bytes=memory)
    return Trial(number, Setting(steps=number), cost, quality, names, **more)


def front(trials, kept=range(12)):
    return front_of(trials, BLOCKS, kept)


def pool(trials, kept=range(12)):
    return Pool({BLOCKS[place]: tuple(dict.fromkeys(one.pictures[place] for one in trials))
                 for place in kept})


def ladder():
    """The default, three rivals of equal worth and cost just below it, two that are ruined."""
    return [trial(0, 1.0, 0.5), trial(1, 0.5, 0.5), trial(2, 0.51, 0.5), trial(3, 0.52, 0.5),
            trial(4, 0.6, 0.02), trial(5, 0.7, 0.02)]


def setting_of(offer):
    return {int(offer.left.split("-")[0]), int(offer.right.split("-")[0])}


def noise_features(front, columns=5, seed=0):
    return np.random.default_rng(seed).standard_normal((len(front.digests), columns))

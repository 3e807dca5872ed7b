import time
from collections import Counter

import numpy as np
import pytest

from ldmopt.labeling import belief as beliefs
from ldmopt.labeling.front import FrontChooser, chooser_of, scorer_priors
from ldmopt.labeling.pool import read_front, read_pool
from ldmopt.labels import Pair
from ldmopt.study.folder import RunFolder
from tests.labeling.worlds import BLOCKS, front, ladder, noise_features, pool, setting_of, trial


def by_intervals(trials, **more):
    found = front(trials)
    start = beliefs.from_intervals(found.win_rate, found.low, found.high, found.look)
    return FrontChooser(pool(trials), found, [start], **more)


def by_scorer(trials, worth, **more):
    """Make a chooser whose scorer gives every picture its setting's worth."""
    found = front(trials)
    values = np.array([worth[int(digest.split("-")[0])] for digest in found.digests])
    reference = found.layout.pictures[0]
    priors = beliefs.priors(values, noise_features(found), found.block, reference, found.look)
    return FrontChooser(pool(trials), found, priors, **more)


WORTH = (0.0, 0.1, 0.0, 0.1, -9.0, -9.0)


@pytest.mark.parametrize("chooser", [by_intervals(ladder()), by_scorer(ladder(), WORTH)])
def test_rivals_on_the_front_are_asked_about_and_ruins_are_not(chooser):
    offers = chooser.offers(10, [])
    asked = Counter(name for offer in offers for name in setting_of(offer))
    assert asked[1] + asked[2] + asked[3] >= 2 * (asked[4] + asked[5])
    assert {4, 5} not in map(setting_of, offers)


def answered(offers, preferred="left", rater="ann"):
    return [Pair(offer.left, offer.right, rater, preferred, offer.prompt, offer.seed)
            for offer in offers]


def test_what_was_answered_is_never_asked_again_and_all_is_asked_in_the_end():
    trials = [trial(0, 1.0, 0.5), trial(1, 0.5, 0.5), trial(2, 0.2, 0.4)]
    chooser, answers = by_intervals(trials), []
    while chooser.useful(answers):
        offers = chooser.offers(7, answers)
        keys = {offer.key for offer in offers}
        assert len(keys) == len(offers) > 0
        assert not keys & {tuple(sorted((pair.left, pair.right))) for pair in answers}
        answers += answered(offers, "tie")
    assert len(answers) == 3 * len(BLOCKS)
    assert chooser.offers(7, answers) == []


def test_a_batch_is_diverse():
    offers = by_scorer(ladder(), WORTH).offers(12, [])
    assert len({offer.prompt for offer in offers}) >= 4
    assert len({frozenset(setting_of(offer)) for offer in offers}) >= 3


def test_raters_who_come_at_once_are_asked_different_pairs():
    chooser = by_scorer(ladder(), WORTH)
    mine, yours = ({offer.key for offer in chooser.offers(10, [], rater)}
                   for rater in ("ann", "bob"))
    assert len(mine & yours) <= 6


def test_equal_seeds_and_answers_give_equal_offers():
    first = by_scorer(ladder(), WORTH, seed=3).offers(5, [])
    assert first == by_scorer(ladder(), WORTH, seed=3).offers(5, [])
    assert first != by_scorer(ladder(), WORTH, seed=4).offers(5, [])
    answers = answered(first)
    assert (by_scorer(ladder(), WORTH, seed=3).offers(5, answers)
            == by_scorer(ladder(), WORTH, seed=3).offers(5, answers))


def preferring(winner, loser):
    return [Pair(f"{winner}-{place}", f"{loser}-{place}", "ann", "left") for place in range(12)]


def test_answers_move_win_rates_and_chances_at_once():
    chooser = by_scorer(ladder(), WORTH)
    before = chooser.win_rates()
    answers = preferring(1, 0) + preferring(1, 2) + preferring(0, 3)
    after = chooser.win_rates(answers)
    assert before[0] == after[0] == 0.5
    assert after[1] > before[1] + 0.05 and after[3] < before[3]
    assert chooser.chances(answers)[2] < chooser.chances()[2]  # dearer than 1, and now worse
    assert max(chooser.chances(answers)[[4, 5]]) < 0.1


def test_other_raters_answers_count_and_withdrawn_ones_and_repeats_do_not():
    alone = by_scorer(ladder(), WORTH)
    answers = preferring(1, 0)
    other = by_scorer(ladder(), WORTH, others=lambda: answers)
    assert np.allclose(other.win_rates(), alone.win_rates(answers))
    # One's own answers may be among the others'; they count once.
    assert np.allclose(other.win_rates(answers), alone.win_rates(answers))
    void = [Pair("1-0", "0-0", "ann", "withdrawn"), Pair("1-1", "0-1", "ann", "left", repeat=True)]
    assert np.allclose(alone.win_rates(void), alone.win_rates())


def test_pictures_that_no_trial_has_are_asked_about_last():
    trials = [trial(0, 1.0, 0.5), trial(1, 0.5, 0.5)]
    wide = pool([*trials, trial(9, 1.0, 0.5)])
    found = front(trials)
    start = beliefs.from_intervals(found.win_rate, found.low, found.high, found.look)
    chooser = FrontChooser(wide, found, [start])
    offers = chooser.offers(len(wide), [])
    assert len(offers) == len(wide) == 3 * len(BLOCKS)
    assert all(9 not in setting_of(offer) for offer in offers[:6])


def test_a_run_of_the_stand_in_goes_by_its_trials_intervals(run):
    folder = RunFolder(run)
    found, everything = read_front(folder), read_pool(folder)
    assert scorer_priors(folder, found) is None
    chooser = chooser_of(folder)(everything)
    assert isinstance(chooser, FrontChooser)
    known = everything.pictures()
    for offer in chooser.offers(20, []):
        assert known[offer.left] == known[offer.right]
        assert (offer.prompt, offer.seed) == (known[offer.left].prompt, known[offer.left].seed)


def test_a_run_with_a_real_scorer_starts_from_its_values(run):
    folder = RunFolder(run)
    folder.spec.write_text(folder.spec.read_text().replace('"standin"\n', '"statistics"\n')
                           .replace('model = "statistics"', 'model = "standin"'))
    found = read_front(folder)
    priors = scorer_priors(folder, found)
    assert len(priors) > 1 and priors[0].inputs.shape[0] == len(found.digests)
    default = found.layout.pictures[0]
    assert np.all(priors[0].inputs[default, 0] == 0) and priors[0].inputs[:, 0].std() > 0.1
    chooser = chooser_of(folder)(read_pool(folder))
    end = time.monotonic() + 60
    while chooser.belief().inputs.shape != priors[0].inputs.shape and time.monotonic() < end:
        time.sleep(0.05)
    assert np.array_equal(chooser.belief().inputs, priors[0].inputs)

"""The estimator of taste on simulated labels whose truth is known."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load, save
from scipy.stats import spearmanr

from ldmopt.errors import UserError
from ldmopt.scorers.preference.estimator import InputError, Pairs, PreferenceRegressor

COLUMNS = 8


class World:
    """Pictures of prompts with a known utility, and simulated raters who speak of it."""

    def __init__(self, seed, prompts=40, each=12, columns=COLUMNS, bent=False):
        self.rng = np.random.default_rng(seed)
        self.features = self.rng.normal(size=(prompts * each, columns))
        self.group = np.repeat(np.arange(prompts), each)
        weights = self.rng.normal(size=columns)
        weights *= 1.5 / np.linalg.norm(weights)
        self.truth = self.features @ weights
        if bent:
            self.truth = 2.0 * np.cos(1.2 * self.features[:, 0]) + np.abs(self.features[:, 1])

    def pairs(self, count, among=None, reliability=1.0, nu=0.3, rater="a", base=None):
        """Answer pairs of one prompt each, by Davidson's model."""
        rows = np.arange(len(self.group)) if among is None else np.flatnonzero(among)
        left = self.rng.choice(rows, count)
        right = np.array([self.rng.choice(rows[self.group[rows] == self.group[i]]) for i in left])
        gap = reliability * (self.truth[left] - self.truth[right])
        weight = np.stack([np.exp(gap / 2), np.full(count, nu), np.exp(-gap / 2)])
        drawn = self.rng.random(count) * weight.sum(axis=0)
        win = 1.0 - 0.5 * (drawn[None] > np.cumsum(weight, axis=0)).sum(axis=0)
        table = self.features if base is None else np.column_stack([base, self.features])
        return Pairs(table[left], table[right], win, [rater] * count, self.group[left])

    def ratings(self, rows, offset=5.0, scale=0.8, noise=1.0, effect=0.5):
        """Rate pictures; prompts move every rating of theirs."""
        effects = effect * self.rng.normal(size=self.group.max() + 1)
        seen = self.truth[rows] + effects[self.group[rows]]
        return offset + scale * seen + noise * self.rng.normal(size=len(rows))


def joined(*parts):
    """Put several raters' pairs together."""
    return Pairs(
        *(np.concatenate([getattr(part, name) for part in parts])
          for name in ("left", "right", "win", "rater", "group"))
    )  # fmt: skip


def test_pairs_give_back_a_known_utility_in_logits():
    world = World(0)
    known = PreferenceRegressor().fit(None, pairs=world.pairs(1500))
    found, deviation = known.utility(world.features, return_std=True)
    slope = np.polyfit(world.truth, found, 1)[0]
    assert np.corrcoef(found, world.truth)[0, 1] > 0.97
    assert 0.8 < slope < 1.2
    assert (deviation > 0).all()
    assert known.chosen_ == "linear"


def test_a_bent_utility_is_followed_by_the_rbf_map_and_not_by_the_linear_one():
    world = World(1, bent=True, columns=3)
    answers = world.pairs(1500)
    bent = PreferenceRegressor().fit(None, pairs=answers)
    straight = PreferenceRegressor(map="linear").fit(None, pairs=answers)
    assert bent.chosen_ == "rbf"
    assert np.corrcoef(bent.utility(world.features), world.truth)[0, 1] > 0.85
    assert np.corrcoef(straight.utility(world.features), world.truth)[0, 1] < 0.75


def test_ratings_and_pairs_together_beat_either_alone():
    scores = {"both": [], "ratings": [], "pairs": []}
    for seed in range(6):
        world = World(10 + seed)
        train = world.group < 25
        rows = world.rng.choice(np.flatnonzero(train), 60)
        y, answers = world.ratings(rows, noise=1.2), world.pairs(60, train)
        x, groups = world.features[rows], world.group[rows]
        fits = {
            "both": PreferenceRegressor(map="linear").fit(x, y, groups=groups, pairs=answers),
            "ratings": PreferenceRegressor(map="linear").fit(x, y, groups=groups),
            "pairs": PreferenceRegressor(map="linear").fit(None, pairs=answers),
        }
        for name, known in fits.items():
            seen = known.utility(world.features[~train])
            scores[name].append(spearmanr(seen, world.truth[~train]).statistic)
    mean = {name: np.mean(values) for name, values in scores.items()}
    assert mean["both"] > mean["ratings"] + 0.01
    assert mean["both"] > mean["pairs"] + 0.01


def test_a_careless_rater_is_found_out_and_weighs_less():
    world = World(2)
    train = world.group < 30
    careful = [world.pairs(150, train, rater=name) for name in "abc"]
    careless = world.pairs(450, train, rater="z", reliability=0.0)
    known = PreferenceRegressor().fit(None, pairs=joined(*careful, careless))
    named = known.raters_
    assert named["z"]["reliability"] < 0.5 * min(named[name]["reliability"] for name in "abc")
    blind = joined(*careful, careless)
    blind = PreferenceRegressor().fit(None, pairs=Pairs(blind.left, blind.right, blind.win,
                                                        None, blind.group))  # fmt: skip
    out = world.features[~train]
    told = [np.corrcoef(each.utility(out), world.truth[~train])[0, 1] for each in (known, blind)]
    assert told[0] > told[1]


def test_a_noisy_raters_ratings_weigh_less_and_scales_are_told_apart():
    world = World(3)
    rows = np.arange(len(world.group))
    y = np.concatenate([
        world.ratings(rows, offset=50, scale=12, noise=4, effect=0.2),
        world.ratings(rows, offset=3, scale=0.5, noise=2.5, effect=0.2),
    ])  # fmt: skip
    raters = ["wide"] * len(rows) + ["noisy"] * len(rows)
    known = PreferenceRegressor().fit(
        np.tile(world.features, (2, 1)), y, raters=raters, groups=np.tile(world.group, 2)
    )
    named = known.raters_
    signal = {name: each["scale"] / each["noise"] for name, each in named.items()}
    assert signal["wide"] > 5 * signal["noisy"]
    mean, deviation = known.predict_rating(world.features, "wide", return_std=True)
    assert abs(mean.mean() - 50) < 8 and 3 < deviation.mean() < 7
    assert np.corrcoef(mean, world.truth)[0, 1] > 0.98


@pytest.mark.parametrize("contrary", [8, 16])
def test_a_contrary_minority_does_not_undo_what_others_said(contrary):
    world = World(31, each=4)
    rows = np.arange(64)
    few = rows[:contrary]
    y = np.concatenate([
        world.ratings(rows, noise=0.4, effect=0.1), 10 - world.ratings(few, noise=0.4, effect=0.1),
    ])  # fmt: skip
    base = 10 * world.rng.normal(size=len(world.truth))
    table, rated = np.column_stack([base, world.features]), np.concatenate([rows, few])
    known = PreferenceRegressor(base=True, map="linear").fit(
        table[rated], y, raters=["many"] * 64 + ["few"] * contrary, groups=world.group[rated]
    )
    assert known.chosen_ == "linear"
    assert np.corrcoef(known.utility(table[64:]), world.truth[64:])[0, 1] > 0.95
    named = known.raters_
    signal = {name: each["scale"] / each["noise"] for name, each in named.items()}
    assert signal["many"] > 3 * signal["few"]


def test_ties_are_learned():
    world = World(4)
    seldom = PreferenceRegressor(map="linear").fit(None, pairs=world.pairs(800, nu=0.1))
    often = PreferenceRegressor(map="linear").fit(None, pairs=world.pairs(800, nu=1.5))
    assert seldom.utility_.nu == pytest.approx(0.1, abs=0.06)
    assert often.utility_.nu == pytest.approx(1.5, abs=0.4)
    slope = np.polyfit(world.truth, often.utility(world.features), 1)[0]
    assert 0.75 < slope < 1.25


def test_intervals_of_new_prompts_ratings_hold_nine_in_ten():
    held, own = [], []
    for seed in range(12):
        world = World(100 + seed, prompts=50, each=6)
        rows = np.flatnonzero(world.group < 25)
        raters = np.where(world.rng.random(len(world.group)) < 0.5, "a", "b")
        noise = np.where(raters == "a", 0.7, 1.4)
        y = world.ratings(np.arange(len(raters)), noise=noise)
        known = PreferenceRegressor(map="linear").fit(
            world.features[rows], y[rows], raters=raters[rows], groups=world.group[rows]
        )
        for name in "ab":
            out = (world.group >= 25) & (raters == name)
            mean, deviation = known.predict_rating(world.features[out], name, return_std=True)
            held.append(np.mean(np.abs(y[out] - mean) < 1.645 * deviation))
        seen = known.cross_validated_
        own.append(np.mean(np.abs(seen.rating - seen.expected) < 1.645 * seen.deviation))
    assert 0.85 < np.mean(held) < 0.95
    assert 0.85 < np.mean(own) < 0.95


def test_the_utilitys_own_deviation_is_honest():
    errors = []
    for seed in range(12):
        world = World(200 + seed)
        train = world.group < 30
        known = PreferenceRegressor(map="linear").fit(None, pairs=world.pairs(200, train))
        left = np.flatnonzero(~train)
        right = world.rng.permutation(left)
        mean, deviation = known.difference(
            world.features[left], world.features[right], return_std=True
        )
        truth = world.truth[left] - world.truth[right]
        errors.append((truth - mean)[deviation > 0] / deviation[deviation > 0])
    within = np.mean(np.abs(np.concatenate(errors)) < 1.645)
    assert 0.8 < within < 0.97


def test_chances_are_calibrated_on_held_out_prompts():
    from sklearn.isotonic import IsotonicRegression

    world = World(5)
    known = PreferenceRegressor().fit(None, pairs=world.pairs(1500))
    seen = known.cross_validated_
    brier = np.mean((seen.chance - seen.win) ** 2)
    best = IsotonicRegression(out_of_bounds="clip").fit_transform(seen.chance, seen.win)
    assert brier <= 1.05 * np.mean((best - seen.win) ** 2)
    sure = seen.chance > 0.8
    assert abs(seen.win[sure].mean() - seen.chance[sure].mean()) < 0.05


def test_labels_that_say_nothing_are_not_believed_in_cross_validation():
    world = World(6)
    known = PreferenceRegressor().fit(None, pairs=world.pairs(600, reliability=0.0))
    seen = known.cross_validated_
    decided = seen.win != 0.5
    right = np.mean((seen.chance > 0.5)[decided] == (seen.win > 0.5)[decided])
    assert 0.4 < right < 0.6
    assert np.abs(known.preference(world.features[1:], world.features[:-1]) - 0.5).max() < 0.2


def test_no_prompt_is_in_two_folds_and_fold_utilities_never_saw_theirs():
    world = World(7, prompts=12)
    answers = world.pairs(300)
    known = PreferenceRegressor(folds=4).fit(None, pairs=answers)
    assert set(known.fold_of_) == {str(name) for name in range(12)}
    assert sorted(set(known.fold_of_.values())) == [0, 1, 2, 3]
    assert len(known.fold_utilities_) == 4
    changed = answers.win.copy()
    mine = np.array([known.fold_of_[str(name)] == 0 for name in answers.group])
    changed[mine] = 1.0 - changed[mine]
    again = PreferenceRegressor(folds=4, map="linear").fit(
        None, pairs=Pairs(answers.left, answers.right, changed, answers.rater, answers.group)
    )
    first = PreferenceRegressor(folds=4, map="linear").fit(None, pairs=answers)
    np.testing.assert_allclose(
        first.fold_utilities_[0].weights, again.fold_utilities_[0].weights, atol=0.02
    )
    assert np.abs(first.utility_.weights - again.utility_.weights).max() > 0.05


def test_chances_are_exactly_complementary():
    world = World(8, columns=40)
    known = PreferenceRegressor(map="rbf").fit(None, pairs=world.pairs(300))
    left, right = world.features, world.rng.permutation(world.features)
    there, back = known.preference(left, right), known.preference(right, left)
    assert (there + back == 1.0).all()
    assert (known.preference(left, left.copy()) == 0.5).all()
    mean, deviation = known.difference(left, left.copy(), return_std=True)
    assert (mean == 0).all() and (deviation == 0).all()


@pytest.mark.parametrize("map_", ["linear", "rbf"])
def test_a_loaded_estimator_predicts_the_same_bits(map_):
    world = World(9, columns=30)
    rows = np.arange(200)
    known = PreferenceRegressor(map=map_, components=10).fit(
        world.features[rows], world.ratings(rows), groups=world.group[rows],
        pairs=world.pairs(200),
    )  # fmt: skip
    stored = save({name: np.ascontiguousarray(each) for name, each in known.arrays().items()})
    loaded = PreferenceRegressor.from_arrays(load(stored), json.loads(json.dumps(known.facts())))
    left, right = world.features, world.features[::-1]
    for name, sides in {
        "utility": (left,), "predict": (left,), "difference": (left, right),
    }.items():  # fmt: skip
        first = getattr(known, name)(*sides, return_std=True)
        second = getattr(loaded, name)(*sides, return_std=True)
        assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert (known.preference(left, right) == loaded.preference(left, right)).all()
    assert loaded.get_params() == known.get_params()
    assert loaded.raters_ == known.raters_


def test_loading_refuses_other_versions_and_other_arrays():
    world = World(9)
    known = PreferenceRegressor(map="linear").fit(None, pairs=world.pairs(50))
    arrays, facts = known.arrays(), known.facts()
    for version, word in ((0, "older"), (99, "newer")):
        with pytest.raises(UserError, match=word):
            PreferenceRegressor.from_arrays(arrays, {**facts, "schema_version": version})
    with pytest.raises(UserError, match="run fit again"):
        PreferenceRegressor.from_arrays({**arrays, "weights": arrays["weights"][1:]}, facts)
    del arrays["weights"]
    with pytest.raises(UserError, match="run fit again"):
        PreferenceRegressor.from_arrays(arrays, facts)


def test_prediction_needs_no_scikit_learn():
    code = (
        "import sys, ldmopt.scorers.preference.utility as u; "
        "sys.exit(any(name.startswith('sklearn') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_equal_labels_give_equal_estimators_and_global_randomness_is_left_alone():
    world = World(11)
    answers = world.pairs(200)
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    first = PreferenceRegressor(map="rbf").fit(None, pairs=answers)
    assert (np.random.get_state()[1] == before).all()
    second = PreferenceRegressor(map="rbf").fit(None, pairs=answers)
    assert (first.utility(world.features) == second.utility(world.features)).all()


@pytest.mark.parametrize("kind", ["nan", "infinite", "columns", "sides", "win", "raters", "none",
                                  "weight", "map", "components"])  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_line(kind):
    x, win = np.random.default_rng(0).normal(size=(20, 3)), np.tile([0.0, 1.0], 10)
    hurt = x.copy()
    hurt[3, 1] = np.nan if kind == "nan" else np.inf
    calls = {
        "nan": lambda: PreferenceRegressor().fit(None, pairs=Pairs(hurt, x, win)),
        "infinite": lambda: PreferenceRegressor().fit(hurt, x[:, 0]),
        "columns": lambda: PreferenceRegressor().fit(x, x[:, 0], pairs=Pairs(x[:, :2], x, win)),
        "sides": lambda: PreferenceRegressor().fit(None, pairs=Pairs(x[:9], x, win)),
        "win": lambda: PreferenceRegressor().fit(None, pairs=Pairs(x, x[::-1], win + 1)),
        "raters": lambda: PreferenceRegressor().fit(x, x[:, 0], raters=["a"] * 3),
        "none": lambda: PreferenceRegressor().fit(None),
        "weight": lambda: PreferenceRegressor().fit(
            None, pairs=Pairs(x, x[::-1], win, weight=-np.ones(20))
        ),
        "map": lambda: PreferenceRegressor(map="lineer").fit(x, x[:, 0]),
        "components": lambda: PreferenceRegressor(components=0).fit(x, x[:, 0]),
    }
    with pytest.raises(InputError) as caught:
        calls[kind]()
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)


def test_an_unknown_rater_is_refused_with_a_hint():
    world = World(12)
    rows = np.arange(60)
    known = PreferenceRegressor(map="linear").fit(
        world.features[rows], world.ratings(rows), raters=["anna"] * 60
    )
    with pytest.raises(UserError, match="did you mean 'anna'"):
        known.predict_rating(world.features, "ana")


def test_constant_labels_teach_nothing_and_say_so():
    world = World(13)
    flat = PreferenceRegressor().fit(world.features[:50], np.full(50, 7.0))
    mean, deviation = flat.predict(world.features, return_std=True)
    assert not flat.learned_
    np.testing.assert_allclose(mean, 7.0, atol=1e-6)
    assert np.isfinite(deviation).all()
    ties = world.pairs(60)
    ties = Pairs(ties.left, ties.right, np.full(60, 0.5), ties.rater, ties.group)
    tied = PreferenceRegressor().fit(None, pairs=ties)
    assert not tied.learned_
    assert np.abs(tied.preference(world.features[1:], world.features[:-1]) - 0.5).max() < 0.1


@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize("kind", ["one class", "one prompt", "duplicates", "one pair", "few"])
def test_poor_labels_still_give_an_estimator(kind, base):
    world = World(14)
    answers = world.pairs({"one pair": 1, "few": 4}.get(kind, 40), base=world.truth)
    win, group = answers.win, answers.group
    if kind == "one class":
        win = np.ones(len(win))
    if kind == "one prompt":
        group = np.zeros(len(win))
    if kind == "duplicates":
        rows = np.repeat(np.arange(5), 8)
        answers = Pairs(answers.left[rows], answers.right[rows], win[rows], None, group[rows])
        win, group = answers.win, answers.group
    known = PreferenceRegressor(base=base).fit(
        None, pairs=Pairs(answers.left, answers.right, win, None, group)
    )
    chance = known.preference(answers.left, answers.right)
    assert np.isfinite(chance).all() and (chance >= 0).all() and (chance <= 1).all()
    if kind in ("one prompt", "one pair") and base:
        assert known.chosen_ == "base"
        assert known.cross_validated_.folds == 0

"""A scikit-learn estimator of taste: one utility learned from ratings and pairs together.

The model and its sources stand in `posterior`, the feature maps in `maps`, the choice between them
in `choice`, all beside this file. Nothing here reads a file, logs, or draws from a global
generator. Prediction alone needs only `Utility`, without scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ldmopt.errors import UserError, did_you_mean
from ldmopt.scorers.preference import choice, gathered, held_out, maps, posterior
from ldmopt.scorers.preference.choice import Candidate
from ldmopt.scorers.preference.gathered import Gathered, InputError, Pairs
from ldmopt.scorers.preference.maps import FeatureMap
from ldmopt.scorers.preference.utility import Utility

__all__ = ["InputError", "Pairs", "PreferenceRegressor"]

Floats = NDArray[np.float64]
Predicted: TypeAlias = Floats | tuple[Floats, Floats]
MAPS = ("auto", "base", "linear", "rbf")


class PreferenceRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Bayesian utility of pictures from ratings and pairs.

    Args:
        map: ``auto`` chooses by cross-validation over prompts; ``base``, ``linear`` and ``rbf``
            are the richest map to consider.
        base: the first feature is a utility in logits that holds until labels say otherwise.
        components: the most main axes of the features to keep.
        folds: of the cross-validation.
        random_state: seed of the folds and of the RBF features' landmarks; None is 0, so that
            equal labels give equal estimators.

    Attributes:
        utility_: the fitted `Utility`.
        chosen_: the map that was taken: ``base``, ``sure`` (the base made more or less sure of
            itself), ``linear`` or ``rbf``.
        learned_: whether anything but the base is in it.
        cross_validated_: every label as predicted without its prompt
            (`ldmopt.scorers.preference.held_out.CrossValidated`).
        fold_utilities_: for each fold the `Utility` that was fitted without its prompts, chosen
            without looking at them; a single one of all labels where nothing could be held out.
        fold_of_: prompt -> number of the fold it was held out in.
        losses_: summed loss in nats of each candidate on held-out prompts.
        raters_: name -> offset, scale, noise, reliability.
        n_features_in_, feature_names_in_: as in scikit-learn.
    """

    def __init__(
        self,
        *,
        map: str = "auto",
        base: bool = False,
        components: int = 64,
        folds: int = 5,
        random_state: int | None = 0,
    ) -> None:
        """Keep the parameters; `fit` checks them."""
        self.map = map
        self.base = base
        self.components = components
        self.folds = folds
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike | None,
        y: ArrayLike | None = None,
        *,
        raters: Sequence[str] | NDArray[Any] | None = None,
        groups: Sequence[Any] | NDArray[Any] | None = None,
        pairs: Pairs | None = None,
        background: ArrayLike | None = None,
    ) -> Self:
        """Learn one utility from ratings and pairs.

        Args:
            X: `(n, d)` features of rated pictures, one row a rating; None or no rows where there
                are only pairs.
            y: `(n,)` ratings.
            raters: `(n,)` who gave them; None for one rater.
            groups: `(n,)` prompts; None where every picture is of its own.
            pairs: answers to pairs.
            background: `(k, d)` features of pictures without labels, for the scale of features.

        Raises:
            InputError: what cannot be used, in one line.
        """
        self._check_parameters()
        features, ratings, pairs = self._first(X, y, pairs)
        labels = gathered.of(features, ratings, raters, groups, pairs)
        further = features[:0] if background is None else self._checked(background, "background")
        held = posterior.folds(labels.groups, self.folds, self._seed, labels.by_group)
        candidates = self._candidates(labels, further, held)
        everything = np.ones(labels.groups, bool)
        chosen = choice.best(candidates, everything, base=self.base) if held else 0
        found = candidates[chosen]
        seen, sharp, wide = held_out.cross_validated(
            candidates, chosen, held, labels.names, labels.prompts
        )
        self.cross_validated_ = labels.unscaled(seen)
        self.utility_ = labels.utility(found.map, found.whole, sharp, wide)
        numbers, states, fold = held_out.judges(candidates, chosen, held)
        self.fold_utilities_ = [
            labels.utility(candidates[number].map, state, sharp, wide)
            for number, state in zip(numbers, states, strict=True)
        ]
        self.fold_of_ = dict(zip(labels.prompts.tolist(), fold.tolist(), strict=True))
        self.chosen_ = found.name
        self.learned_ = found.name != "base" and labels.differ
        self.losses_ = {each.label: float(each.at_best(everything).sum()) for each in candidates}
        return self

    def utility(self, X: ArrayLike, return_std: bool = False) -> Predicted:
        """Return utilities in logits, and their deviations."""
        mean, variance = self._fitted().utility(self._checked(X, "utility"))
        return (mean, np.sqrt(variance)) if return_std else mean

    def predict(self, X: ArrayLike, return_std: bool = False) -> Predicted:
        """Return what the raters together would rate, and the deviation of such a rating.

        Where there were no ratings, the utility in logits.
        """
        mean, deviation = self._fitted().rating(self._checked(X, "predict"))
        return (mean, deviation) if return_std else mean

    def predict_rating(self, X: ArrayLike, rater: str, return_std: bool = False) -> Predicted:
        """Return what one rater would rate pictures of a new prompt, and the deviation of that.

        Raises:
            UserError: the rater gave no ratings.
        """
        mean, deviation = self._fitted().rating(self._checked(X, "predict_rating"), str(rater))
        return (mean, deviation) if return_std else mean

    def difference(self, left: ArrayLike, right: ArrayLike, return_std: bool = False) -> Predicted:
        """Return differences of utility in logits, row by row, and their deviations."""
        mean, variance = self._fitted().difference(*self._sides(left, right))
        return (mean, np.sqrt(variance)) if return_std else mean

    def preference(
        self, left: ArrayLike, right: ArrayLike, spread: ArrayLike | float = 0.0
    ) -> Floats:
        """Return calibrated chances that the left pictures are preferred, ties half.

        1/2 for equal features; swapping the sides gives the exact complement.

        Args:
            left: `(n, d)`.
            right: `(n, d)`.
            spread: `(n,)` known variance of the differences of the base beyond the model.
        """
        known = self._fitted()
        mean, variance = known.difference(*self._sides(left, right))
        return known.chance(mean, variance + known.of_base(np.asarray(spread, np.float64)))

    @property
    def raters_(self) -> dict[str, dict[str, float]]:
        """What was learned about each rater; offset, scale and noise only of those who rated."""
        known = self._fitted()
        result = {}
        for number, name in enumerate(known.raters):
            facts = {"reliability": float(known.reliability[number])}
            if known.share[number]:
                facts["offset"] = float(known.offset[number])
                facts["scale"] = float(known.scale[number])
                facts["noise"] = float(known.noise[number])
            result[name] = facts
        return result

    def arrays(self) -> dict[str, Floats]:
        """Return the fitted state's arrays, for safetensors."""
        return self._fitted().arrays()

    def facts(self) -> dict[str, Any]:
        """Return the rest of the fitted state, as plain JSON data."""
        names = getattr(self, "feature_names_in_", None)
        return {
            **self._fitted().facts(),
            "parameters": {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in self.get_params().items()
            },
            "features": int(self.n_features_in_),
            "feature_names": None if names is None else [str(name) for name in names],
            "chosen": self.chosen_,
            "learned": self.learned_,
            "losses": self.losses_,
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
    ) -> PreferenceRegressor:
        """Return a fitted estimator that predicts bit-equal to the one that gave these.

        It has no `cross_validated_`.

        Raises:
            UserError: of another version, or not what `arrays` and `facts` give.
        """
        known = Utility.from_arrays(arrays, facts)
        try:
            made = cls(**facts["parameters"])
            made.n_features_in_ = int(facts["features"])
            if facts["feature_names"] is not None:
                made.feature_names_in_ = np.array(facts["feature_names"], dtype=object)
            made.chosen_, made.learned_ = str(facts["chosen"]), bool(facts["learned"])
            made.losses_ = dict(facts["losses"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"taste: not a fitted one ({error}); run fit again") from error
        made.utility_ = known
        return made

    @property
    def _seed(self) -> int:
        return 0 if self.random_state is None else int(self.random_state)

    def _fitted(self) -> Utility:
        check_is_fitted(self, "utility_")
        known: Utility = self.utility_
        return known

    def _check_parameters(self) -> None:
        if self.map not in MAPS:
            hint = did_you_mean(self.map, MAPS)
            raise InputError(f"map: must be one of {', '.join(MAPS)}; got {self.map!r}{hint}")
        for name, least in (("components", 1), ("folds", 2)):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < least:
                raise InputError(f"{name}: must be a whole number of at least {least}; got {value}")

    def _first(
        self, X: ArrayLike | None, y: ArrayLike | None, pairs: Pairs | None
    ) -> tuple[Floats, Floats, Pairs | None]:
        """Return features and values of the ratings, and the pairs, checked."""
        if X is None or (pairs is not None and len(pairs) and np.shape(X)[0] == 0):
            if pairs is None or not len(pairs):
                raise InputError("fit: no labels: give ratings (X and y) or pairs")
            left = self._valid(pairs.left, "pairs.left", reset=True)
            features, ratings = left[:0], np.zeros(0)
        elif y is None:
            raise InputError(
                "fit: ratings need values: this estimator requires y to be passed, but the target"
                " y is None"
            )
        else:
            features, ratings = self._valid(X, "X", reset=True, y=y)
        if pairs is None:
            return features, ratings, None
        left, right = self._sides(pairs.left, pairs.right)
        return features, ratings, gathered.checked(pairs, left, right)

    def _valid(self, X: ArrayLike, name: str, *, reset: bool, y: ArrayLike | None = None) -> Any:
        """Return features (and ratings) as scikit-learn wants them, errors in one line."""
        options: dict[str, Any] = {} if y is None else {"y": y, "y_numeric": True}
        try:
            found = validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], **options)
        except ValueError as error:
            raise InputError(f"{name}: {_first_words(error)}") from error
        if y is not None:
            return found[0], np.asarray(found[1], np.float64)
        return found

    def _checked(self, X: ArrayLike, name: str) -> Floats:
        check_is_fitted(self, "n_features_in_")
        features: Floats = self._valid(X, name, reset=False)
        return features

    def _sides(self, left: ArrayLike, right: ArrayLike) -> tuple[Floats, Floats]:
        sides = self._checked(left, "left"), self._checked(right, "right")
        if len(sides[0]) != len(sides[1]):
            raise InputError(
                f"pairs: {len(sides[0])} pictures on the left, {len(sides[1])} on the right"
            )
        return sides

    def _candidates(
        self, labels: Gathered, further: Floats, held: Sequence[NDArray[np.bool_]]
    ) -> list[Candidate]:
        """Return what may be chosen, from simple to rich, each with its held-out losses."""
        linear = labels.linear_map(further, self.components, base=self.base)
        projected = labels.projected(linear)

        def judged(name: str, map_: FeatureMap) -> Candidate:
            return choice.judged(name, map_, labels.through(map_, projected), held)

        made = []
        if self.base:
            alone = maps.base_alone(linear)
            made = [judged("base", alone), judged("sure", alone)]
            if self.map == "base" or not held or not linear.parts:
                return made
        made.append(judged("linear", linear))
        if self.map in ("auto", "rbf") and linear.parts:
            inputs = np.unique(np.concatenate([part for _, part in projected]), axis=0)
            for gamma in maps.BANDWIDTHS:
                bumps = maps.with_bumps(linear, inputs, gamma, self._seed)
                made.append(judged("rbf", bumps))
        return made


def _first_words(error: Exception) -> str:
    """Return a message of scikit-learn in one line, without its advice about missing values."""
    text = str(error)
    if "contains NaN" in text or "contains infinity" in text:
        text = text.split("\n")[0]
    return " ".join(text.split())

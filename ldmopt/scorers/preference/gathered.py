"""Labels as arrays: from what `PreferenceRegressor.fit` is given to what its model wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldmopt.errors import UserError
from ldmopt.scorers.preference import maps
from ldmopt.scorers.preference.evidence import Answers, Evidence, Posterior, Ratings
from ldmopt.scorers.preference.held_out import CrossValidated
from ldmopt.scorers.preference.maps import FeatureMap
from ldmopt.scorers.preference.utility import Utility

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Names = NDArray[np.str_]
Projected: TypeAlias = tuple[tuple[Floats, Floats], ...]
NOBODY = ""
"""The rater's name where none was given."""
UNIT_STRENGTH = 4.0
"""How many ratings the raters' common unit and middle are worth for one of them."""


class InputError(UserError, ValueError):
    """Labels or features that cannot be used; scikit-learn expects a ValueError."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Answers to pairs of pictures.

    Attributes:
        left: `(m, d)` features of the left pictures.
        right: `(m, d)` features of the right pictures.
        win: `(m,)` 1 where left was preferred, 0 where right was, 1/2 for ties.
        rater: `(m,)` names; None for one rater.
        group: `(m,)` prompts; None where every pair is of its own.
        spread: `(m,)` known variance of each difference of the base beyond the model, squared
            logits; None for 0.
        weight: `(m,)` how many answers each counts for; None for 1.
    """

    left: NDArray[np.floating]
    right: NDArray[np.floating]
    win: Floats
    rater: Sequence[str] | NDArray[Any] | None = None
    group: Sequence[Any] | NDArray[Any] | None = None
    spread: Floats | None = None
    weight: Floats | None = None

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.win)


@dataclass(frozen=True, eq=False)
class Gathered:
    """Labels with raters and prompts numbered, and ratings in each rater's own unit.

    Attributes:
        features: `(n, d)` of the rated pictures.
        value: `(n,)` ratings, less the rater's middle, divided by the rater's unit.
        rater: `(n,)` numbers.
        group: `(n,)` numbers.
        pairs: answers to pairs; its sides have no rows where there are none.
        pair_rater: `(m,)` numbers.
        pair_group: `(m,)` numbers.
        names: `(raters,)`.
        prompts: `(groups,)`.
        middle: `(raters,)` in ratings.
        unit: `(raters,)` in ratings.
        effects: whether prompts were named, so that they may move ratings.
    """

    features: Floats
    value: Floats
    rater: Ints
    group: Ints
    pairs: Pairs
    pair_rater: Ints
    pair_group: Ints
    names: Names
    prompts: Names
    middle: Floats
    unit: Floats
    effects: bool

    @property
    def groups(self) -> int:
        """The number of prompts."""
        return len(self.prompts)

    @property
    def by_group(self) -> Ints:
        """`(groups,)` labels of each prompt."""
        every = np.concatenate([self.group, self.pair_group])
        return np.bincount(every, minlength=self.groups)

    @property
    def differ(self) -> bool:
        """Whether any label says that one picture is better than another."""
        return (
            bool((self.pairs.win != 0.5).any() or np.ptp(self.value, axis=0) > 0)
            if len(self.value)
            else bool((self.pairs.win != 0.5).any())
        )

    def rows(self) -> Floats:
        """Return the features of all labelled pictures, one row a mention."""
        return np.concatenate([self.features, self.pairs.left, self.pairs.right])

    def linear_map(self, further: Floats, components: int, *, base: bool) -> FeatureMap:
        """Return the linear map of these pictures' features."""
        group = np.concatenate([self.group, self.pair_group, self.pair_group])
        return maps.linear_map(self.rows(), group, further, components, base=base)

    def projected(self, linear: FeatureMap) -> Projected:
        """Return base and linear part of the rated, the left and the right pictures."""
        return tuple(
            linear.projected(part) for part in (self.features, self.pairs.left, self.pairs.right)
        )

    def through(self, map_: FeatureMap, projected: Projected) -> Evidence:
        """Return the labels as the model wants them.

        Args:
            map_: a map that shares its linear part with the one that `projected` is of, or has
                none.
            projected: of these labels' pictures.
        """
        pairs, count, kept = self.pairs, len(self.pairs), map_.axes.shape[1]
        phi, left, right = (map_.expanded(base, part[:, :kept]) for base, part in projected)
        spread = np.zeros(count) if pairs.spread is None else pairs.spread
        weight = np.ones(count) if pairs.weight is None else pairs.weight
        return Evidence(
            Ratings(phi, self.value, self.rater, self.group),
            Answers(left - right, pairs.win, self.pair_rater, self.pair_group, spread, weight),
            map_.parts,
            map_.base,
            len(self.names),
            self.groups,
            self.effects,
        )

    def utility(self, map_: FeatureMap, state: Posterior, sharp: float, wide: float) -> Utility:
        """Return what was learned, in the units of the labels.

        Args:
            map_: the map.
            state: what was learned through it.
            sharp: the temperature.
            wide: the widening of ratings' intervals.
        """
        count = np.bincount(self.rater, minlength=len(self.names))
        values, vectors = np.linalg.eigh(state.covariance)
        return Utility(
            map=map_,
            weights=state.weights,
            factor=np.ascontiguousarray(vectors * np.sqrt(np.maximum(values, 0.0))),
            nu=state.nu,
            temperature=sharp,
            widening=wide,
            effect=state.effect,
            raters=tuple(str(name) for name in self.names),
            offset=self.middle + self.unit * state.offset,
            scale=self.unit * state.scale,
            noise=self.unit * state.noise,
            reliability=state.reliability,
            share=count / max(1, count.sum()),
        )

    def unscaled(self, seen: CrossValidated) -> CrossValidated:
        """Return predictions of ratings in the raters' own numbers."""
        middle, unit = self.middle[self.rater], self.unit[self.rater]
        return replace(
            seen,
            rating=middle + unit * seen.rating,
            expected=middle + unit * seen.expected,
            deviation=unit * seen.deviation,
        )


def checked(pairs: Pairs, left: Floats, right: Floats) -> Pairs:
    """Return pairs with plain arrays of the right shapes.

    Args:
        pairs: as given.
        left: its left features, checked.
        right: its right features, checked.

    Raises:
        InputError: names the field, what it must be, and what it was.
    """
    count = len(left)
    win = _column(pairs.win, count, "win")
    wrong = win[~np.isin(win, (0.0, 0.5, 1.0))]
    if len(wrong):
        raise InputError(f"pairs.win: must be 0, 0.5 or 1; got {wrong[0]:g}")
    found: dict[str, Floats | None] = {"spread": None, "weight": None}
    for name in found:
        given = getattr(pairs, name)
        if given is not None:
            found[name] = column = _column(given, count, name)
            if len(column) and column.min() < 0:
                raise InputError(f"pairs.{name}: must not be negative; got {column.min():g}")
    return Pairs(left, right, win, pairs.rater, pairs.group, found["spread"], found["weight"])


def of(
    features: Floats,
    ratings: Floats,
    raters: Sequence[str] | NDArray[Any] | None,
    groups: Sequence[Any] | NDArray[Any] | None,
    pairs: Pairs | None,
) -> Gathered:
    """Number raters and prompts, and bring each rater's ratings to a unit of their own.

    Args:
        features: `(n, d)` of the rated pictures.
        ratings: `(n,)`.
        raters: `(n,)` names, or None.
        groups: `(n,)` prompts, or None.
        pairs: checked pairs, or None.

    Raises:
        InputError: a column is of another length.
    """
    none = np.zeros((0, features.shape[1]), features.dtype)
    answers = Pairs(none, none, np.zeros(0)) if pairs is None else pairs
    count, asked = len(ratings), len(answers)
    names, number = _numbered(
        _names(raters, count, "raters"), _names(answers.rater, asked, "pairs.rater")
    )
    prompts, group = _numbered(
        _prompts(features, groups, "groups", "picture"),
        _prompts(answers.left, answers.group, "pairs.group", "pair"),
    )
    rater = number[:count]
    middle, unit = _units(ratings, rater, len(names))
    value = (ratings - middle[rater]) / unit[rater]
    rated = len(np.unique(group[:count]))
    effects = groups is not None and 1 < rated < count
    return Gathered(
        features, value, rater, group[:count], answers, number[count:], group[count:],
        names, prompts, middle, unit, effects,
    )  # fmt: skip


def _units(ratings: Floats, rater: Ints, raters: int) -> tuple[Floats, Floats]:
    """Return each rater's middle and deviation, drawn to what raters have in common."""
    count = np.bincount(rater, minlength=raters)
    if not len(ratings) or np.ptp(ratings) == 0:
        return np.full(raters, ratings[0] if len(ratings) else 0.0), np.ones(raters)
    mean = np.bincount(rater, ratings, raters) / np.maximum(count, 1)
    square = np.bincount(rater, (ratings - mean[rater]) ** 2, raters)
    deviation = np.sqrt(square / np.maximum(count - 1, 1))
    usable = (count > 1) & (deviation > 0)
    common = float(np.median(deviation[usable])) if usable.any() else float(ratings.std())
    logs = np.log(np.where(usable, deviation, common) / common)
    known = count * usable
    unit = common * np.exp(logs * known / (known + UNIT_STRENGTH))
    overall = mean[count > 0].mean()
    return (count * mean + UNIT_STRENGTH * overall) / (count + UNIT_STRENGTH), unit


def _numbered(first: Names, second: Names) -> tuple[Names, Ints]:
    names, number = np.unique(np.concatenate([first, second]), return_inverse=True)
    return names, number


def _names(given: Sequence[Any] | NDArray[Any] | None, count: int, what: str) -> Names:
    if given is None:
        return np.full(count, NOBODY, dtype=np.str_)
    names = np.array([str(name) for name in given], dtype=np.str_)
    if len(names) != count:
        raise InputError(f"{what}: one for each label, {count}; got {len(names)}")
    return names


def _prompts(
    features: NDArray[np.floating], given: Sequence[Any] | NDArray[Any] | None, what: str, kind: str
) -> Names:
    """Return names of prompts; without any, equal pictures are of one prompt."""
    if given is not None:
        return _names(given, len(features), what)
    if not len(features):
        return np.zeros(0, np.str_)
    number = np.unique(features, axis=0, return_inverse=True)[1].reshape(-1)
    return np.array([f"{kind} {index}" for index in number], dtype=np.str_)


def _column(given: ArrayLike, count: int, name: str) -> Floats:
    try:
        column = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"pairs.{name}: must be numbers ({error})") from error
    if column.shape != (count,):
        raise InputError(f"pairs.{name}: must have shape ({count},); got {column.shape}")
    if not np.isfinite(column).all():
        raise InputError(f"pairs.{name}: must be finite; contains NaN or infinity")
    return column

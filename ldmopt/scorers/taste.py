"""Folding labels into a regressor: they teach one utility, which starts at the prior.

What is learned, and how, stands in `ldmopt.scorers.preference`. Here labels become its inputs:
the prior's value is the utility that holds until labels say otherwise, the spread of the prior's
members is what is known to be uncertain about it, and a keep is a rating of 0 or 1 on a scale of
its own. Pictures without labels tell how features vary.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Picture
from ldmopt.errors import UserError
from ldmopt.labels import Labels
from ldmopt.scorers import encoders, statistics
from ldmopt.scorers.chances import chances, spread
from ldmopt.scorers.crossfit import Model
from ldmopt.scorers.judgements import Judgements, counted, judgements
from ldmopt.scorers.regressor import CrossFit, Regressor, with_report
from ldmopt.scorers.utility import Utility

if TYPE_CHECKING:
    from ldmopt.scorers.preference import PreferenceRegressor

MAP = "auto"
"""How rich a utility may become: cross-validation chooses up to this one."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sight:
    """Labels, and what a regressor sees of their pictures.

    Attributes:
        said: the labels.
        base: the regressor without a taste, on the features of the encoder.
        features: `(pictures, columns)`.
        background: `(k, columns)` features of pictures without labels.
        prompts: of the labelled pictures, then of the others; empty where unknown.
    """

    said: Judgements
    base: Regressor
    features: NDArray[np.float32]
    background: NDArray[np.float32]
    prompts: tuple[str, ...]

    @cached_property
    def members(self) -> Floats:
        """What each member of the prior says, `(members, pictures)` in logits."""
        return self.base.prior(self.features)

    @cached_property
    def inputs(self) -> Floats:
        """What a taste sees, `(pictures, 1 + columns)`."""
        return self.base.inputs(self.features)

    @cached_property
    def beside(self) -> Floats | None:
        """What a taste sees of the pictures without labels, or None where there are none."""
        return self.base.inputs(self.background) if len(self.background) else None

    def moved(self, left: Ints, right: Ints) -> Floats:
        """Return differences of the members' values, `(members, n)`."""
        return self.members[:, left] - self.members[:, right]


def fit(
    base: Regressor,
    pictures: Iterable[Picture],
    labels: Labels,
    *,
    encoder: str | None = None,
    background: Iterable[Picture] = (),
) -> Regressor:
    """Return a regressor that takes these labels into account.

    Args:
        base: whose prior to start from; a taste it already has is dropped, so give all labels
            each time.
        pictures: the labelled pictures at least; further ones count as background.
        labels: ratings, pairs and keeps, of people or of simulated raters (counted apart).
        encoder: name of the encoder to learn on; the base's own where None.
        background: pictures without labels.

    Raises:
        UserError: no label can be compared with another one, there is no such encoder, or the
            prior belongs to another one.
    """
    return learned(sight(base, pictures, labels, encoder=encoder, background=background), labels)


def sight(
    base: Regressor,
    pictures: Iterable[Picture],
    labels: Labels,
    *,
    encoder: str | None = None,
    background: Iterable[Picture] = (),
) -> Sight:
    """Turn labels into arrays and look at their pictures; arguments as of `fit`.

    Raises:
        UserError: as `fit`.
    """
    name = base.encoder if encoder is None else encoder
    cached = encoders.load(name)
    start = replace(
        base,
        encoder=str(cached.encoder.identity["encoder"]),
        encoder_digest=str(cached.encoder.identity["digest"]),
        taste=None,
        crossed=None,
    )
    if len(base.space.mean) > len(statistics.names()) and (
        start.encoder_digest != base.encoder_digest
    ):
        raise UserError(
            f"fit: this prior was trained on encoder {base.encoder} {base.encoder_digest}, not on"
            f" the statistics alone, and cannot go with {start.encoder} {start.encoder_digest};"
            f" fit with encoder {base.encoder}"
        )
    every = {picture.digest: picture for picture in (*pictures, *background)}
    usable = cached.judgeable(list(every.values()))
    large = {d: p for (d, p), fits in zip(every.items(), usable, strict=True) if fits}
    said = judgements(labels, large)
    if not said.usable:
        raise UserError(
            f"fit: none of {len(labels)} labels can be used: no rater judged two pictures of one"
            " prompt; label more pictures of the same prompt"
        )
    labelled = set(said.digests)
    rest = [picture for digest, picture in large.items() if digest not in labelled]
    shown = [large[digest] for digest in said.digests]
    prompts = tuple(picture.block.prompt for picture in (*shown, *rest))
    return Sight(said, start, cached.features(shown), cached.features(rest), prompts)


def learned(seen: Sight, labels: Labels) -> Regressor:
    """Return the regressor with the taste that the labels teach."""
    model = estimator(seen, seen.said)
    chosen = {
        "chosen": model.chosen_,
        "losses": {name: round(loss, 2) for name, loss in model.losses_.items()},
        "parameters": model.get_params(),
    }
    found = replace(seen.base, taste=model.utility_, crossed=_crossed(seen.said, model))
    return with_report(found, map=chosen, labels=counted(labels, seen.said))


def _crossed(said: Judgements, model: PreferenceRegressor) -> CrossFit | None:
    """Return the tastes that left prompts out, where whole prompts were."""
    if not said.by_prompt or not model.fold_utilities_:
        return None
    fold_of = {said.texts[number]: model.fold_of_[str(number)]
               for number in np.unique(said.prompt[said.prompt >= 0])
               if str(number) in model.fold_of_}
    return CrossFit(fold_of, tuple(model.fold_utilities_))


def estimator(seen: Sight, said: Judgements) -> PreferenceRegressor:
    """Return the estimator fitted to some of the labels, starting from the prior."""
    variance = spread(seen.moved(said.left, said.right)) + seen.base.noise
    return _fitted(said, seen.inputs, variance, seen.beside, base=True, map=MAP)


def plain(seen: Sight, said: Judgements) -> PreferenceRegressor:
    """Return a linear estimator on the statistics alone, that knows no prior."""
    columns = len(statistics.names())
    background = seen.background[:, :columns] if len(seen.background) else None
    return _fitted(said, seen.features[:, :columns], None, background, map="linear")


def _fitted(
    said: Judgements,
    inputs: NDArray[np.floating[Any]],
    variance: Floats | None,
    background: NDArray[np.floating[Any]] | None,
    **parameters: Any,
) -> PreferenceRegressor:
    from ldmopt.scorers.preference import Pairs, PreferenceRegressor

    together = said.together()
    pairs = Pairs(
        inputs[said.left], inputs[said.right], said.win, said.rater, together[said.left], variance
    )
    return PreferenceRegressor(**parameters).fit(
        inputs[said.rated], said.rating, raters=said.scale,
        groups=together[said.rated],
        pairs=pairs if len(pairs) else None, background=background,
    )  # fmt: skip


class Learned:
    """What the regressor would be after some of the labels; pictures go by their index."""

    def __init__(self, seen: Sight, said: Judgements) -> None:
        """Learn from some of the labels; from none, the prior is left as it is."""
        self._seen = seen
        self._taste = estimator(seen, said).utility_ if len(said) else None

    def utility(self, pictures: Ints) -> Floats:
        """Return values in logits."""
        if self._taste is None:
            return np.asarray(self._seen.members[:, pictures].mean(axis=0))
        return self._taste.utility(self._seen.inputs[pictures])[0]

    def chances(self, left: Ints, right: Ints) -> Floats:
        """Return the chances that left is preferred."""
        seen = self._seen
        sides = seen.inputs[left], seen.inputs[right]
        return chances(self._taste, seen.moved(left, right), seen.base.noise, sides)

    def ratings(self, pictures: Ints, scale: str) -> tuple[Floats, Floats]:
        """Return mean and deviation of the ratings to expect; NaN of raters who gave none."""
        return _ratings(self._taste, self._seen.inputs[pictures], scale)


class Plain:
    """The same on the statistics alone, linearly."""

    def __init__(self, seen: Sight, said: Judgements) -> None:
        """Learn from some of the labels; from none, nothing."""
        self._inputs = seen.features[:, : len(statistics.names())].astype(np.float64)
        self._taste = plain(seen, said).utility_ if len(said) else None

    def utility(self, pictures: Ints) -> Floats:
        """Return values in logits."""
        if self._taste is None:
            return np.zeros(len(pictures))
        return self._taste.utility(self._inputs[pictures])[0]

    def chances(self, left: Ints, right: Ints) -> Floats:
        """Return the chances that left is preferred."""
        if self._taste is None:
            return np.full(len(left), 0.5)
        sides = self._inputs[left], self._inputs[right]
        return self._taste.chance(*self._taste.difference(*sides))

    def ratings(self, pictures: Ints, scale: str) -> tuple[Floats, Floats]:
        """Return mean and deviation of the ratings to expect; NaN of raters who gave none."""
        return _ratings(self._taste, self._inputs[pictures], scale)


def _ratings(taste: Utility | None, inputs: Floats, scale: str) -> tuple[Floats, Floats]:
    known = () if taste is None else taste.raters
    if taste is None or scale not in known or not taste.share[known.index(scale)]:
        nothing = np.full(len(inputs), np.nan)
        return nothing, nothing
    return taste.rating(inputs, scale)


def _proves(seen: Sight, said: Judgements) -> tuple[Model, Model]:
    """Hold the classes against their protocol."""
    return Learned(seen, said), Plain(seen, said)

"""Folding labels into a regressor: they teach one utility, which starts at the prior.

What is learned, and how, stands in `scorers.preference`. Here labels become its inputs:
the prior's value is the utility that holds until labels say otherwise, the spread of the prior's
members is what is known to be uncertain about it, and a keep is a rating of 0 or 1 on a scale of
its own. Pictures without labels tell how features vary.

Where pictures can be compared with their captions, the start is the prior with as much of that
similarity, one deviation of each (unit weights, Dawes 1979): people who choose between pictures of
a prompt look at whether it was met. Where labels are in better order without captions, the start is
the prior alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Picture
from ldmopt.errors import UserError
from ldmopt.labels import Labels
from ldmopt.scorers import encoders
from ldmopt.scorers.encoders import statistics
from ldmopt.scorers.preference.utility import Utility
from ldmopt.scorers.regressor import (
    Caption,
    CrossFit,
    Regressor,
    with_captions,
    with_report,
)
from ldmopt.scorers.taste.chances import chances, spread
from ldmopt.scorers.taste.crossfit import Model
from ldmopt.scorers.taste.judgements import Judgements, counted, judgements

if TYPE_CHECKING:
    from ldmopt.scorers.alignment import Alignment
    from ldmopt.scorers.preference.estimator import PreferenceRegressor

MAP = "auto"
"""How rich a utility may become: cross-validation chooses up to this one."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Start:
    """A regressor without a taste, and what a taste that starts there sees.

    Attributes:
        regressor: the prior, perhaps with captions.
        inputs: `(pictures, 1 + columns)` of the labelled pictures.
        beside: the same of pictures without labels, or None where there are none.
    """

    regressor: Regressor
    inputs: Floats
    beside: Floats | None


@dataclass(frozen=True, eq=False)
class Sight:
    """Labels, and what a regressor sees of their pictures.

    Attributes:
        said: the labels.
        base: the prior, on the features of the encoder.
        features: `(pictures, columns)`.
        background: `(k, columns)` features of pictures without labels.
        prompts: of the labelled pictures, then of the others; empty where unknown.
        caption: how captions count, or None where pictures cannot be compared with them.
        similarity: `(pictures + k,)` with the captions.
    """

    said: Judgements
    base: Regressor
    features: NDArray[np.float32]
    background: NDArray[np.float32]
    prompts: tuple[str, ...]
    caption: Caption | None = None
    similarity: Floats | None = None

    @cached_property
    def members(self) -> Floats:
        """What each member of the prior says, `(members, pictures)` in logits."""
        return self.base.prior(self.features)

    @cached_property
    def starts(self) -> tuple[Start, ...]:
        """Where a taste may start, the prior alone first."""
        found = [self._start(self.base, self.features, self.background)]
        if self.caption is not None and self.similarity is not None:
            own, other = np.split(self.similarity, [len(self.features)])
            found.append(self._start(
                replace(self.base, caption=self.caption),
                with_captions(self.features, own), with_captions(self.background, other),
            ))
        return tuple(found)

    def _start(
        self, regressor: Regressor, features: NDArray[np.float32],
        background: NDArray[np.float32],
    ) -> Start:
        beside = regressor.inputs(background) if len(background) else None
        return Start(regressor, regressor.inputs(features), beside)

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
    aligned: Alignment | None = None,
) -> Regressor:
    """Return a regressor that takes these labels into account.

    Args:
        base: whose prior to start from; a taste it already has is dropped, so give all labels
            each time.
        pictures: the labelled pictures at least; further ones count as background.
        labels: ratings, pairs and keeps, of people or of simulated raters (counted apart).
        encoder: name of the encoder to learn on; the base's own where None.
        background: pictures without labels.
        aligned: what compares pictures with their captions, or None.

    Raises:
        UserError: no label can be compared with another one, there is no such encoder, or the
            prior belongs to another one.
    """
    seen = sight(base, pictures, labels, encoder=encoder, background=background, aligned=aligned)
    return learned(seen, labels)


def sight(
    base: Regressor,
    pictures: Iterable[Picture],
    labels: Labels,
    *,
    encoder: str | None = None,
    background: Iterable[Picture] = (),
    aligned: Alignment | None = None,
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
        caption=None,
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
    features = cached.features(shown), cached.features(rest)
    known = _caption(start, np.concatenate(features), [*shown, *rest], aligned)
    return Sight(said, start, *features, prompts, *known)


def _caption(
    start: Regressor, features: NDArray[np.float32], pictures: Sequence[Picture],
    aligned: Alignment | None,
) -> tuple[Caption | None, Floats | None]:
    """Return how captions count, and each picture's similarity with its own.

    Nothing where pictures have none, or where it does not vary.
    """
    if aligned is None:
        return None, None
    found = np.array([np.nan if value is None else value
                      for value in aligned.similarity(pictures)], np.float64)
    there = ~np.isnan(found)
    if there.sum() < 2 or np.ptp(found[there]) == 0:
        return None, None
    mean = float(found[there].mean())
    weight = float(start.prior(features).mean(axis=0).std() / found[there].std())
    caption = Caption(str(aligned.identity["model"]), str(aligned.identity["digest"]), mean, weight)
    return caption, np.where(there, found, mean)


def learned(seen: Sight, labels: Labels) -> Regressor:
    """Return the regressor with the taste that the labels teach."""
    start, model = estimator(seen, seen.said)
    chosen = {
        "start": "prior" if start.regressor.caption is None else "prior and caption",
        "chosen": model.chosen_,
        "losses": {name: round(loss, 2) for name, loss in model.losses_.items()},
        "parameters": model.get_params(),
    }
    found = replace(start.regressor, taste=model.utility_, crossed=_crossed(seen.said, model))
    return with_report(found, map=chosen, labels=counted(labels, seen.said))


def _crossed(said: Judgements, model: PreferenceRegressor) -> CrossFit | None:
    """Return the tastes that left prompts out, where whole prompts were."""
    if not said.by_prompt or not model.fold_utilities_:
        return None
    fold_of = {said.texts[number]: model.fold_of_[str(number)]
               for number in np.unique(said.prompt[said.prompt >= 0])
               if str(number) in model.fold_of_}
    return CrossFit(fold_of, tuple(model.fold_utilities_))


def estimator(seen: Sight, said: Judgements) -> tuple[Start, PreferenceRegressor]:
    """Return the estimator fitted to some of the labels, and where it starts.

    Captions count unless the prior alone orders more of the labels, by over a standard error over
    prompts; with a single prompt they do not.
    """
    from ldmopt.scorers.preference.choice import surely_less

    variance = spread(seen.moved(said.left, said.right)) + seen.base.noise
    fits = [(start, _fitted(said, start.inputs, variance, start.beside, base=True, map=MAP))
            for start in seen.starts]
    alone, last = fits[0], fits[-1]
    wrong = [model.cross_validated_.misordered_by_base() for _, model in (alone, last)]
    return alone if len(wrong[0]) < 2 or surely_less(*wrong) else last


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
    from ldmopt.scorers.preference.estimator import Pairs, PreferenceRegressor

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
        self._start = seen.starts[0]
        self._taste: Utility | None = None
        if len(said):
            self._start, model = estimator(seen, said)
            self._taste = model.utility_

    def utility(self, pictures: Ints) -> Floats:
        """Return values in logits."""
        if self._taste is None:
            return np.asarray(self._seen.members[:, pictures].mean(axis=0))
        return self._taste.utility(self._start.inputs[pictures])[0]

    def chances(self, left: Ints, right: Ints) -> Floats:
        """Return the chances that left is preferred."""
        seen, inputs = self._seen, self._start.inputs
        sides = inputs[left], inputs[right]
        return chances(self._taste, seen.moved(left, right), seen.base.noise, sides)

    def ratings(self, pictures: Ints, scale: str) -> tuple[Floats, Floats]:
        """Return mean and deviation of the ratings to expect; NaN of raters who gave none."""
        return _ratings(self._taste, self._start.inputs[pictures], scale)


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

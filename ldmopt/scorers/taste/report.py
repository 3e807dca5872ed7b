"""The honest report: how well a regressor knows each rater's taste, and what cannot be said.

Every figure of agreement is on labels that the judge never learned from, with 95 % intervals over
prompts; beside the regressor stand its prior alone, the statistics alone, and other scorers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ldmopt.labels import Labels, Pair
from ldmopt.scorers.regressor import PRIOR, Regressor
from ldmopt.scorers.taste import agreement, crossfit
from ldmopt.scorers.taste.agreement import Figure
from ldmopt.scorers.taste.crossfit import Floats, HeldOut
from ldmopt.scorers.taste.judgements import Comparisons, Judgements, comparisons, counted, named
from ldmopt.scorers.taste.learning import Learned, Plain, Sight

Progress = Callable[[int, int], None]
FEW_PROMPTS = 5
FEW_COMPARISONS = 30
"""Below these, held-out agreement says next to nothing."""
WIDE = 0.2
"""An interval of an accuracy wider than this leaves open what matters."""


def honest(
    seen: Sight,
    labels: Labels,
    regressor: Regressor,
    *,
    others: Mapping[str, Floats] | None = None,
    repeats: Sequence[tuple[Pair, Pair]] = (),
    about: Sequence[str] = (),
    progress: Progress = lambda done, of: None,
) -> dict[str, Any]:
    """Return the report of a regressor that learned from labels, as plain JSON data.

    Args:
        seen: the labels and what the regressor sees of their pictures.
        labels: the same, as they were given.
        regressor: what was learned from all of them.
        others: values `(pictures,)` of further scorers, by name.
        repeats: pairs that were asked twice, first and later answer.
        about: what else is known of how the pictures came about, a sentence each.
        progress: called after each of many fits.
    """
    said, folds = seen.said, seen.said.folds()
    against, planned = comparisons(said, folds), crossfit.plan(said)
    steps = _Steps(2 * len(np.unique(folds)) + planned.fits, progress)
    learner = partial(Learned, seen)
    judges = {
        "fitted": crossfit.held_out(learner, said, against, folds, steps),
        "prior": _prior(seen, against),
        "statistics": crossfit.held_out(partial(Plain, seen), said, against, folds, steps),
        **{name: crossfit.fixed(value, said, against) for name, value in (others or {}).items()},
    }
    fitted = judges["fitted"]
    found = {
        **regressor.report,
        "prior": PRIOR,
        "encoder": regressor.encoder,
        "labels": counted(labels, said, repeats),
        "agreement": _agreement(said, against, judges, folds, repeats, reliabilities(regressor)),
        "reliability": _reliability(fitted.chance, against),
        "rating_intervals": agreement.coverage(
            said.rating, fitted.mean, fitted.deviation, said.units()[said.rated]
        ).to_dict(),
        "learning_curve": {
            **crossfit.learning_curve(learner, said, planned, steps),
            "labels_of_all": round(len(said) * (1 - 1 / max(2, len(np.unique(folds))))),
        },
    }
    found["conclusions"] = conclusions(found)
    found["distrust"] = [*_distrust(seen, regressor), *about]
    return found


def _prior(seen: Sight, against: Comparisons) -> HeldOut:
    """Return what the prior says, which learned from no label."""
    model, every = Learned(seen, seen.said.none()), np.arange(len(seen.said.digests))
    nothing = np.full(len(seen.said.rated), np.nan)
    chance = model.chances(against.left, against.right)
    return HeldOut(chance, model.utility(every), nothing, nothing)


def reliabilities(regressor: Regressor) -> dict[str, float]:
    """Return each rater's reliability, as the regressor estimated it from all labels."""
    taste = regressor.taste
    if taste is None:
        return {}
    return {name: float(value) for name, value in zip(taste.raters, taste.reliability, strict=True)}


class _Steps:
    """Counts fits."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress = 0, total, progress
        progress(0, total)

    def __call__(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)


def _agreement(
    said: Judgements,
    against: Comparisons,
    judges: Mapping[str, HeldOut],
    folds: crossfit.Ints,
    repeats: Sequence[tuple[Pair, Pair]],
    reliabilities: Mapping[str, float],
) -> dict[str, Any]:
    opinion = agreement.mean_opinion(said)
    fitted, prior = judges["fitted"].chance, judges["prior"].chance
    what = "Prompts" if said.by_prompt else "Pictures"
    return {
        "how": f"Cross-validated: {what.lower()} in {len(np.unique(folds))} parts, each judged by "
        "what was learned from the others, every choice made anew."
        + ("" if said.by_prompt else " There are no two prompts to hold out whole; the right "
           "picture of a held-out pair may have been seen in another pair."),
        "comparisons": int((against.win != 0.5).sum()),
        "judges": {
            name: {
                "accuracy": agreement.accuracy(judge.chance, against).to_dict(),
                "spearman": _spearman(judge, opinion, folds, said).to_dict(),
                "brier": agreement.brier(judge.chance, against)
                if judge.chances and len(against) else None,
            }
            for name, judge in judges.items()
        },
        "gain": agreement.gain(fitted, prior, against).to_dict(),
        "gain_over_statistics": agreement.gain(
            fitted, judges["statistics"].chance, against
        ).to_dict(),
        "themselves": _themselves(repeats, None).to_dict(),
        "raters": {
            name: _rater(name, said, against, judges, folds, repeats, reliabilities)
            for name in said.raters
        },
    }


def _rater(
    name: str,
    said: Judgements,
    against: Comparisons,
    judges: Mapping[str, HeldOut],
    folds: crossfit.Ints,
    repeats: Sequence[tuple[Pair, Pair]],
    reliabilities: Mapping[str, float],
) -> dict[str, Any]:
    """Return one rater's part: every judge, the rater's earlier answers, and the others."""
    own = against.rater == name
    ratings = agreement.ratings_of(said, name)
    others = agreement.with_the_others(said, name)
    return {
        "judges": {
            judge: {
                "accuracy": agreement.accuracy(found.chance[own], against.only(own)).to_dict(),
                "spearman": _spearman(found, ratings, folds, said).to_dict(),
            }
            for judge, found in judges.items()
        },
        "themselves": _themselves(repeats, name).to_dict(),
        "others": {"accuracy": others[0].to_dict(), "spearman": others[1].to_dict()},
        "reliability": reliabilities.get(name),
    }


def _spearman(judge: HeldOut, opinion: Floats, folds: crossfit.Ints, said: Judgements) -> Figure:
    known = np.isfinite(opinion)
    return agreement.spearman(
        judge.utility[known], opinion[known], folds[known], said.units()[known]
    )


def _themselves(repeats: Sequence[tuple[Pair, Pair]], rater: str | None) -> Figure:
    """Return how far raters give the same answer twice, whichever side a picture was on."""
    rows, units = [], []
    for first, later in repeats:
        if rater is None or named(first.rater, first.simulated) == rater:
            win = later.win if later.left == first.left else 1.0 - later.win
            rows.append((first.win, win))
            units.append(first.prompt)
    return agreement.with_themselves(rows, units)


def _reliability(chance: Floats, against: Comparisons) -> dict[str, Any]:
    """Return Brier scores and the reliability curve, both orders of each comparison counted."""
    if not len(against):
        return {}
    own, best = agreement.brier(chance, against), agreement.best_recalibration(chance, against)
    said = np.concatenate([chance, 1 - chance])
    seen = np.concatenate([against.win, 1 - against.win])
    weight, units = np.tile(against.weight, 2), np.tile(against.units, (2, 1))
    bins, curve = np.minimum((said * 10).astype(int), 9), []
    for number in np.unique(bins):
        inside = bins == number
        figure = agreement.share(seen[inside], weight[inside], units[inside]).to_dict()
        curve.append({
            "said": round(float(np.average(said[inside], weights=weight[inside])), 4),
            "seen": figure["value"], "low": figure["low"], "high": figure["high"],
            "share": round(float(weight[inside].sum() / weight.sum()), 4),
        })  # fmt: skip
    ratio = own / best if best > 0 else 1.0
    return {"brier": own, "best_recalibration": best, "ratio": ratio, "curve": curve}


def _distrust(seen: Sight, regressor: Regressor) -> list[str]:
    """Return what the regressor was trained on, and what it has not seen."""
    said = seen.said
    lines = [
        f"The prior was trained on {regressor.report.get('trained_on', 'ladders of damage')}.",
        f"The labels are about {len(said.digests)} pictures"
        + (f" of {said.prompts} prompts" if said.prompts else " without prompts")
        + ". Pictures of another model, style, size or subject are unseen: regressors of this kind "
        "have lost all agreement on a generator that they had never met. Label some before you "
        "trust it there.",
    ]
    unlike = _unlike(seen) if len(seen.background) else None
    if unlike is not None:
        lines.append(
            f"Of {len(seen.background)} pictures without a label that lie beside them, "
            f"{unlike:.0%} are further from every labelled picture than 95 % of those are "
            "from each other; about 5 % is to be expected when labels cover them."
        )
    return lines


def _unlike(seen: Sight) -> float | None:
    """Return the share of pictures that are unlike all labelled ones, by their statistics.

    Pictures of one prompt are alike anyway, so only those of other prompts are looked at; None
    where labels are of one prompt.
    """
    known, other = seen.base.space(seen.features), seen.base.space(seen.background)
    numbers = np.unique(np.array(seen.prompts), return_inverse=True)[1]
    numbers = np.where(np.array(seen.prompts) == "", -1 - np.arange(len(numbers)), numbers)
    own = numbers[: len(known)]
    inside = _nearest(known, own, known, own)
    if not np.isfinite(inside).all():
        return None
    outside = _nearest(other, numbers[len(known) :], known, own)
    return float((outside > np.quantile(inside, 0.95)).mean())


def _nearest(rows: Floats, group: crossfit.Ints, known: Floats, other: crossfit.Ints) -> Floats:
    """Return each row's distance from the nearest known one of another group."""
    result = np.zeros(len(rows))
    for start in range(0, len(rows), 512):
        part = rows[start : start + 512]
        squares = (part**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2.0 * part @ known.T
        squares[group[start : start + 512, None] == other] = np.inf
        result[start : start + 512] = np.sqrt(np.maximum(squares.min(axis=1), 0.0))
    return result


def conclusions(report: Mapping[str, Any]) -> list[str]:
    """Return what the figures allow to be said, and what they do not, a sentence each."""
    return [line for part in (_of_amount, _of_gain, _of_raters) for line in part(report)]


def _of_amount(report: Mapping[str, Any]) -> list[str]:
    labels, found = report["labels"], report["agreement"]
    accuracy, lines = found["judges"]["fitted"]["accuracy"], []
    if not labels["human"]:
        lines.append("All labels are a simulated rater's: nothing here is about people.")
    elif labels["simulated"]:
        lines.append(f"{labels['simulated']} of the labels are a simulated rater's, not people's.")
    units = labels["prompts"] if labels["by_prompt"] else labels["pictures"]
    name = "prompts" if labels["by_prompt"] else "pictures"
    if found["comparisons"] < FEW_COMPARISONS or units < FEW_PROMPTS:
        lines.append(
            f"Too few labels to say how well it knows this taste ({found['comparisons']} decided "
            f"comparisons of {units} {name}): label at least {FEW_COMPARISONS} pairs of "
            f"{FEW_PROMPTS} or more prompts, better 100 of 10."
        )
    elif accuracy["high"] - accuracy["low"] > WIDE:
        lines.append(
            f"Its accuracy may lie anywhere from {accuracy['low']:.2f} to {accuracy['high']:.2f}: "
            f"more {name} narrow that."
        )
    return lines


def _of_gain(report: Mapping[str, Any]) -> list[str]:
    found = report["agreement"]
    gain, accuracy = found["gain"], found["judges"]["fitted"]["accuracy"]
    if gain["value"] is None:
        return ["No comparison is decided: whether the labels helped cannot be said."]
    said = f"{gain['value']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}]"
    prior = found["judges"]["prior"]["accuracy"]["value"]
    if gain["low"] > 0:
        lines = [f"The labels helped: {accuracy['value']:.2f} of held-out comparisons in order, "
                 f"against {prior:.2f} for the prior alone ({said})."]
    elif gain["high"] < 0:
        lines = [f"The labels did harm on held-out comparisons ({said}): do not use it."]
    else:
        lines = [f"Not shown that the labels helped: {accuracy['value']:.2f} of held-out "
                 f"comparisons in order, against {prior:.2f} for the prior alone ({said})."]
    if report["map"]["chosen"] == "sure" and found["comparisons"]:
        briers = [found["judges"][name]["brier"] for name in ("fitted", "prior")]
        lines.append("The labels changed how sure it is, not which picture it prefers: its chances "
                     f"have a Brier score of {briers[0]:.3f}, the prior's {briers[1]:.3f}.")
    if accuracy["low"] <= 0.5:
        lines.append("Not shown to be better than guessing.")
    plain = found["gain_over_statistics"]
    if plain["value"] is not None and plain["high"] < 0:
        lines.append("A straight line through the statistics alone knows this taste better.")
    return lines


def _of_raters(report: Mapping[str, Any]) -> list[str]:
    found = report["agreement"]
    themselves, lines = found["themselves"], []
    if themselves["value"] is None:
        lines.append("No pair was asked twice: how far raters agree with themselves, and so how "
                     "good a regressor could get, is unknown.")
    else:
        most, low, high = (agreement.ceiling(themselves[name]) for name in ("value", "low", "high"))
        lines.append(f"Raters gave the same answer twice in {themselves['value']:.2f} of "
                     f"{themselves['count']} repeats: a judge that knew them perfectly would order "
                     f"at most {most:.2f} [{low:.2f}, {high:.2f}] as they do.")
    if len(found["raters"]) == 1:
        lines.append("One rater: this is that rater's taste; whether others share it is unknown.")
    elif all(row["others"]["accuracy"]["value"] is None for row in found["raters"].values()):
        lines.append("No two raters judged the same pictures: whether they agree is unknown.")
    return lines

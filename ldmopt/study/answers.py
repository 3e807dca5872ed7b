"""What raters said of a run's settings against its default, found among the run's labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ldmopt.contracts import Answer, Block, BlockWin, Evidence, Quality, Setting
from ldmopt.distillation.human import Said
from ldmopt.labels import Labels, LabelStore
from ldmopt.study.folder import RunFolder
from ldmopt.study.judging import RATINGS, learned_from_labels

Shown = dict[Block, tuple[str, str]]


def with_answers(
    evidence: Evidence, folder: RunFolder, frozen: Mapping[str, Any]
) -> Evidence:
    """Return a generation's evidence with what the run's labels say of confirmed settings.

    A scorer that learned from no label has seen no prompt's labels: its own wins are cross-fitted.
    One that did, and keeps no cross-fitted scorers, has none, and nothing can be joined.
    """
    if not folder.labels.is_file():
        return evidence
    with LabelStore(folder.labels) as store:
        labels = store.current()
    if frozen["scorer"]["name"] == RATINGS:  # the table's ratings are the win rate already
        labels = Labels(pairs=labels.pairs)
    if not labels:
        return evidence
    found = answers(evidence, labels)
    if learned_from_labels(frozen["scorer"]):
        return replace(evidence, answers=found)
    return replace(
        evidence, answers=found,
        trials=tuple(replace(item, cross_fitted=_wins(item.quality)) for item in evidence.trials),
        confirmations={setting: replace(item, cross_fitted=_wins(item.quality))
                       for setting, item in evidence.confirmations.items()},
    )


def answers(
    evidence: Evidence, labels: Labels
) -> dict[Setting, tuple[Answer, ...]]:
    """Return what labels say of each confirmed setting but the default."""
    trials = {trial.setting: trial.shown for trial in evidence.trials}
    said, default = Said(labels), evidence.default
    base = evidence.confirmations[default].shown if default in evidence.confirmations else {}
    found = {}
    for setting, item in evidence.confirmations.items():
        if setting != default:
            shown = _shown(trials.get(setting, {}), trials[default])
            found[setting] = said.answers(shown | _shown(item.shown, base))
    return {setting: said for setting, said in found.items() if said}


def _shown(own: Mapping[Block, str], default: Mapping[Block, str]) -> Shown:
    """Put the pictures of each block side by side, as far as there are any."""
    return {block: (digest, default[block]) for block, digest in own.items() if block in default}


def _wins(quality: Quality | None) -> tuple[BlockWin, ...]:
    return quality.blocks if quality is not None else ()

"""The honest report of a fitted regressor, as Markdown: what it learned, how well, and what not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ldmopt.exports.taste_plots import whose

JUDGES = {
    "fitted": "prior + labels",
    "prior": "prior alone (no labels)",
    "statistics": "statistics alone, linear",
}
"""What the judges of a report are called; others go by their own name."""


MAPS = {
    "base": "the prior as it is; labels changed nothing",
    "sure": "the prior's order, made more or less sure of itself",
    "linear": "a utility linear in the features, starting at the prior",
    "rbf": "a utility curved in the features (radial basis functions), starting at the prior",
}
"""What each map of `ldmopt.scorers.preference.estimator` is."""


def figure_text(figure: Mapping[str, Any] | None, signed: bool = False) -> str:
    """``0.71 [0.64, 0.78]``, or ``-`` where there is nothing to tell."""
    if not figure or figure.get("value") is None:
        return "-"
    form = "+.2f" if signed else ".2f"
    return f"{figure['value']:{form}} [{figure['low']:{form}}, {figure['high']:{form}}]"


def judge_name(name: str) -> str:
    """Return what a judge is called in tables."""
    return JUDGES.get(name, name)


def to_markdown(report: Mapping[str, Any], learning: bool = False, reliable: bool = False) -> str:
    """Return a regressor's report for people.

    Args:
        report: of `ldmopt.scorers.taste.report.honest`.
        learning: whether learning.png lies beside it.
        reliable: whether reliability.png lies beside it.
    """
    return "\n".join(_lines(report, learning, reliable)) + "\n"


def _lines(report: Mapping[str, Any], learning: bool, reliable: bool) -> Iterator[str]:
    labels, found = report["labels"], report["agreement"]
    yield "# How well the regressor knows this taste"
    yield ""
    yield f"Learned from {whose(labels)} on top of {report['prior']}."
    yield ""
    yield from (f"- **{line}**" for line in report["conclusions"])
    yield ""
    yield "## Labels"
    yield ""
    yield "| rater | ratings | pairs | keeps | repeats |"
    yield "|---|--:|--:|--:|--:|"
    for name, row in labels["by_rater"].items():
        yield (f"| {_cell(name)} | {row['ratings']} | {row['pairs']} | {row['keeps']} | "
               f"{row['repeats']} |")
    yield ""
    unused = labels["unused"]
    yield f"On {labels['pictures']} pictures {_prompts(labels['prompts'])}." + (
        f" {unused} labels are not learned from: their picture is missing, below 16 pixels or of a "
        "prompt that is kept for confirmation, or a pair crosses prompts." if unused else "")
    yield ""
    yield "## Agreement with held-out labels"
    yield ""
    yield (f"{found['how']} Accuracy is the share of decided comparisons in the rater's order, "
           "with 95 % intervals; 0.50 is guessing. Spearman's correlation is that of predicted "
           "and given ratings.")
    yield ""
    yield "| judge | accuracy | Spearman | Brier |"
    yield "|---|---|---|--:|"
    for name, row in found["judges"].items():
        brier = "-" if row.get("brier") is None else f"{row['brier']:.3f}"
        yield (f"| {_cell(judge_name(name))} | {figure_text(row['accuracy'])} | "
               f"{figure_text(row['spearman'])} | {brier} |")
    yield ""
    yield f"Labels moved the accuracy by {figure_text(found['gain'], signed=True)}."
    yield ""
    yield from _raters(found)
    yield from _chances(report)
    yield from _learning(report, learning, reliable)
    yield from _distrust(report)


def _raters(found: Mapping[str, Any]) -> Iterator[str]:
    """One row a rater: every judge, the rater's own earlier answers, and the other raters."""
    judges = list(found["judges"])
    yield "## By rater"
    yield ""
    heads = [f"{judge_name(name)}" for name in judges]
    yield "| rater | " + " | ".join([*map(_cell, heads), "own earlier answers", "other raters"]) + (
        " | reliability |")
    yield "|---" * (len(judges) + 4) + "|"
    for name, row in found["raters"].items():
        cells = [figure_text(row["judges"][judge]["accuracy"]) for judge in judges]
        cells += [figure_text(row["themselves"]), figure_text(row["others"]["accuracy"])]
        trust = "-" if row["reliability"] is None else f"{row['reliability']:.2f}"
        yield f"| {_cell(name)} | " + " | ".join(cells) + f" | {trust} |"
    yield ""
    rows = [(name, row) for name, row in found["raters"].items()
            if row["judges"]["fitted"]["spearman"]["value"] is not None]
    if rows:
        yield "Spearman's correlation with each rater's ratings:"
        yield ""
        yield "| rater | " + " | ".join([*map(_cell, heads), "mean of the others"]) + " |"
        yield "|---" * (len(judges) + 2) + "|"
        for name, row in rows:
            cells = [figure_text(row["judges"][judge]["spearman"]) for judge in judges]
            cells.append(figure_text(row["others"]["spearman"]))
            yield f"| {_cell(name)} | " + " | ".join(cells) + " |"
        yield ""
    yield ("Own earlier answers: pairs asked twice, answered alike. Other raters: the majority of "
           "the others on the same pictures. Reliability: how sharply the rater's answers follow "
           "the common utility, as the model estimates it; it weighs the rater's labels.")
    yield ""


def _chances(report: Mapping[str, Any]) -> Iterator[str]:
    found, intervals = report["reliability"], report["rating_intervals"]
    yield "## Chances and intervals"
    yield ""
    if found:
        yield (f"Brier score of held-out chances {found['brier']:.4f}; the best recalibration "
               f"reaches {found['best_recalibration']:.4f} (ratio {found['ratio']:.3f}; up to "
               "1.05 is wanted).")
    if intervals["value"] is not None:
        yield (f"Of held-out ratings, {figure_text(intervals)} lie in their 90 % interval "
               f"({intervals['count']} ratings; 0.85 to 0.95 is wanted).")
    yield f"Chosen by cross-validation: {MAPS[report['map']['chosen']]}."
    yield ""


def _learning(report: Mapping[str, Any], learning: bool, reliable: bool) -> Iterator[str]:
    curve = report["learning_curve"]
    if curve["points"]:
        yield "## What more labels bring"
        yield ""
        judges = report["agreement"]["judges"]
        yield f"| labels | accuracy, mean of {curve['rounds']} rounds | least | most |"
        yield "|--:|--:|--:|--:|"
        yield f"| 0 (prior) | {curve['prior']:.3f} | | |"
        for row in curve["points"]:
            values = row["accuracy"]
            yield (f"| {row['labels']} | {sum(values) / len(values):.3f} | {min(values):.3f} | "
                   f"{max(values):.3f} |")
        if report["labels"]["by_prompt"]:
            yield (f"| {curve['labels_of_all']} (as above) | "
                   f"{judges['fitted']['accuracy']['value']:.3f} | | |")
        yield ""
    for drawn, name, title in (
        (learning, "learning.png", "Accuracy by number of labels"),
        (reliable, "reliability.png", "Reliability of its chances"),
    ):
        if drawn:
            yield f"![{title}]({name})"
            yield ""


def _distrust(report: Mapping[str, Any]) -> Iterator[str]:
    yield "## What it was trained on, and where to distrust it"
    yield ""
    yield from (f"- {line}" for line in report["distrust"])


def _prompts(count: int) -> str:
    if not count:
        return "without prompts"
    return f"of {count} prompts" if count != 1 else "of 1 prompt"


def _cell(text: str) -> str:
    """A name in a table's cell: one line, no bars."""
    return " ".join(text.split()).replace("|", "\\|")

"""Sentences about a rulebook, in Markdown: the same in rulebook.md and in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ldmopt.exports._words import (
    condition_text,
    seconds_text,
    setting_text,
    speed_text,
    times_text,
    win_text,
)

WISHES = {
    "best": "the highest win rate whose interval lies above 0.50",
    "balanced": "win rate, seconds and memory weighed alike",
    "fastest-not-worse": "the fewest seconds without being worse",
    "smallest": "the least memory without being worse",
}


def in_short(data: Mapping[str, Any]) -> str:
    """The rulebook in one sentence."""
    default, items = data["default"], data["recommendations"]
    balanced = next((item for item in items if item["id"] == "balanced"), None)
    if not balanced or balanced["setting"] == default["setting"]:
        return "**no setting was shown to be a better bargain than the default.**"
    speed = speed_text(balanced["cost"]["seconds"], default["cost"]["seconds"])
    quality = balanced["quality"]
    if quality["low"] > 0.5 or quality["high"] < 0.5:
        told = f"are preferred to the default's {quality['win_rate']:.0%} of the time"
    else:
        told = f"cannot be told from the default's in quality (win rate {win_text(quality)})"
    text = (
        f"**{safe(setting_text(balanced['setting'], default['setting']))}** gives pictures that "
        f"{told}"
    )
    if not speed:
        return text + "."
    return (
        f"{text}, {speed} ({seconds_text(balanced['cost']['seconds'])} instead of "
        f"{seconds_text(default['cost']['seconds'])})."
    )


def grouped(items: Sequence[Mapping[str, Any]]) -> list[tuple[list[str], Mapping[str, Any]]]:
    """Join recommendations of one setting, in the order of their first names."""
    groups: list[tuple[list[str], Mapping[str, Any]]] = []
    for item in items:
        for ids, first in groups:
            if first["setting"] == item["setting"]:
                ids.append(item["id"])
                break
        else:
            groups.append(([item["id"]], item))
    return groups


def ties(data: Mapping[str, Any]) -> Iterator[str]:
    """What the names do not say: ties, and where the default itself is the answer."""
    default = data["default"]["setting"]
    for item in data["recommendations"]:
        other = item["runner_up"]
        if item["id"] == "best" and item["setting"] == default:
            many = (" after allowing for all settings that were compared (Holm)"
                    if "imported" in data["scope"] else "")
            yield f"**best**: nothing was shown to beat the default{many}, so the default it is."
        elif item["id"] == "fastest-not-worse" and item["setting"] == default:
            yield (
                "**fastest-not-worse**: nothing was shown to be both cheaper and at most "
                f"{data['margin']:g} worse."
            )
        if item["id"] != "best" or item["setting"] == default:
            continue
        count = item["evidence"].get("settings_confirmed", 1) - 1
        if not item["evidence"].get("shown_better", True):
            yield (
                f"**best** beats the default taken by itself, but not after allowing for the "
                f"{count} settings that were compared (Holm): another few prompts would tell."
            )
        tied = item["evidence"].get("tied", [])
        if tied:
            cheapest = tied[0]
            others = "another" if len(tied) == 1 else f"{len(tied)} others"
            yield (
                f"**best** is no single winner: {others} cannot be told from it (Holm), the "
                f"cheapest being {safe(setting_text(cheapest['setting'], default))} "
                f"({seconds_text(cheapest['seconds'])}; {win_text(cheapest['difference'])} "
                "between the two)."
            )
        elif other.get("tie"):
            yield (
                f"**best** cannot be told from its runner-up "
                f"({safe(setting_text(other['setting'], default))}; "
                f"{seconds_text(other['cost']['seconds'])}): a difference of "
                f"{win_text(other['difference'])} between the two."
            )


def reading(data: Mapping[str, Any]) -> Iterator[str]:
    """What the words and figures of recommendations mean."""
    percent = f"{data['confidence']:.0%}"
    yield (
        "**Win rate**: how often a picture of this setting is preferred to the default's for "
        "the same prompt and seed, ties half. 0.50 is as good as the default; in brackets the "
        f"{percent} interval over prompts."
    )
    if "imported" in data["scope"]:
        yield (
            f"All figures are those of the imported `{data['scope']['imported']}`: nothing was "
            "generated or measured here. Settings are chosen and judged on the same prompts, so a "
            "chosen one's win rate is somewhat too high; *best* and *not worse* are said only "
            "after allowing for all settings that were compared (Holm)."
        )
    else:
        yield (
            "Recommended settings were generated and measured again on prompts and seeds "
            "that the search never saw. Seconds are device seconds per picture."
        )
    yield from luck(data["scope"].get("selection"))
    yield from _reading_judges(data)
    named = {item["id"] for item in data["recommendations"]}
    wishes = [f"**{id}**: {text}" for id, text in WISHES.items() if id in named]
    yield (
        f"{'; '.join(wishes)}. *Not worse* means that losing by {data['margin']:g} or more is "
        "excluded."
    )
    if any(id.startswith("under-") for id in named):
        yield "**under-...**: the highest win rate within that many seconds or GB."
    for item in data["recommendations"]:
        if item["evidence"].get("knee"):
            yield f"**{item['id']}** is the knee of the front: beyond it little more is gained."


def luck(found: Mapping[str, Any] | None) -> Iterator[str]:
    """What choosing did to the figures of the chosen: the winner's curse, or none."""
    if not found:
        return
    change = found["change"]
    many = "one was" if found["chosen"] == 1 else f"{found['chosen']} were"
    told = (
        f"**Luck of the chosen**: of {found['searched']} settings tried, {many} chosen by the "
        f"search's figures, on the average {win_text(found['search'])} there and "
        f"{win_text(found['held_out'])} on held-out prompts. The change, {change['win_rate']:+.2f} "
        f"[{change['low']:+.2f}, {change['high']:+.2f}], is"
    )
    if not change["beyond_chance"]:
        yield f"{told} within chance."
    elif change["win_rate"] < 0:
        yield f"{told} beyond chance: what wins a search is lucky there. Trust the held-out figure."
    else:
        yield f"{told} beyond chance: the held-out prompts suit these settings better."


def _reading_judges(data: Mapping[str, Any]) -> Iterator[str]:
    """What the columns on people and captions mean, where they are there."""
    qualities = [item["quality"] for item in data["recommendations"]]
    said = [quality["human"] for quality in qualities if quality["human"]]
    if said:
        who = "simulated raters, which are programs," if said[0]["simulated"] else "raters"
        yield (
            f"**scorer** is that win rate as the scorer predicts it on held-out prompts; "
            f"**human** is what {who} said of this setting's pictures against the default's on "
            "labelled prompts; **joined** estimates what they would say over all prompts, by "
            "their labels and by predictions of scorers that saw no label of the same prompt. "
            "Recommendations rest on the scorer; one that people were shown to like less than "
            "the default is left out."
        )
    if any(quality.get("alignment") for quality in qualities):
        yield (
            "**alignment**: how well pictures fit their captions (cosine of a CLIP), as a share "
            "of the default's. It says what is there, not how well it is drawn."
        )


def effects_reading(data: Mapping[str, Any]) -> str:
    """What the figures and verdicts of effects mean."""
    rows, worth = data["effects"], data.get("constants", {}).get("worth", 0.02)
    count = max(row["evidence"].get("comparisons", len(rows)) for row in rows)
    return (
        "A win rate here compares the two values with each other: above 0.50 the second one is "
        f"better. Verdicts allow for {count} comparisons made at once (Holm), intervals do not, "
        "so an interval off 0.50 may still read *no difference shown*. *Worth it* asks for a "
        f"gain of at least {worth:g}; *depends* means that it helps under some conditions only, or "
        f"saves seconds at the price of memory or the other way round.{_groups(rows)}"
        f"{_modelled(rows)}{_alone(data)}"
    )


def _groups(rows: Sequence[Mapping[str, Any]]) -> str:
    """A word where numbers were compared in groups."""
    return (" Where a knob took many values they are compared in groups, each named by its middle "
            "value." if any("grouped" in row["evidence"] for row in rows) else "")


def named(row: Mapping[str, Any], value: Any) -> str:
    """A value of a rule; one that stands for a group of numbers with their range."""
    ends = row["evidence"].get("grouped", {}).get(str(value))
    return f"{value} ({ends[0]}–{ends[1]})" if ends else str(value)


def _modelled(rows: Sequence[Mapping[str, Any]]) -> str:
    """A word where seconds and memory are those of the study's cost model."""
    return (" Seconds and memory are what the cost model, which has learned from every call that "
            "was timed, says of that change alone." if any(map(_priced, rows)) else "")


def _priced(row: Mapping[str, Any]) -> bool:
    """Whether the study's cost model tells an effect's seconds."""
    return "cost model" in (row["evidence"].get("cost_basis") or "")


def _alone(data: Mapping[str, Any]) -> str:
    """A word where no person's judgement is behind the rules."""
    rules = [*data["effects"], *data["avoid"]]
    told = {row["evidence"].get("judged_by") for row in rules} - {None}
    return " All of it rests on the regressor alone." if told == {"the regressor alone"} else ""


def depending(row: Mapping[str, Any]) -> str:
    """What an effect depends on, in direction or in size; empty where it does not."""
    evidence = row["evidence"]
    split = evidence.get("depends_on") or evidence.get("varies_with")
    if not split:
        return ""
    verb = "depends" if "depends_on" in evidence else "is not alike everywhere"
    told = "; ".join(f"{condition_text(s['when'])}: {win_text(s)}{_without_room(s, split)}"
                     for s in split["sides"])
    return f"{row['knob']} {row['from']} → {row['to']} {verb}: {safe(told)}."


def _without_room(side: Mapping[str, Any], split: Mapping[str, Any]) -> str:
    """A word on the side that may differ only because its win rates are near 0 or 1."""
    cramped = [item["level"] for item in split["sides"] if item.get("cramped")]
    if not cramped or side["level"] != max(cramped, key=lambda level: abs(level - 0.5)):
        return ""
    left = "lose" if side["level"] < 0.5 else "gain"
    return (f" (against the default both win {side['level']:.0%} of the time there, "
            f"which leaves little to {left})")


def same_picture(row: Mapping[str, Any]) -> bool:
    """Whether an effect's knob leaves the picture as it is."""
    return bool(row["low"] == row["high"] == 0.5)


MODEL = "all settings, additive model"


def seen_in(row: Mapping[str, Any]) -> str:
    """What an effect rests on, in a few words."""
    evidence = row["evidence"]
    pairs = evidence.get("pairs", 0)
    if not pairs:
        return "all calls timed" if _priced(row) and same_picture(row) else MODEL
    given = condition_text(row["given"])
    count = f"{pairs} pair" + ("s" if pairs > 1 else "")
    return f"{count}, {given}" if given else count


def plateau(row: Mapping[str, Any]) -> str:
    """Where more of a knob brings nothing."""
    top = row["evidence"].get("to", "more")
    return (
        f"Beyond **{row['knob']} {named(row, row['beyond'])}** nothing was gained: going on to "
        f"{named(row, top)} "
        f"costs {times_text(row['seconds_ratio'])} seconds for {win_text(row)}."
    )


def equivalent(row: Mapping[str, Any]) -> str:
    """Which values cannot be told apart."""
    values = ", ".join(map(str, row["values"]))
    evidence = row["evidence"]
    if "low" in evidence:
        within = f"differences within [{evidence['low']:.2f}, {evidence['high']:.2f}]"
        pairs = evidence.get("pairs")
        seen = f"{pairs} pair{'s' * (pairs > 1)} of settings" if pairs else MODEL
        told = f"cannot be told apart ({within}; {seen})"
    else:
        told = "give the same pictures"
    return f"**{row['knob']}**: {values} {told}; {_least_cost(row)}."


def _least_cost(row: Mapping[str, Any]) -> str:
    """Which of equal values takes least time, as far as that is told, and least memory."""
    evidence, values, quickest = row["evidence"], row["values"], None
    if evidence.get("same_seconds"):
        told = "all take the same time"
    elif len(evidence.get("seconds_ratio_to_first", values)) < len(values):
        told = "too few settings tell which takes least time"
    else:
        quickest = row["cheapest"]
        told = f"**{quickest}** takes least time"
    smallest = evidence.get("smallest")
    if smallest is None:
        return told
    return told + (" and memory" if smallest == quickest else f", **{smallest}** least memory")


def nothing_to_avoid(data: Mapping[str, Any]) -> Iterator[str]:
    """What an empty avoid list means: nothing was shown, which is not that all is well.

    Where there was nothing to compare either, nothing is said of it.
    """
    if data["avoid"] or not data["effects"]:
        return
    harmful = ", ".join(f"{row['knob']} {row['from']} → {row['to']}" for row in data["effects"]
                        if row["verdict"] == "harmful")
    yield (
        f"No setting failed, and no condition was shown to lose by more than {data['margin']:g} "
        "after allowing for all conditions that were looked at (Holm)."
        + (f" What single knobs do is above: harmful is {safe(harmful)}." if harmful else "")
    )


def scope_rows(data: Mapping[str, Any]) -> dict[str, str]:
    """What the rules were seen on, by name; what there is nothing to say of is left out."""
    scope = data["scope"]
    held_out = max((r["evidence"]["prompts"] for r in data["recommendations"]), default=0)
    digest = scope["model_digest"][:12]
    seen = f"{scope['prompts']} prompts x {scope['seeds']} seed{'s' * (scope['seeds'] != 1)}"
    rows = {
        "model": f"{scope['model']}" + (f" (`{digest}`)" if digest else ""),
        "device": scope["device"],
        "prompts and seeds": f"{seen}, none held out" if "imported" in scope else
        f"{seen} in the search, {held_out} other prompts for the recommendations",
        "pictures": f"{scope['pictures']:,}",
        "dropped early": f"{dropped} settings, after a part of the prompts; they are in no figure "
        "of quality but the avoid list's" if (dropped := scope.get("raced_out")) else "",
        "judged by": scope["scorer"] if "judged_by" in scope else
        f"{scope['scorer']}; labels of people that it learned from: {scope['human_labels']}",
        "exam": exam_text(scope),
        "second opinion": second_opinion_text(scope.get("second_opinion")),
        "versions": ", ".join(f"{k} {v}" for k, v in scope["versions"].items()),
        "made": f"{data['created']} by ldmopt {data['ldmopt_version']}, "
        f"generation {data['generation']}",
    }
    return {name: safe(text) for name, text in rows.items() if text}


def doubts(data: Mapping[str, Any]) -> Iterator[str]:
    """What was contradicted or left out, and that no person stands behind the figures."""
    default = data["default"]["setting"]
    yield from alarm(data["scope"].get("second_opinion"), default)
    for row in data["scope"].get("left_out", ()):
        change = setting_text(row["setting"], default)
        yield f"Left out though measured: **{safe(change)}**: {safe(row['why'])}."
    unlabelled = not data["scope"]["human_labels"] and not _labelled_by_people(data)
    if unlabelled and "judged_by" not in data["scope"]:
        yield (
            "No human label is behind these figures: they are the regressor's opinion. "
            "`ldmopt labels import RUN RATINGS.csv` brings yours in."
        )


def exam_text(scope: Mapping[str, Any]) -> str:
    """Whether the scorer was examined on canaries."""
    exam = scope.get("exam")
    if not exam:
        return ""
    if exam.get("exempt"):
        return f"none: {exam['exempt']}"
    return "the scorer puts canaries below the default's pictures (exam.png)"


def second_opinion_text(found: Mapping[str, Any] | None) -> str:
    """How far the second opinion agrees."""
    last = found and (found.get("confirm") or found.get("search"))
    if not found or not last:
        return ""
    verdict = "CONTRADICTS the scorer" if last["contradictions"] else "does not contradict"
    if last["correlation"] is None:
        return f"{found['name']}: {verdict}"
    return (
        f"{found['name']}: {verdict}; rank correlation {last['correlation']:.2f} "
        f"[{last['low']:.2f}, {last['high']:.2f}] over {last['settings']} settings and the "
        f"default, {last['prompts']} prompts"
    )


def alarm(
    found: Mapping[str, Any] | None, default: Mapping[str, Any]
) -> Iterator[str]:
    """What the second opinion contradicts, a pair a line."""
    for stage, where in (("search", "in the search"), ("confirm", "on held-out prompts")):
        for row in ((found or {}).get(stage) or {}).get("contradictions", ())[:3]:
            over = "the default" if row["over"] is None else setting_text(row["over"], default)
            yield (
                f"**Alarm** {where}: the scorer puts {safe(setting_text(row['liked'], default))} "
                f"above {safe(over)} (win rate {row['first']:+.2f}), the second opinion below it "
                f"({row['second']:+.2f}). Look at disagreement.png before you believe the scorer."
            )


def _labelled_by_people(data: Mapping[str, Any]) -> bool:
    """Whether any setting shown has labels of people, not of simulated raters."""
    found = [item["quality"]["human"] for item in (*data["recommendations"], *data["front"])]
    return any(human and not human["simulated"] for human in found)


COMMANDS = (
    "ldmopt run study.toml            # the study.toml beside this file",
    "ldmopt recommend rulebook.json --max-seconds 1",
    'ldmopt generate --rulebook rulebook.json --id balanced --prompt "..." -o picture.png',
)
"""What makes it all again, and what uses it."""


def commands(data: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes a rulebook again, and what uses it; an imported table's has no model."""
    if "imported" not in data["scope"]:
        return COMMANDS
    return (f"ldmopt import {data['scope']['imported']} --out {data['study']}", COMMANDS[1])


def notes(data: Mapping[str, Any]) -> Iterator[str]:
    """What an imported table does not let anybody conclude, and what was taken for what."""
    for note in data["scope"].get("notes", ()):
        yield f"{safe(note[:1].upper() + note[1:])}."


def safe(text: str) -> str:
    """Text that stays in its line, and in its cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")

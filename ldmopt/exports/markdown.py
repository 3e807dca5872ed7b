"""The rulebook as Markdown: what to use, what each knob is worth, what to avoid, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ldmopt.exports._words import (
    OF_THE_DEFAULT,
    bytes_text,
    condition_text,
    judged_columns,
    seconds_text,
    setting_text,
    speed_text,
    telling,
    times_text,
    win_text,
)
from ldmopt.rulebook import Rulebook

_WISHES = {
    "best": "the highest win rate whose interval lies above 0.50",
    "balanced": "win rate, seconds and memory weighed alike",
    "fastest-not-worse": "the fewest seconds without being worse",
    "smallest": "the least memory without being worse",
}


def to_markdown(rulebook: Rulebook) -> str:
    """Return rulebook.md's text."""
    data = rulebook.data
    parts = [
        _title(data),
        _headline(data),
        _ties(data),
        _reading(data),
        _effects(data["effects"]),
        _flat(data),
        _avoid(data["avoid"]),
        _scope(data),
        _reproduce(data),
    ]
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part))) + "\n"


def _title(data: Mapping[str, Any]) -> Iterator[str]:
    yield f"# Rulebook: {_safe(data['study'])}"


def _headline(data: Mapping[str, Any]) -> Iterator[str]:
    """A sentence, then default and recommendations in one table."""
    default, items = data["default"], data["recommendations"]
    balanced = next((item for item in items if item["id"] == "balanced"), None)
    if balanced and balanced["setting"] != default["setting"]:
        speed = speed_text(balanced["cost"]["seconds"], default["cost"]["seconds"])
        quality = balanced["quality"]
        if quality["low"] > 0.5 or quality["high"] < 0.5:
            told = f"are preferred to the default's {quality['win_rate']:.0%} of the time"
        else:
            told = f"cannot be told from the default's in quality (win rate {win_text(quality)})"
        yield (
            f"In short: **{setting_text(balanced['setting'], default['setting'])}** gives pictures "
            f"that {told}, {speed} ({seconds_text(balanced['cost']['seconds'])} instead of "
            f"{seconds_text(default['cost']['seconds'])})."
        )
    else:
        yield "In short: **no setting was shown to be a better bargain than the default.**"
    yield ""
    columns = judged_columns(items)
    heads = ["use", *columns, "seconds", "against default", "peak memory"]
    yield f"| {' | '.join([*heads, 'change from the default'])} |"
    yield "|" + "---|" * (len(heads) + 1)
    whole = setting_text(telling(default["setting"], [item["setting"] for item in items]))
    plain = [OF_THE_DEFAULT[name] for name in columns]
    yield _row("default", plain, default["cost"], default["cost"], whole)
    for ids, item in _grouped(items):
        if item["setting"] == default["setting"]:
            change = "none: the default itself"
        else:
            change = setting_text(item["setting"], default["setting"])
        name = ", ".join(f"**{id}**" for id in ids)
        judged = [text(item["quality"]) for text in columns.values()]
        yield _row(name, judged, item["cost"], default["cost"], change)


def _row(
    name: str, judged: Sequence[str], cost: Mapping[str, Any], base: Mapping[str, Any],
    change: str,
) -> str:
    """One setting of the headline table."""
    seconds = seconds_text(cost["seconds"])
    if cost["low"] is not None and cost["high"] is not None:
        seconds += f" [{cost['low']:.3g}, {cost['high']:.3g}]"
    speed = "" if cost is base else speed_text(cost["seconds"], base["seconds"])
    memory = bytes_text(cost["peak_memory_bytes"])
    return f"| {' | '.join([name, *judged, seconds, speed, memory, _safe(change)])} |"


def _grouped(items: Sequence[Mapping[str, Any]]) -> list[tuple[list[str], Mapping[str, Any]]]:
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


def _ties(data: Mapping[str, Any]) -> Iterator[str]:
    """What the names do not say: ties, and where the default itself is the answer."""
    default = data["default"]["setting"]
    for item in data["recommendations"]:
        other = item["runner_up"]
        if item["id"] == "best" and item["setting"] == default:
            yield "- **best**: nothing was shown to beat the default, so the default it is."
        elif item["id"] == "fastest-not-worse" and item["setting"] == default:
            yield (
                "- **fastest-not-worse**: nothing was shown to be both cheaper and at most "
                f"{data['margin']:g} worse."
            )
        if item["id"] != "best" or item["setting"] == default:
            continue
        count = item["evidence"].get("settings_confirmed", 1) - 1
        if not item["evidence"].get("shown_better", True):
            yield (
                f"- **best** beats the default taken by itself, but not after allowing for the "
                f"{count} settings that were compared (Holm): another few prompts would tell."
            )
        if other.get("tie"):
            yield (
                f"- **best** cannot be told from its runner-up "
                f"({_safe(setting_text(other['setting'], default))}; "
                f"{seconds_text(other['cost']['seconds'])}): a difference of "
                f"{win_text(other['difference'])} between the two."
            )


def _reading(data: Mapping[str, Any]) -> Iterator[str]:
    percent = f"{data['confidence']:.0%}"
    yield "## How to read this"
    yield ""
    yield (
        "- **Win rate**: how often a picture of this setting is preferred to the default's for "
        "the same prompt and seed, ties half. 0.50 is as good as the default; in brackets the "
        f"{percent} interval over prompts."
    )
    yield (
        "- Settings in the table above were generated and measured again on prompts and seeds "
        "that the search never saw. Seconds are device seconds per picture."
    )
    yield from _reading_judges(data)
    named = {item["id"] for item in data["recommendations"]}
    wishes = [f"**{id}**: {text}" for id, text in _WISHES.items() if id in named]
    yield (
        f"- {'; '.join(wishes)}. *Not worse* means that losing by {data['margin']:g} or more is "
        "excluded."
    )
    if any(id.startswith("under-") for id in named):
        yield "- **under-...**: the highest win rate within that many seconds or GB."


def _reading_judges(data: Mapping[str, Any]) -> Iterator[str]:
    """What the columns on people and captions mean, where they are there."""
    qualities = [item["quality"] for item in data["recommendations"]]
    said = [quality["human"] for quality in qualities if quality["human"]]
    if said:
        who = "simulated raters, which are programs," if said[0]["simulated"] else "raters"
        yield (
            f"- **scorer** is that win rate as the scorer predicts it on held-out prompts; "
            f"**human** is what {who} said of this setting's pictures against the default's on "
            "labelled prompts; **joined** estimates what they would say over all prompts, by "
            "their labels and by predictions of scorers that saw no label of the same prompt. "
            "Recommendations rest on the scorer; one that people were shown to like less than "
            "the default is left out."
        )
    if any(quality.get("alignment") for quality in qualities):
        yield (
            "- **alignment**: how well pictures fit their captions (cosine of a CLIP), as a share "
            "of the default's. It says what is there, not how well it is drawn."
        )


def _effects(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One table; beneath it, what `depends` depends on."""
    if not rows:
        return
    count = max(row["evidence"].get("comparisons", len(rows)) for row in rows)
    yield "## What each knob is worth"
    yield ""
    yield (
        "A win rate here compares the two values with each other: above 0.50 the second one is "
        f"better. Verdicts allow for {count} comparisons made at once (Holm), intervals do not, "
        "so an interval off 0.50 may still read *no difference shown*. *Worth it* asks for a "
        "gain of at least 0.02; *depends* means that it helps under some conditions only, or saves "
        "seconds at the price of memory or the other way round."
    )
    yield ""
    yield "| knob | from → to | verdict | win rate | seconds | memory | seen in |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        same = row["low"] == row["high"] == 0.5
        wins = "same picture" if same else win_text(row)
        yield (
            f"| {row['knob']} | {row['from']} → {row['to']} | {_verdict(row['verdict'])} | {wins} "
            f"| {times_text(row['seconds_ratio'])} | {times_text(row['memory_ratio'])} "
            f"| {_safe(_seen(row))} |"
        )
    depending = [row for row in rows if "depends_on" in row["evidence"]]
    if depending:
        yield ""
    for row in depending:
        sides = row["evidence"]["depends_on"]["sides"]
        told = "; ".join(f"{condition_text(side['when'])}: {win_text(side)}" for side in sides)
        yield f"- {row['knob']} {row['from']} → {row['to']} depends: {_safe(told)}."


def _verdict(verdict: str) -> str:
    return f"**{verdict}**" if verdict in ("worth it", "harmful") else verdict


def _seen(row: Mapping[str, Any]) -> str:
    """What an effect rests on, in a few words."""
    evidence = row["evidence"]
    pairs = evidence.get("pairs", 0)
    if not pairs:
        return "all settings, additive model"
    given = condition_text(row["given"])
    count = f"{pairs} pair" + ("s" if pairs > 1 else "")
    return f"{count}, {given}" if given else count


def _flat(data: Mapping[str, Any]) -> Iterator[str]:
    """Plateaus and values that cannot be told apart."""
    if not data["plateaus"] and not data["equivalent"]:
        return
    yield "## Where it makes no difference"
    yield ""
    for row in data["plateaus"]:
        top = row.get("evidence", {}).get("to", "more")
        yield (
            f"- Beyond **{row['knob']} {row['beyond']}** nothing was gained: going on to {top} "
            f"costs {times_text(row['seconds_ratio'])} seconds for {win_text(row)}."
        )
    for row in data["equivalent"]:
        values = ", ".join(map(str, row["values"]))
        evidence = row["evidence"]
        if "low" in evidence:
            within = f"differences within [{evidence['low']:.2f}, {evidence['high']:.2f}]"
            told = f"cannot be told apart ({within})"
        else:
            told = "give the same pictures"
        yield f"- **{row['knob']}**: {values} {told}; **{row['cheapest']}** takes least time."


def _avoid(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "## Avoid"
    yield ""
    for row in rows:
        picture = f" Worst picture: `{row['picture'][:12]}`." if row["picture"] else ""
        yield f"- **{_safe(condition_text(row['when']))}**: {_safe(row['why'])}.{picture}"


def _scope(data: Mapping[str, Any]) -> Iterator[str]:
    scope = data["scope"]
    held_out = max((r["evidence"]["prompts"] for r in data["recommendations"]), default=0)
    yield "## Where this holds, and on what evidence"
    yield ""
    yield "| | |"
    yield "|---|---|"
    digest = scope["model_digest"][:12]
    rows = {
        "model": f"{scope['model']}" + (f" (`{digest}`)" if digest else ""),
        "device": scope["device"],
        "prompts and seeds": f"{scope['prompts']} prompts x {scope['seeds']} seeds in the search, "
        f"{held_out} other prompts for the recommendations",
        "pictures": f"{scope['pictures']:,}",
        "judged by": f"{scope['scorer']}; labels of people that it learned from: "
        f"{scope['human_labels']}",
        "exam": _exam(scope),
        "second opinion": _second_opinion(scope.get("second_opinion")),
        "versions": ", ".join(f"{k} {v}" for k, v in scope["versions"].items()),
        "made": f"{data['created']} by ldmopt {data['ldmopt_version']}, "
        f"generation {data['generation']}",
    }
    for name, text in rows.items():
        if text:
            yield f"| {name} | {_safe(text)} |"
    yield from _alarm(scope.get("second_opinion"), data["default"]["setting"])
    for row in scope.get("left_out", ()):
        yield ""
        change = setting_text(row["setting"], data["default"]["setting"])
        yield f"Left out though measured: **{_safe(change)}**: {_safe(row['why'])}."
    if not scope["human_labels"] and not _labelled_by_people(data):
        yield ""
        yield (
            "No human label is behind these figures: they are the regressor's opinion. "
            "`ldmopt labels import RUN RATINGS.csv` brings yours in."
        )


def _exam(scope: Mapping[str, Any]) -> str:
    """Whether the scorer was examined on canaries."""
    exam = scope.get("exam")
    if not exam:
        return ""
    if exam.get("exempt"):
        return f"none: {exam['exempt']}"
    return "the scorer puts canaries below the default's pictures (exam.png)"


def _second_opinion(found: Mapping[str, Any] | None) -> str:
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


def _alarm(
    found: Mapping[str, Any] | None, default: Mapping[str, Any]
) -> Iterator[str]:
    """What the second opinion contradicts, a pair a line."""
    for stage, where in (("search", "in the search"), ("confirm", "on held-out prompts")):
        for row in ((found or {}).get(stage) or {}).get("contradictions", ())[:3]:
            over = "the default" if row["over"] is None else setting_text(row["over"], default)
            yield ""
            yield (
                f"**Alarm** {where}: the scorer puts {_safe(setting_text(row['liked'], default))} "
                f"above {_safe(over)} (win rate {row['first']:+.2f}), the second opinion below it "
                f"({row['second']:+.2f}). Look at disagreement.png before you believe the scorer."
            )


def _labelled_by_people(data: Mapping[str, Any]) -> bool:
    """Whether any setting shown has labels of people, not of simulated raters."""
    found = [item["quality"]["human"] for item in (*data["recommendations"], *data["front"])]
    return any(human and not human["simulated"] for human in found)


def _reproduce(data: Mapping[str, Any]) -> Iterator[str]:
    yield "## Reproduce"
    yield ""
    yield "```"
    yield "ldmopt run study.toml            # the study.toml beside this file"
    yield "ldmopt recommend rulebook.json --max-seconds 1"
    yield 'ldmopt generate --rulebook rulebook.json --id balanced --prompt "..." -o picture.png'
    yield "```"


def _safe(text: str) -> str:
    """Text that stays in its table cell."""
    return str(text).replace("|", "\\|").replace("\n", " ")

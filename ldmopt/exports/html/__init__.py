"""The report: one HTML file with everything in it, that opens offline and asks nobody anything.

Python chooses, reduces and lays out; templates under ``page/`` word it; a little script without
any framework steps through prompts and answers budgets. The page forbids itself every request by
its content security policy.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ldmopt.contracts import Block, Setting
from ldmopt.exports import _sentences, _words, taste_report
from ldmopt.exports.html import budgets, curse, knobs, plot, strips, taste, words
from ldmopt.exports.html.album import MOST_BYTES, Album, Thumb
from ldmopt.exports.html.story import Entry, Story, by_prompt, entries, tried
from ldmopt.exports.taste_plots import whose

__all__ = ["Page", "Story", "to_html"]

STYLES = ("base.css", "parts.css", "plots.css", "print.css")
SCRIPTS = ("pictures.js", "rule.js", "steps.js", "budget.js", "front.js", "paper.js")

MOST_SHOWN, FEWEST_BLOCKS, MOST_BLOCKS = 420, 4, 48
"""Pictures of the confirmed settings: prompts and seeds are left out beyond the first number."""

TRIED_BLOCKS = 2
"""Prompts that settings of the search are shown with."""

LARGE, MIDDLE, SMALL = 352, 256, 160
"""Sides in pixels that are asked for: beside the default, in strips, of the search."""


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        html: the whole file.
        pictures: how many are embedded.
        missing: why pictures could not be read, by digest.
    """

    html: str
    pictures: int
    missing: Mapping[str, str]


def to_html(
    story: Story, most_bytes: int = MOST_BYTES,
    progress: Callable[[float], None] = lambda share: None,
) -> Page:
    """Return the report as one HTML file.

    Args:
        story: what to tell of.
        most_bytes: of all pictures together; with more to show they become smaller.
        progress: is told the share that is done.
    """
    known = entries(story)
    others = tried(story, known)
    blocks, searched = _blocks(known), _searched(story, others)
    reference = Setting(next(
        (item["setting"] for item in story.data["recommendations"] if item["id"] == "balanced"),
        story.default,
    ))  # fmt: skip
    views = knobs.knob_views(story.data)
    rows = {view.name: strips.strip(story.evidence, view.name, reference)
            for view in views if not view.keeps_picture}
    avoided = [_avoided(story, row) for row in story.data["avoid"]]
    base = next((trial.shown for trial in story.evidence.trials
                 if trial.setting == story.default), {})

    album = Album()
    for entry in known:
        album.want(entry.shown, blocks, LARGE)
    for strip in rows.values():
        for frame in strip.frames if strip else ():
            album.want(frame.shown, strip.blocks if strip else (), MIDDLE)
    for row in avoided:
        album.want(row["shown"], [row["block"]], MIDDLE)
        album.want(base, [row["block"]], MIDDLE)
    album.want(base, searched, MIDDLE)
    for entry in others:
        album.want(entry.shown, searched, SMALL)
    album.fill(story.read, most_bytes, progress)

    front = story.data["front"]
    view = {
        "story": story, "data": story.data, "known": known, "others": others, "blocks": blocks,
        "album": album, "base": base, "named": [known[0], *(e for e in known[1:] if e.names)],
        "plot": plot.front_plot(known, others, front),
        "limits": {name: budgets.limits(front, figure) for name, figure in (
            ("seconds", "latency_seconds"), ("memory", "peak_memory_bytes"))},
        "least": {name: budgets.least(front, figure) for name, figure in (
            ("seconds", "latency_seconds"), ("memory", "peak_memory_bytes"))},
        "choices": budgets.choices(front, known),
        "views": views, "strips": rows, "avoided": avoided,
        "curse": curse.curse(story, known),
        "taste": story.taste, "learning": taste.learning(story.taste or {}),
    }  # fmt: skip
    view["script_data"] = _script_data(view, searched)
    html = _render(view, _shape(album, known))
    return Page(html, len(album.encoded), album.missing)


def _blocks(known: Sequence[Entry]) -> list[Block]:
    """The prompts and seeds to step through: those that most settings have pictures of."""
    counts: dict[Block, int] = {}
    for entry in known:
        for block in entry.shown:
            counts[block] = counts.get(block, 0) + 1
    order = list(by_prompt(list(counts)))
    order.sort(key=lambda block: -counts[block])
    most = max(FEWEST_BLOCKS, min(MOST_BLOCKS, MOST_SHOWN // max(1, len(known))))
    kept = set(order[:most])
    return [block for block in counts if block in kept]


def _searched(story: Story, others: Sequence[Entry]) -> list[Block]:
    """The prompts that the search's settings are shown with: early and late in the list."""
    counts: dict[Block, int] = {}
    for entry in others:
        for block in entry.shown:
            counts[block] = counts.get(block, 0) + 1
    most = max(counts.values(), default=0)
    common = list(by_prompt([block for block in counts if counts[block] == most]))
    return common[:: -(-len(common) // TRIED_BLOCKS) or 1]


def _avoided(story: Story, row: Mapping[str, Any]) -> dict[str, Any]:
    """A rule of the avoid list with the block that its picture was made for."""
    for trial in story.evidence.trials:
        for block, digest in trial.shown.items():
            if digest == row["picture"]:
                return {"rule": row, "block": block, "shown": {block: digest}}
    return {"rule": row, "block": Block("", 0), "shown": {}}


def _script_data(view: Mapping[str, Any], searched: Sequence[Block]) -> dict[str, Any]:
    """What the page's script needs to know: numbers and picture places, no words but prompts."""
    album: Album = view["album"]

    def row(entry: Entry, blocks: Sequence[Block]) -> dict[str, Any]:
        thumbs = [album.find(entry.shown.get(block)) for block in blocks]
        wins = [entry.wins.get(block) for block in blocks]
        return {"pictures": [_place(thumb) for thumb in thumbs],
                "wins": [None if win is None else round(win, 4) for win in wins]}

    base = [album.find(view["base"].get(block)) for block in searched]
    return {
        "blocks": [[block.prompt, block.seed] for block in view["blocks"]],
        "searched": [[block.prompt, block.seed] for block in searched],
        "default": [_place(thumb) for thumb in base],
        "entries": [row(entry, view["blocks"]) for entry in view["known"]]
        + [row(entry, searched) for entry in view["others"]],
        "known": len(view["known"]),
        "front": view["choices"],
        "limits": {name: [value for value, _ in rows] for name, rows in view["limits"].items()},
        "words": {name: [text for _, text in rows] for name, rows in view["limits"].items()},
    }


def _place(thumb: Thumb | None) -> list[int] | None:
    """Number, width, height, and 1 where every pixel is to be seen."""
    return None if thumb is None else [thumb.place, thumb.width, thumb.height, int(thumb.crisp)]


def _shape(album: Album, known: Sequence[Entry]) -> str:
    """A rule of the style sheet: the shape of the default's pictures, which all places have."""
    thumbs = [thumb for entry in known for digest in entry.shown.values()
              if (thumb := album.find(digest))]
    wide, high = (thumbs[0].width, thumbs[0].height) if thumbs else (1, 1)
    return f":root {{ --shape: {wide} / {high}; }}\n"


def _render(view: Mapping[str, Any], shape: str) -> str:
    """Fill the templates."""
    import jinja2

    def source(name: str) -> str:
        return (resources.files(__name__) / "page" / name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(source), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(inline=words.inline, sentence=words.sentence)
    environment.globals.update(
        s=_sentences, w=_words, t=taste_report, words=words, whose=whose,
        figures=lambda entry: words.figures(entry, view["data"]["default"]["cost"]),
        sum_up=lambda entry: words.sum_up(entry, view["data"]["default"]["cost"]),
    )  # fmt: skip
    style = "\n" + shape + "".join(map(source, STYLES))
    script = "\n" + bundle([source(name) for name in SCRIPTS])
    return environment.get_template("page.html").render(
        **view, style=style, script=script, style_hash=_hash(style), script_hash=_hash(script))


def bundle(modules: Sequence[str]) -> str:
    """Join ES modules, each importing only from earlier ones, into a single script."""
    text = "".join(modules)
    text = re.sub(r'^import [^;]*? from "\./[\w.]+";\n', "", text, flags=re.MULTILINE)
    return re.sub(r"^export (?=(?:async )?(?:function|const|let|class) )", "", text,
                  flags=re.MULTILINE)


def _hash(text: str) -> str:
    """What a content security policy knows an inline script or style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

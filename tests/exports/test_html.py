"""The report's file: what must be in it is, words of others stay words, and it stays small."""

import dataclasses
import html
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ldmopt.contracts import Block, Setting
from ldmopt.errors import UserError
from ldmopt.exports.html import bundle, to_html
from ldmopt.exports.html.album import Album, encode
from ldmopt.exports.html.budgets import limits, rounded_up
from ldmopt.exports.html.curse import curse
from ldmopt.exports.html.knobs import reach
from ldmopt.exports.html.plot import front_plot
from ldmopt.exports.html.story import by_prompt, entries, tried
from ldmopt.exports.html.strips import strip
from ldmopt.exports.html.words import inline, sentence, wish
from tests.distillation.simulate import SAMPLERS, Study, grid

from .stories import NASTY, of_front, story


@pytest.fixture(scope="module")
def page(told):
    return to_html(told).html


def embedded(page, name):
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    return json.loads(found[1])


def tags(page):
    """Every tag with the names of its attributes."""
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, [name for name, _ in attrs]))

    Reader().feed(page)
    return found


def test_it_says_it_all(told, page):
    text = html.unescape(page)
    for item in told.data["recommendations"]:
        assert item["id"] in text
        assert f"{item['quality']['win_rate']:.2f}" in text
    for row in told.data["effects"]:
        assert row["verdict"] in text
    for row in told.data["avoid"]:
        assert row["why"][1:] in text
    for part in ("compare", "budget", "front", "knobs", "avoid", "judge", "sure", "scope"):
        assert f'<section id="{part}"' in page
    assert "simulated model" in text and "ldmopt run study.toml" in text
    assert "winner's curse" in text and "No human label" in text
    assert "None" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_words_of_others_stay_words(told, page):
    assert NASTY not in page and "<img src=x" not in page and "{{ 7*7 }}" in page
    assert page.count("<script") == 3 and page.count("</script>") == 3
    assert any(NASTY in prompt for prompt, _ in embedded(page, "data")["blocks"])
    parts = [name for tag, names in tags(page) for name in names]
    assert len(parts) > 500 and not [n for n in parts if n.startswith("on") or n == "style"]
    renamed = dataclasses.replace(told, run="<b>run", study="</code><script>", rulebook=type(
        told.rulebook)({**told.data, "study": "<i>a</i> & b"}))
    page = to_html(renamed).html
    assert "<i>a</i>" not in page and "&lt;i&gt;a&lt;/i&gt; &amp; b" in page
    assert page.count("<script") == 3 and "<b>run" not in page


def test_nothing_outside_is_named(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page)
    assert not re.findall(r"url\((?!data:)", page)


def test_each_picture_is_there_once(told, page):
    album, data = embedded(page, "album"), embedded(page, "data")
    assert len(album) == len(set(album)) > 50
    places = {row[0] for entry in data["entries"] for row in entry["pictures"] if row}
    places |= {int(place) for place in re.findall(r'data-picture="(\d+)"', page)}
    assert max(places) < len(album)


def test_two_thousand_pictures_stay_below_15_mb(told):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (256, 256, 3), np.uint8) for _ in range(2)]
    many = story(48, 2, 12, grid(list(SAMPLERS), [4, 50], [1.0, 5.0]),
                 read=lambda digest, block: noise[int(digest[0], 16) % 2])
    found = to_html(many)
    pictures = {d for t in many.evidence.trials for d in t.pictures}
    pictures |= {d for c in many.evidence.confirmations.values() for d in c.pictures}
    assert len(pictures) > 2000 and found.pictures > 300
    assert 1e6 < len(found.html) < 15e6


def test_pictures_shrink_to_fit_and_small_ones_are_kept():
    rng = np.random.default_rng(0)
    album, blocks = Album(), [Block("a", seed) for seed in range(20)]
    album.want({block: f"{block.seed:064x}" for block in blocks}, blocks, 300)

    def read(digest, block):
        if block.seed == 3:
            raise UserError("picture 3 cannot be read")
        return rng.integers(0, 255, (400, 500, 3), np.uint8)

    album.fill(read, 400_000)
    assert sum(map(len, album.encoded)) <= 400_000 and len(album.encoded) == 19
    assert album.missing == {f"{3:064x}": "picture 3 cannot be read"}
    thumb = album.find(f"{4:064x}")
    assert thumb.width <= 200 and abs(thumb.width / thumb.height - 1.25) < 0.03
    assert not thumb.crisp and album.find(None) is None
    small = rng.integers(0, 255, (64, 48, 3), np.uint8)
    data, width, height = encode(small, 352)
    assert (width, height) == (48, 64)
    assert (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) == small).all()


def test_missing_pictures_are_named_and_the_page_made(told):
    gone = next(iter(told.evidence.confirmations.values())).pictures[0]

    def read(digest, block):
        if digest == gone:
            raise UserError(f"picture {digest} cannot be read")
        return told.read(digest, block)

    found = to_html(dataclasses.replace(told, read=read))
    assert list(found.missing) == [gone]
    assert "1 picture is missing" in re.sub(r"<.?b>", "", found.html)
    assert f"pictures/{gone[:2]}/{gone[:12]}" in found.html and "no picture" in found.html


def bare_story(told, parts):
    """The story with less in it: no pictures, no seconds, no memory."""
    def strip_down(item):
        cost = dataclasses.replace(
            item.cost, repeats=0 if "seconds" in parts else 1,
            peak_memory_bytes=None if "memory" in parts else item.cost.peak_memory_bytes,
        ) if item.cost else None  # fmt: skip
        return dataclasses.replace(
            item, cost=cost, pictures=() if "pictures" in parts else item.pictures)

    evidence = dataclasses.replace(
        told.evidence, trials=tuple(map(strip_down, told.evidence.trials)),
        confirmations={s: strip_down(c) for s, c in told.evidence.confirmations.items()})

    def unknown(node):
        if isinstance(node, list):
            return [unknown(item) for item in node]
        if isinstance(node, dict):
            found = {key: unknown(value) for key, value in node.items()}
            if "seconds" in parts and "latency_seconds" in node:
                found |= dict.fromkeys(("seconds", "low", "high", "latency_seconds"))
            if "memory" in parts and "peak_memory_bytes" in node:
                found["peak_memory_bytes"] = None
            return found
        return node

    data = unknown(json.loads(json.dumps(told.data)))
    return dataclasses.replace(told, rulebook=type(told.rulebook).from_data(data),
                               evidence=evidence)


@pytest.mark.parametrize("parts", [
    ("pictures",), ("seconds",), ("memory",), ("pictures", "seconds", "memory")])
def test_what_is_not_known_is_left_out(told, parts):
    page = to_html(bare_story(told, parts)).html
    body = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)
    assert "None" not in body and "nan" not in re.sub(r"<[^>]*>", "", body)
    assert ('id="plot"' in page) == ("seconds" not in parts)
    assert ('id="limit-memory"' in page) == ("memory" not in parts)
    assert ("What to use" in body) == ("pictures" in parts)


def test_a_study_of_the_default_alone_and_one_of_a_single_trial():
    for settings in ([], grid(["unipc"], [8], [5.0])):
        page = to_html(story(8, 1, 2, settings)).html
        assert '<section id="sure"' in page and '<section id="avoid"' not in page
    alone = to_html(story(8, 1, 2, [])).html
    assert "No setting was shown to be a better bargain" in alone
    assert "No setting but the default" in alone and "There is no plot" in alone


def test_raced_out_and_failed_trials_are_not_shown(told):
    known = entries(told)
    others = tried(told, known)
    failed = {trial.setting for trial in told.evidence.trials if trial.failure}
    assert failed and not failed & {entry.setting for entry in (*known, *others)}
    assert {e.setting for e in known[1:]} >= {
        s for s in told.evidence.confirmations if s != told.default}
    assert len({entry.place for entry in (*known, *others)}) == len(known) + len(others)


def test_the_same_prompts_in_search_and_choice_are_admitted(told):
    data = json.loads(json.dumps(told.data))
    for item in data["recommendations"]:
        item["evidence"]["held_out"] = False
    imported = dataclasses.replace(told, rulebook=type(told.rulebook).from_data(data))
    found = curse(imported, entries(imported))
    assert not found.rows and "no prompts that the choice did not see" in found.told
    found = curse(told, entries(told))
    assert len(found.rows) == len(told.evidence.confirmations) - 1
    assert "winner's curse" in found.told and f"{len(found.rows)} settings were" in found.told
    searched = {trial.setting: trial.quality for trial in told.evidence.trials}
    assert all(row.before == searched[row.entry.setting] for row in found.rows)
    assert "Luck of the chosen" in to_html(told).html


def test_places_in_the_plot(told):
    known = entries(told)
    plot = front_plot(known, tried(told, known), told.data["front"])
    by_seconds = sorted(plot.confirmed, key=lambda dot: dot.entry.cost["latency_seconds"])
    assert [dot.x for dot in by_seconds] == sorted(dot.x for dot in plot.confirmed)
    for dot in plot.confirmed:
        assert dot.high <= dot.y <= dot.low and 0 <= dot.x <= 100
    radii = {dot.entry.cost["peak_memory_bytes"]: dot.radius for dot in plot.dots}
    assert len(radii) > 1 and max(radii, key=radii.get) == max(radii)
    crowded = [dataclasses.replace(entry, cost=known[1].cost, quality=known[1].quality)
               for entry in known[1:]]
    rows = [dot.row for dot in front_plot([known[0], *crowded], [], []).confirmed]
    assert sorted(rows) == list(range(len(crowded)))


def test_limits_go_through_every_setting(told):
    front = of_front(told, [(0.4, 0.1234567, 0.1234567, 1e9), (0.6, 2.0, 2.0, 3e9)]).data["front"]
    for figure, known in (("latency_seconds", (0.1234567, 2.0)),
                          ("peak_memory_bytes", (1e9, 3e9))):
        values = [value for value, _ in limits(front, figure)]
        assert values[-1] is None and values[:-1] == sorted(values[:-1])
        assert values[0] < known[0] and values[-2] > known[1]
        for value in known:
            assert any(value <= limit <= 1.01 * value for limit in values[:-1])
    assert limits(front[:1], "latency_seconds") == []
    assert (rounded_up(0.1231), rounded_up(2.0), rounded_up(99999)) == (0.124, 2.0, 1e5)


def effect(start, end, win, verdict="no difference shown", given=None, seconds=1.0, low=None):
    return {"knob": "steps", "from": start, "to": end, "given": given or {}, "win_rate": win,
            "low": 0.1 if low is None else low, "high": 0.9, "seconds_ratio": seconds,
            "memory_ratio": None, "verdict": verdict, "evidence": {}}


def test_reach_adds_steps_up_and_counts_only_what_was_shown():
    rows = [effect(4, 6, 0.64, "worth it", seconds=1.5), effect(6, 8, 0.53, seconds=2.0),
            effect(8, 20, 0.51)]
    found = reach(rows)
    assert found.shown == pytest.approx(0.14) and found.seen == pytest.approx(0.18)
    assert found.seconds == pytest.approx(3.0) and found.memory is None
    apart = [effect("a", "b", 0.7, "worth it", {"x": 1}),
             effect("a", "c", 0.2, "harmful", {"x": 2})]
    assert reach(apart).shown == pytest.approx(0.3)
    assert reach([effect("a", "b", 0.7, "worth it"), effect("a", "c", 0.2, "harmful")]).shown == (
        pytest.approx(0.5))


def test_strips_hold_all_else_equal(told):
    found = strip(told.evidence, "guidance", told.default)
    assert [frame.value for frame in found.frames] == [1.0, 5.0, 7.5, 12.0] and found.alike
    rests = {frame.setting.only({"sampler", "steps"}) for frame in found.frames}
    assert len(rests) == 1 and len(found.blocks) == 3
    assert len({block.prompt for block in found.blocks}) == 3
    mixed = grid(["unipc"], [4], [5.0]) + grid(["ddim"], [30], [7.5])
    made = Study(8, 1, np.random.default_rng(0)).evidence(mixed)
    found = strip(made, "sampler", mixed[0])
    assert not found.alike and any(frame.also for frame in found.frames)
    assert strip(dataclasses.replace(made, trials=made.trials[:1]), "steps", mixed[0]) is None


def test_strips_show_pictures_that_are_worth_anything():
    """Four samplers at four steps, all ruined; two of them at thirty, where they differ."""
    def truth(setting):
        return 0.3 * (setting["sampler"] == "unipc") - 6.0 * (setting["steps"] < 8)

    ruined = grid(["pndm", "ddim", "unipc", "lms"], [4], [5.0])
    good = grid(["ddim", "unipc"], [30], [5.0])
    made = Study(8, 1, np.random.default_rng(0), truth).evidence([*ruined, *good])
    found = strip(made, "sampler", ruined[0])
    assert dict(found.common) == {"guidance": 5.0, "steps": 30}
    assert {frame.value for frame in found.frames} == {"ddim", "unipc"}


def test_strips_take_what_nobody_turned_for_equal_and_show_where_it_matters(told):
    trials = [trial for trial in told.evidence.trials if trial.measured][:2]
    one, other = ({"steps": 8, "guidance": 5.0, "backend": name} for name in ("torch", "onnx"))
    made = dataclasses.replace(told.evidence, picture_knobs=frozenset(
        {"steps", "guidance", "backend", "deepcache"}), trials=tuple(
        dataclasses.replace(trial, setting=Setting(setting)) for trial, setting in zip(
            trials, ({**one, "deepcache": 1}, other), strict=True)))
    found = strip(made, "backend", Setting({}))
    assert found.alike and dict(found.common) == {"guidance": 5.0, "steps": 8}
    turned = dataclasses.replace(made, trials=(
        dataclasses.replace(trials[0], setting=Setting({**one, "deepcache": 3})), made.trials[1]))
    assert not strip(turned, "backend", Setting({})).alike

    found = strip(told.evidence, "steps", told.default)
    reach = {trial.setting["guidance"]: [] for trial in told.evidence.trials}
    for trial in told.evidence.trials:
        if trial.measured and trial.setting["sampler"] == found.common["sampler"]:
            reach[trial.setting["guidance"]].append(trial.quality.win_rate)
    widest = max(reach, key=lambda value: max(reach[value], default=0) - min(reach[value],
                                                                             default=0))
    assert found.common["guidance"] == widest


def test_prompts_come_once_before_any_comes_twice():
    blocks = [Block(prompt, seed) for prompt in "ab" for seed in (0, 1)]
    assert [(b.prompt, b.seed) for b in by_prompt(blocks)] == [
        ("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_little_markdown():
    assert inline("**a** <b> `x*y*` *c* \\| d*e*f") == (
        "<b>a</b> &lt;b&gt; <code>x*y*</code> <em>c</em> | d*e*f")
    assert sentence("**no way**") == "<b>No way</b>" and sentence("") == ""
    assert wish("under-0.05s").endswith("0.05\N{NO-BREAK SPACE}s")
    assert wish("under-8gb").endswith("8\N{NO-BREAK SPACE}GB")


def test_modules_become_one_script():
    text = bundle(["export const a = 1;\n",
                   'import { a } from "./a.js";\nexport function f() { return a; }\n'])
    assert "import" not in text and "export" not in text and "function f()" in text


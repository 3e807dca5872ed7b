"""The report in a real browser: Chromium, driven by Playwright."""

import itertools
import json
from importlib import resources

import numpy as np
import pytest
from colours import colours_of, contrast

from ldmopt.exports import html
from ldmopt.exports.html.story import entries
from ldmopt.rulebook import NothingFits, Rulebook

from .stories import NASTY, of_front

ROWS = [(0.62, 1.0, 1.0, 6e9), (0.62, 0.9, 0.9, 5e9), (0.62, 0.8, 0.8, 5e9), (0.4, 0.1, 0.1, 9e9),
        (0.7, 4.0, 16.0, None), (0.65, None, None, 2e9), (0.55, 0.3, 0.3, 2e9)]


@pytest.fixture(scope="module")
def file(told, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html.to_html(told).html, encoding="utf-8")
    return path


@pytest.fixture
def visit(chromium):
    """Opens a file; errors of the page, and requests that leave it, fail."""
    contexts, faults = [], []

    def open_page(path, **how):
        contexts.append(chromium.new_context(**how))
        page = contexts[-1].new_page()
        page.set_default_timeout(15000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.on("request", lambda sent: faults.append(sent.url)
                if not sent.url.startswith(("data:", path.as_uri())) else None)
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


def test_page_and_recommend_agree_on_every_budget(told, tmp_path, visit):
    told = of_front(told, ROWS)
    path = tmp_path / "report.html"
    path.write_text(html.to_html(told).html, encoding="utf-8")
    page = visit(path)
    found = page.evaluate("""() => {
        const read = JSON.parse(document.getElementById("data").textContent);
        const seconds = document.getElementById("limit-seconds");
        const memory = document.getElementById("limit-memory");
        const rows = [];
        for (let i = read.limits.seconds.length - 1; i >= 0; i -= 2) {
            for (let j = read.limits.memory.length - 1; j >= 0; j -= 3) {
                seconds.value = i;
                memory.value = j;
                seconds.dispatchEvent(new Event("input"));
                rows.push([read.limits.seconds[i], read.limits.memory[j],
                    document.getElementById("answer").dataset.entry,
                    document.querySelector("#answer .nothing").hidden]);
            }
        }
        return rows;
    }""")
    known = entries(told)
    assert len(found) > 500
    for seconds, memory, entry, nothing_hidden in found:
        try:
            chosen = told.rulebook.recommend(max_seconds=seconds, max_memory_bytes=memory)
        except NothingFits:
            assert entry == "" and not nothing_hidden
        else:
            assert known[int(entry)].setting == chosen.setting and nothing_hidden
    assert {row[2] for row in found} >= {"", "3", "4", "5"}


def test_the_script_chooses_as_recommend_does(told, chromium):
    rule = (resources.files(html) / "page" / "rule.js").read_text(encoding="utf-8")
    rng = np.random.default_rng(5)
    cases, wanted = [], []
    for _ in range(40):
        rows = [(float(rng.choice([0.4, 0.5, 0.6])), *(float(x) if x else None for x in
                 rng.choice([0, 1, 2, 3], 3))) for _ in range(rng.integers(1, 6))]
        book: Rulebook = of_front(told, rows).rulebook
        for seconds, memory, win in itertools.product((None, 1.0, 2.0), (None, 2.0), (None, 0.5)):
            front = [{"entry": i, "win_rate": r[0], "seconds": r[1], "latency_seconds": r[2],
                      "peak_memory_bytes": r[3]} for i, r in enumerate(rows)]
            cases.append([front, {"seconds": seconds, "memory": memory, "win": win}])
            try:
                wanted.append(int(book.recommend(seconds, memory, win).setting["sampler"][1:]))
            except NothingFits:
                wanted.append(None)
    page = chromium.new_page()
    found = page.evaluate("""([source, cases]) => {
        const choose = new Function(source.replace("export ", "") + "; return choose")();
        return cases.map(([front, limits]) => choose(front, limits)?.entry ?? null);
    }""", [rule, cases])
    page.close()
    assert found == wanted and len(set(wanted)) > 3


def test_prompts_are_shown_as_they_are_and_run_nothing(file, visit):
    page = visit(file)
    assert NASTY in page.inner_text("#compare .prompt")
    assert page.title() == "simulated · ldmopt report"
    assert page.locator("script").count() == 3 and page.locator("img[src=x]").count() == 0


def test_stepping_goes_through_all_prompts_everywhere(told, file, visit):
    page = visit(file)
    pictures = "[...document.querySelectorAll('.card img')].map(image => image.src)"
    first = page.evaluate(pictures)
    assert len(set(first)) > 2
    assert page.evaluate("[...document.images].every(i => i.closest('[hidden]') || i.complete)")
    page.click("#compare [data-step='1']")
    second = page.evaluate(pictures)
    assert all(a != b for a, b in zip(first, second, strict=True))
    assert page.inner_text("#budget .count b") == "2"
    page.focus("#compare .stepper input")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#compare .count b") == "3"
    page.click("#compare [data-step='-1']")
    page.click("#compare [data-step='-1']")
    assert page.evaluate(pictures) == first
    page.click("#compare [data-step='-1']")  # round to the last
    assert page.inner_text("#compare .count b") == "24"
    alts = page.evaluate("[...document.querySelectorAll('.card img')].map(image => image.alt)")
    assert all("seed" in alt and "prompt" in alt for alt in alts)


def test_the_front_by_keyboard_and_by_pointer(told, file, visit):
    page = visit(file)
    stops = page.locator("#plot [tabindex='0']")
    assert stops.count() == 1  # one stop of the tab key, arrows from there
    stops.focus()
    page.keyboard.press("Home")
    seen = []
    for _ in range(25):
        seen.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        page.keyboard.press("ArrowRight")
    assert len(set(seen)) == len(seen) == 25 and all("win rate" in label for label in seen)
    places = page.evaluate("[...document.querySelectorAll('.dot')].map(d => d.dataset.dot)")
    page.hover("#plot .dot.confirmed >> nth=0", force=True)
    assert page.locator("#plot .chosen").get_attribute("class") == "dot confirmed chosen"
    before = page.inner_text("#panel .told")
    page.locator("#plot .dot.tried").first.focus()
    assert page.inner_text("#panel .told") != before
    assert "seen in the search alone" in page.inner_text("#panel .told")
    assert page.locator("#panel figure:visible img").count() == 2
    assert len(places) == len(set(places))


@pytest.mark.parametrize("width", [360, 820, 1440])
def test_it_fits_every_width_and_can_be_touched(file, visit, width):
    page = visit(file, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 32 and box["x"] >= 0
        assert button.get_attribute("aria-label") or button.inner_text().strip()
    assert page.evaluate("""() => [...document.querySelectorAll(".number")].every(cell => {
        const text = document.createRange();  // a figure with its interval stays in one line
        text.selectNodeContents(cell);
        return text.getBoundingClientRect().height < 30;
    })""")
    default = page.locator(".card.first")
    page.evaluate("document.querySelector('.rail').scrollLeft = 9999")
    box = default.bounding_box()
    assert 0 <= box["x"] < width / 2  # the default stays beside whatever is looked at
    assert page.locator("img:not([alt])").count() == 0
    inputs = page.locator("input[type=range]")
    assert all(page.evaluate("i => !!(i.getAttribute('aria-label') || i.labels.length)", one)
               for one in inputs.element_handles())


def test_light_and_dark_have_contrast(file, visit):
    for scheme in ("light", "dark"):
        page = visit(file, color_scheme=scheme)
        colours = colours_of(page, "ground", "card", "ink", "soft", "edge", "wins", "loses",
                             "on-wins", "on-loses", "tried")
        for ink, ground, least in [
            ("ink", "ground", 7), ("ink", "card", 7), ("soft", "ground", 4.5),
            ("soft", "card", 4.5), ("wins", "ground", 4.5), ("loses", "ground", 4.5),
            ("on-wins", "wins", 4.5), ("on-loses", "loses", 4.5), ("edge", "ground", 3),
        ]:  # WCAG 2.2, 1.4.3 and 1.4.11
            assert contrast(colours[ink], colours[ground]) >= least, (scheme, ink, ground)


def test_colours_can_be_turned_and_are_kept(file, visit):
    page = visit(file, color_scheme="light", reduced_motion="reduce")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    page.click("#theme")
    assert page.evaluate(ground) == light
    page.click("#theme")
    dark = page.evaluate(ground)
    assert dark != light and "dark" in page.get_attribute("#theme", "aria-label")
    page.reload()
    assert page.evaluate(ground) == dark


def test_paper_has_all_cards_and_no_controls(told, file, visit):
    page = visit(file, viewport={"width": 794, "height": 1123})
    cards = page.locator(".card").count()
    assert cards > 2
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("button:visible, input:visible, nav:visible, #panel:visible").count() == 0
    for card in page.locator(".card").all():
        box = card.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 795
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert len(page.pdf()) > 10_000
    assert page.locator("details[open]").count() == 0


def test_strips_show_other_prompts(told, file, visit):
    page = visit(file)
    strip = page.locator("[data-strip]").first
    first = strip.locator(".which").inner_text()
    strip.locator("[data-other]").click()
    assert strip.locator(".which").inner_text() != first
    assert strip.locator(".frames:visible").count() == 1
    data = json.loads(page.inner_text("#data") or page.evaluate(
        "document.getElementById('data').textContent"))
    assert data["known"] == len(entries(told))

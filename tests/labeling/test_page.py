"""The labelling page in a real browser: Chromium, driven by Playwright."""

import json
import signal

from colours import colours_of, contrast

from ldmopt.labeling.pool import read_pool
from ldmopt.labeling.questions import REPEAT_AFTER
from ldmopt.labels import LabelStore
from ldmopt.study.folder import RunFolder

from .conftest import press, shown, stored, told

KEYS = {"ArrowLeft": "left", "ArrowRight": "right", "ArrowDown": "tie", "t": "tie",
        "b": "both-bad"}


def test_thirty_pairs_by_keyboard(run, serve, visit):
    server = serve(run, wanted=30)
    page = visit(server.link, "Ada")
    pressed = [list(KEYS)[number % len(KEYS)] for number in range(30)]
    shows = []
    for number, key in enumerate(pressed, 1):
        shown(page, number)
        shows.append([page.get_attribute(f"#{side} img", "src") for side in ("left", "right")])
        assert page.inner_text("#prompt")
        page.keyboard.press(key)
    page.wait_for_selector("#done:not([hidden])")
    stored(page)
    rows = server.pairs("Ada")
    assert [row.preferred for row in rows] == [KEYS[key] for key in pressed]
    assert [row.page for row in rows] == list(range(1, 31))
    assert shows == [[f"pictures/{row.left}.png", f"pictures/{row.right}.png"] for row in rows]
    assert all(row.prompt and row.seed is not None and not row.simulated for row in rows)
    repeats = [row for row in rows if row.repeat]
    assert len(repeats) == 2  # one of 11-20, one of 21-30
    first = {row.key: row.page for row in reversed(rows)}
    assert all(row.page - first[row.key] >= REPEAT_AFTER for row in repeats)
    assert len({row.key for row in rows}) == 28
    with LabelStore(RunFolder(run).labels) as store:
        assert len(store.current().pairs) == 28 and len(store.repeats()) == 2
    assert "Ada" in page.inner_text("#done")
    assert page.hosts == {f"127.0.0.1:{server.port}"}


def test_undo_shows_the_pair_again_and_goes_on(run, serve, visit):
    server = serve(run)
    page = visit(server.link, "Ada")
    press(page, "ArrowLeft", 1)
    press(page, "ArrowLeft", 2)
    shown(page, 3)
    third = page.get_attribute("#left img", "src")
    for key, number in (("Backspace", 2), ("u", 1)):
        page.keyboard.press(key)
        shown(page, number)
    assert page.inner_text("#progress b") == "0"
    page.keyboard.press("u")  # nothing further to take back
    assert "nothing" in page.inner_text("#status")
    press(page, "ArrowRight", 1)
    press(page, "b", 2)
    shown(page, 3)
    assert page.get_attribute("#left img", "src") == third
    stored(page)
    said = [(row.page, row.preferred) for row in server.pairs("Ada")]
    assert said == [(1, "left"), (2, "left"), (2, "withdrawn"), (1, "withdrawn"), (1, "right"),
                    (2, "both-bad")]
    with LabelStore(RunFolder(run).labels) as store:
        assert [row.preferred for row in store.current().pairs] == ["right", "both-bad"]
    page.reload()
    shown(page, 3)
    page.keyboard.press("Control+z")  # an answer given before the reload can be taken back too
    shown(page, 2)
    page.reload()
    shown(page, 2)
    assert page.inner_text("#progress b") == "1"


def test_reload_in_the_middle_shows_the_same_pair(run, serve, visit):
    server = serve(run)
    page = visit(server.link, "Ada")
    for number in range(1, 6):
        press(page, "ArrowRight", number)
    shown(page, 6)
    before = page.inner_html("#pictures")
    stored(page)
    page.reload()
    shown(page, 6)
    assert page.inner_html("#pictures") == before
    assert page.inner_text("#progress b") == "5"
    assert len(server.pairs()) == 5


def test_two_raters_at_once(run, serve, visit):
    server = serve(run)
    ada, bob = visit(server.link, "Ada"), visit(server.link, "Bob Œ.")
    for number in range(1, 5):
        press(ada, "ArrowLeft", number)
        press(bob, "ArrowDown", number)
    stored(ada), stored(bob)
    for rater, said in (("Ada", "left"), ("Bob Œ.", "tie")):
        rows = server.pairs(rater)
        assert [(row.page, row.preferred) for row in rows] == [(n, said) for n in range(1, 5)]
    third = visit(server.link)
    third.click("text=Bob Œ.")
    shown(third, 5)


def test_one_rater_in_two_windows_counts_once(run, serve, visit):
    server = serve(run)
    here, there = visit(server.link, "Ada"), visit(server.link, "Ada")
    press(here, "ArrowLeft", 1)
    shown(here, 2)
    stored(here)
    press(there, "ArrowRight", 1)
    told(there, "window")
    shown(there, 2)
    assert [row.preferred for row in server.pairs()] == ["left"]


def test_server_killed_and_started_again_loses_and_doubles_nothing(run, serve, visit):
    server = serve(run, process=True)
    page = visit(server.link, "Ada")
    for number in range(1, 4):
        press(page, "ArrowLeft", number)
    shown(page, 4)
    stored(page)
    server.kill(signal.SIGKILL)
    press(page, "ArrowRight", 4)
    press(page, "ArrowDown", 5)
    told(page, "kept here")
    assert page.inner_text("#progress b") == "5"
    assert len(server.pairs()) == 3
    server.start()
    stored(page)
    rows = server.pairs()
    assert [(row.page, row.preferred) for row in rows] == [
        (1, "left"), (2, "left"), (3, "left"), (4, "right"), (5, "tie")]
    press(page, "b", 6)
    stored(page)
    assert len({row.key for row in server.pairs()}) == 6


def test_an_answer_whose_confirmation_was_lost_is_not_doubled(run, serve, visit):
    server = serve(run)
    page = visit(server.link, "Ada")

    def stored_but_not_said(route):
        route.fetch()
        route.abort()

    page.route("**/api/answers", stored_but_not_said, times=1)
    press(page, "ArrowLeft", 1)
    shown(page, 2)
    stored(page)
    assert [row.preferred for row in server.pairs()] == ["left"]


def test_answers_of_a_closed_page_are_sent_by_the_next(run, serve, visit):
    server = serve(run)
    page = visit(server.link, "Ada")
    page.route("**/api/answers", lambda route: route.abort())
    press(page, "ArrowLeft", 1)
    press(page, "b", 2)
    shown(page, 3)
    assert not server.pairs()
    page.unroute("**/api/answers")
    page.goto("about:blank")
    page.goto(f"{server.link}?rater=Ada")
    shown(page, 3)
    assert [row.preferred for row in server.pairs()] == ["left", "both-bad"]


def test_a_phone_shows_everything_without_scrolling(run, serve, visit):
    server = serve(run)
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    page = visit(server.link, "Ada", **phone)
    upper, lower = (page.locator(f"#{side}").bounding_box() for side in ("left", "right"))
    assert upper["x"] == lower["x"] and upper["y"] + upper["height"] <= lower["y"]
    assert upper["width"] >= 240
    assert "upper" in page.get_attribute("#left", "aria-label")
    for button in page.locator("#ask button:visible").all():
        box = button.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360
        assert box["y"] >= 0 and box["y"] + box["height"] <= 740
        assert min(box["width"], box["height"]) >= 44
    assert page.evaluate("[document.documentElement.scrollWidth, "
                         "document.documentElement.scrollHeight]") == [360, 740]
    places = page.evaluate("[...document.querySelectorAll('#ask button')].map("
                           "b => JSON.stringify(b.getBoundingClientRect()))")
    page.tap("#right")
    shown(page, 2)
    assert places == page.evaluate("[...document.querySelectorAll('#ask button')].map("
                                   "b => JSON.stringify(b.getBoundingClientRect()))")
    page.tap("text=Both bad")
    shown(page, 3)
    page.tap("[data-do=undo]")
    shown(page, 2)
    stored(page)
    assert [row.preferred for row in server.pairs()] == ["right", "both-bad", "withdrawn"]


def test_mouse_pause_help_and_labels(run, serve, visit):
    server = serve(run)
    page = visit(server.link, "Ada")
    page.keyboard.press("p")
    assert page.locator("#pause").is_visible()
    page.keyboard.press("ArrowLeft")  # no answer while paused
    page.click("#pause button:has-text('Go on')")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    page.wait_for_timeout(130)
    page.click("#left")
    shown(page, 2)
    stored(page)
    assert [row.preferred for row in server.pairs()] == ["left"]
    names = page.evaluate("[...document.querySelectorAll('#ask button')].map("
                          "b => b.getAttribute('aria-label') || b.innerText.trim())")
    assert all(names) and "The left picture is better" in names
    # Nothing that the page holds says how a picture was made.
    assert "steps" not in page.content().lower() and "ddim" not in page.content().lower()


def test_a_held_key_is_one_answer(run, serve, visit):
    server = serve(run)
    page = visit(server.link, "Ada")
    for _ in range(5):  # the first is the press, the others repeat
        page.keyboard.down("ArrowLeft")
        page.wait_for_timeout(140)
    page.keyboard.up("ArrowLeft")
    shown(page, 2)
    stored(page)
    assert len(server.pairs()) == 1


def test_the_end_and_going_on(run, serve, visit):
    server = serve(run, wanted=2)
    page = visit(server.link, "Ada")
    press(page, "ArrowLeft", 1)
    press(page, "ArrowLeft", 2)
    page.wait_for_selector("#done:not([hidden])")
    page.keyboard.press("u")
    press(page, "ArrowRight", 2)
    page.click("#done button:has-text('Go on')")
    press(page, "t", 3)
    shown(page, 4)
    stored(page)
    page.reload()
    page.wait_for_selector("#done:not([hidden])")
    assert "3 questions" in page.inner_text("#done")
    said = [row.preferred for row in server.pairs()]
    assert said == ["left", "left", "withdrawn", "right", "tie"]
    page.click("text=Another person")
    page.wait_for_selector("#start:not([hidden])")


def test_the_end_of_all_pairs(run, serve, visit):
    folder = RunFolder(run)
    rows = folder.journal.read_bytes().splitlines(keepends=True)
    first = [row for row in rows if b'"digest"' in row and json.loads(row)["prompt"]
             == json.loads(next(row for row in rows if b'"digest"' in row))["prompt"]]
    folder.journal.write_bytes(rows[0] + b"".join(first[:4]))
    server = serve(run)
    pairs = len(read_pool(folder))
    assert 1 <= pairs <= 6
    page = visit(server.link, "Ada")
    assert f"of {pairs} answered" in page.inner_text("#progress")
    for number in range(1, pairs + 1):
        press(page, "ArrowLeft", number)
    page.wait_for_selector("#done:not([hidden])")
    stored(page)
    assert page.locator("#done button:has-text('Go on')").is_hidden()
    assert len(server.pairs()) == pairs


def test_a_picture_that_is_gone_is_said_and_tried_again(run, serve, visit):
    server = serve(run)
    page = visit(server.link)
    page.route("**/pictures/*", lambda route: route.fulfill(status=410, body="{}"))
    page.fill("#name", "Ada")
    page.click("text=Start")
    page.locator("#waiting", has_text="cannot be fetched").wait_for()
    page.keyboard.press("ArrowLeft")  # what cannot be seen cannot be answered
    page.unroute("**/pictures/*")
    shown(page, 1)
    assert not server.pairs()


def test_a_run_deleted_meanwhile_is_said_and_the_answer_kept(run, serve, visit):
    server = serve(run)
    page = visit(server.link, "Ada")
    away = run.with_name("away")
    run.rename(away)
    press(page, "ArrowLeft", 1)
    told(page, "gone")
    away.rename(run)
    stored(page)
    assert [row.preferred for row in server.pairs()] == ["left"]


def test_dark_and_light_have_contrast(run, serve, visit):
    server = serve(run)
    for scheme in ("light", "dark"):
        page = visit(server.link, "Ada", color_scheme=scheme)
        colours = colours_of(page, "ground", "card", "ink", "soft", "line", "key", "accent",
                             "on-accent", "alert")
        for ink, ground, least in [
            ("ink", "ground", 7), ("ink", "card", 7), ("ink", "key", 7), ("soft", "ground", 4.5),
            ("soft", "card", 4.5), ("alert", "ground", 4.5), ("on-accent", "accent", 4.5),
            ("accent", "ground", 3), ("accent", "card", 3), ("line", "key", 3),
            ("line", "ground", 3),
        ]:  # WCAG 2.2, 1.4.3 and 1.4.11
            assert contrast(colours[ink], colours[ground]) >= least, (scheme, ink, ground)

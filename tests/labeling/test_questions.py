"""Who is asked what: order, sides, repeats, and going on after a restart."""

from collections import Counter
from dataclasses import replace

import pytest

from ldmopt.contracts import Block
from ldmopt.labeling.choose import Offer, RandomChooser
from ldmopt.labeling.pool import Pool
from ldmopt.labeling.questions import REPEAT_AFTER, Place, key, upcoming
from ldmopt.labels import Pair

BLOCKS = {Block(f"prompt {number}", number): tuple(f"{number}-{name}" for name in "abcdef")
          for number in range(40)}
CHOOSER = RandomChooser(Pool(BLOCKS))


def row(question, rater="Ada", preferred="left", place=None):
    repeat = place is not None and question.key in place.counting
    return Pair(question.left, question.right, rater, preferred, question.prompt, question.seed,
                page=question.page, repeat=repeat)


def asked(count, rater="Ada", seed=0, ahead=5, chooser=CHOOSER):
    """Answer so many questions and return the rows."""
    rows, planned = [], []
    for _ in range(count):
        place = Place(rows)
        planned = upcoming(rater, place, chooser, count=ahead, seed=seed, planned=planned)
        if not planned:
            break
        rows.append(row(planned[0], rater, place=place))
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_one_in_ten_is_an_earlier_pair_well_after_it(seed):
    rows = asked(200, seed=seed)
    repeats = [row for row in rows if row.repeat]
    assert len(repeats) in (19, 20)  # one in every ten; in the first ten only if it falls late
    first = {}
    for question in rows:
        first.setdefault(key(question), question)
    assert all(row.page - first[key(row)].page >= REPEAT_AFTER for row in repeats)
    assert max(Counter(map(key, repeats)).values()) == 1
    assert len({row.page % 10 for row in repeats}) > 4  # not at a place one could learn
    swapped = [row.left != first[key(row)].left for row in repeats]
    assert 0 < sum(swapped) < len(swapped)
    assert len(first) == 200 - len(repeats)


def test_sides_are_drawn_for_each_rater_and_seed():
    def lefts(**how):
        return [question.left < question.right for question in asked(100, **how)]

    assert 35 <= sum(lefts()) <= 65
    assert lefts() == lefts()
    assert lefts(rater="Bob") != lefts() != lefts(seed=1)


def test_a_chooser_that_always_names_the_better_first_does_not_show():
    class Telling:
        def offers(self, count, answered, rater=""):
            offers = CHOOSER.offers(count, answered, rater)
            return [type(o)(*sorted((o.left, o.right)), o.prompt, o.seed) for o in offers]

        def useful(self, answered):
            return CHOOSER.useful(answered)

    rows = asked(100, chooser=Telling())
    assert 35 <= sum(question.left < question.right for question in rows) <= 65


def test_what_was_planned_stays_and_a_restart_goes_on():
    rows = asked(12)
    place = Place(rows)
    planned = upcoming("Ada", place, CHOOSER, count=5)
    assert [question.page for question in planned] == [13, 14, 15, 16, 17]
    later = Place([*rows, row(planned[0])])
    assert upcoming("Ada", later, CHOOSER, count=5, planned=planned)[:4] == planned[1:]
    assert upcoming("Ada", place, CHOOSER, count=5) == planned  # or forgotten
    # Another picture than planned was answered under the number (a page of before the restart).
    other = Place([*rows, row(planned[0]), row(planned[2])])
    found = upcoming("Ada", other, CHOOSER, count=5, planned=planned)
    assert planned[2].key not in {question.key for question in found if not question.repeat}


def test_what_was_taken_back_comes_first_as_it_was():
    rows = asked(12)
    for old in (rows[11], rows[3]):
        rows.append(replace(old, preferred="withdrawn"))
    place = Place(rows)
    found = upcoming("Ada", place, CHOOSER, count=4)
    assert [question.page for question in found] == [4, 12, 13, 14]
    assert [question.step for question in found] == [2, 2, 0, 0]
    assert (found[0].left, found[0].right) == (rows[3].left, rows[3].right)
    assert len(place.standing) == 10
    assert {key(rows[3]), key(rows[11])}.isdisjoint(place.counting)


def test_a_repeat_taken_back_leaves_the_first_answer():
    rows = asked(20)
    again = next(row for row in rows if row.repeat)
    place = Place([*rows, replace(again, preferred="withdrawn")])
    assert key(again) in place.counting and again.page not in place.standing
    (question, *_) = upcoming("Ada", place, CHOOSER, count=3)
    assert question.page == again.page and question.repeat


def test_pictures_that_are_gone_are_not_asked_about():
    known = {digest for digests in list(BLOCKS.values())[:2] for digest in digests}
    found = upcoming("Ada", Place([]), RandomChooser(Pool(dict(list(BLOCKS.items())[:2]))),
                     count=5, known=known - {"0-a"})
    assert found and all("0-a" not in (question.left, question.right) for question in found)


def test_it_ends_when_every_pair_was_asked():
    few = RandomChooser(Pool({Block("x", 1): ("a", "b", "c", "d", "e", "f")}))
    rows = asked(99, chooser=few)
    assert len({key(row) for row in rows}) == 15
    assert len(rows) == 15 + sum(row.repeat for row in rows) <= 17


def test_rows_of_other_pages_and_imports_are_no_questions():
    place = Place([Pair("a", "b", "Ada", "left", "x", 1), Pair("b", "a", "Ada", "right", "x", 1)])
    assert place.last == 0 and not place.standing and len(place.counting) == 1


def test_a_picture_does_not_come_twice_in_a_row_where_there_are_others():
    class Stubborn:
        """Names pairs of one picture first, and each so many times."""

        def __init__(self, times):
            self.times = times

        def offers(self, count, answered, rater=""):
            seen = set(map(key, answered))
            pairs = [("0-a", f"0-{name}") for name in "bcdef"]
            pairs += [(f"{block}-a", f"{block}-b") for block in range(1, 9)]
            return [Offer(left, right, "x", 1) for left, right in pairs for _ in range(self.times)
                    if (left, right) not in seen][:count]

        def useful(self, answered):
            return 13 - len(answered)

    for times in (1, 2):
        rows = [row for row in asked(13, chooser=Stubborn(times)) if not row.repeat]
        assert len({key(row) for row in rows}) == len(rows)
    rows = asked(13, chooser=Stubborn(1))
    first = [row.page for row in rows if "0-a" in key(row)]
    # Others are called on while there are some; what is left then comes all the same.
    assert first[:3] == [1, 4, 7]

from dataclasses import replace

import pytest

from ldmopt.labeling.ledger import Ledger
from ldmopt.labeling.shelf import Gone
from ldmopt.labels import LabelStore, Pair, Rating


def test_it_holds_what_the_store_holds_whoever_adds(tmp_path):
    with LabelStore(tmp_path / "labels.db") as store, LabelStore(tmp_path / "labels.db") as other:
        ledger = Ledger(store)
        assert ledger.raters() == [] and ledger.counting() == () and ledger.rows("Ada") == ()
        first = Pair("a", "b", "Ada", "left", "x", 1, page=1)
        ledger.add(first)
        assert len(ledger.rows("Ada")) == 1
        other.add([Rating("a", "Ada", 3.0), Pair("c", "d", "Bob", "tie"),
                   Pair("b", "a", "Ada", "left", "x", 1, page=9, repeat=True)])
        assert ledger.raters() == ["Ada", "Bob"]
        assert set(ledger.counting()) == set(store.current().pairs)
        ledger.add(replace(first, preferred="withdrawn"))
        other.add([Pair("d", "c", "Bob", "right")])
        assert [pair.preferred for pair in ledger.counting()] == ["right"]
        assert set(ledger.counting()) == set(store.current().pairs)
        rows = [*ledger.rows("Ada"), *ledger.rows("Bob")]
        assert sorted(rows, key=str) == sorted(store.history().pairs, key=str)


def test_only_what_is_new_is_read(tmp_path):
    with LabelStore(tmp_path / "labels.db") as store:
        store.add([Pair("a", "b", "Ada", "left"), Pair("c", "d", "Ada", "left")])
        rows, number = store.pairs_after(0)
        assert [row.left for row in rows] == ["a", "c"]
        assert store.pairs_after(number) == ([], number)
        store.add([Pair("e", "f", "Bob", "both-bad", page=3, repeat=True)])
        ((row,), number) = store.pairs_after(number)
        assert row == store.history().pairs[-1] and row.repeat and row.page == 3


def test_a_database_that_was_replaced_takes_nothing(tmp_path):
    with LabelStore(tmp_path / "labels.db") as store:
        ledger = Ledger(store)
        (tmp_path / "labels.db").rename(tmp_path / "old.db")
        (tmp_path / "labels.db").touch()
        for act in (lambda: ledger.rows("Ada"), lambda: ledger.add(Pair("a", "b", "A", "tie"))):
            with pytest.raises(Gone, match=r"labels\.db"):
                act()
    assert (tmp_path / "labels.db").read_bytes() == b""

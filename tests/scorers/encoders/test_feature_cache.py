"""The cache on disk: never wrong, however it is treated."""

import multiprocessing
import os
import signal
import sqlite3
import time

import numpy as np
import pytest

from ldmopt.scorers.encoders import feature_cache
from ldmopt.scorers.encoders.feature_cache import FeatureCache


def rows(start, count, width=8):
    """Features that tell their picture's number."""
    return {f"picture-{n}": np.full(width, n, np.float32) for n in range(start, start + count)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "features.db"


def test_what_was_written_is_read_bit_by_bit(path):
    wanted = {"a": np.array([1.5, np.float32(1e-38), -0.0], np.float32)}
    FeatureCache("one", path).write(wanted)
    found = FeatureCache("one", path).read(["b", "a"])
    assert set(found) == {"a"} and found["a"].tobytes() == wanted["a"].tobytes()


def test_encoders_never_share(path):
    FeatureCache("one", path).write(rows(0, 3))
    assert FeatureCache("two", path).read(list(rows(0, 3))) == {}


def test_many_keys_at_once(path):
    FeatureCache("one", path).write(rows(0, 1234))
    found = FeatureCache("one", path).read(list(rows(0, 1300)))
    assert len(found) == 1234
    assert all(found[name][0] == row[0] for name, row in rows(0, 1234).items())


@pytest.mark.parametrize("change", [
    "update features set row = zeroblob(32) where picture = 'picture-1'",
    "update features set row = x'00' where picture = 'picture-1'",
    "update features set checksum = x'00' where picture = 'picture-1'",
    "delete from features where picture = 'picture-1';"
    "update features set picture = 'picture-1' where picture = 'picture-2'",
])
def test_a_row_that_was_changed_is_no_hit(path, change):
    cache = FeatureCache("one", path)
    cache.write(rows(0, 3))
    database = sqlite3.connect(path)
    database.executescript(change)
    database.close()
    assert set(cache.read(["picture-0", "picture-1"])) == {"picture-0"}
    cache.write(rows(1, 1))
    assert set(cache.read(["picture-0", "picture-1"])) == {"picture-0", "picture-1"}


@pytest.mark.parametrize("damage", [
    lambda whole: b"no database" * 100,
    lambda whole: whole[:4096] + bytes(len(whole) - 4096),
    lambda whole: whole[: len(whole) // 2],
    lambda whole: b"",
])
def test_a_damaged_file_is_made_anew(path, damage):
    cache = FeatureCache("one", path)
    cache.write(rows(0, 400))
    path.write_bytes(damage(path.read_bytes()))
    found = cache.read(list(rows(0, 400)))
    assert all(found[name][0] == rows(0, 400)[name][0] for name in found)
    for _ in range(2):  # the first may find the damage only now
        cache.write(rows(0, 400))
    assert len(cache.read(list(rows(0, 400)))) == 400


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache("one", tmp_path / "file" / "features.db")
    cache.write(rows(0, 3))
    assert cache.read(list(rows(0, 3))) == {}


def test_the_file_stays_bounded_and_keeps_what_was_used_last(path, monkeypatch):
    cache = FeatureCache("one", path, largest_bytes=200_000)
    cache.write(rows(0, 50, 256))
    for day in range(1, 10):
        monkeypatch.setattr(feature_cache, "_today", lambda day=day: 30_000 + day)
        assert cache.read(["picture-0"]), "used every day"
        cache.write(rows(100 * day, 50, 256))
        assert path.stat().st_size <= 250_000
    assert len(cache.read(list(rows(900, 50, 256)))) == 50
    assert len(cache.read(list(rows(100, 50, 256)))) == 0


def test_another_process_that_writes_is_waited_for_no_longer_than_patience(path, monkeypatch):
    monkeypatch.setattr(feature_cache, "PATIENCE_SECONDS", 0.05)
    cache = FeatureCache("one", path)
    cache.write(rows(0, 3))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin exclusive")
    cache.write(rows(3, 3))
    assert cache.read(list(rows(0, 6))) == {}
    holder.execute("rollback")
    holder.close()
    assert len(cache.read(list(rows(0, 6)))) == 3


def fill(path, start):
    for number in range(start, start + 2000):
        FeatureCache("one", path).write(rows(number, 1))


def test_processes_write_at_once_and_a_killed_one_leaves_no_half(path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=fill, args=(path, start)) for start in (0, 10_000)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + 20
    cache = FeatureCache("one", path)
    while time.monotonic() < deadline and not (
            cache.read(["picture-5"]) and cache.read(["picture-10005"])):
        time.sleep(0.02)
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    found = cache.read([f"picture-{n}" for n in (*range(2000), *range(10_000, 12_000))])
    assert {"picture-5", "picture-10005"} <= set(found)
    assert all(row[0] == int(name.removeprefix("picture-")) for name, row in found.items())
    cache.write(rows(50_000, 1))
    assert cache.read(["picture-50000"])

"""The whole training at smoke scale: it finishes, and a kill changes nothing."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")


def command(root: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "ldmopt.miniature.train",
        "--smoke",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--out",
        str(root / "model"),
        "--work",
        str(root / "work"),
    ]


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every weight, tokenizer and configuration file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kill_when_there(root: Path, name: str) -> None:
    """Run the training and kill it as soon as a checkpoint appears."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command(root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    ) as child:
        deadline = time.monotonic() + 120
        while not (root / "work" / name).exists():
            assert child.poll() is None, "training ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)


@pytest.mark.timeout(900)  # a minute of work, but machines may be busy
def test_killed_training_ends_as_one_that_ran_through(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    through, broken = tmp_path / "through", tmp_path / "broken"
    subprocess.run(command(through), check=True, env=environment)
    for name in ("vae.safetensors", "unet.safetensors"):
        kill_when_there(broken, name)
    subprocess.run(command(broken), check=True, env=environment)
    expected = digests(through / "model")
    assert digests(broken / "model") == expected
    assert {name.split("/")[0] for name in expected} >= {
        "unet",
        "vae",
        "text_encoder",
        "tokenizer",
        "scheduler",
        "clip",
        "classifier",
        "model_index.json",
    }
    assert not list(tmp_path.rglob("*.pkl")) and not list(tmp_path.rglob("*.bin"))


def test_fast_encoding_equals_the_tokenizers_own() -> None:
    from ldmopt.miniature import data, folder
    from ldmopt.miniature.scenes import captions

    known = data.tokenizer(folder() / "tokenizer")
    texts = [text for split in ("search", "test") for text, _ in captions(60, 9, split)] + [""]
    rows = data.encode_plain(known, texts)
    assert np.array_equal(rows, data.encode(known, texts))
    assert (rows[:-1] != rows[-1, -1]).sum(axis=1).max() < 32  # nothing is cut

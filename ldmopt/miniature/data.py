"""Stage 1: pictures, captions, labels and the tokenizer, made once and kept in the work folder."""

from __future__ import annotations

import json
import os
import random
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.miniature.architecture import PICTURE_SIZE, TEXT_LENGTH
from ldmopt.miniature.loop import Job
from ldmopt.miniature.scenes import FACTORS, sample_scenes
from ldmopt.miniature.styles import render
from ldmopt.miniature.wording import parse, training_caption

CHUNK = 2000
START, END = "<|startoftext|>", "<|endoftext|>"


@dataclass(frozen=True)
class Data:
    """The training set, all arrays read from disk as they are used.

    Attributes:
        pictures: `(n, 64, 64, 3)` uint8.
        labels: `(n, 5)` int64, index of each factor's value.
        tokens: `(n, captions, 32)` int64, padded with the end token.
        named: `(n, captions, 5)` int64, the labels a caption names, -1 where it is silent.
        empty: `(32,)` int64, the tokens of an empty caption.
    """

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]
    tokens: NDArray[np.int64]
    named: NDArray[np.int64]
    empty: NDArray[np.int64]


def load(job: Job) -> Data:
    """Return the training set, making what is missing."""
    _render_all(job)
    texts = _texts(job)
    folder = job.work / "tokenizer"
    if not (folder / "merges.txt").exists():
        train_tokenizer([t for group in texts for t in group], job.scale.shape.vocabulary, folder)
    labels, pictures = _labels(job), np.load(job.work / "pictures.npy", mmap_mode="r")
    tokens, named = _encode(job, texts)
    empty = encode(tokenizer(folder), [""])[0]
    return Data(pictures, labels, tokens, named, empty)


def _labels(job: Job) -> NDArray[np.int64]:
    scenes = sample_scenes(job.scale.pictures, job.seed)
    return np.array([scene.labels for scene in scenes], np.int64)


def _render_part(path: str, count: int, seed: int, start: int) -> int:
    """Render one chunk into the shared array (runs in a worker process)."""
    pictures = np.load(path, mmap_mode="r+")
    scenes = sample_scenes(count, seed)[start : start + CHUNK]
    for index, scene in enumerate(scenes, start):
        pictures[index] = render(scene)
    pictures.flush()
    return start


def _render_all(job: Job) -> None:
    """Render every picture; chunks that are done are listed in a small JSON file."""
    count, path = job.scale.pictures, job.work / "pictures.npy"
    ledger = job.work / "pictures.json"
    done: list[int] = json.loads(ledger.read_text()) if ledger.exists() else []
    if not path.exists():
        shape = (count, PICTURE_SIZE, PICTURE_SIZE, 3)
        np.lib.format.open_memmap(path, "w+", np.uint8, shape).flush()
    todo = [start for start in range(0, count, CHUNK) if start not in done]
    if len(todo) == 1:
        _render_part(str(path), count, job.seed, todo[0])
        _write_json(ledger, [*done, todo[0]])
    elif todo:
        job.say(f"data: rendering {len(todo)} chunks of {CHUNK} pictures")
        workers = min(len(todo), os.cpu_count() or 1)
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            n = len(todo)
            for start in pool.map(_render_part, [str(path)] * n, [count] * n, [job.seed] * n, todo):
                done.append(start)
                _write_json(ledger, done)
        job.say("data: pictures done")


def _write_json(path: Path, value: Any) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(value), encoding="utf-8")
    os.replace(beside, path)


def _texts(job: Job) -> list[list[str]]:
    """Return the captions of every picture, as many for each."""
    path = job.work / "captions.json"
    if not path.exists():
        rng = random.Random(f"training captions {job.seed}")
        _write_json(
            path,
            [
                [training_caption(scene, rng) for _ in range(job.scale.captions_each)]
                for scene in sample_scenes(job.scale.pictures, job.seed)
            ],
        )
        job.say("data: captions done")
    texts: list[list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return texts


def _encode(job: Job, texts: list[list[str]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return tokens and named labels of all captions, kept in two files."""
    paths = (job.work / "tokens.npy", job.work / "named.npy")
    if not all(path.exists() for path in paths):
        known = tokenizer(job.work / "tokenizer")
        flat = [text for group in texts for text in group]
        index = {f: {v: i for i, v in enumerate(values)} for f, values in FACTORS.items()}
        found = [parse(text) for text in flat]
        named = np.array(
            [[index[f][p[f]] if f in p else -1 for f in FACTORS] for p in found], np.int8
        )
        rows = encode_plain(known, flat).astype(np.int16)
        shape = (len(texts), job.scale.captions_each, -1)
        arrays: list[NDArray[Any]] = [rows.reshape(shape), named.reshape(shape)]
        for path, array in zip(paths, arrays, strict=True):
            beside = path.with_name("part." + path.name)
            np.save(beside, array, allow_pickle=False)
            os.replace(beside, path)
        job.say("data: tokens done")
    tokens, named = (np.load(path).astype(np.int64) for path in paths)
    return tokens, named


def tokenizer(folder: Path) -> Any:
    """Return the CLIP tokenizer kept in a folder."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder)


def encode(known: Any, texts: list[str]) -> NDArray[np.int64]:
    """Return tokens `(n, 32)`, cut and padded as the pipeline does it."""
    rows = known(texts, padding="max_length", truncation=True, max_length=TEXT_LENGTH)["input_ids"]
    return np.array(rows, np.int64).reshape(len(texts), TEXT_LENGTH)


def encode_plain(known: Any, texts: list[str]) -> NDArray[np.int64]:
    """Return what `encode` returns, for lower-case texts of few different words, much faster.

    The tokenizer is asked once for each word; half a million captions hold few hundred words.
    """
    words: dict[str, list[int]] = {}
    start, end = known.convert_tokens_to_ids([START, END])
    rows = np.full((len(texts), TEXT_LENGTH), end, np.int64)
    for row, text in zip(rows, texts, strict=True):
        tokens = [start]
        for word in re.findall(r"[a-z]+|\d|[^\sa-z\d]+", text):
            if word not in words:
                words[word] = known.convert_tokens_to_ids(known.tokenize(word))
            tokens += words[word]
        tokens = tokens[: TEXT_LENGTH - 1]
        row[: len(tokens)] = tokens
    return rows


def train_tokenizer(texts: list[str], size: int, folder: Path) -> None:
    """Train byte pairs as CLIP's tokenizer wants them, and save it as a `CLIPTokenizer`.

    Sennrich et al. 2016, in the byte-level form of GPT-2 with CLIP's end-of-word mark.
    """
    from tokenizers import (  # type: ignore[import-untyped]
        Regex,
        Tokenizer,
        models,
        pre_tokenizers,
        trainers,
    )
    from transformers import CLIPTokenizer

    model = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>"))
    words = Regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    room = size - 2 * len(alphabet) - 2  # every byte inside and at the end of a word, two marks
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + room,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        min_frequency=2,
        show_progress=False,
    )
    model.train_from_iterator(texts, trainer)
    learned = json.loads(model.to_str())["model"]
    pairs = [p.split() if isinstance(p, str) else p for p in learned["merges"]]
    tokens = [*alphabet, *(c + "</w>" for c in alphabet)]
    tokens += [t for t in dict.fromkeys(a + b for a, b in pairs) if t not in set(tokens)][:room]
    tokens += [f"<|unused{i}|>" for i in range(size - 2 - len(tokens))] + [START, END]
    folder.mkdir(parents=True, exist_ok=True)
    kept = set(tokens)
    merges = [f"{a} {b}" for a, b in pairs if a + b in kept and a in kept and b in kept]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    _write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8"
    )
    CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=TEXT_LENGTH
    ).save_pretrained(folder)

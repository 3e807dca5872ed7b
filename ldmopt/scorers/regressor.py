"""The learned aesthetic regressor: a prior that knows damage, and a taste learned from labels.

The prior is boosted trees over the statistics of a picture. They were trained on ladders of known
damage (`ldmopt.scorers.prior.ladders`, the idea of RankIQA, Liu et al. 2017), never on captions and
never on anybody's labels. Several members trained on different scenes give a value each; their
spread is the prior's deviation.

The taste (`scorers.preference`, fitted by `scorers.taste.learning`) is a utility over the features
of one encoder that starts at the prior and goes where labels lead. Every encoder's features begin
with the statistics, so the prior works with every encoder; a taste belongs to one.

A value is in logits: the chance that one picture is preferred to another of the same prompt is
the logistic function of the difference, flattened by the variance of that difference (MacKay
1992). Files are safetensors and JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Picture, Preference, Score, Scorer
from ldmopt.errors import UserError
from ldmopt.scorers import alignment, encoders
from ldmopt.scorers.preference.utility import Utility
from ldmopt.scorers.prior.trees import Forest
from ldmopt.scorers.taste.chances import chances, spread

SCHEMA_VERSION = 2
"""Version 1 had another kind of taste, which is refused; its priors are read."""
PRIOR = "a prior learned from ladders of known damage (the idea of RankIQA, Liu et al. 2017)"
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Space:
    """The main axes along which the statistics of pictures of one scene differ.

    Attributes:
        mean: `(columns,)`.
        axes: `(columns, k)`; `(statistics - mean) @ axes` has about unit variance each.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    def __call__(self, features: NDArray[np.float32]) -> Floats:
        """Return `(n, k)` places of `(n, columns or more)` features."""
        own = features[:, : len(self.mean)].astype(np.float64) - self.mean
        return np.asarray(own @ self.axes.astype(np.float64))


@dataclass(frozen=True)
class Caption:
    """What a picture's similarity with its caption adds to the utility that a taste starts from.

    People who choose between pictures of a prompt look at whether it was met; the prior cannot.

    Attributes:
        model: whose towers compare, as `alignment.load_alignment` takes it.
        digest: of these towers; others are refused.
        mean: of the similarity, which adds nothing.
        weight: logits per unit of similarity.
    """

    model: str
    digest: str
    mean: float
    weight: float

    def similarity(self, pictures: Sequence[Picture]) -> Floats:
        """Return `(n,)` similarities; the mean for pictures without a caption.

        Raises:
            UserError: the towers are not on this machine, or are others.
        """
        compare = alignment.load_alignment(self.model, "")
        if compare is None or compare.identity["digest"] != self.digest:
            raise UserError(f"regressor: made with caption similarity by {self.model} "
                            f"{self.digest}, which is not here; fit it again")
        found = compare.similarity(pictures)
        return np.array([self.mean if value is None else value for value in found], np.float64)

    def moves(self, similarity: NDArray[np.floating[Any]]) -> Floats:
        """Return what similarities add, in logits."""
        return np.asarray(self.weight * (similarity.astype(np.float64) - self.mean))


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Tastes that each left some labelled prompts out.

    Attributes:
        fold_of: prompt -> number of the taste that did not learn from it.
        tastes: one for each fold.
    """

    fold_of: Mapping[str, int]
    tastes: tuple[Utility, ...]


@dataclass(frozen=True, eq=False)
class Regressor:
    """A scorer that learned from damage, and from labels where there were any.

    Attributes:
        encoder: name of the encoder of `ldmopt.scorers.encoders`.
        encoder_digest: whose features it takes; others are refused.
        forest: the prior's members.
        scale: logits per unit of the forest.
        noise: variance (squared logits) of a difference beyond the members' spread.
        space: where a picture lies among others.
        taste: what labels taught, on the prior's value and the features; None for the prior.
        crossed: the same, learned without some of the prompts; None where there is one prompt or
            none.
        caption: what captions add to what the taste starts from, or None.
        report: what it was trained on and how well it did, plain JSON data.
    """

    encoder: str
    encoder_digest: str
    forest: Forest
    scale: float
    noise: float
    space: Space
    taste: Utility | None = None
    crossed: CrossFit | None = None
    caption: Caption | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name and digest, and what it learned from, by people and by simulated raters."""
        labels = self.report.get("labels", {})
        human, simulated = labels.get("human", 0), labels.get("simulated", 0)
        captions = {} if self.caption is None else {"captions": self.caption.model}
        return {
            "name": "regressor",
            "digest": self.digest,
            "encoder": self.encoder,
            "is": learned_from(human, simulated),
            "trained_on": self.report.get("trained_on", "ladders of known damage"),
            "human_labels": human,
            "simulated_labels": simulated,
            **captions,
        }

    @cached_property
    def digest(self) -> str:
        """sha256 (first 16 digits) of everything that decides a value."""
        whole = hashlib.sha256(f"{self.encoder_digest} {self.scale!r} {self.noise!r}".encode())
        for name, array in sorted(self._arrays().items()):
            whole.update(name.encode())
            whole.update(np.ascontiguousarray(array).tobytes())
        if self.taste is not None:
            whole.update(_json(self._taste_facts()))
        if self.caption is not None:
            whole.update(_json(asdict(self.caption)))
        return whole.hexdigest()[:16]

    def score(self, pictures: Sequence[Picture]) -> list[Score | None]:
        """Return value and deviation in logits; None for a picture below 16 x 16 pixels."""
        large = encoders.load(self.encoder).judgeable(pictures)
        chosen = [picture for picture, usable in zip(pictures, large, strict=True) if usable]
        value, variance = self.values(self.features(chosen))
        scores = (Score(float(v), float(np.sqrt(d))) for v, d in zip(value, variance, strict=True))
        return [next(scores) if usable else None for usable in large]

    def compare(self, left: Sequence[Picture], right: Sequence[Picture]) -> list[Preference]:
        """Return the chance that each left picture is preferred to the right one beside it.

        Exactly 1/2 for equal pictures, and swapping the sides gives the complement. A picture
        that is too small to be judged loses against one that is not.

        Raises:
            UserError: the two lists differ in length.
        """
        chances = self._compared(left, right, [self.taste])[0]
        return [Preference(float(chance)) for chance in chances]

    def cross_fitted(
        self, left: Sequence[Picture], right: Sequence[Picture]
    ) -> list[Preference]:
        """Compare by tastes that did not learn from the prompt (Zrnic and Candes 2024).

        Pictures of a labelled prompt are judged by the taste that left it out, those of any other
        prompt by the mean of the chances that all of these give. Without such tastes: `compare`.

        Raises:
            UserError: the two lists differ in length.
        """
        crossed = self.crossed
        if crossed is None:
            return self.compare(left, right)
        chances = self._compared(left, right, crossed.tastes)
        found = chances.mean(axis=0)
        for place, picture in enumerate(left):
            fold = crossed.fold_of.get(picture.block.prompt)
            if fold is not None:
                found[place] = chances[fold, place]
        return [Preference(float(chance)) for chance in found]

    def _compared(
        self, left: Sequence[Picture], right: Sequence[Picture], tastes: Sequence[Utility | None]
    ) -> Floats:
        """Return `(tastes, n)` chances that left is preferred."""
        if len(left) != len(right):
            raise UserError(f"compare: {len(left)} pictures on the left, {len(right)} on the right")
        large = encoders.load(self.encoder).judgeable([*left, *right])
        usable = list(zip(large[: len(left)], large[len(left) :], strict=True))
        both = [index for index, pair in enumerate(usable) if all(pair)]
        features = self.features([left[i] for i in both] + [right[i] for i in both])
        found = np.tile(np.array([0.5 * (1 + a - b) for a, b in usable], np.float64),
                        (len(tastes), 1))  # fmt: skip
        found[:, both] = self.chances(features[: len(both)], features[len(both) :], tastes)
        found[:, [a.digest == b.digest for a, b in zip(left, right, strict=True)]] = 0.5
        return found

    def features(self, pictures: Sequence[Picture]) -> NDArray[np.float32]:
        """Return the pictures' features; with captions, their similarity is the last column.

        Raises:
            UserError: the encoder at hand, or what compares with captions, is another one than it
                was made for.
        """
        cached = encoders.load(self.encoder)
        if cached.encoder.identity["digest"] != self.encoder_digest:
            raise UserError(
                f"regressor: made for encoder {self.encoder} {self.encoder_digest}, this ldmopt has"
                f" {cached.encoder.identity['digest']}; fit it again"
            )
        found = cached.features(pictures)
        return found if self.caption is None else with_captions(
            found, self.caption.similarity(pictures))

    def prior(self, features: NDArray[np.float32]) -> Floats:
        """Return each member's values `(members, n)` in logits."""
        return self.forest.remembered(features) * self.scale

    def inputs(self, features: NDArray[np.float32]) -> Floats:
        """Return what a taste sees, `(n, 1 + axes + further columns)`.

        The prior's value with what captions add, the places of the statistics along the axes of
        `space`, which are far fewer than the statistics and so need fewer labels, and what else
        the encoder sees.
        """
        base = self.prior(features).mean(axis=0)[:, None]
        further = features[:, len(self.space.mean) :].astype(np.float64)
        if self.caption is not None:
            base, further = base + self.caption.moves(features[:, -1:]), further[:, :-1]
        return np.concatenate([base, self.space(features), further], axis=1)

    def values(self, features: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Return value and variance of each picture, in logits and their squares."""
        members = self.prior(features)
        if self.taste is None:
            return members.mean(axis=0), spread(members)
        value, variance = self.taste.utility(self.inputs(features))
        return value, variance + self.taste.of_base(spread(members))

    def chances(
        self,
        left: NDArray[np.float32],
        right: NDArray[np.float32],
        tastes: Sequence[Utility | None],
    ) -> Floats:
        """Return `(tastes, n)` chances that left is preferred to right, from features."""
        moved = self.prior(left) - self.prior(right)
        sides = None if tastes == [None] else (self.inputs(left), self.inputs(right))
        return np.array([chances(taste, moved, self.noise, sides) for taste in tastes])

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {f"forest.{name}": array for name, array in self.forest.arrays().items()}
        arrays |= {"space.mean": self.space.mean, "space.axes": self.space.axes}
        for name, taste in self._tastes().items():
            arrays |= {f"{name}.{part}": array for part, array in taste.arrays().items()}
        return arrays

    def _tastes(self) -> dict[str, Utility]:
        """Return all tastes by the name that they have in the files."""
        found = {} if self.taste is None else {"taste": self.taste}
        crossed = () if self.crossed is None else self.crossed.tastes
        return found | {f"fold{number}": taste for number, taste in enumerate(crossed)}

    def _taste_facts(self) -> dict[str, Any]:
        fold_of = {} if self.crossed is None else dict(self.crossed.fold_of)
        tastes = {name: taste.facts() for name, taste in self._tastes().items()}
        return {"tastes": tastes, "fold_of": fold_of}

    def save(self, folder: str | Path) -> Path:
        """Write `regressor.safetensors`, `regressor.json` and `report.json` to a folder.

        The JSON comes last and names the digest, so a reader never takes half a regressor.

        Raises:
            UserError: the folder cannot be written.
        """
        from safetensors.numpy import save

        root = Path(folder)
        facts = {
            "schema_version": SCHEMA_VERSION,
            "encoder": self.encoder,
            "encoder_digest": self.encoder_digest,
            "scale": self.scale,
            "noise": self.noise,
            "digest": self.digest,
        }
        if self.taste is not None:
            facts |= self._taste_facts()
        if self.caption is not None:
            facts["caption"] = asdict(self.caption)
        arrays = {name: np.ascontiguousarray(array) for name, array in self._arrays().items()}
        try:
            root.mkdir(parents=True, exist_ok=True)
            _write(root / "regressor.safetensors", save(arrays))
            _write(root / "report.json", _json(self.report))
            _write(root / "regressor.json", _json(facts))
        except OSError as error:
            raise UserError(f"{root}: cannot be written: {error.strerror or error}") from error
        return root

    @classmethod
    def load(cls, folder: str | Path) -> Regressor:
        """Read what `save` wrote.

        Raises:
            UserError: missing, broken, or of another version; says which.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        root = Path(folder)
        try:
            facts = json.loads((root / "regressor.json").read_text(encoding="utf-8"))
            _check_version(root, facts)
            arrays = load_file(root / "regressor.safetensors")
            report = json.loads((root / "report.json").read_text(encoding="utf-8"))
            loaded = _built(facts, arrays, report)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{root}: not a regressor ({reason}); run fit again") from error
        if loaded.digest != facts.get("digest"):
            raise UserError(f"{root}: files do not belong together; run fit again")
        return loaded


def _built(
    facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], report: Mapping[str, Any]
) -> Regressor:
    """Put a regressor together from what its files say."""
    if any(name.startswith("head.") for name in arrays):
        raise ValueError("its taste is of an older ldmopt")
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        part, _, key = name.partition(".")
        parts.setdefault(part, {})[key] = array
    tastes = {name: Utility.from_arrays(parts[name], told)
              for name, told in facts.get("tastes", {}).items()}
    folds = [tastes[f"fold{number}"] for number in range(len(tastes) - 1)]
    fold_of = {str(prompt): int(fold) for prompt, fold in facts.get("fold_of", {}).items()}
    return Regressor(
        encoder=str(facts["encoder"]),
        encoder_digest=str(facts["encoder_digest"]),
        forest=Forest.from_arrays(parts["forest"]),
        scale=float(facts["scale"]),
        noise=float(facts["noise"]),
        space=Space(**parts["space"]),
        taste=tastes.get("taste"),
        crossed=CrossFit(fold_of, tuple(folds)) if folds else None,
        caption=Caption(**facts["caption"]) if "caption" in facts else None,
        report=report,
    )


def with_captions(
    features: NDArray[np.float32], similarity: Floats
) -> NDArray[np.float32]:
    """Return features with the similarity as the last column."""
    return np.concatenate([features, similarity[:, None].astype(np.float32)], axis=1)


def learned_from(human: int, simulated: int) -> str:
    """Return in words what a regressor is, as every output says it."""
    if not human and not simulated:
        return f"{PRIOR}; no labels"
    parts = [f"{human} labels of people"] * bool(human)
    parts += [f"{simulated} labels of simulated raters"] * bool(simulated)
    return f"learned from {' and '.join(parts)}, on top of {PRIOR}"


@cache
def default() -> Regressor:
    """Return the regressor in the package: ladders of damage only, no human label."""
    return Regressor.load(Path(__file__).parent / "prior" / "default")


def with_report(regressor: Regressor, **more: Any) -> Regressor:
    """Return a copy whose report says more."""
    return replace(regressor, report={**regressor.report, **more})


def _check_version(root: Path, facts: Mapping[str, Any]) -> None:
    version = facts.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise UserError(f"{root}: regressor of an older ldmopt (version {version}); run fit again")
    if version > SCHEMA_VERSION:
        raise UserError(f"{root}: regressor of a newer ldmopt (version {version}); upgrade ldmopt")


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(data)
    beside.replace(path)


def _proves(regressor: Regressor) -> Scorer:
    """Hold the class against its protocol."""
    return regressor

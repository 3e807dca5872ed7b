"""The learned aesthetic regressor: boosted trees on features, and a small head for human taste.

The trees know damage: they were trained on ladders of it (`ldmopt.scorers.ladders`, the idea of
RankIQA, Liu et al. 2017), never on captions. Several members trained on different scenes give a
value each; their spread is the deviation. A head, fitted to human labels by
`ldmopt.scorers.taste`, bends the value towards a rater's taste and adds its own uncertainty.

A value is in logits: the chance that one picture is preferred to another of the same prompt is
the logistic function of the difference, flattened by the variance of that difference (MacKay
1992). Files are safetensors and JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Picture, Preference, Score, Scorer
from ldmopt.errors import UserError
from ldmopt.scorers import encoders
from ldmopt.scorers.trees import Forest

SCHEMA_VERSION = 1
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Space:
    """The main axes of the features, in which a head tells taste.

    Attributes:
        mean: `(columns,)`.
        axes: `(columns, k)`; `(features - mean) @ axes` has about unit variance each.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Head:
    """Taste learned from labels: `value = weights . (base value, axes)`, a Gaussian posterior.

    Attributes:
        weights: `(1 + k,)`, the mode; (1, 0, ...) is the base alone.
        covariance: `(1 + k, 1 + k)`, Laplace.
    """

    weights: Floats
    covariance: Floats


@dataclass(frozen=True, eq=False)
class Regressor:
    """A scorer that learned from damage, and from people where there were labels.

    Attributes:
        encoder: name of the encoder of `ldmopt.scorers.encoders`.
        encoder_digest: the features it was trained on; others are refused.
        forest: the members.
        scale: logits per unit of the forest.
        noise: variance (squared logits) of a difference beyond the members' spread.
        space: what a head works in.
        head: taste, or None.
        report: what it was trained on and how well it did, plain JSON data.
    """

    encoder: str
    encoder_digest: str
    forest: Forest
    scale: float
    noise: float
    space: Space
    head: Head | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name and digest, and what it learned from."""
        labels = self.report.get("labels", {})
        return {
            "name": "regressor",
            "digest": self.digest,
            "encoder": self.encoder,
            "trained_on": self.report.get("trained_on", "ladders of known damage"),
            "human_labels": labels.get("human", 0),
            "simulated_labels": labels.get("simulated", 0),
        }

    @cached_property
    def digest(self) -> str:
        """sha256 (first 16 digits) of everything that decides a value."""
        whole = hashlib.sha256(f"{self.encoder_digest} {self.scale!r} {self.noise!r}".encode())
        for name, array in sorted(self._arrays().items()):
            whole.update(name.encode())
            whole.update(np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()[:16]

    def score(self, pictures: Sequence[Picture]) -> list[Score | None]:
        """Return value and deviation in logits; None for a picture below 16 x 16 pixels."""
        usable = encoders.load(self.encoder).judgeable(pictures)
        large = [picture for picture, fits in zip(pictures, usable, strict=True) if fits]
        members, inputs = self.members(large)
        values = iter(zip(members.mean(axis=0), self._variance(members, inputs), strict=True))
        result: list[Score | None] = []
        for fits in usable:
            if not fits:
                result.append(None)
                continue
            value, variance = next(values)
            result.append(Score(float(value), float(np.sqrt(variance))))
        return result

    def compare(self, left: Sequence[Picture], right: Sequence[Picture]) -> list[Preference]:
        """Return the chance that each left picture is preferred to the right one beside it.

        Exactly 1/2 for equal pictures, and swapping the sides gives the complement. A picture
        that is too small to be judged loses against one that is not.

        Raises:
            UserError: the two lists differ in length.
        """
        if len(left) != len(right):
            raise UserError(f"compare: {len(left)} pictures on the left, {len(right)} on the right")
        fits = encoders.load(self.encoder).judgeable([*left, *right])
        usable = list(zip(fits[: len(left)], fits[len(left) :], strict=True))
        both = [index for index, pair in enumerate(usable) if all(pair)]
        pictures = [left[index] for index in both] + [right[index] for index in both]
        members, inputs = self.members(pictures)
        half = len(both)
        difference = members[:, :half] - members[:, half:]
        moved = inputs[:half] - inputs[half:]
        chances = np.array([0.5 * (1 + a - b) for a, b in usable], np.float64)
        chances[both] = self.chances(difference, moved)
        chances[[a.digest == b.digest for a, b in zip(left, right, strict=True)]] = 0.5
        return [Preference(float(chance)) for chance in chances]

    def chances(self, difference: Floats, moved: Floats) -> Floats:
        """Return the predictive probabilities of differences.

        Args:
            difference: `(members, n)`, in logits.
            moved: `(n, 1 + k)`, differences of the head's inputs.
        """
        mean = difference.mean(axis=0)
        return preference(mean, self._variance(difference, moved) + self.noise)

    def members(self, pictures: Sequence[Picture]) -> tuple[Floats, Floats]:
        """Return each member's values `(members, n)` and the head's inputs `(n, 1 + k)`."""
        cached = encoders.load(self.encoder)
        if cached.encoder.identity["digest"] != self.encoder_digest:
            raise UserError(
                f"regressor: made for encoder {self.encoder} {self.encoder_digest}, this ldmopt has"
                f" {cached.encoder.identity['digest']}; fit it again"
            )
        return self.values(cached.features(pictures))

    def values(self, features: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Return what `members` returns, from features."""
        base = self.forest.predict(features) * self.scale
        moved = features.astype(np.float64) - self.space.mean
        axes = moved @ self.space.axes.astype(np.float64)
        inputs = np.concatenate([base.mean(axis=0)[:, None], axes], axis=1)
        if self.head is None:
            return base, inputs
        taste = inputs[:, 1:] @ self.head.weights[1:]
        return base * self.head.weights[0] + taste, inputs

    def _variance(self, members: Floats, inputs: Floats) -> Floats:
        """Members' spread and, with a head, its posterior variance for these inputs."""
        spread = members.var(axis=0, ddof=1) if len(members) > 1 else np.zeros(members.shape[1])
        if self.head is not None:
            spread = spread + np.einsum("ni,ij,nj->n", inputs, self.head.covariance, inputs)
        return np.asarray(np.maximum(spread, 0.0))

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {f"forest.{name}": array for name, array in self.forest.arrays().items()}
        arrays |= {"space.mean": self.space.mean, "space.axes": self.space.axes}
        if self.head is not None:
            arrays |= {"head.weights": self.head.weights, "head.covariance": self.head.covariance}
        return arrays

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
    parts: dict[str, dict[str, NDArray[Any]]] = {"forest": {}, "space": {}, "head": {}}
    for name, array in arrays.items():
        part, _, key = name.partition(".")
        parts[part][key] = array
    return Regressor(
        encoder=str(facts["encoder"]),
        encoder_digest=str(facts["encoder_digest"]),
        forest=Forest.from_arrays(parts["forest"]),
        scale=float(facts["scale"]),
        noise=float(facts["noise"]),
        space=Space(**parts["space"]),
        head=Head(**parts["head"]) if parts["head"] else None,
        report=report,
    )


def judgeable(picture: Picture) -> bool:
    """Tell whether a picture is large enough for the encoders."""
    return bool(min(picture.pixels.shape[:2]) >= encoders.SMALLEST_SIDE)


def preference(mean: Floats, variance: Floats) -> Floats:
    """Return the chance of a positive difference: logistic, flattened by variance.

    MacKay (1992), "The evidence framework applied to classification networks", equation 10.
    Written so that the chance of `-mean` is the exact complement.
    """
    flattened = np.clip(mean / np.sqrt(1.0 + np.pi * variance / 8.0), -40.0, 40.0)
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * flattened))


@cache
def default() -> Regressor:
    """Return the regressor in the package: ladders of damage only, no human label."""
    return Regressor.load(Path(__file__).parent / "default")


def with_report(regressor: Regressor, **more: Any) -> Regressor:
    """Return a copy whose report says more."""
    return replace(regressor, report={**regressor.report, **more})


def _check_version(root: Path, facts: Mapping[str, Any]) -> None:
    version = facts.get("schema_version")
    if not isinstance(version, int) or version < SCHEMA_VERSION:
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

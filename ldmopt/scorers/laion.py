"""LAION's aesthetic heads, from a file that the user has, on CLIP embeddings, as a scorer.

- V1: a linear map (github.com/LAION-AI/aesthetic-predictor): tensors ``weight`` and ``bias``.
- V2: five linear layers in a row without activations, dropout between them in training only
  (github.com/christophschuhmann/improved-aesthetic-predictor): ``layers.0``, 2, 4, 6 and 7.

Both were trained on L2-normalised embeddings, mostly of OpenAI's ViT-L/14 (768 numbers), to predict
people's mean ratings on a scale of 1 to 10; scores bunch near 5 (GOTCHAS 26). Heads of other
widths go with the CLIP that has that width.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt import weights
from ldmopt.contracts import Picture, Preference, Score, Scorer
from ldmopt.errors import UserError
from ldmopt.scorers import encoders

LOGITS_PER_POINT = 1.0
"""A convention, no calibration: nothing was published that says how often people prefer a picture
whose score is a point higher. It decides how far win rates are from one half, not which picture is
better; labels calibrate (``ldmopt fit``)."""
LINEAR = ("",)
LAYERS = ("layers.0.", "layers.2.", "layers.4.", "layers.6.", "layers.7.")
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Head:
    """Linear layers in a row.

    Attributes:
        version: 1 or 2.
        layers: `(weight (out, in), bias (out,))` of each; the last has one output.
        digest: sha256 (first 16 digits) of the file.
    """

    version: int
    layers: tuple[tuple[Floats, Floats], ...]
    digest: str

    @property
    def width(self) -> int:
        """Numbers in the embedding that it takes."""
        return int(self.layers[0][0].shape[1])

    def __call__(self, embeddings: NDArray[Any]) -> Floats:
        """Return the scores `(n,)` of unit vectors `(n, width)`."""
        value = np.asarray(embeddings, np.float64)
        for weight, bias in self.layers:
            value = value @ weight.T + bias
        return np.asarray(value[:, 0])


def read_head(path: str | Path) -> Head:
    """Read a head from a ``.safetensors`` file, or a ``.pth`` one, of which only tensors are taken.

    Raises:
        UserError: it is missing, damaged, holds code, or is no such head.
    """
    path = Path(path).expanduser()
    where = f"LAION head {str(path)!r}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror or error}; give the file of a "
                        "head, .safetensors or .pth") from error
    tensors = _safetensors(path, where) if path.suffix == ".safetensors" else _pth(path, where)
    layers = _layers(tensors, where)
    version = 1 if len(layers) == len(LINEAR) else 2
    return Head(version, layers, hashlib.sha256(data).hexdigest()[:16])


def _safetensors(path: Path, where: str) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    reason = weights.fault(path)
    if reason is None:
        try:
            return dict(load_file(path))
        except (SafetensorError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
    raise UserError(f"{where} is corrupt ({reason}); fetch it again")


def _pth(path: Path, where: str) -> Mapping[str, Any]:
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{where} holds more than tensors, or is damaged: code in a file is never "
                        "run; fetch it again, or save its tensors as .safetensors") from error
    except Exception as error:  # torch raises what the damage happens to be
        raise UserError(f"{where} is corrupt ({type(error).__name__}); fetch it again") from error
    if not isinstance(found, dict) or not all(isinstance(one, torch.Tensor)
                                              for one in found.values()):
        raise UserError(f"{where} is no plain dictionary of tensors; save its state_dict alone")
    return found


def _layers(tensors: Mapping[str, Any], where: str) -> tuple[tuple[Floats, Floats], ...]:
    """Return the layers, checked to follow on each other.

    Raises:
        UserError: the names or shapes are those of another network.
    """
    for names in (LINEAR, LAYERS):
        if {f"{name}{part}" for name in names for part in ("weight", "bias")} == set(tensors):
            break
    else:
        raise UserError(f"{where} holds {', '.join(sorted(tensors)[:4]) or 'nothing'}...: neither "
                        "V1 (weight, bias) nor V2 (layers.0, 2, 4, 6, 7) of LAION's heads")
    layers, width = [], None
    for name in names:
        weight, bias = (tensors[f"{name}{part}"].double().numpy() for part in ("weight", "bias"))
        shapes = f"{name}weight {weight.shape}, bias {bias.shape}"
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise UserError(f"{where}: {shapes} are no linear layer; fetch it again")
        if width is not None and weight.shape[1] != width:
            raise UserError(f"{where}: {shapes} does not follow on {width} outputs; fetch it again")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise UserError(f"{where}: {name}weight or bias holds no numbers; fetch it again")
        layers.append((weight, bias))
        width = weight.shape[0]
    if width != 1:
        raise UserError(f"{where} ends with {width} outputs, a score is one; fetch it again")
    return tuple(layers)


class Laion:
    """A head on an encoder's embedding, as a scorer."""

    def __init__(self, head: Head, encoder: str) -> None:
        """Put a head on an encoder.

        Args:
            head: judges.
            encoder: name of an encoder that has an embedding: the miniature, or a CLIP's folder or
                hub id.

        Raises:
            UserError: there is no such encoder here, or the head takes another width.
        """
        self.head = head
        self._name = encoder
        self._encoder = encoders.load(encoder)
        self._columns = encoders.embedding(self._encoder.encoder.names)
        if len(self._columns) != head.width:
            raise UserError(
                f"scorer.laion: the head takes {head.width} numbers, encoder {encoder!r} gives "
                f"{len(self._columns)}; name the CLIP that it was trained on"
                + (", openai/clip-vit-large-patch14" if head.width == 768 else "")
            )

    @classmethod
    def load(cls, path: str | Path, encoder: str) -> Laion:
        """Read a head's file and put it on an encoder.

        Raises:
            UserError: either cannot be used, or they do not fit.
        """
        return cls(read_head(path), encoder)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, digest of head, encoder and scale, and that it learned of no label here."""
        seen = self._encoder.encoder.identity["digest"]
        return {
            "name": f"laion-v{self.head.version}",
            "digest": f"{self.head.digest}-{seen}-{LOGITS_PER_POINT:g}",
            "encoder": self._name,
            "trained_on": "people's ratings, by LAION",
            "human_labels": 0,
        }

    def score(self, pictures: Sequence[Picture]) -> list[Score | None]:
        """Return points of about 1 to 10; None for a picture below 16 x 16 pixels.

        The deviation is zero: a head says nothing of its own uncertainty.
        """
        fits = self._encoder.judgeable(pictures)
        values = iter(self.points([p for p, fit in zip(pictures, fits, strict=True) if fit]))
        return [Score(float(next(values)), 0.0) if fit else None for fit in fits]

    def compare(self, left: Sequence[Picture], right: Sequence[Picture]) -> list[Preference]:
        """Return the logistic of `LOGITS_PER_POINT` times the difference in points.

        A picture that is too small to be judged loses against one that is not.

        Raises:
            UserError: the two lists differ in length.
        """
        if len(left) != len(right):
            raise UserError(f"compare: {len(left)} pictures on the left, {len(right)} on the right")
        scores = self.score([*left, *right])
        return [Preference(_chance(a, b))
                for a, b in zip(scores[: len(left)], scores[len(left) :], strict=True)]

    def points(self, pictures: Sequence[Picture]) -> Floats:
        """Return the head's scores `(n,)` of pictures that are large enough."""
        return self.head(self._encoder.features(pictures)[:, self._columns])


def _chance(left: Score | None, right: Score | None) -> float:
    if left is None or right is None:
        return 0.5 * (1 + (left is not None) - (right is not None))
    return float(0.5 + 0.5 * np.tanh(0.5 * LOGITS_PER_POINT * (left.value - right.value)))


_: type[Scorer] = Laion

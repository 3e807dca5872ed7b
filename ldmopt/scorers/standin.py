"""A stand-in scorer: judges how grainy a picture is, and nothing else; for tests only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ldmopt.contracts import Picture, Preference, Score, Scorer

STEEPNESS = 40.0


class StandInScorer:
    """Prefers smooth pictures; knows nothing of beauty and is named for what it is."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Say that this is a stand-in."""
        return {"name": "standin", "digest": "standin-1", "encoder": "standin", "human_labels": 0}

    def score(self, pictures: Sequence[Picture]) -> list[Score | None]:
        """Return minus the mean absolute difference of neighbouring pixels, in [-1, 0]."""
        return [Score(-_grain(picture), 0.01) for picture in pictures]

    def compare(self, left: Sequence[Picture], right: Sequence[Picture]) -> list[Preference]:
        """Return a logistic of the difference in grain."""
        return [
            Preference(float(1 / (1 + np.exp(STEEPNESS * (_grain(a) - _grain(b))))))
            for a, b in zip(left, right, strict=True)
        ]


def _grain(picture: Picture) -> float:
    return float(np.abs(np.diff(picture.pixels.astype(np.float64), axis=1)).mean() / 255)


_: type[Scorer] = StandInScorer

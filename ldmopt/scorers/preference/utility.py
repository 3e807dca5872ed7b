"""What a fitted `PreferenceRegressor` knows, as plain arrays that numpy alone can apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.errors import UserError, did_you_mean
from ldmopt.scorers.preference import davidson
from ldmopt.scorers.preference.maps import FeatureMap

SCHEMA_VERSION = 1
Floats = NDArray[np.float64]
_WEIGHTS = ("weights", "factor", "offset", "scale", "noise", "reliability", "share")


@dataclass(frozen=True, eq=False)
class Utility:
    """One utility with its uncertainty, and how each rater speaks of it.

    Attributes:
        map: features -> phi.
        weights: `(width,)`; the utility is `phi @ weights`, in logits.
        factor: `(width, rank)`; `|phi @ factor|^2` is its variance.
        nu: Davidson's tie parameter.
        temperature: what differences are multiplied by before they become chances.
        widening: what deviations of ratings are multiplied by.
        effect: variance of prompts' effects on ratings, squared logits.
        raters: names, in the order of the next four.
        offset: `(raters,)` rating at utility 0.
        scale: `(raters,)` rating per logit.
        noise: `(raters,)` deviation of a rating.
        reliability: `(raters,)` what a rater's differences are multiplied by.
        share: `(raters,)` share of the ratings; all 0 where there were none.
    """

    map: FeatureMap
    weights: Floats
    factor: Floats
    nu: float
    temperature: float
    widening: float
    effect: float
    raters: tuple[str, ...]
    offset: Floats
    scale: Floats
    noise: Floats
    reliability: Floats
    share: Floats = field(default_factory=lambda: np.zeros(0))

    def utility(self, features: Floats) -> tuple[Floats, Floats]:
        """Return mean and variance of `(n, d)` pictures' utility."""
        return self._of(self.map(features))

    def difference(self, left: Floats, right: Floats) -> tuple[Floats, Floats]:
        """Return mean and variance of the difference of `(n, d)` and `(n, d)` pictures.

        Equal features give exactly 0 and 0, and swapping the sides exactly the opposite.
        """
        moved = self.map(np.ascontiguousarray(left)) - self.map(np.ascontiguousarray(right))
        moved[(left == right).all(axis=1)] = 0.0
        return self._of(moved)

    def _of(self, phi: Floats) -> tuple[Floats, Floats]:
        return phi @ self.weights, np.square(phi @ self.factor).sum(axis=1)

    def chance(self, mean: Floats, variance: Floats, reliability: float = 1.0) -> Floats:
        """Return the chance that left is preferred, ties half, of differences.

        Args:
            mean: of the differences, in logits.
            variance: of the differences, whatever its sources.
            reliability: of the rater who is asked.
        """
        sharp = self.temperature * reliability
        return davidson.expected_win(
            sharp * davidson.flattened(mean, reliability**2 * variance), self.nu
        )

    def of_base(self, spread: Floats) -> Floats:
        """Return what a known variance of the base's differences becomes by the base's weight."""
        return spread * self.weights[0] ** 2 if self.map.base else spread

    def rating(self, features: Floats, rater: str | None = None) -> tuple[Floats, Floats]:
        """Return mean and deviation of a rater's next rating, or of the raters' together.

        Raises:
            UserError: the rater gave no rating that was learned from.
        """
        mean, variance = self.utility(features)
        if rater is None:
            if not self.share.any():
                return mean, np.sqrt(variance)
            offset, scale = float(self.share @ self.offset), float(self.share @ self.scale)
            noise = float(self.share @ self.noise**2)
        else:
            known = [name for name, part in zip(self.raters, self.share, strict=True) if part]
            if rater not in known:
                hint = did_you_mean(rater, known)
                raise UserError(f"predict_rating: no ratings of {rater!r} were learned from{hint}")
            number = self.raters.index(rater)
            offset, scale = float(self.offset[number]), float(self.scale[number])
            noise = float(self.noise[number]) ** 2
        spread = scale**2 * (variance + self.effect) + noise
        return offset + scale * mean, self.widening * np.sqrt(spread)

    def arrays(self) -> dict[str, Floats]:
        """Return every array by name, for safetensors."""
        arrays = {f"map.{name}": array for name, array in self.map.arrays().items()}
        return arrays | {name: getattr(self, name) for name in _WEIGHTS}

    def facts(self) -> dict[str, Any]:
        """Return everything else, as plain JSON data."""
        return {
            "schema_version": SCHEMA_VERSION,
            "base": self.map.base,
            "gamma": self.map.gamma,
            "nu": self.nu,
            "temperature": self.temperature,
            "widening": self.widening,
            "effect": self.effect,
            "raters": list(self.raters),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats], facts: Mapping[str, Any]) -> Utility:
        """Put a utility together from what `arrays` and `facts` gave; equal to the last bit.

        Raises:
            UserError: of an older or newer version, or not what `arrays` and `facts` give.
        """
        version = facts.get("schema_version")
        if not isinstance(version, int) or version < SCHEMA_VERSION:
            raise UserError(f"taste of an older ldmopt (version {version}); run fit again")
        if version > SCHEMA_VERSION:
            raise UserError(f"taste of a newer ldmopt (version {version}); upgrade ldmopt")
        try:
            plain = {name: np.array(array, np.float64) for name, array in arrays.items()}
            of_map = {n[4:]: array for n, array in plain.items() if n.startswith("map.")}
            known = FeatureMap.from_arrays(of_map, bool(facts["base"]), float(facts["gamma"]))
            if plain["weights"].shape != (known.width,) or len(plain["factor"]) != known.width:
                raise ValueError(f"{known.width} columns, {plain['weights'].shape} weights")
            return cls(
                map=known,
                nu=float(facts["nu"]),
                temperature=float(facts["temperature"]),
                widening=float(facts["widening"]),
                effect=float(facts["effect"]),
                raters=tuple(str(name) for name in facts["raters"]),
                **{name: plain[name] for name in _WEIGHTS},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"taste: not a fitted one ({error}); run fit again") from error

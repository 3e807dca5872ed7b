"""Which values a knob can have: named ones, numbers, or sizes; each reads what people write."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from ldmopt.contracts import Value
from ldmopt.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Choice:
    """One of a few named values."""

    values: tuple[Value, ...]

    def parse(self, name: str, raw: object) -> Value:
        """Return the value that `raw` names.

        Raises:
            UserError: it names none; the nearest is suggested.
        """
        if not isinstance(raw, bool | int | float | str):
            raise UserError(f"{name} must be one value, got {raw!r}")
        wanted = raw.strip().lower() if isinstance(raw, str) else raw
        for value in self.values:
            if wanted == value and isinstance(wanted, bool) == isinstance(value, bool):
                return value
        hint = did_you_mean(raw, (str(value) for value in self.values))
        raise UserError(f"{name} has no value {raw!r}{hint}")

    def narrow(self, name: str, low: object, high: object, step: object, log: object) -> Domain:
        """Refuse: named values have no range."""
        raise UserError(f"{name} takes named values, not a range; give a list such as {name} = "
                        f"{[str(value) for value in self.values[:2]]}")


@dataclass(frozen=True)
class Number:
    """A whole or real number between two bounds, in steps, searched evenly or by ratio.

    Attributes:
        low: least legal value.
        high: greatest legal value.
        whole: whether only whole numbers are legal.
        step: spacing of the values searched, counted from `low`; None for any.
        log: whether the search goes by ratio.
    """

    low: float
    high: float
    whole: bool = False
    step: float | None = None
    log: bool = False

    def parse(self, name: str, raw: object) -> Value:
        """Return the number that `raw` is, or that its text says.

        Raises:
            UserError: no number, not whole where it must be, or out of bounds.
        """
        kind = "a whole number" if self.whole else "a number"
        try:
            if isinstance(raw, bool) or not isinstance(raw, int | float | str):
                raise ValueError
            number = float(raw)
        except ValueError:
            raise UserError(f"{name} must be {kind}, got {raw!r}") from None
        if not math.isfinite(number) or (self.whole and number != int(number)):
            raise UserError(f"{name} must be {kind}, got {raw!r}")
        if not self.low <= number <= self.high:
            raise UserError(f"{name} must be between {self.low:g} and {self.high:g}, got {raw}")
        return int(number) if self.whole else number

    def narrow(self, name: str, low: object, high: object, step: object, log: object) -> Domain:
        """Return the part of this domain that a study's range names.

        Raises:
            UserError: a bound that is illegal, an empty range, or both step and log.
        """
        if not isinstance(log, bool):
            raise UserError(f"{name}.log must be true or false, got {log!r}")
        least, most = float(self.parse(name, low)), float(self.parse(name, high))
        if least > most:
            raise UserError(f"{name}: low {low} is above high {high}; swap them")
        if step is not None and log:
            raise UserError(f"{name} cannot have both step and log; leave one out")
        if step is not None and (
            isinstance(step, bool) or not isinstance(step, int | float) or step <= 0
            or (self.whole and step != int(step))
        ):
            kind = "a whole number" if self.whole else "a number"
            raise UserError(f"{name}.step must be {kind} above 0, got {step!r}")
        if log and least <= 0:
            raise UserError(f"{name}: log needs low above 0, got {low}")
        return Number(least, most, self.whole, None if step is None else float(step), log)


@dataclass(frozen=True)
class Size:
    """Width and height in pixels as ``WIDTHxHEIGHT``, each a multiple of what the VAE needs."""

    multiple: int = 8
    largest: int = 8192

    def parse(self, name: str, raw: object) -> Value:
        """Return the size as ``WIDTHxHEIGHT``; a single number means a square.

        Raises:
            UserError: not a size, or not divisible.
        """
        text = str(raw).strip().lower().replace("×", "x")
        match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
        if isinstance(raw, bool) or not match:
            raise UserError(f"{name} must look like 512x512 (width x height), got {raw!r}")
        sides = (int(match[1]), int(match[2] or match[1]))
        for side in sides:
            if side < self.multiple or side > self.largest or side % self.multiple:
                near = min(max(self.multiple, round(side / self.multiple) * self.multiple),
                           self.largest)
                raise UserError(
                    f"{name} {raw} is not divisible by {self.multiple} within "
                    f"{self.multiple}..{self.largest}: {side} should be {near}"
                )
        return f"{sides[0]}x{sides[1]}"

    def narrow(self, name: str, low: object, high: object, step: object, log: object) -> Domain:
        """Refuse: sizes are listed."""
        raise UserError(f'{name} takes a list, not a range; give for example ["512x512"]')


@dataclass(frozen=True)
class Above:
    """Numbers greater than a limit, as a condition under which another knob acts."""

    limit: float

    def __contains__(self, value: object) -> bool:
        """Tell whether a value is such a number."""
        return isinstance(value, int | float) and value > self.limit

    def __iter__(self) -> Iterator[Value]:
        """Give one example."""
        yield self.limit + 1


Domain: TypeAlias = Choice | Number | Size

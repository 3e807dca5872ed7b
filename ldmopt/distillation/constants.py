"""The constants that a rulebook rests on: stated in it, and the user's to change."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ldmopt.errors import UserError

EFFECTS, SPLITS, AVOID = 0.4, 0.2, 0.4
"""How the chance of any false verdict is shared out among the three kinds of tests."""


@dataclass(frozen=True)
class Constants:
    """What counts as a difference, and how sure one must be.

    Attributes:
        confidence: of all intervals. 1 - confidence is also the chance that any verdict of
            ``worth it``, ``harmful``, ``depends`` or any rule under ``avoid`` is false, all of
            them together.
        margin: a win rate lower by less than this still counts as not worse.
        worth: the gain in win rate from which a change is worth it, the loss from which it harms.
        noticeable: the change in seconds or memory, as a share, that counts as one.
        close: values are called equivalent only where a difference of this size is excluded.
    """

    confidence: float = 0.95
    margin: float = 0.05
    worth: float = 0.02
    noticeable: float = 0.05
    close: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: a constant cannot mean anything.
        """
        if not 0.5 <= self.confidence <= 0.99:
            raise UserError(f"confidence must be within 0.5 and 0.99, got {self.confidence:g}; "
                            "0.95 is usual")
        for name in ("margin", "close"):
            if not 0.0 < getattr(self, name) < 0.5:
                raise UserError(f"{name} must be above 0 and below 0.5, got "
                                f"{getattr(self, name):g}; it is a difference of win rates")
        if not 0.0 <= self.worth < 0.5:
            raise UserError(f"worth must be at least 0 and below 0.5, got {self.worth:g}; "
                            "it is a difference of win rates")
        if not 0.0 < self.noticeable < 0.5:
            raise UserError(f"noticeable must be above 0 and below 0.5, got {self.noticeable:g}; "
                            "it is a share of a cost")

    def error(self, share: float) -> float:
        """Return the chance of any false verdict among tests that have this share of it."""
        return share * (1.0 - self.confidence)

    def to_dict(self) -> dict[str, float]:
        """Return plain JSON data."""
        return asdict(self)

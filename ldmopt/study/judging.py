"""What judges a run's stored pictures: the scorer, and where there is one the alignment scorer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ldmopt.contracts import Aligned, Block, BlockWin, Picture, Preference, Quality, Scorer
from ldmopt.distillation.alignment import aligned
from ldmopt.distillation.intervals import win_rate
from ldmopt.errors import UserError
from ldmopt.scorers.exam import Similarity
from ldmopt.study.folder import RunFolder

RATINGS = "ratings"
"""Name of the scorer of an imported study whose win rates come from its table's ratings."""

_Compare = Callable[[list[Picture], list[Picture]], Sequence[Preference]]


@dataclass(frozen=True)
class Judges:
    """Judges pictures of a setting against the default's, block by block.

    Attributes:
        folder: where the pictures are.
        scorer: says which of two is preferred.
        alignment: says how well a picture fits its caption, or None.
    """

    folder: RunFolder
    scorer: Scorer
    alignment: Similarity | None = None

    def quality(
        self, blocks: Sequence[Block], digests: Sequence[str], against: Sequence[str]
    ) -> Quality:
        """Return the win rate of stored pictures against others."""
        return win_rate(self._wins(self.scorer.compare, blocks, digests, against))

    def further(
        self, blocks: Sequence[Block], digests: Sequence[str], against: Sequence[str]
    ) -> dict[str, Any]:
        """Return ``aligned`` and ``cross_fitted``, as `Trial` and `Confirmation` have them."""
        wins: list[BlockWin] = []
        if learned_from_labels(self.scorer.identity) and getattr(self.scorer, "crossed", None):
            crossed: _Compare = self.scorer.cross_fitted  # type: ignore[attr-defined]
            wins = self._wins(crossed, blocks, digests, against)
        return {"aligned": self._aligned(blocks, digests, against), "cross_fitted": tuple(wins)}

    def _wins(
        self, compare: _Compare,
        blocks: Sequence[Block], digests: Sequence[str], against: Sequence[str],
    ) -> list[BlockWin]:
        wins = compare(self._pictures(blocks, digests), self._pictures(blocks, against))
        for block, digest, win in zip(blocks, digests, wins, strict=True):
            if not 0.0 <= win.probability <= 1.0:
                raise UserError(
                    f"scorer {self.scorer.identity.get('name')} gave the preference "
                    f"{win.probability} to {str(self.folder.picture_path(digest))!r} (prompt "
                    f"{block.prompt!r}, seed {block.seed}), which must be within 0 and 1; name "
                    "another [scorer]: what was finished is kept")
        return [BlockWin(block.prompt, block.seed, win.probability)
                for block, win in zip(blocks, wins, strict=True)]

    def _aligned(
        self, blocks: Sequence[Block], digests: Sequence[str], against: Sequence[str]
    ) -> Aligned | None:
        """Compare with captions; blocks without a similarity are left out."""
        if self.alignment is None:
            return None
        own = self.alignment.similarity(self._pictures(blocks, digests))
        default = self.alignment.similarity(self._pictures(blocks, against))
        return aligned([(block.prompt, block.seed, left, right)
                        for block, left, right in zip(blocks, own, default, strict=True)
                        if left is not None and right is not None])

    def _pictures(self, blocks: Sequence[Block], digests: Sequence[str]) -> list[Picture]:
        return [self.folder.picture(digest, block)
                for digest, block in zip(digests, blocks, strict=True)]


def learned_from_labels(identity: Mapping[str, Any]) -> bool:
    """Tell whether a scorer learned from any label, of people or of simulated raters."""
    return bool(identity.get("human_labels", 0) or identity.get("simulated_labels", 0))


def check_judges(
    frozen: Mapping[str, Any], scorer: Scorer, alignment: Similarity | None
) -> Similarity | None:
    """Hold what judges against what the generation was begun with.

    Returns:
        The alignment scorer where this generation has one: an older one, or one whose alignment
        scorer failed the exam, goes on without.

    Raises:
        UserError: it is another scorer, or another CLIP.
    """
    was, now = frozen["scorer"].get("digest"), scorer.identity.get("digest")
    if was != now:
        raise UserError(f"this generation was judged by scorer {was}, but the one at hand is "
                        f"{now}; judge all pictures anew with: ldmopt rescore RUN")
    begun = frozen.get("alignment")
    if begun is None:
        return None
    found = None if alignment is None else alignment.identity
    if found is None or found.get("digest") != begun.get("digest"):
        raise UserError(
            f"this generation's alignment was measured by {begun.get('model')} "
            f"{begun.get('digest')}, but the one at hand is "
            f"{'none' if found is None else found.get('digest')}; bring that CLIP back, or judge "
            "all pictures anew with: ldmopt rescore RUN")
    return alignment

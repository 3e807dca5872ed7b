"""Whether what is called an execution knob leaves the picture alone: tested, not assumed.

Before a study's space is frozen, each execution value is tried by itself, at the default's picture
setting, on a few blocks, from the same noise. A value whose pictures are too far from those of the
default's execution makes its knob a picture knob of this study; one that gives no picture is
told to the search as a failure. What was found is in ``equivalence.json`` of the run folder,
written after every value, so that a killed probe goes on where it was.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ldmopt.contracts import Block, Pixels, Setting, Value
from ldmopt.errors import GenerationError
from ldmopt.knob import Space, examples
from ldmopt.study.folder import write

if TYPE_CHECKING:
    from ldmopt.study.session import Session

LEAST_DECIBELS = 30.0
"""A value with one picture further (PSNR) than this from the default's changes the picture."""

MARGIN = 0.05
"""So does one whose win rate's interval lies wholly outside 0.5 plus or minus this."""

BLOCKS = 4
"""Blocks that are compared, of as many prompts as there are."""

PASSING = ("out-of-memory", "deadline")
"""Failures that a smaller picture setting may not have: such a value stays in the search."""


@dataclass(frozen=True)
class Finding:
    """What the probe found of one execution value.

    Attributes:
        knob: name of the execution knob.
        value: what was tried.
        setting: the default with this value, and what else the knob needs to act.
        median_decibels: PSNR of the middle picture; None for equal pictures or none.
        worst_decibels: PSNR of the furthest picture; None for equal pictures or none.
        quality: win rate and its 95 % interval; None where no picture was made.
        failure: ``{"kind": ..., "reason": ...}`` of a value that gave no picture.
    """

    knob: str
    value: Value
    setting: Setting
    median_decibels: float | None = None
    worst_decibels: float | None = None
    quality: Mapping[str, float] | None = None
    failure: Mapping[str, str] | None = None

    @property
    def changes_picture(self) -> bool:
        """Whether the value's pictures are outside the tolerance."""
        return self.too_far or self.judged_otherwise

    @property
    def too_far(self) -> bool:
        """Whether a picture is further from the default's than `LEAST_DECIBELS`."""
        return self.worst_decibels is not None and self.worst_decibels < LEAST_DECIBELS

    @property
    def judged_otherwise(self) -> bool:
        """Whether the win rate differs from 0.5 by more than `MARGIN` beyond doubt."""
        quality = self.quality
        return quality is not None and (
            quality["low"] > 0.5 + MARGIN or quality["high"] < 0.5 - MARGIN
        )

    @property
    def dropped(self) -> bool:
        """Whether the search leaves the value out, because it fails whatever the size."""
        return self.failure is not None and self.failure["kind"] not in PASSING

    @property
    def note(self) -> str | None:
        """One line for the user, or None where there is nothing to say."""
        name = f"{self.knob}={self.value}"
        if self.failure is not None:
            verdict = "is left out of the search" if self.dropped else "fails at the default"
            return f"{name} {verdict}: {self.failure['kind']}: {self.failure['reason']}"
        if self.too_far:
            return (f"{self.knob} counts as a picture knob: {name} gives other pictures "
                    f"(PSNR {self.worst_decibels:.1f} dB at worst, below {LEAST_DECIBELS:g})")
        if self.quality is not None and self.judged_otherwise:
            return (f"{self.knob} counts as a picture knob: {name} is judged otherwise (win rate "
                    f"{self.quality['low']:.2f} to {self.quality['high']:.2f}, outside "
                    f"{0.5 - MARGIN:g} to {0.5 + MARGIN:g})")
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "knob": self.knob, "value": self.value, "setting": dict(self.setting),
            "median_decibels": self.median_decibels, "worst_decibels": self.worst_decibels,
            "quality": None if self.quality is None else dict(self.quality),
            "failure": None if self.failure is None else dict(self.failure),
            "changes_picture": self.changes_picture,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        """Read what `to_dict` wrote."""
        rest = {key: value for key, value in data.items() if key != "changes_picture"}
        return cls(**{**rest, "setting": Setting(rest["setting"])})


def probe(session: Session) -> list[Finding]:
    """Compare every searched execution value's pictures with those of the default's execution.

    Values are taken one at a time. Those that were compared before, in a session that was killed,
    are read from ``equivalence.json``.
    """
    blocks = spread(session.blocks)
    head = {
        "schema_version": 1,
        "least_decibels": LEAST_DECIBELS,
        "margin": MARGIN,
        "default": dict(session.space.default),
        "scorer": dict(session.scorer.identity),
        "blocks": [[block.prompt, block.seed] for block in blocks],
    }
    path = session.folder.equivalence
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    same = {key: kept.get(key) for key in head} == head
    found = [Finding.from_dict(row) for row in kept["values"]] if same else []
    known = {(item.knob, item.value): item for item in found}
    for knob, value, base, setting in cases(session.space):
        finding = known.get((knob, value))
        if finding is None:
            session.tell(doing=f"{knob} = {value}")
            finding = compare(session, knob, value, base, setting, blocks)
            found.append(finding)
            data = {**head, "values": [item.to_dict() for item in found]}
            write(path, (json.dumps(data, indent=1) + "\n").encode())
        if finding.note is not None:
            session.note(finding.note)
    return found


def cases(space: Space) -> Iterator[tuple[str, Value, Setting, Setting]]:
    """Yield knob, value, the setting to compare with, and the setting to try.

    The former is the default, changed by no more than what the knob needs to act at all. Of a
    range both ends are tried.
    """
    for name, domain in space.searched.items():
        acting = space.acting(name)
        if space.knobs[name].changes_picture or acting is None:
            continue
        base = space.canonical(acting)
        for value in examples(domain):
            setting = space.canonical({**acting, name: value})
            if setting != base and not space.refusal(setting):
                yield name, value, base, setting


def spread(blocks: Sequence[Block]) -> list[Block]:
    """Return `BLOCKS` blocks, spread over the prompts, each prompt once before any comes twice."""
    order = sorted(blocks, key=lambda block: block.seed)
    firsts = [block for block in order if block.seed == order[0].seed]
    if len(firsts) <= BLOCKS:
        return order[:BLOCKS]
    return [firsts[len(firsts) * index // BLOCKS] for index in range(BLOCKS)]


def compare(
    session: Session, knob: str, value: Value, base: Setting, setting: Setting,
    blocks: Sequence[Block],
) -> Finding:
    """Make the pictures of both settings and compare them, block by block."""
    tried = base
    try:
        against = session.bench.pictures(base, blocks, anew=True)
        tried = setting
        digests = session.bench.pictures(setting, blocks, anew=True)
    except GenerationError as error:
        session.bench.book_failure(tried, error)
        return Finding(knob, value, setting,
                       failure={"kind": error.kind, "reason": error.reason})
    pairs = [
        (session.bench.picture(one, block).pixels, session.bench.picture(other, block).pixels)
        for one, other, block in zip(digests, against, blocks, strict=True)
    ]
    distances = [decibels(left, right) for left, right in pairs]
    quality = session.judged(blocks, digests, against)
    return Finding(
        knob, value, setting, _finite(statistics.median(distances)), _finite(min(distances)),
        {"win_rate": quality.win_rate, "low": quality.low, "high": quality.high},
    )


def decibels(left: Pixels, right: Pixels) -> float:
    """Return the peak signal-to-noise ratio of two pictures; infinite for equal ones.

    Pictures of different sizes are nothing alike: 0.
    """
    if left.shape != right.shape:
        return 0.0
    error = float(np.mean((left.astype(np.float64) - right.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def _finite(number: float) -> float | None:
    return round(number, 2) if np.isfinite(number) else None

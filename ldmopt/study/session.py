"""One open run: its folder, host, bench and scorer, and what all stages do with them.

`measure` turns a setting into pictures, cost and quality; `freeze` says for good what is searched.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ldmopt import machine
from ldmopt.child.host import ProcessHost
from ldmopt.contracts import Block, Cost, Quality, Scorer, Setting, Trial, Value
from ldmopt.errors import GenerationError
from ldmopt.hosts.replay import ReplayHost
from ldmopt.knob import Choice, Context, Domain, Number, Space, build_space
from ldmopt.model import describe
from ldmopt.recording import Recording
from ldmopt.scorers.exam import Similarity
from ldmopt.study.bench import Bench
from ldmopt.study.folder import RunFolder, write
from ldmopt.study.judging import Judges
from ldmopt.study.spec import StudySpec, prompts_of

CONFIRM_SEEDS_FROM = 10_000
"""Seeds of the confirmation begin here, far from those of the search."""

NEIGHBOURS = ("other processes are on the GPU: seconds and joules hold what they do, too; each "
              "trial's cost tells how many there were")


def run_name(folder: RunFolder) -> str | None:
    """Return the name that no other run has; None of one older than such names."""
    name: str | None = json.loads(folder.environment.read_text(encoding="utf-8")).get("run")
    return name


@dataclass
class State:
    """What a progress display shows.

    Attributes:
        stage: ``start``, ``default``, ``probe``, ``search``, ``confirm``, ``distill``, ``done``.
        doing: one line on what is under way.
        trials: trials finished, the default's included.
        trials_wanted: the budget in trials, or None.
        spent_seconds: device seconds spent so far, over all sessions.
        budget_seconds: the budget in device seconds, or None.
        pictures: pictures made in this session.
        raced: settings that were dropped before all their pictures were made.
        saved_pictures: pictures that this saved.
        saved_seconds: device seconds that it saved, about.
        front: the feasible trials that no other beats in all objectives.
        default: the default's trial, once measured.
        notes: lines that the user should keep, oldest first.
    """

    stage: str = "start"
    doing: str = ""
    trials: int = 0
    trials_wanted: int | None = None
    spent_seconds: float = 0.0
    budget_seconds: float | None = None
    pictures: int = 0
    raced: int = 0
    saved_pictures: int = 0
    saved_seconds: float = 0.0
    front: Sequence[Trial] = ()
    default: Trial | None = None
    notes: tuple[str, ...] = ()


Report = Callable[[State], None]


@dataclass
class Session:
    """One open run.

    Attributes:
        spec: what the study is asked to do.
        folder: where it leaves what it finds; locked.
        host: makes pictures.
        space: what is searched.
        bench: measures, once.
        scorer: judges.
        blocks: prompts with seeds that settings are compared on.
        held_out: further ones, that only recommended settings are measured on.
        state: for the progress display.
        alignment: compares pictures with captions, or None.
    """

    spec: StudySpec
    folder: RunFolder
    host: ProcessHost | ReplayHost
    space: Space
    bench: Bench
    scorer: Scorer
    facts: Mapping[str, Any]
    blocks: list[Block]
    held_out: list[Block]
    report: Report
    state: State = field(default_factory=State)
    alignment: Similarity | None = None

    @property
    def judges(self) -> Judges:
        """What judges stored pictures."""
        return Judges(self.folder, self.scorer, self.alignment)

    def tell(self, **changes: Any) -> None:
        """Update what the progress display shows."""
        self.state = replace(self.state, spent_seconds=self.bench.spent_seconds, **changes)
        self.report(self.state)

    def note(self, line: str) -> None:
        """Say a line that stays on the screen."""
        self.tell(notes=(*self.state.notes, line))

    def quality(self, setting: Setting, blocks: Sequence[Block], **how: Any) -> tuple[
        Quality, list[str]
    ]:
        """Return a setting's win rate against the default, and its pictures' digests.

        Raises:
            GenerationError: the setting gives no usable picture.
        """
        digests = self.bench.pictures(setting, blocks, **how)
        against = self.bench.pictures(self.space.default, blocks)
        return self.judged(blocks, digests, against), digests

    def judged(
        self, blocks: Sequence[Block], digests: Sequence[str], against: Sequence[str]
    ) -> Quality:
        """Return the win rate of stored pictures against others, block by block."""
        return self.judges.quality(blocks, digests, against)

    def further(
        self, setting: Setting, blocks: Sequence[Block], digests: Sequence[str]
    ) -> dict[str, Any]:
        """Return what else is said of pictures of a setting: alignment, cross-fitted wins."""
        against = self.bench.pictures(self.space.default, blocks)
        return self.judges.further(blocks, digests, against)

    def measure(self, setting: Setting) -> tuple[Cost, Quality, list[str]]:
        """Generate, time and judge a setting on the search blocks.

        Raises:
            GenerationError: the setting gives no usable picture; its seconds are booked.
        """
        try:
            quality, digests = self.quality(setting, self.blocks)
            cost = self.bench.cost(setting, self.blocks)
        except GenerationError as error:
            self.bench.book_failure(setting, error)
            raise
        if cost.foreign_processes and NEIGHBOURS not in self.state.notes:
            self.note(NEIGHBOURS)
        return cost, quality, digests

    def freeze(
        self, picture_knobs: frozenset[str], dropped: Sequence[tuple[str, Value]] = ()
    ) -> None:
        """Say for good which knobs change the picture, and which values are not searched.

        The journal is read again, because pictures are shared by picture setting. A knob none of
        whose values is left stays at the default.
        """
        left = {name: _without(domain, {value for knob, value in dropped if knob == name})
                for name, domain in self.space.searched.items()}
        searched = {name: domain for name, domain in left.items() if domain is not None}
        self.space = replace(self.space, picture_knobs=picture_knobs, searched=searched)
        self.host.picture_part = self.space.picture
        self.bench = Bench(self.host, self.folder, self.space, self.on_picture,
                           self.spec.share)

    def on_picture(self) -> None:
        """Count a picture."""
        self.tell(pictures=self.state.pictures + 1)


def _without(domain: Domain, dropped: set[Value]) -> Domain | None:
    """Return what is left of a domain; a range stays as it is while one of its ends is left."""
    if isinstance(domain, Choice):
        kept = tuple(value for value in domain.values if value not in dropped)
        return Choice(kept) if kept else None
    if isinstance(domain, Number) and {domain.low, domain.high} <= dropped:
        return None
    return domain


def open_session(
    spec: StudySpec, folder: RunFolder, scorer: Scorer, report: Report,
    alignment: Similarity | None = None,
) -> Session:
    """Check the study against model and machine, then start the host.

    Raises:
        UserError: model, prompts, device or a knob's value cannot be had.
    """
    search, confirm = prompts_of(spec)
    host, facts, space = open_host(spec, folder.log)
    try:
        session = Session(
            spec, folder, host, space, Bench(host, folder, space, share=spec.share), scorer, facts,
            [Block(prompt, seed) for prompt in search for seed in range(spec.seeds)],
            [Block(prompt, CONFIRM_SEEDS_FROM + seed)
             for prompt in confirm for seed in range(spec.seeds)],
            report, alignment=alignment,
        )
        session.bench = Bench(host, folder, space, session.on_picture, spec.share)
        write_environment(session, space.context.model.digest())
        return session
    except BaseException:
        host.close()
        raise


def open_host(
    spec: StudySpec, log: Path | None
) -> tuple[ProcessHost | ReplayHost, Mapping[str, Any], Space]:
    """Start a study's host; return it with the machine's facts and the study's space.

    Raises:
        UserError: model, device or a knob's value cannot be had.
    """
    if spec.table is not None:
        table = Recording.read(spec.table)
        return ReplayHost(table), ReplayHost(table).describe(), early_space(spec)
    # Checked twice: first by what can be known at once, then by what the host process sees.
    space = early_space(spec)
    model = space.context.model
    host = ProcessHost(
        model, spec.device, backends=_backends(space), plugins=spec.plugins, log=log,
        picture_part=space.picture, deadline_seconds=spec.deadline_seconds,
    )
    try:
        facts = host.describe()
        context = Context(model, facts["device"], facts["packages"])
        return host, facts, build_space(spec.default, spec.space, context, spec.plugins)
    except BaseException:
        host.close()
        raise


def early_space(spec: StudySpec) -> Space:
    """Return a study's space as far as it can be known before any library is loaded.

    Raises:
        UserError: model, device or a knob's value cannot be had.
    """
    model = describe(spec.model)
    device = "cpu" if spec.table is not None else machine.likely_device(spec.device)
    context = Context(model, device, machine.packages())
    return build_space(spec.default, spec.space, context, spec.plugins)


def _backends(space: Space) -> list[str]:
    domain = space.searched.get("backend")
    searched = domain.values if isinstance(domain, Choice) else ()
    return sorted({str(value) for value in (*searched, space.default["backend"])})


def write_environment(session: Session, model_digest: str) -> None:
    """Write environment.json: machine, versions, model, and a name for the run that no other has.

    The first session's stays.
    """
    if session.folder.environment.exists():
        return
    facts = {
        "schema_version": 1,
        "run": uuid.uuid4().hex,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "model": session.spec.model,
        "model_digest": model_digest,
        **session.facts,
    }
    write(session.folder.environment, (json.dumps(facts, indent=1) + "\n").encode())

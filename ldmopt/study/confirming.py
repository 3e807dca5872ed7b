"""The confirmation: the front is generated and measured on prompts the search never saw."""

from __future__ import annotations

from ldmopt.contracts import Confirmation, Setting
from ldmopt.distillation import candidates
from ldmopt.distillation.intervals import median_interval
from ldmopt.errors import GenerationError
from ldmopt.study import alarm, records
from ldmopt.study.loads import by_load
from ldmopt.study.session import Session
from ldmopt.study.work import Work

CONFIRMED_SETTINGS = 6
"""How many settings, the default not counted, are measured again on held-out blocks."""


def confirm(work: Work) -> None:
    """Generate and measure the front again, on prompts and seeds that the search never saw.

    The default comes first: everything is compared with it. The rest comes so that a pipeline is
    loaded as seldom as can be.
    """
    session = work.session
    done = records.read_confirmations(work.study)
    default = session.space.default
    wanted = candidates(work.evidence(), 1 + CONFIRMED_SETTINGS)
    rest = [setting for setting in wanted if setting != default and setting not in done]
    for setting in [default, *by_load(rest, session.space, default)]:
        if setting in done:
            continue
        work.tell("confirm", work.changes(setting))
        try:
            done[setting] = confirmed(session, setting)
        except GenerationError as error:
            session.bench.book_failure(setting, error)
            continue
        rows = [records.confirmation_to_dict(item) for item in done.values()]
        work.study.set_user_attr(records.CONFIRMATIONS, rows)
    work.warn(alarm.look_at_confirmed(work.study, session.judges))


def confirmed(session: Session, setting: Setting) -> Confirmation:
    """Measure one setting on the held-out blocks.

    Raises:
        GenerationError: the setting gives no usable picture.
    """
    quality, pictures = session.quality(setting, session.held_out, anew=True)
    cost = session.bench.cost(setting, session.held_out)
    calls = session.bench.costs(setting, session.held_out)
    seconds = median_interval([call.seconds for call in calls])
    return Confirmation(setting, cost, seconds.low, seconds.high, quality, tuple(pictures),
                        **session.further(setting, session.held_out, pictures))

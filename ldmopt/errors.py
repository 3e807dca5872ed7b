"""Every error that ldmopt raises on purpose."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LdmoptError(Exception):
    """Base of all errors that ldmopt raises on purpose."""


class UserError(LdmoptError):
    """Input that cannot be used; one line that names thing, rule, value and way out.

    The command line prints it without a traceback and ends with exit code 1.
    """


class GenerationError(LdmoptError):
    """A setting that gave no usable picture.

    Attributes:
        kind: one of ``crash``, ``deadline``, ``out-of-memory``, ``nan``, ``black``, ``refused``,
            ``error``: what a study records as the trial's failure.
        reason: one line for people.
    """

    def __init__(self, kind: str, reason: str) -> None:
        """Keep the kind for programs and the reason for people."""
        super().__init__(f"{kind}: {reason}")
        self.kind = kind
        self.reason = reason


def did_you_mean(wrong: object, known: Iterable[str]) -> str:
    """Return a hint such as `` (did you mean 'euler'?)``, or all names when none is near."""
    names = sorted(known)
    plain = str(wrong).lower().replace("++", "pp").replace(" ", "_")
    near = difflib.get_close_matches(plain, names, n=1, cutoff=0.5)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (known: {', '.join(names)})" if names else ""

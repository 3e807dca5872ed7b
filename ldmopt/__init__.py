"""ldmopt finds the inference settings of a latent diffusion model that are worth their cost.

The names below are the whole public API; each is imported when first used, so that importing
ldmopt, or reading a rulebook, loads neither torch nor diffusers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ldmopt.apply import generate, read_setting, write_picture
    from ldmopt.checkup import doctor
    from ldmopt.contracts import Block, Cost, Picture, Preference, Quality, Score, Setting
    from ldmopt.errors import GenerationError, LdmoptError, UserError
    from ldmopt.exports.exporting import export, formats
    from ldmopt.intake.importing import Intake, import_folder, import_table
    from ldmopt.knob import Context, Knob, Space, Stage, build_space
    from ldmopt.labeling.serve import label
    from ldmopt.linting import lint
    from ldmopt.preview import plan
    from ldmopt.ready import pipeline
    from ldmopt.reconcile.difference import diff
    from ldmopt.reconcile.merging import merge
    from ldmopt.rulebook import Recommendation, Rulebook
    from ldmopt.study.fitting import fit_run as fit
    from ldmopt.study.labelled import labels_export, labels_import
    from ldmopt.study.output import distill_run as distill
    from ldmopt.study.remeasuring import remeasure
    from ldmopt.study.reporting import report_run as report
    from ldmopt.study.spec import StudySpec, read_spec
    from ldmopt.study.stages import run
    from ldmopt.study.taste import rescore

__version__ = "0.1.0"

_HOMES = {
    "Block": "contracts", "Context": "knob", "Cost": "contracts", "GenerationError": "errors",
    "Knob": "knob", "LdmoptError": "errors", "Picture": "contracts", "Preference": "contracts",
    "Quality": "contracts", "Recommendation": "rulebook", "Rulebook": "rulebook",
    "Score": "contracts", "Setting": "contracts", "Space": "knob", "Stage": "knob",
    "StudySpec": "study.spec", "UserError": "errors", "build_space": "knob",
    "distill": "study.output:distill_run", "doctor": "checkup", "export": "exports.exporting",
    "fit": "study.fitting:fit_run", "formats": "exports.exporting",
    "generate": "apply", "import_folder": "intake.importing",
    "import_table": "intake.importing", "Intake": "intake.importing",
    "label": "labeling.serve", "labels_export": "study.labelled",
    "labels_import": "study.labelled", "lint": "linting", "plan": "preview",
    "pipeline": "ready", "diff": "reconcile.difference",
    "remeasure": "study.remeasuring", "merge": "reconcile.merging",
    "read_setting": "apply", "read_spec": "study.spec",
    "report": "study.reporting:report_run", "rescore": "study.taste",
    "run": "study.stages", "write_picture": "apply",
}

__all__ = [
    "Block", "Context", "Cost", "GenerationError", "Intake", "Knob", "LdmoptError", "Picture",
    "Preference", "Quality", "Recommendation", "Rulebook", "Score", "Setting", "Space", "Stage",
    "StudySpec", "UserError", "build_space", "diff", "distill", "doctor", "export", "fit",
    "formats", "generate", "import_folder", "import_table", "label", "labels_export",
    "labels_import", "lint", "merge", "pipeline", "plan", "read_setting", "read_spec",
    "remeasure", "report", "rescore", "run", "write_picture",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ldmopt' has no attribute {name!r}")
    home, _, own = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"ldmopt.{home}"), own or name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*__all__, "__version__"])

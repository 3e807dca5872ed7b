"""Heavy libraries stay out of what must answer at once."""

import subprocess
import sys

import pytest

import ldmopt

HEAVY = ("torch", "diffusers", "transformers", "sklearn", "scipy", "optuna", "matplotlib")


@pytest.mark.parametrize(
    "code",
    [
        "import ldmopt",
        "from ldmopt import Rulebook",
        "from ldmopt import cli",
        "from ldmopt import build_space, StudySpec, lint, generate",
        "import ldmopt.child.host, ldmopt.scorers, ldmopt.miniature",
    ],
)
def test_light_imports_stay_light(code):
    check = f"{code}\nimport sys\nprint([n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_public_name_exists():
    for name in ldmopt.__all__:
        assert getattr(ldmopt, name) is not None
    assert set(ldmopt.__all__) == set(ldmopt._HOMES)

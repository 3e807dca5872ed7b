"""Imports go one way: a file may import what stands above its line, never below."""

import ast
from pathlib import Path

import ldmopt

ROOT = Path(ldmopt.__file__).parent
RANKS = [
    ["errors"],
    ["families", "weights"],
    ["model", "registry", "machine", "miniature"],
    ["parts"],
    ["contracts"],
    ["recording"],
    ["domain"],
    ["knob", "knobs", "labels", "rulebook", "schema"],
    ["meters", "scorers", "exports", "distillation", "reconcile"],
    ["hosts", "search"],
    ["child"],
    ["study"],
    ["labeling", "intake"],
    ["forecast", "installed"],
    ["apply", "checkup", "preview", "display", "shapes", "testing", "rules",
     "linting", "catalogue", "ready"],
    ["cli", "__init__"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}


def imported(path):
    """Yield the ldmopt parts that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "ldmopt":
                names = [f"ldmopt.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "ldmopt":
                yield parts[1] if len(parts) > 1 else "__init__"


def test_every_part_has_a_rank():
    parts = {path.stem if path.is_file() else path.name for path in ROOT.iterdir()
             if path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__")}
    assert parts == set(RANK)


def test_no_part_imports_a_lower_one():
    wrong = []
    for path in ROOT.rglob("*.py"):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for name in imported(path):
            # The miniature names its own prompts and scorers read its towers; a rank may import
            # its own members.
            if RANK.get(name, RANK["cli"]) > RANK[part]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong

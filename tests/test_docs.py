"""README says what is there: its commands, names, files and studies exist."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import typer

import ldmopt
from ldmopt.cli import app
from ldmopt.study.spec import StudySpec, parse_spec

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def fenced(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_every_command_is_named_and_every_named_command_exists():
    group = typer.main.get_command(app)
    known = set(group.commands)
    shell = "\n".join(fenced("sh") + re.findall(r"`(ldmopt [^`]*)`", README))
    named = set(re.findall(r"^ldmopt +([a-z]+)", shell, re.MULTILINE))
    assert named == known


def test_every_public_name_is_listed():
    missing = [name for name in ldmopt.__all__ if f"`{name}`" not in README]
    assert not missing


def test_python_examples_parse_and_use_public_names():
    for code in fenced("python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id == "ldmopt":
                    assert node.attr in ldmopt.__all__


def test_toml_examples_are_studies():
    for text in fenced("toml"):
        assert StudySpec.model_validate(tomllib.loads(text))


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.toml")), ids=lambda p: p.stem)
def test_every_study_file_is_valid(path):
    spec = parse_spec(path.read_text(), path.name)
    assert spec.name == path.stem


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    shell = "\n".join(fenced("sh") + re.findall(r"`(make [^`]*)`", README))
    for target in re.findall(r"^make ([a-z]+)", shell, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target

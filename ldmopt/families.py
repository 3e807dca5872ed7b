"""What diffusers' own source says of its text-to-image pipelines, read without importing it.

Importing a pipeline class takes many seconds, and its table of all of them imports every one. The
answers stand in the source as plain text: which classes `AutoPipelineForText2Image` knows, and
what each one's constructor and call take.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = "AUTO_TEXT2IMAGE_PIPELINES_MAPPING"
NEEDED = ("prompt", "height", "width", "num_inference_steps", "guidance_scale", "generator",
          "output_type")
FOREIGN = ("control_image", "mask_image", "num_frames")
"""Arguments of calls that want more than words, or give more than a picture."""


@dataclass(frozen=True)
class Family:
    """A pipeline class, as its source has it.

    Attributes:
        module: dotted name of the module that holds it.
        parts: what its constructor takes.
        arguments: what its call takes, with the default where that is a plain value, else None.
        own_sigmas: its call gives the scheduler noise levels of its own making.
    """

    module: str
    parts: frozenset[str]
    arguments: Mapping[str, object]
    own_sigmas: bool

    def misfit(self) -> str | None:
        """Return why ldmopt cannot drive it, or None."""
        lacking = [name for name in NEEDED if name not in self.arguments]
        foreign = [name for name in FOREIGN if name in self.arguments]
        if lacking:
            return f"its call takes no {lacking[0]}"
        if foreign or "controlnet" in self.parts:
            return f"its call wants {(*foreign, 'an image')[0]} besides the prompt"
        if "vae" not in self.parts or not self.parts & {"unet", "transformer"}:
            return "it does not work in the latents of a VAE"
        for name in ("num_inference_steps", "guidance_scale"):
            if not isinstance(self.arguments[name], int | float):
                return f"its call has no default for {name}"
        return None


def _root() -> Path:
    found = importlib.util.find_spec("diffusers")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("diffusers is not installed")
    return Path(found.origin).parent / "pipelines"


@cache
def known() -> Mapping[str, str]:
    """Return the classes of diffusers' text-to-image table, each with its package's name."""
    homes: dict[str, str] = {}
    names: list[str] = []
    for node in ast.parse((_root() / "auto_pipeline.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            homes |= {alias.name: str(node.module) for alias in node.names}
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == TABLE:
            pairs = [item for item in ast.walk(node.value) if isinstance(item, ast.Tuple)]
            names = [ast.unparse(pair.elts[1]) for pair in pairs]
    return {name: homes[name] for name in names if name in homes}


@cache
def family(pipeline: str) -> Family | None:
    """Return what the source says of a class of the table, or None for a class that it lacks."""
    home = known().get(pipeline)
    if home is None:
        return None
    opening = re.compile(rf"^class {pipeline}\b", re.MULTILINE)
    for path in sorted((_root() / home.replace(".", "/")).glob("*.py")):
        source = path.read_text(encoding="utf-8")
        if opening.search(source):
            return _read(ast.parse(source), pipeline, f"diffusers.pipelines.{home}.{path.stem}")
    return None


@cache
def exportable() -> frozenset[str]:
    """Return the pipelines that optimum-onnx runs; none where it is not installed."""
    found = importlib.util.find_spec("optimum")
    for root in (found.submodule_search_locations or () if found else ()):
        path = Path(root) / "onnxruntime" / "modeling_diffusion.py"
        if path.exists():
            names = re.findall(r"class ORT(\w+)\(ORTDiffusionPipeline", path.read_text("utf-8"))
            return frozenset(names)
    return frozenset()


def _read(tree: ast.Module, pipeline: str, module: str) -> Family:
    parts: dict[str, object] = {}
    call: dict[str, object] = {}
    own_sigmas = False
    kind = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == pipeline)
    for node in kind.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            parts = _arguments(node)
        elif isinstance(node, ast.FunctionDef) and node.name == "__call__":
            call = _arguments(node)
            own_sigmas = any(
                isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "sigmas"
                and "linspace" in ast.unparse(item.value)
                for item in ast.walk(node)
            )
    return Family(module, frozenset(parts), call, own_sigmas)


def _arguments(node: ast.FunctionDef) -> dict[str, object]:
    """Return a function's arguments with their default values, `self` left out."""
    taken = [*node.args.posonlyargs, *node.args.args][1:]
    values: list[ast.expr | None] = [None] * len(taken)
    values[len(taken) - len(node.args.defaults):] = node.args.defaults
    pairs = [*zip(taken, values, strict=True),
             *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
    return {one.arg: value.value if isinstance(value, ast.Constant) else None
            for one, value in pairs}

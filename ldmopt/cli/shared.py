"""What the commands share: the application they join, their arguments, and how they print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="ldmopt", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Find the settings of a latent diffusion model that are worth their seconds and memory.",
)

Run = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
Folder = Annotated[Path, typer.Argument(help="A run, or a collection of rated pictures.",
                                        metavar="RUN|FOLDER")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


def print_json(data: Any) -> None:
    """Print JSON data."""
    typer.echo(json.dumps(data, indent=1))


def console(stderr: bool = False) -> Any:
    """Return what prints tables: as wide as the terminal, or wide enough for a file."""
    from rich.console import Console

    found = Console(stderr=stderr)
    return found if found.is_terminal else Console(stderr=stderr, width=140)

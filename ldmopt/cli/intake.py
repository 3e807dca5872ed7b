"""The command that makes a run of other people's measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldmopt.cli.shared import Json, app, console, print_json
from ldmopt.errors import UserError


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(
        help="A CSV of observations, or a folder of pictures that say how they were made.",
        metavar="TABLE.csv|FOLDER",
    )],
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
    knob: Annotated[list[str] | None, typer.Option(
        metavar="NAME", help="A column that is a further knob; may be given again."
    )] = None,
    default: Annotated[list[str] | None, typer.Option(
        metavar="KNOB=VALUE", help="What the default setting has; else the one observed most."
    )] = None,
    model: Annotated[str, typer.Option(help="What made the pictures, for the rulebook.")] = "",
    device: Annotated[str, typer.Option(help="On what, for the rulebook.")] = "",
    as_json: Json = False,
) -> None:
    """Make a run of somebody's experiment, without generating anything: rulebook, label, fit go on.

    Columns: knobs (sampler, steps, guidance, size, ... and any --knob NAME), and any of prompt,
    seed, repeat, seconds, peak_memory_bytes, picture (a path), rating, rater, failed, warmup.
    """
    from ldmopt import import_folder, import_table
    from ldmopt.display import intake_lines, recommendations_table, share_bar

    if source.is_dir() and knob:
        raise UserError("--knob is for columns of a table; pictures' own metadata are read whole")
    with share_bar(console(stderr=True), "importing") as progress:
        if source.is_dir():
            found = import_folder(source, out, default=default or (), model=model, device=device,
                                  progress=progress)
        else:
            found = import_table(source, out, knobs=knob or (), default=default or (),
                                 model=model, device=device, progress=progress)
    if as_json:
        print_json({**found.to_dict(), "rulebook": found.rulebook.data})
        return
    for line in intake_lines(found):
        typer.echo(line)
    console().print(recommendations_table(found.rulebook.data))

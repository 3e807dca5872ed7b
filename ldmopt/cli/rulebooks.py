"""Commands that use a rulebook: choose from it, make pictures with it, hand it on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldmopt.cli.shared import Device, Json, Run, app, console, print_json

Book = Annotated[Path, typer.Argument(help="A rulebook.json or a run folder.",
                                      metavar="RUN|RULEBOOK.json")]


@app.command()
def recommend(
    rulebook: Book,
    max_seconds: Annotated[float | None, typer.Option(help="Latency at most.")] = None,
    max_memory_gb: Annotated[float | None, typer.Option(help="Memory at most, 10^9 B.")] = None,
    min_win_rate: Annotated[
        float | None, typer.Option(help="Win rate at least; then the cheapest.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose a setting from a rulebook, within limits."""
    from ldmopt.exports._words import judged_columns
    from ldmopt.rulebook import Rulebook

    limit = None if max_memory_gb is None else round(max_memory_gb * 1e9)
    found = Rulebook.read(rulebook).recommend(
        max_seconds=max_seconds, max_memory_bytes=limit, min_win_rate=min_win_rate
    )
    if as_json:
        print_json(found.data)
        return
    cost, quality = found.data["cost"], found.data["quality"]
    memory = cost["peak_memory_bytes"]
    typer.echo(" ".join(f"{name}={value}" for name, value in found.data["setting"].items()))
    judged = [f"{name} {said}" for name, text in judged_columns([found.data]).items()
              if (said := text(quality))]
    seconds = cost["latency_seconds"]
    if seconds is not None:
        judged.append(f"{seconds:.3f} s")
    if memory is not None:
        judged.append(f"{memory / 1e6:.0f} MB")
    typer.echo(", ".join(judged))


@app.command()
def generate(
    rulebook: Annotated[Path, typer.Option(help="A rulebook.json or a run folder.")],
    prompt: Annotated[str, typer.Option(help="What to paint.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")],
    id: Annotated[str, typer.Option(help="Which recommendation.")] = "balanced",
    seed: Annotated[int, typer.Option(help="Seed of the starting noise.")] = 0,
    model: Annotated[str | None, typer.Option(help="Another model than the rulebook's.")] = None,
    device: Device = "auto",
) -> None:
    """Make a picture with a recommended setting."""
    from ldmopt import Rulebook, write_picture
    from ldmopt import generate as make

    found = Rulebook.read(rulebook).find(id)
    picture = make(found, prompt, model=model, seed=seed, device=device)
    write_picture(picture, output)
    typer.echo(str(output))


@app.command()
def validate(
    rulebook: Book,
) -> None:
    """Check a rulebook against the schema."""
    from ldmopt.rulebook import Rulebook

    Rulebook.read(rulebook)
    typer.echo(f"{rulebook} is a valid rulebook")


@app.command()
def export(
    rulebook: Book,
    to: Annotated[str, typer.Option(help="diffusers, a1111, comfyui or invokeai.")],
    id: Annotated[str, typer.Option(help="Which recommendation.")] = "balanced",
    prompt: Annotated[str | None, typer.Option(help="What to paint.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the starting noise.")] = 0,
    model: Annotated[str | None, typer.Option(help="Another model than the rulebook's.")] = None,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", help="File to write; else it is printed."
    )] = None,
) -> None:
    """Write a recommendation in the form that another program reads."""
    from ldmopt import Rulebook
    from ldmopt import export as write_for
    from ldmopt.exports.exporting import PROMPT
    from ldmopt.study.folder import write

    wanted = PROMPT if prompt is None else prompt
    text = write_for(Rulebook.read(rulebook), to, id=id, prompt=wanted, seed=seed, model=model)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write(output, text.encode())
        typer.echo(str(output))


@app.command()
def diff(
    a: Annotated[Path, typer.Argument(help="A rulebook.json or a run folder.", metavar="A")],
    b: Annotated[Path, typer.Argument(help="Another one.", metavar="B")],
    as_json: Json = False,
) -> None:
    """Say what changed from one rulebook to another, and where they contradict each other."""
    from ldmopt import diff as compare
    from ldmopt.reconcile.difference import lines

    found = compare(a, b)
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(lines(found)))


@app.command()
def remeasure(
    rulebook: Book,
    id: Annotated[str, typer.Argument(help="Which recommendation.", metavar="ID")],
    prompts: Annotated[str | None, typer.Option(
        help="Text file, one prompt a line; else prompts that the study did not choose by."
    )] = None,
    count: Annotated[int, typer.Option(min=1, help="How many prompts.")] = 12,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure a recommendation on this machine: does what it states hold here?"""
    from ldmopt import remeasure as measure_again
    from ldmopt.display import progress, remeasured_lines

    with progress(console(stderr=True)) as report:
        found = measure_again(rulebook, id, prompts=prompts, count=count, device=device,
                              report=report)
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(remeasured_lines(found)))


@app.command()
def merge(
    a: Annotated[Path, typer.Argument(help="Its default and device stay.", metavar="A")],
    b: Annotated[Path, typer.Argument(help="Another one, of the same model and scorer.",
                                      metavar="B")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The rulebook.json to write.")],
    as_json: Json = False,
) -> None:
    """Make one rulebook of two, weighted by evidence; contradictions are shown."""
    from ldmopt import merge as join

    found = join(a, b)
    found.write(output)
    if as_json:
        print_json(found.data)
        return
    told = found.data["scope"]["merged"]["contradictions"]
    typer.echo("\n".join([*(f"CONTRADICTION: {line}" for line in told),
                          f"{output}: {len(found.data['recommendations'])} recommendations, "
                          f"{len(told)} contradictions"]))


@app.command()
def report(
    run: Run,
    out: Annotated[Path | None, typer.Option(
        help="HTML file to write; report.html in the run by default."
    )] = None,
    open_it: Annotated[bool, typer.Option(
        "--open", help="Open it in this machine's browser."
    )] = False,
    as_json: Json = False,
) -> None:
    """Write a run's report: one HTML file with all its pictures, that opens offline."""
    from ldmopt import report as write_report
    from ldmopt.display import share_bar

    with share_bar(console(stderr=True), "reading pictures") as progress:
        found = write_report(run, out, progress=progress)
    for line in found.missing:
        typer.echo(f"note: {line}", err=True)
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo(f"{found.file}: {found.pictures} pictures, {found.size / 1e6:.1f} MB")
    if open_it:
        import webbrowser

        webbrowser.open(found.file.resolve().as_uri())

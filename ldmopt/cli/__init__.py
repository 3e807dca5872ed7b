"""The command line: each command parses, calls one public function and prints."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ldmopt.cli import intake, rulebooks
from ldmopt.cli.shared import Device, Folder, Json, Run, app, console, print_json
from ldmopt.errors import UserError

__all__ = ["app", "intake", "main", "rulebooks"]

labels = typer.Typer(no_args_is_help=True, help="Bring human labels in and out.")
app.add_typer(labels, name="labels")


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="A study's TOML.", metavar="STUDY.toml")],
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="End after so many trials.")] = None,
    budget_seconds: Annotated[
        float | None, typer.Option(min=0.001, help="End after so many device seconds.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a study, or go on with one; ends with the rulebook written."""
    from ldmopt import run as run_study
    from ldmopt.display import progress, recommendations_table

    with progress(console(stderr=True)) as report:
        rulebook = run_study(study, out, trials=trials, budget_seconds=budget_seconds,
                             report=report)
    if as_json:
        print_json(rulebook.data)
        return
    screen = console()
    screen.print(recommendations_table(rulebook.data))
    folder = out or Path("runs") / rulebook.data["study"]
    screen.print(f"\nIn {folder}: rulebook.md, rulebook.json, sheet.png, front.png",
                  highlight=False, markup=False, soft_wrap=True)


@app.command()
def plan(
    study: Annotated[Path, typer.Argument(help="A study's TOML.", metavar="STUDY.toml")],
    probe: Annotated[bool, typer.Option(
        "--probe/--no-probe", help="Run the default briefly, to predict minutes and memory."
    )] = True,
    as_json: Json = False,
) -> None:
    """Say what a study would do, what it leaves out, and what it would take."""
    from ldmopt import plan as plan_study
    from ldmopt.display import plan_lines

    found = plan_study(study, probe=probe)
    if as_json:
        print_json(found)
        return
    for line in plan_lines(found):
        typer.echo(line)


@app.command()
def rulebook(
    run: Run,
    margin: Annotated[float | None, typer.Option(
        help="How much lower a win rate may be and still count as not worse; 0.05."
    )] = None,
    worth: Annotated[float | None, typer.Option(
        help="The gain in win rate from which a change is worth it; 0.02."
    )] = None,
    confidence: Annotated[float | None, typer.Option(
        help="Of intervals, and of all verdicts together; 0.95."
    )] = None,
    as_json: Json = False,
) -> None:
    """Distill a run's rulebook anew, with other constants than the study's [rulebook] if given."""
    from ldmopt import distill
    from ldmopt.display import recommendations_table

    found = distill(run, margin=margin, worth=worth, confidence=confidence)
    if as_json:
        print_json(found.data)
    else:
        console().print(recommendations_table(found.data))


@app.command()
def label(
    run: Run,
    host: Annotated[str, typer.Option(
        help="Address to listen on; any but loopback asks visitors for the token."
    )] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(
        min=0, max=65535, help="TCP port; the run's own by default, 0 for any free one."
    )] = None,
    token: Annotated[str | None, typer.Option(
        help="What visitors must know; made where it is needed and not given."
    )] = None,
    wanted: Annotated[int, typer.Option(min=1, help="Answers hoped for from each rater.")] = 100,
    browser: Annotated[bool, typer.Option(
        "--browser/--no-browser", help="Open the page in this machine's browser."
    )] = True,
) -> None:
    """Serve the page on which people say which pictures are better."""
    from ldmopt import label as serve

    serve(run, host=host, port=port, token=token, wanted=wanted, browser=browser,
          report=typer.echo)


@labels.command("import")
def labels_import(
    folder: Folder,
    file: Annotated[Path, typer.Argument(
        help="CSV with the columns picture,rater,rating or left,right,rater,preferred.",
        metavar="FILE.csv",
    )],
    as_json: Json = False,
) -> None:
    """Take labels from a CSV file: all of them, or none.

    A new folder becomes a collection: picture files (PNG, JPEG, WebP) that the CSV names by path
    are copied into it, and fit works on it as on a run.
    """
    from dataclasses import asdict

    from ldmopt import labels_import as take
    from ldmopt.display import imported_lines, share_bar

    with share_bar(console(stderr=True), "importing labels") as progress:
        found = take(folder, file, progress=progress)
    if as_json:
        print_json(asdict(found))
    else:
        typer.echo("\n".join(imported_lines(found)))


@labels.command("export")
def labels_export(
    folder: Folder,
    file: Annotated[Path, typer.Argument(help="CSV to write.", metavar="FILE.csv")],
    kind: Annotated[str | None, typer.Option(
        help="ratings (with keeps) or pairs; else FILE.csv and FILE.pairs.csv hold all."
    )] = None,
    as_json: Json = False,
) -> None:
    """Write the labels of a run or a collection to a CSV file."""
    from ldmopt import labels_export as give

    found = give(folder, file, kind)
    if as_json:
        print_json({str(path): rows for path, rows in found.items()})
    else:
        typer.echo("\n".join(f"{rows} labels in {path}" for path, rows in found.items()))


@app.command()
def fit(
    folder: Folder,
    encoder: Annotated[str | None, typer.Option(
        help="auto, statistics, miniature, or the folder or hub id of a CLIP."
    )] = None,
    laion: Annotated[str | None, typer.Option(
        help="File of an aesthetic head of LAION's on that CLIP, to compare with."
    )] = None,
    as_json: Json = False,
) -> None:
    """Learn the taste behind the labels, and say how well it is known."""
    from ldmopt import fit as fit_labels
    from ldmopt.display import fit_next, fit_report, share_bar

    with share_bar(console(stderr=True), "learning, and testing what was learned") as progress:
        found = fit_labels(folder, encoder=encoder, laion=laion, progress=progress)
    if as_json:
        print_json({"identity": dict(found.identity), "report": dict(found.report)})
        return
    screen = console()
    screen.print(fit_report(found.report))
    for line in fit_next(found.report, folder):
        screen.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def rescore(run: Run, as_json: Json = False) -> None:
    """Judge all of a run's pictures anew by its fitted regressor."""
    from ldmopt import rescore as judge_anew
    from ldmopt.display import recommendations_table

    found = judge_anew(run)
    if as_json:
        print_json(found.data)
    else:
        console().print(recommendations_table(found.data))


@app.command()
def lint(
    setting: Annotated[Path, typer.Argument(help="A setting as JSON.", metavar="SETTING.json")],
    model: Annotated[str, typer.Option(help="As in a study.")] = "miniature",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say what is illegal, ignored or harmful in a setting, ours or plain diffusers', and why."""
    from ldmopt import lint as check
    from ldmopt import read_setting
    from ldmopt.linting import report

    found = check(read_setting(setting), model=model, device=device)
    if as_json:
        print_json(found)
    else:
        typer.echo(report(found))
    if any(item["severity"] == "illegal" for item in found["findings"]):
        raise typer.Exit(1)


@app.command()
def doctor(
    model: Annotated[str, typer.Option(help="Whose knobs to check; as in a study.")] = "miniature",
    as_json: Json = False,
) -> None:
    """Say what this machine offers, what each knob could do on it, and how to mend the rest."""
    from ldmopt import doctor as examine
    from ldmopt.display import doctor_lines

    found = examine(model)
    if as_json:
        print_json(found)
        return
    for line in doctor_lines(found):
        typer.echo(line)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from ldmopt import __version__

        typer.echo(__version__)
        raise typer.Exit


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line: exit code 0 done, 1 user error, 2 wrong usage, 130 interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as ended:
        # typer turns an interrupt into this exit code without a word.
        if isinstance(ended, SystemExit) and ended.code != 130:
            raise
        print("interrupted; what was finished is kept: run the same command to go on",
              file=sys.stderr)
        sys.exit(130)

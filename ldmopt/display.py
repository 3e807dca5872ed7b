"""What people see while a study runs, and the tables that commands print."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ldmopt.contracts import Cost, Quality, Setting, Trial
from ldmopt.exports._sentences import ties
from ldmopt.exports._words import OF_THE_DEFAULT, differing, judged_columns, telling
from ldmopt.exports.taste_plots import whose
from ldmopt.exports.taste_report import figure_text, judge_name
from ldmopt.labels import Imported
from ldmopt.study.session import Report, State

if TYPE_CHECKING:
    from ldmopt.intake.importing import Intake

FRONT_ROWS = 8
RATER_ROWS = 12
SKIPPED_ROWS = 10


@contextmanager
def progress(console: Console) -> Iterator[Report]:
    """Show a study's progress: live on a terminal, a line a trial elsewhere."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        notes = _Notes(live.console)

        def show(state: State) -> None:
            notes(state)
            live.update(_panel(state))

        yield show


@contextmanager
def share_bar(console: Console, words: str) -> Iterator[Callable[[float], None]]:
    """Show how far something long has come, on a terminal only; the yielded is told 0 to 1."""
    bar = Progress(TextColumn(words), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
                   console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task(words, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def imported_lines(done: Imported) -> list[str]:
    """Return what an import of labels did, for people."""
    parts = [f"{done.added} added"]
    parts += [f"{count} {words}" for count, words in (
        (done.corrected, "of them corrections"), (done.unchanged, "unchanged"),
        (done.simulated, "by simulated raters"),
        (done.pictures, "picture files taken in"),
    ) if count]
    lines = [f"labels: {', '.join(parts)}"]
    if done.without_prompt:
        lines.append(
            f"{done.without_prompt} of the pictures have no prompt: they are compared with one"
            " another whatever they show, and held out one by one; a prompt column in the CSV says"
            " which belong together"
        )
    return lines


def intake_lines(done: Intake) -> Iterator[str]:
    """Yield what an import did, for people."""
    new = "nothing new" if not done.added else f"{done.added} new"
    failed = f", {done.failed} of them failed" if done.failed else ""
    yield (f"{done.run}: {done.observations} observations ({new}) of {done.settings} settings"
           f"{failed}")
    if done.pictures:
        labels = f"; {done.labels} ratings of them are labels" if done.labels else ""
        yield f"pictures: {done.pictures}{labels}"
    yield f"default: {words(done.default)} ({done.why_default})"
    yield f"judged by: {done.judged_by}"
    for line in done.notes:
        yield f"note: {line}"
    for file, reason in done.skipped[:SKIPPED_ROWS]:
        yield f"skipped: {file}: {reason}"
    if len(done.skipped) > SKIPPED_ROWS:
        yield f"skipped: and {len(done.skipped) - SKIPPED_ROWS} more (--json lists all)"
    yield ""


class _Notes:
    """Prints each note once, above whatever moves."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0

    def __call__(self, state: State) -> None:
        for line in state.notes[self._told :]:
            self._console.print(f"note: {line}", highlight=False, markup=False, soft_wrap=True)
        self._told = len(state.notes)


class _Lines:
    """Prints a line whenever a trial or a stage is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: tuple[object, ...] = ()
        self._front = ""
        self._notes = _Notes(console)

    def __call__(self, state: State) -> None:
        self._notes(state)
        key = (state.stage, state.trials, state.doing)
        if key == self._last:
            return
        self._last = key
        budget = f" of {state.budget_seconds:g}" if state.budget_seconds else ""
        self._line(f"{time.strftime('%H:%M:%S')} {state.stage:8s} "
                   f"{state.trials + state.raced:4d} trials {state.spent_seconds:7.1f}{budget} s  "
                   f"{state.doing}")
        front = front_line(state.front)
        if front and front != self._front:
            self._front = front
            self._line(f"{'':8s} front    {front}")

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _panel(state: State) -> Group:
    head = Text.assemble(
        (f"{state.stage}  ", "bold"), (state.doing, "dim"), overflow="ellipsis", no_wrap=True
    )
    counts = Text(counted(state))
    bar = Table.grid()
    bar.add_row(ProgressBar(total=1.0, completed=share(state), width=60))
    parts: list[Any] = [head, bar, counts]
    if state.front:
        parts.append(front_table(state.front, state.default))
    return Group(*parts)


def counted(state: State) -> str:
    """Return in words what was done, what is left of the budget, and what racing saved."""
    tried = state.trials + state.raced
    wanted = f" of {state.trials_wanted}" if state.trials_wanted else ""
    left = ("" if not state.budget_seconds else
            f" spent, {max(0.0, state.budget_seconds - state.spent_seconds):.0f} left")
    text = (f"{tried}{wanted} trials   {state.spent_seconds:.0f} device seconds{left}   "
            f"{state.pictures} pictures made")
    if state.raced:
        text += (f"\nracing dropped {state.raced} settings early: {state.saved_pictures} pictures, "
                 f"about {state.saved_seconds:.0f} device seconds saved")
    return text


def share(state: State) -> float:
    """Return how much of the budget is used, in [0, 1]."""
    shares = [0.0]
    if state.trials_wanted:
        shares.append((state.trials + state.raced) / state.trials_wanted)
    if state.budget_seconds:
        shares.append(state.spent_seconds / state.budget_seconds)
    return 1.0 if state.stage == "done" else min(1.0, max(shares))


def front_line(front: Sequence[Trial]) -> str:
    """Return the current front in a line, best first: win rates with the seconds they take."""
    shown = [f"{quality.win_rate:.2f} in {cost.latency_seconds:.3f} s"
             for quality, cost, _ in _ranked(front)]
    if len(shown) > FRONT_ROWS:
        shown = [*shown[: FRONT_ROWS - 2], "...", shown[-1]]
    return ", ".join(shown)


def front_table(front: Sequence[Trial], default: Trial | None) -> Table:
    """Return the current front as a table, best first."""
    table = Table("win rate", "seconds", "memory", "setting", box=None, pad_edge=False,
                  title="front so far (win rate against the default, unconfirmed)",
                  title_justify="left", title_style="dim")
    base = default.setting if default else {}
    for quality, cost, setting in _ranked(front)[:FRONT_ROWS]:
        table.add_row(f"{quality.win_rate:.2f}", f"{cost.latency_seconds:.3f}",
                      megabytes(cost.peak_memory_bytes),
                      escape(words(differing(setting, base))) or "the default")
    return table


def _ranked(front: Sequence[Trial]) -> list[tuple[Quality, Cost, Setting]]:
    """Return what a front's trials showed, best first, and of equally good ones the quickest."""
    known = [(trial.quality, trial.cost, trial.setting) for trial in front
             if trial.quality and trial.cost]
    return sorted(known, key=lambda row: (-row[0].win_rate, row[1].latency_seconds))


def words(setting: Mapping[str, Any]) -> str:
    """Return a setting as ``knob=value`` words."""
    return " ".join(f"{name}={value}" for name, value in setting.items())


def megabytes(count: int | float | None) -> str:
    """Return bytes as MB or GB (10^6, 10^9)."""
    if count is None:
        return "-"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def recommendations_table(data: Mapping[str, Any]) -> Table:
    """Return a rulebook's recommendations as a table, the default first."""
    default, judged = data["default"], judged_columns(data["recommendations"])
    told = [*(line.replace("**", "") for line in ties(data)),
            f"judged by {data['scope']['scorer']}"]
    table = Table("id", *judged, "seconds", "memory", "setting", box=None, pad_edge=False,
                  caption=escape("\n".join(told)), caption_style="dim", caption_justify="left")
    base = default["setting"]
    seconds = default["cost"].get("seconds")
    shown = telling(base, [item["setting"] for item in data["recommendations"]])
    plain = [OF_THE_DEFAULT[name] for name in judged]
    table.add_row("default", *plain, f"{seconds:.3f}" if seconds else "-",
                  megabytes(default["cost"].get("peak_memory_bytes")), escape(words(shown)),
                  style="dim")
    same: dict[str, list[dict[str, Any]]] = {}
    for item in data["recommendations"]:
        same.setdefault(str(item["setting"]), []).append(item)
    for items in same.values():
        item = items[0]
        quality, cost = item["quality"], item["cost"]
        changed = differing(item["setting"], base)
        table.add_row(
            "\n".join(item["id"] for item in items),
            *(escape(text(quality)) for text in judged.values()),
            "-" if cost["seconds"] is None else f"{cost['seconds']:.3f}",
            megabytes(cost["peak_memory_bytes"]),
            escape(words(changed)) or "the default",
        )
    return table


def plan_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what `plan` found, for people."""
    yield f"study {found['study']}: {found['model']} on {found['device']}"
    yield f"default: {words(found['default'])}"
    yield "searched:"
    for name, row in found["searched"].items():
        shown = row["values"]
        shown = shown if isinstance(shown, str) else ", ".join(map(str, shown))
        yield f"  {name} ({row['kind']} knob): {shown}"
    if found["dropped"]:
        yield "dropped:"
    for row in found["dropped"]:
        value = "" if row["value"] is None else f"={row['value']}"
        yield f"  {row['knob']}{value}: {row['reason']}"
    pictures = found["pictures"]
    yield (f"pictures: {pictures['per_trial']} a trial, {pictures['probe']} to test which "
           f"executions leave the picture alone, {pictures['held_out_per_recommendation']} held "
           "out for each recommendation")
    yield f"budget: {words(found['budget'])}" + (f", caps: {words(found['caps'])}"
                                                 if found["caps"] else "")
    if found["forecast"] is not None:
        yield from _forecast_lines(found["forecast"])


def _forecast_lines(found: Mapping[str, Any]) -> Iterator[str]:
    minutes = found["device_minutes"]
    parts = ", ".join(f"{name} {minutes[name]:.1f}"
                      for name in ("default", "probe", "search", "confirm"))
    yield (f"predicted: {minutes['total']:.1f} device minutes ({parts}), about {found['trials']} "
           f"trials; the default takes {found['default_seconds']:.3g} s a picture, a typical "
           f"proposal {found['typical_seconds']:.3g} s")
    if found["slower_than_cap"]:
        yield f"predicted: {found['slower_than_cap']:.0%} of the space is over the cap on seconds"
    for row in found["memory"]:
        verdict = {None: "", True: ", fits", False: ", CANNOT FIT the cap"}[row["fits"]]
        yield (f"predicted: size={row['size']} batch={row['batch']} takes "
               f"{megabytes(row['predicted_bytes'])} ({found['memory_kind']}){verdict}")
    yield f"({found['predicted']})"


def doctor_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what `doctor` found, for people."""
    facts = found["machine"]
    yield f"device: {facts['device']} ({facts['device_name']})"
    for gpu in found["gpus"] or ():
        yield (f"gpu: {gpu['name']}, {megabytes(gpu['free_bytes'])} of "
               f"{megabytes(gpu['total_bytes'])} free, {gpu['uuid']}")
    yield f"driver: {facts['driver'] or 'no NVIDIA driver'}"
    yield f"memory: {megabytes(facts['device_bytes'])}, {facts['system']}, " \
          f"Python {facts['python']}"
    yield f"memory meter: {found['memory_meter']['kind']}, {found['memory_meter']['how']}"
    yield "packages: " + ", ".join(f"{name} {one}" for name, one in facts["packages"].items())
    for row in found["folders"]:
        yield (f"{row['name']}: {row['path']}, {megabytes(row['free_bytes'])} free"
               f"{'' if row['writable'] else ', NOT WRITABLE'}")
    yield "knobs:"
    for name, values in found["knobs"].items():
        offered = [value for value, reason in values.items() if reason is None]
        yield f"  {name}: {', '.join(offered)}"
        yield from (f"    not {value}: {reason}" for value, reason in values.items() if reason)
    for row in found["missing"]:
        yield f"missing: {row['package']}, for {row['brings']}; install it with: {row['install']}"
    for row in found["problems"]:
        yield f"problem: {row['problem']}" + (f"; mend it with: {row['install']}"
                                              if row["install"] else "")
    if not found["problems"]:
        yield "no problem found"


def fit_report(report: Mapping[str, Any]) -> Group:
    """Return what `fit` found, as a table of judges, one of raters, and what follows."""
    found, labels = report["agreement"], report["labels"]
    about = Text(f"Learned from {whose(labels)} about {labels['pictures']} pictures"
                 + (f" of {labels['prompts']} prompts" if labels["prompts"] else "")
                 + f", on the encoder {report['encoder']}, on top of {report['prior']}.")
    judges = Table("held-out agreement", "accuracy", "Spearman", "Brier", box=None,
                   pad_edge=False)
    for name, row in found["judges"].items():
        brier = "-" if row["brier"] is None else f"{row['brier']:.3f}"
        judges.add_row(Text(judge_name(name)), Text(figure_text(row["accuracy"])),
                       Text(figure_text(row["spearman"])), brier,
                       style="bold" if name == "fitted" else "")
    raters = Table("rater", "labels", "prior + labels", "prior alone", "with themselves",
                   "with the others", box=None, pad_edge=False)
    for name, row in list(found["raters"].items())[:RATER_ROWS]:
        own = labels["by_rater"].get(name, {})
        count = sum(own.get(kind, 0) for kind in ("ratings", "pairs", "keeps"))
        cells = (row["judges"]["fitted"]["accuracy"], row["judges"]["prior"]["accuracy"],
                 row["themselves"], row["others"]["accuracy"])
        raters.add_row(Text(name), str(count), *(Text(figure_text(cell)) for cell in cells))
    lines = [Text(f"- {line}") for line in report["conclusions"]]
    more = len(found["raters"]) - RATER_ROWS
    if more > 0:
        raters.add_row(Text(f"and {more} more, in report.md"))
    return Group(about, Text(), judges, Text(), raters, Text(), *lines)


def fit_next(report: Mapping[str, Any], folder: Path) -> list[str]:
    """Return where `fit` left what it found, and what to do next."""
    files = [name for name in ("report.md", "learning.png", "reliability.png")
             if (folder / "regressor" / name).is_file()]
    lines = ["", f"In {folder / 'regressor'}: {', '.join(files)}"]
    gain = report["agreement"]["gain"]
    if gain["low"] is None or gain["low"] <= 0:
        lines.append("Next: label more, of more prompts, and fit again")
    if (folder / "study.toml").is_file():
        lines.append(f"Judge the run's pictures by it with: ldmopt rescore {folder}")
    else:
        lines.append(f'Let it judge a study with, in its TOML: [scorer] regressor = "{folder}"')
    return lines


def remeasured_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Say in lines what `remeasure` found."""
    from ldmopt.exports._words import bytes_text, seconds_text, setting_text, win_text

    quality, seconds, speed = found["quality"], found["seconds"], found["speed"]
    memory = found["peak_memory_bytes"]
    yield f"{found['id']}: {setting_text(found['setting'], found['default'])}"
    yield f"{found['verdict'].upper()}: {found['why']}"
    yield (f"win rate  stated {win_text(quality['stated'])}, here {win_text(quality['here'])} "
           f"on {found['prompts']} prompts: {found['which_prompts']}")
    yield (f"seconds   stated {seconds_text(seconds['stated'])}, here "
           f"{seconds_text(seconds['here']['seconds'])} [{seconds['here']['low']:.3g}, "
           f"{seconds['here']['high']:.3g}]{_times(seconds['ratio'])}")
    shown = [f"{value:.2f}" if value else "unknown" for value in speed.values()]
    yield f"speed     stated {shown[0]} times the default's, here {shown[1]}"
    yield (f"memory    stated {bytes_text(memory['stated'])}, here {bytes_text(memory['here'])}"
           f"{_times(memory['ratio'])}")
    for name in ("device", "scorer"):
        if found[name]["stated"] != found[name]["here"] and not found[name].get("same"):
            yield f"{name:9} stated {found[name]['stated']}, here {found[name]['here']}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f" ({ratio:.2f} times)"

"""What `ldmopt plan` says: what is searched, what was dropped and why, what it would take."""

import json

import pytest
from typer.testing import CliRunner

import ldmopt
from ldmopt import forecast
from ldmopt.cli import app
from ldmopt.contracts import Calls, Cost, Setting
from ldmopt.knob import Context, build_space
from ldmopt.model import describe
from ldmopt.study import records
from ldmopt.study.output import read_run

STUDY = """
name = "planned"
model = "standin"
device = "cpu"
prompts = {search = 4, confirm = 3}
seeds = 2
[default]
steps = 30
guidance = 6.0
[space]
steps = {low = 4, high = 30}
guidance = [1.0, 6.0]
size = ["48x48", "64x64", "96x96"]
precision = "all"
[caps]
memory_gb = 0.5
[budget]
trials = 10
[scorer]
encoder = "standin"
"""


@pytest.fixture
def study(tmp_path):
    def write(*changes):
        text = STUDY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "study.toml"
        path.write_text(text)
        return path

    return write


def cost(evaluations, *, guided=0.01, step=0.001, fixed=0.05, decode=0.02):
    """A picture whose seconds are made up of known parts."""
    seconds = fixed + decode + evaluations * (guided + step)
    return Cost(
        seconds, seconds,
        {"encode": fixed, "denoise": evaluations * (guided + step), "decode": decode,
         "other": 0.0},
        {"guided": Calls(evaluations, evaluations * guided),
         "step": Calls(evaluations, evaluations * step)},
    )


def test_the_form_gives_back_what_pictures_were_made_of():
    form = forecast.CostForm.fit([cost(2), cost(2), cost(6), cost(6)], 64 * 64)
    assert form.fixed_seconds == pytest.approx(0.05)
    assert form.decode_seconds == pytest.approx(0.02)
    assert form.call_seconds == pytest.approx({"guided": 0.01, "step": 0.001})
    assert form.seconds(64 * 64, 50, True, 50) == pytest.approx(cost(50).seconds)
    # Guidance off was not seen: half the network's time; twice the area: twice what has an area.
    assert form.seconds(64 * 64, 50, False, 50) == pytest.approx(0.07 + 50 * 0.006)
    assert form.seconds(64 * 128, 50, True, 50) == pytest.approx(0.05 + 0.04 + 50 * 0.021)


def test_guided_calls_are_twice_the_unguided_ones_that_were_seen():
    form = forecast.CostForm(0.0, 0.0, {"unguided": 0.004}, 100)
    assert form.seconds(100, 10, True, 10) == pytest.approx(0.08)


def test_calls_are_counted_from_the_samplers_own_timesteps():
    space = build_space({}, {}, Context(describe("miniature")))
    counter = forecast.Counter(space, guides=True)

    def count(**values):
        return counter.evaluations(space.canonical(values))

    assert count(sampler="euler", steps=10) == 10
    # Second order: 2N - 1; PNDM without Runge-Kutta steps: N + 1 (GOTCHAS 4).
    assert count(sampler="heun", steps=10) == count(sampler="kdpm2", steps=10) == 19
    assert count(sampler="pndm", steps=10) == 11
    assert count(sampler="heun", sigmas="karras", steps=7) == 13
    assert counter.guided(Setting(guidance=1.5)) and not counter.guided(Setting(guidance=1.0))
    assert not forecast.Counter(space, guides=False).guided(Setting(guidance=9.0))


def test_memory_is_a_line_through_two_readings():
    line = forecast.MemoryLine.through((1000, 5000), (4000, 11000))
    assert line.bytes(1000, 1) == 5000 and line.bytes(4000, 1) == 11000
    assert line.bytes(1000, 8) == 3000 + 2 * 8000
    # Noise that says less for more is no gain in memory.
    assert forecast.MemoryLine.through((1000, 5000), (4000, 4900)).bytes(8000, 1) == 4900


def test_without_a_probe_no_device_second_is_spent(study, monkeypatch):
    monkeypatch.setattr("ldmopt.preview.open_host", None)
    found = ldmopt.plan(study(), probe=False)
    assert found["forecast"] is None
    assert found["searched"]["steps"] == {
        "kind": "picture", "values": "4 to 30", "acts": True, "acts_with": {}}
    assert found["searched"]["precision"]["kind"] == "execution"
    assert found["searched"]["precision"]["values"] == ["fp32", "bf16"]
    [dropped] = found["dropped"]
    assert (dropped["knob"], dropped["value"]) == ("precision", "fp16")
    assert "CPU" in dropped["reason"]
    # One value besides the default's, on four blocks.
    assert found["pictures"] == {"default": 8, "probe": 4, "per_trial": 8,
                                 "held_out_per_recommendation": 6}


def test_a_knob_that_never_acts_is_named(study):
    found = ldmopt.plan(study(('precision = "all"', 'attention = ["sdpa", "eager"]'),
                              ("guidance = 6.0", 'guidance = 6.0\nbackend = "onnx"')), probe=False)
    assert not found["searched"]["attention"]["acts"]
    [dropped] = found["dropped"]
    assert dropped["value"] is None
    assert "acts only where backend is torch" in dropped["reason"]
    acting = ldmopt.plan(study(
        ('precision = "all"', 'attention = ["sdpa", "eager"]\nbackend = ["torch", "onnx"]')
    ), probe=False)
    assert acting["searched"]["attention"]["acts"] and not acting["dropped"]


def test_a_plan_predicts_the_trials_of_a_run(study, tmp_path):
    path = study()
    found = ldmopt.plan(path)["forecast"]
    ldmopt.run(path, tmp_path / "run")
    made = records.finished(read_run(tmp_path / "run")[2])
    assert len(made) == 1 + found["trials"] == 10  # the default is the first
    assert found["device_minutes"]["total"] == pytest.approx(
        sum(found["device_minutes"][name] for name in ("default", "probe", "search", "confirm")))


def test_a_budget_in_seconds_says_how_many_trials_fit(study):
    few = ldmopt.plan(study(("trials = 10", "device_seconds = 5")))["forecast"]
    many = ldmopt.plan(study(("trials = 10", "device_seconds = 500")))["forecast"]
    assert 0 <= few["trials"] < many["trials"]
    assert many["device_minutes"]["search"] * 60 < 500 * 1.2


def test_what_cannot_fit_the_cap_is_predicted(study, monkeypatch):
    readings = iter([(32 * 32, 300e6), (64 * 64, 350e6)])

    def memory(host, setting):
        pixels, peak = next(readings)
        assert forecast.pixels_of(setting) == pixels
        return Cost(1.0, 1.0, peak_memory_bytes=round(peak), memory_kind="rss")

    monkeypatch.setattr("ldmopt.child.host.ProcessHost.memory", memory)
    found = ldmopt.plan(study(("precision =", "batch = [1, 4]\nprecision =")))["forecast"]
    rows = {(row["size"], row["batch"]): row for row in found["memory"]}
    slope = 50e6 / (64 * 64 - 32 * 32)
    assert rows["64x64", 1]["predicted_bytes"] == 350_000_000
    assert rows["96x96", 4]["predicted_bytes"] == pytest.approx(
        350e6 + slope * (4 * 96 * 96 - 64 * 64), abs=1)
    assert {key for key, row in rows.items() if not row["fits"]} == {
        ("64x64", 4), ("96x96", 4)}
    assert [(row["size"], row["batch"]) for row in found["cannot_fit"]] == [
        ("64x64", 4), ("96x96", 4)]


def test_a_default_that_fails_is_named(study):
    path = study(("[default]", 'plugins = ["faults"]\n[default]\nfault = "nan"'))
    path.write_text(path.read_text().replace('plugins = ["faults"]\n[default]', "[default]")
                    .replace("seeds = 2", 'seeds = 2\nplugins = ["faults"]'))
    with pytest.raises(ldmopt.UserError, match="fault=nan.* gives no picture.*--no-probe"):
        ldmopt.plan(path)


def test_the_command_prints_lines_or_json(study):
    result = CliRunner().invoke(app, ["plan", str(study()), "--no-probe"])
    assert result.exit_code == 0
    assert "precision (execution knob): fp32, bf16" in result.stdout
    assert "precision=fp16: does not run on a CPU" in result.stdout
    result = CliRunner().invoke(app, ["plan", str(study())])
    assert "device minutes" in result.stdout and "fits" in result.stdout
    result = CliRunner().invoke(app, ["plan", str(study()), "--json"])
    assert json.loads(result.stdout)["forecast"]["device_minutes"]["total"] > 0


@pytest.mark.parametrize(("key", "words"), [
    ('encoder = "no-one/nothing"', "hf download no-one/nothing"),
    ('regressor = "gone"', "folder 'gone' does not exist"),
    ('alignment = "./gone"', "folder './gone' does not exist"),
])
def test_a_judge_that_is_not_there_is_told_before_any_device_second(study, key, words):
    with pytest.raises(ldmopt.UserError, match=words):
        ldmopt.plan(study(('encoder = "standin"', key)))

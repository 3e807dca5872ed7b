import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldmopt.contracts import Setting
from ldmopt.errors import UserError
from ldmopt.knob import Choice, Context, Number, Size, all_knobs, build_plan, build_space
from ldmopt.model import describe

CPU = Context(describe("standin"), "cpu", {})


def space(default=None, searched=None):
    return build_space(default or {}, searched or {}, CPU)


@pytest.mark.parametrize(
    ("default", "words"),
    [
        ({"sampler": "eulr"}, "did you mean 'euler'"),
        ({"steps": 0}, "between 1 and 1000, got 0"),
        ({"steps": 7.5}, "whole number, got 7.5"),
        ({"steps": "many"}, "whole number, got 'many'"),
        ({"steps": True}, "whole number, got True"),
        ({"guidance": float("nan")}, "a number, got nan"),
        ({"size": "65x64"}, "not divisible by 8"),
        ({"size": "big"}, "look like 512x512"),
        ({"stesp": 3}, "unknown knob 'stesp' (did you mean 'steps'?)"),
        ({"precision": "fp16"}, "does not run on a CPU"),
        ({"attention": "xformers"}, "needs a CUDA device"),
        ({"backend": "onnx"}, "needs onnxruntime"),
        ({"sampler": "DPM++ 2M Karras", "sigmas": "beta"}, "leave one out"),
    ],
)
def test_bad_default_is_one_line_that_says_what(default, words):
    with pytest.raises(UserError) as caught:
        space(default)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("searched", "words"),
    [
        ({"steps": {"low": 1}}, "a range has low, high"),
        ({"steps": {"low": 9, "high": 3}}, "swap them"),
        ({"steps": {"low": 1, "high": 9, "step": 2, "log": True}}, "both step and log"),
        ({"steps": {"low": 1, "high": 9, "step": 0.5}}, "whole number above 0"),
        ({"steps": "all"}, "'all' needs named values"),
        ({"sampler": []}, "empty list"),
        ({"sampler": {"low": 1, "high": 2}}, "named values, not a range"),
        ({"sampler": ["DPM++ 2M Karras"]}, "also means sigmas=karras"),
        ({"size": ["64x60"]}, "not divisible by 8"),
        ({"size": {"low": 1, "high": 2}}, "takes a list"),
        ({"colour": ["red"]}, "unknown knob"),
        ({"attention": ["sdpa", "xformers"]}, "needs a CUDA device"),
        ({"guidance": {"low": 0.0, "high": 5.0, "log": True}}, "log needs low above 0"),
    ],
)
def test_bad_space_is_one_line_that_says_what(searched, words):
    with pytest.raises(UserError) as caught:
        space(searched=searched)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_foreign_names_are_normalised():
    assert space({"sampler": "DPM++ 2M Karras"}).default["sigmas"] == "karras"
    assert space({"sampler": "Euler a"}).default["sampler"] == "euler_a"
    assert space({"sampler": "DPMSolverMultistepScheduler"}).default["sampler"] == "dpmpp_2m"
    assert space({"sampler": "dpm++ 2m sde exponential"}).default["sampler"] == "dpmpp_2m_sde"
    assert space({"size": 128}).default["size"] == "128x128"


def test_missing_knobs_take_the_models_own():
    assert space().default == Setting(
        sampler="pndm", steps=50, guidance=7.5, size="64x64", attention="sdpa", backend="torch",
        precision="fp32", batch=1, channels_last="off", compile="off", deepcache=1,
        guidance_end=1.0, offload="none", rescale=0.0, token_merging=0.0,
    )


def test_knobs_that_do_not_act_are_left_out():
    found = space().canonical({"sampler": "ddim", "sigmas": "karras"})
    assert "sigmas" not in found
    onnx = space().canonical({"backend": "onnx", "attention": "eager"})
    assert "attention" not in onnx


def test_all_means_every_value_that_works_here():
    domain = space(searched={"attention": "all"}).searched["attention"]
    assert domain == Choice(("sdpa", "eager", "sliced-auto", "sliced-max"))


def test_picture_and_execution_parts_are_disjoint_and_whole():
    it = space()
    picture, execution = it.picture(it.default), it.execution(it.default)
    assert {**picture, **execution} == dict(it.default)
    assert not set(picture) & set(execution)
    assert set(execution) == {
        "attention", "backend", "batch", "channels_last", "compile", "offload", "precision",
    }


def test_plan_is_written_by_stage():
    setting = Setting(steps=3, guidance=2.0, size="96x64", precision="bf16", sampler="lms")
    plan = build_plan(setting, all_knobs())
    assert plan.load == {"precision": "bf16"}
    assert plan.call == {"num_inference_steps": 3, "guidance_scale": 2.0, "width": 96,
                         "height": 64}
    assert len(plan.edits) == 1


def test_parts_that_an_engine_lacks_are_not_touched():
    plan = build_plan(Setting(sampler="lms", steps=3), all_knobs(), frozenset({"scheduler"}))
    assert not plan.edits
    assert plan.call == {"num_inference_steps": 3}


def test_every_knob_says_what_it_is():
    for name, item in all_knobs().items():
        assert item.help.endswith(".") and item.touches, name
        asks = any(part.startswith("call.") for part in item.touches)
        assert item.changes_picture or not asks, name


@given(st.integers(-5, 1200))
def test_whole_numbers_are_taken_within_bounds_only(number):
    domain = Number(1, 1000, whole=True)
    if 1 <= number <= 1000:
        assert domain.parse("steps", number) == domain.parse("steps", str(number)) == number
    else:
        with pytest.raises(UserError):
            domain.parse("steps", number)


@given(st.integers(1, 9000), st.integers(1, 9000))
def test_sizes_are_multiples_of_eight(width, height):
    text = f"{width}x{height}"
    if width % 8 == height % 8 == 0 and max(width, height) <= 8192:
        assert Size().parse("size", text) == text
    else:
        with pytest.raises(UserError):
            Size().parse("size", text)


def test_a_knob_says_under_which_searched_values_it_acts():
    here = Context(describe("standin"), packages={"onnxruntime": "1", "optimum-onnx": "1"})
    always = build_space({}, {"attention": "all"}, here)
    assert always.acting("attention") == {}
    sometimes = build_space({"backend": "onnx"}, {"attention": "all", "backend": "all"}, here)
    assert sometimes.acting("attention") == {"backend": "torch"}
    never = build_space({"backend": "onnx"}, {"attention": "all"}, here)
    assert never.acting("attention") is None


def test_peak_memory_is_told_by_what_runs_and_how_large():
    space = build_space({}, {}, Context(describe("standin")))
    base = space.default
    assert set(space.memory(base)) >= {"attention", "backend", "precision"}
    assert not {"steps", "sampler", "sigmas", "guidance", "size"} & set(space.memory(base))
    assert space.needs_memory_of(base, base.replace({"size": "96x96", "steps": 2}))
    assert not space.needs_memory_of(base, base.replace({"size": "48x64"}))
    assert not space.needs_memory_of(base, base.replace({"guidance": 1.0}))
    assert space.needs_memory_of(base.replace({"guidance": 1.0}), base)
    assert not space.needs_memory_of(base, base.replace({"precision": "bf16"}))


def test_knobs_that_nobody_searches_do_not_tell_pictures_apart():
    here = Context(describe("miniature"), packages={"onnxruntime": "1", "optimum-onnx": "1"})
    space = build_space({"sampler": "euler"}, {"backend": "all", "steps": [4, 8]}, here)
    torch = space.canonical({"backend": "torch", "steps": 8})
    onnx = space.canonical({"backend": "onnx", "steps": 8})
    assert space.picture(torch) != space.picture(onnx)  # deepcache acts under torch alone
    assert space.look(torch) == space.look(onnx) == Setting(steps=8)
    assert space.look(space.canonical({"eta": 0.5, "sampler": "ddim"}))["eta"] == 0.5

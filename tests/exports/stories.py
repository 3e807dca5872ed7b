"""Reports of simulated studies: every picture is painted from its digest, none by a model."""

import dataclasses

import numpy as np

from ldmopt.contracts import Setting
from ldmopt.distillation import candidates, distill
from ldmopt.exports.html import Story
from tests.distillation.simulate import SAMPLERS, Study, grid

NASTY = ('</script><script>document.title="taken"</script><img src=x onerror=alert(1)> '
         '{{ 7*7 }} "q\'&')


def paint(digest, block):
    """A picture whose colours come from its digest."""
    colours = np.frombuffer(bytes.fromhex(digest[:24]), np.uint8).reshape(2, 2, 3)
    return np.kron(colours, np.ones((20, 20, 1), np.uint8))


def nastily(item):
    """The same trial or confirmation, of prompts that try to be more than words."""
    if item.quality is None:
        return item
    blocks = tuple(dataclasses.replace(row, prompt=f"{row.prompt} {NASTY}")
                   for row in item.quality.blocks)
    return dataclasses.replace(item, quality=dataclasses.replace(item.quality, blocks=blocks))


def story(prompts=12, seeds=2, confirm=6, settings=None, read=paint, **changes):
    """A study of samplers, steps and guidance, distilled."""
    made = Study(prompts, seeds, np.random.default_rng(4))
    if settings is None:
        settings = grid(list(SAMPLERS), [4, 8, 30, 50], [1.0, 5.0, 12.0], ["sdpa", "eager"])
    failures = {settings[5]: "out-of-memory"} if len(settings) > 5 else {}
    chosen = candidates(made.evidence(settings, failures=failures), confirm) if settings else []
    evidence = made.evidence(settings, chosen, failures)
    evidence = dataclasses.replace(
        evidence, trials=tuple(map(nastily, evidence.trials)),
        confirmations={s: nastily(c) for s, c in evidence.confirmations.items()}, **changes)
    return Story(distill(evidence), evidence, read, study='name = "simulated"', run="simulated")


def of_front(told, rows, default=None):
    """The same story with another front, of made-up settings."""
    front = [
        {"setting": {"sampler": f"s{i}", "steps": 4}, "quality": {
            "win_rate": win, "low": win, "high": win, "scorer": {}, "human": None},
         "cost": {"seconds": seconds, "low": None, "high": None, "latency_seconds": latency,
                  "batch": 1, "peak_memory_bytes": memory, "memory_kind": "rss",
                  "source": "imported"}}
        for i, (win, seconds, latency, memory) in enumerate(rows)
    ]  # fmt: skip
    data = {**told.data, "front": front, "recommendations": [],
            "default": default or told.data["default"]}
    evidence = dataclasses.replace(told.evidence, trials=told.evidence.trials[:1], confirmations={
        Setting(told.data["default"]["setting"]): told.evidence.confirmations[told.default]})
    return dataclasses.replace(told, rulebook=type(told.rulebook).from_data(data),
                               evidence=evidence)

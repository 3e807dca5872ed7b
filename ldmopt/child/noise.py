"""The noise that a picture starts from: the same for every setting of one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

from ldmopt.model import STANDIN, Model


@contextmanager
def starting_noise(model: Model, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the arguments of a call that make its pictures start from these seeds, one each.

    The pipeline draws by itself, so latents have the shape and packing of its family, but while
    this holds every draw is made in single precision from a CPU generator of the picture's own,
    and only then cast. So the noise is the same for every device, precision and batch; letting a
    CPU generator draw half-precision numbers would give others. The same goes for what ancestral
    samplers add on their way.
    """
    if model.name == STANDIN:
        yield {"seed": list(seeds)}
        return
    import torch

    plain = torch.randn

    @wraps(plain)
    def drawn(*size: Any, dtype: Any = None, **more: Any) -> Any:
        return plain(*size, dtype=torch.float32, **more).to(dtype or torch.get_default_dtype())

    # The SDE sampler seeds its Brownian tree from the global generator.
    torch.manual_seed(seeds[0])
    torch.randn = drawn
    try:
        yield {"generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds]}
    finally:
        torch.randn = plain

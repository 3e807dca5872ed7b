"""Statistics of pictures that need no weights: colour, contrast, sharpness, spectrum, layout.

Everything local (gradients, noise, spectrum, blocks) is taken at the picture's own pixels, because
a decoder draws edges equally soft whatever the size; everything about the whole (repetition,
blobs, layout) is taken at a standard 64 x 64. Nothing tells the size itself.

Each group is a function from a batch `(n, height, width, 3)` in 0..1 to columns `(n, k)`, with
its names; `statistics` puts them together. Each names the source of what follows one; what names
none (quantiles, shares, ratios) is plain counting. Constants that keep a division or a logarithm
finite are ldmopt's own everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Pixels
from ldmopt.scorers.encoders import layout
from ldmopt.scorers.encoders.layout import STANDARD, Array, Columns

VERSION = 1
_EPS = 1e-6


def statistics(pictures: list[Pixels]) -> Array:
    """Return `(n, len(names()))` statistics of pictures of any sizes of at least 16 x 16.

    Args:
        pictures: height x width x 3, uint8, RGB.
    """
    result = np.zeros((len(pictures), len(names())), np.float32)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for index, pixels in enumerate(pictures):
        shapes.setdefault(pixels.shape, []).append(index)
    for rows in shapes.values():
        for start in range(0, len(rows), 64):
            part = rows[start : start + 64]
            batch = np.stack([pictures[index] for index in part]).astype(np.float32) / 255.0
            columns = _columns(batch)
            result[part] = np.stack(list(columns.values()), axis=1)
    return np.nan_to_num(result, posinf=50.0, neginf=-50.0)


def names() -> tuple[str, ...]:
    """Return the statistics' names in column order."""
    if not _NAMES:
        _NAMES.extend(_columns(np.zeros((1, STANDARD, STANDARD, 3), np.float32)))
    return tuple(_NAMES)


_NAMES: list[str] = []


def standard(pictures: list[Pixels]) -> Pixels:
    """Return `(n, 64, 64, 3)`: each picture at the standard size, averaged, not sampled."""
    from PIL import Image

    def resized(pixels: Pixels) -> Pixels:
        if pixels.shape[:2] == (STANDARD, STANDARD):
            return pixels
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(image.resize((STANDARD, STANDARD), Image.Resampling.BICUBIC))

    return np.stack([resized(pixels) for pixels in pictures])


def _columns(batch: Array) -> Columns:
    """Return every statistic by name, in a fixed order."""
    columns: Columns = {}
    luma = batch @ np.array([0.299, 0.587, 0.114], np.float32)
    for group in _GROUPS:
        columns.update(group(batch, luma))
    if batch.shape[1:3] != (STANDARD, STANDARD):
        whole = standard(list((batch * 255 + 0.5).astype(np.uint8))).astype(np.float32) / 255.0
        batch, luma = whole, whole @ np.array([0.299, 0.587, 0.114], np.float32)
    for group in _LAYOUT_GROUPS:
        columns.update(group(batch, luma))
    return columns


def _tone(batch: Array, luma: Array) -> Columns:
    """Contrast and clipping: quantiles and deviation of luma, share of channels at the ends.

    Luma is that of ITU-R BT.601, of the encoded values. The deviation is RMS contrast (Peli 1990,
    Journal of the Optical Society of America A 7).
    """
    count = len(luma)
    flat = luma.reshape(count, -1)
    marks = (1, 10, 25, 50, 75, 90, 99)
    ranks = np.sort(flat, axis=1)
    columns: Columns = {
        f"tone_q{mark}": ranks[:, (ranks.shape[1] - 1) * mark // 100] for mark in marks
    }
    columns["tone_std"] = flat.std(axis=1)
    values = batch.reshape(count, -1)
    columns["clip_low"] = (values < 0.012).mean(axis=1)
    columns["clip_high"] = (values > 0.988).mean(axis=1)
    columns["near_low"] = (values < 0.06).mean(axis=1)
    columns["near_high"] = (values > 0.94).mean(axis=1)
    return columns


def _colour(batch: Array, luma: Array) -> Columns:
    """Saturation and colourfulness, opponent axes, palette.

    ``colourfulness`` is M3 of Hasler and Suesstrunk (2003, "Measuring colourfulness in natural
    images"), on their axes red - green and (red + green) / 2 - blue; means and deviations of these
    axes are given too. Chroma and saturation are those of HSV (Smith 1978, "Color gamut transform
    pairs"); mean saturation is feature 3 of Datta et al. (2006, "Studying aesthetics in
    photographic images using a computational approach").
    """
    count = len(batch)
    flat = batch.reshape(count, -1, 3)
    top, bottom = flat.max(axis=2), flat.min(axis=2)
    chroma = top - bottom
    saturation = chroma / (top + 0.05)
    ranks = np.sort(chroma, axis=1)
    length = ranks.shape[1] - 1
    red_green = flat[..., 0] - flat[..., 1]
    yellow_blue = 0.5 * (flat[..., 0] + flat[..., 1]) - flat[..., 2]
    spread = np.hypot(red_green.std(axis=1), yellow_blue.std(axis=1))
    centre = np.hypot(red_green.mean(axis=1), yellow_blue.mean(axis=1))
    columns: Columns = {
        "chroma_mean": chroma.mean(axis=1),
        "chroma_std": chroma.std(axis=1),
        "chroma_q50": ranks[:, length // 2],
        "chroma_q95": ranks[:, length * 95 // 100],
        "chroma_q99": ranks[:, length * 99 // 100],
        "saturation_mean": saturation.mean(axis=1),
        "saturation_std": saturation.std(axis=1),
        "colourfulness": spread + 0.3 * centre,
        "red_green": red_green.mean(axis=1),
        "yellow_blue": yellow_blue.mean(axis=1),
        "red_green_std": red_green.std(axis=1),
        "yellow_blue_std": yellow_blue.std(axis=1),
    }
    columns.update(_palette(flat))
    return columns


def _palette(flat: Array) -> Columns:
    """How many colours carry the picture: entropy of a 6-level palette, share of the top few.

    ``level_gaps`` and ``level_peak`` look for the empty and the crowded levels that stretched or
    squeezed contrast leaves in a histogram (Stamm and Liu 2010, IEEE Transactions on Information
    Forensics and Security 5), by simple counts instead of their spectral test.
    """
    count, pixels = flat.shape[:2]
    levels = np.minimum((flat * 6).astype(np.int64), 5)
    codes = (levels[..., 0] * 36 + levels[..., 1] * 6 + levels[..., 2]) + (
        216 * np.arange(count)[:, None]
    )
    histogram = np.bincount(codes.ravel(), minlength=216 * count).reshape(count, 216) / pixels
    ranks = -np.sort(-histogram, axis=1)
    bins = (flat[..., 1] * 127).astype(np.int64) + 128 * np.arange(count)[:, None]
    green = np.bincount(bins.ravel(), minlength=128 * count).reshape(count, 128) / pixels
    used = np.cumsum(green, axis=1)
    inside = (used > 0.02) & (used < 0.98)
    return {
        "palette_entropy": -(histogram * np.log(histogram + 1e-9)).sum(axis=1),
        "palette_top1": ranks[:, 0],
        "palette_top4": ranks[:, :4].sum(axis=1),
        "palette_top12": ranks[:, :12].sum(axis=1),
        "level_gaps": ((green < 0.5 / pixels) & inside).sum(axis=1) / (inside.sum(axis=1) + 1),
        "level_peak": green.max(axis=1),
    }


def _edges(batch: Array, luma: Array) -> Columns:
    """Sharpness: strength, sparsity, flat share and direction of gradients, of luma and chroma.

    Mean gradients are a measure of focus (compared with others by Pertuz, Puig and Garcia 2013,
    Pattern Recognition 46); here they are plain differences of neighbours.
    """
    columns: Columns = {}
    opponent = batch[..., 0] - 0.5 * (batch[..., 1] + batch[..., 2])
    for name, plane in (("luma", luma), ("chroma", opponent)):
        dx = plane[:, :-1, 1:] - plane[:, :-1, :-1]
        dy = plane[:, 1:, :-1] - plane[:, :-1, :-1]
        size = np.sqrt(dx * dx + dy * dy).reshape(len(luma), -1)
        ranks = np.sort(size, axis=1)
        length = ranks.shape[1] - 1
        mean = size.mean(axis=1)
        columns[f"{name}_gradient"] = mean
        columns[f"{name}_sparsity"] = size.std(axis=1) / (mean + 1e-3)
        for mark in (25, 50, 75, 90, 97):
            columns[f"{name}_gradient_q{mark}"] = ranks[:, length * mark // 100]
        columns[f"{name}_flat"] = (size < 0.01).mean(axis=1)
        columns[f"{name}_coherence"] = _coherence(dx, dy)
        columns[f"{name}_anisotropy"] = np.log(
            (np.abs(dx).mean(axis=(1, 2)) + 1e-3) / (np.abs(dy).mean(axis=(1, 2)) + 1e-3)
        )
    return columns


def _coherence(dx: Array, dy: Array) -> NDArray[Any]:
    """Energy-weighted coherence of the structure tensor over 4 x 4 windows.

    Bigun and Granlund (1987), "Optimal orientation detection of linear symmetry".
    """
    xx, yy, xy = layout.pooled(dx * dx, 4), layout.pooled(dy * dy, 4), layout.pooled(dx * dy, 4)
    energy = xx + yy
    length = np.sqrt((xx - yy) ** 2 + 4 * xy * xy)
    return np.asarray(length.sum(axis=(1, 2)) / (energy.sum(axis=(1, 2)) + _EPS))


def _noise(batch: Array, luma: Array) -> Columns:
    """Noise of luma and chroma, and how little of it there is where the picture is flattest.

    The mean is that of Immerkaer's mask (1996, "Fast noise variance estimation"), unscaled; the
    quantiles are of its means over 4 x 4 windows.
    """
    columns: Columns = {}
    planes = {
        "luma": luma,
        "red": batch[..., 0] - luma,
        "blue": batch[..., 2] - luma,
    }
    for name, plane in planes.items():
        rows = plane[:, :-2] - 2 * plane[:, 1:-1] + plane[:, 2:]
        both = np.abs(rows[..., :-2] - 2 * rows[..., 1:-1] + rows[..., 2:])
        columns[f"noise_{name}"] = np.log(both.mean(axis=(1, 2)) + 1e-3)
        blocks = np.sort(layout.pooled(both, 4).reshape(len(luma), -1), axis=1)
        length = blocks.shape[1] - 1
        for mark in (10, 30, 50, 80):
            value = np.log(blocks[:, length * mark // 100] + 1e-3)
            columns[f"noise_{name}_q{mark}"] = value
    return columns


def _normalised(batch: Array, luma: Array) -> Columns:
    """Contrast-normalised luma and the products of its neighbours.

    The coefficients of BRISQUE (Mittal, Moorthy and Bovik 2012), in windows of 5 x 5 equal weights
    instead of a Gaussian, described by moments instead of fitted distributions.
    """
    mean = _box(luma)
    deviation = np.sqrt(np.maximum(_box(luma * luma) - mean * mean, 0.0))
    inner = luma[:, 2:-2, 2:-2]
    field = (inner - mean) / (deviation + 0.02)
    columns: Columns = {
        "mscn_std": field.std(axis=(1, 2)),
        "mscn_abs": np.abs(field).mean(axis=(1, 2)),
        "mscn_kurtosis": np.log((field**4).mean(axis=(1, 2)) + 0.1),
        "local_deviation": deviation.mean(axis=(1, 2)),
        "local_sparsity": deviation.std(axis=(1, 2)) / (deviation.mean(axis=(1, 2)) + 1e-3),
    }
    steps = {"h1": (0, 1), "v1": (1, 0), "d1": (1, 1), "h2": (0, 2), "v2": (2, 0), "h4": (0, 4)}
    for name, (down, right) in steps.items():
        moved = field[:, down:, right:]
        still = field[:, : field.shape[1] - down, : field.shape[2] - right]
        columns[f"mscn_{name}"] = (moved * still).mean(axis=(1, 2))
    return columns


def _box(plane: Array) -> Array:
    """Mean over 5 x 5 windows; the border of 2 is left out."""
    total = np.cumsum(np.pad(plane, ((0, 0), (1, 0), (0, 0))), axis=1)
    rows = total[:, 5:] - total[:, :-5]
    total = np.cumsum(np.pad(rows, ((0, 0), (0, 0), (1, 0))), axis=2)
    return np.asarray((total[:, :, 5:] - total[:, :, :-5]) / 25.0, np.float32)


def _spectrum(batch: Array, luma: Array) -> Columns:
    """Power by distance from zero frequency (in shares of Nyquist), its slope and bend.

    Natural pictures fall off along a line in logarithms (Field 1987, "Relations between the
    statistics of natural images and the response properties of cortical cells").
    """
    columns: Columns = {}
    height, width = luma.shape[1:]
    window = (np.hanning(height)[:, None] * np.hanning(width)[None]).astype(np.float32)
    across = np.abs(np.fft.fftfreq(height))[:, None] * 2
    along = np.fft.rfftfreq(width)[None] * 2
    radius = np.hypot(across, along)
    edges = (0.05, 0.11, 0.18, 0.28, 0.42, 0.6, 0.8, 1.0)
    opponent = batch[..., 0] - batch[..., 2]
    for name, plane in (("luma", luma), ("chroma", opponent)):
        centred = plane - plane.mean(axis=(1, 2), keepdims=True)
        power = np.abs(np.fft.rfft2(centred * window)) ** 2
        bands = []
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            ring = power[:, (radius >= low) & (radius < high)]
            mean = ring.sum(axis=1) / max(1, ring.shape[1]) / window.size
            bands.append(np.log(mean + 1e-6))
        table = np.stack(bands, axis=1)
        place = np.log(np.array(edges[:-1]) + 0.05)
        place = (place - place.mean()) / place.std()
        slope = (table * place).mean(axis=1)
        residual = table - table.mean(axis=1, keepdims=True) - slope[:, None] * place
        columns[f"spectrum_{name}_slope"] = slope
        columns[f"spectrum_{name}_bend"] = np.abs(residual).mean(axis=1)
        for index in range(len(bands)):
            columns[f"spectrum_{name}_{index}"] = table[:, index]
        for index in range(1, len(bands)):
            columns[f"spectrum_{name}_step{index}"] = table[:, index] - table[:, index - 1]
    return columns


def _blocks(batch: Array, luma: Array) -> Columns:
    """Grids: steps at every 2nd, 4th or 8th pixel against the others; deviation of 8 x 8 blocks.

    Steps at block borders against those within are the blockiness of Wang, Sheikh and Bovik (2002,
    "No-reference perceptual quality assessment of JPEG compressed images"), here as a ratio and at
    the worst phase; finer grids are a decoder's (Odena, Dumoulin and Olah 2016, "Deconvolution and
    checkerboard artifacts").
    """
    columns: Columns = {}
    dx = np.abs(np.diff(luma, axis=2)).mean(axis=1)
    dy = np.abs(np.diff(luma, axis=1)).mean(axis=2)
    for side in (2, 4, 8):
        for name, line in (("h", dx), ("v", dy)):
            phase = np.stack([line[:, start::side].mean(axis=1) for start in range(side)], axis=1)
            peak = phase.max(axis=1)
            rest = (phase.sum(axis=1) - peak) / (side - 1)
            columns[f"grid{side}_{name}"] = np.log((peak + 1e-3) / (rest + 1e-3))
    mean = layout.pooled(luma, 8)
    spread = np.sqrt(np.maximum(layout.pooled(luma * luma, 8) - mean * mean, 0)).reshape(
        len(luma), -1
    )
    ranks = np.sort(spread, axis=1)
    length = ranks.shape[1] - 1
    for mark in (5, 25, 50, 75, 95):
        columns[f"block_q{mark}"] = ranks[:, length * mark // 100]
    columns["block_sparsity"] = spread.std(axis=1) / (spread.mean(axis=1) + 1e-3)
    return columns


_Group: TypeAlias = Callable[[Array, Array], Columns]
_GROUPS: tuple[_Group, ...] = (
    _tone, _colour, _edges, _noise, _normalised, _spectrum, _blocks,
)  # fmt: skip
_LAYOUT_GROUPS: tuple[_Group, ...] = (
    layout.repetition, layout.blobs, layout.pyramid, layout.bands,
)  # fmt: skip

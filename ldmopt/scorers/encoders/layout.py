"""Statistics of the whole picture at the standard 64 x 64: repetition, blobs, scales, bands.

Each function takes a batch `(n, 64, 64, 3)` in 0..1 with its luma and returns named columns.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
Columns: TypeAlias = dict[str, NDArray[Any]]
STANDARD = 64
_EPS = 1e-6


def pooled(plane: Array, side: int) -> Array:
    """Average over `side x side` blocks; an incomplete last block is left out."""
    count, height, width = plane.shape
    height, width = height // side * side, width // side * side
    cut = plane[:, :height, :width]
    shape = (count, height // side, side, width // side, side)
    return np.asarray(cut.reshape(shape).mean(axis=(2, 4)), np.float32)


def repetition(batch: Array, luma: Array) -> Columns:
    """Doubled things: autocorrelation away from zero, halves against each other and mirrored.

    The autocorrelation is the inverse transform of the power spectrum (Wiener-Khinchin), padded so
    that it does not wrap around.
    """
    columns: Columns = {}
    count = len(luma)
    detail = luma - _blurred(luma, 9)
    padded = np.fft.rfft2(detail, s=(128, 128))
    correlation = np.fft.irfft2(np.abs(padded) ** 2, s=(128, 128))[:, :64]
    energy = correlation[:, :1, :1] + _EPS
    correlation = correlation / energy
    for name, area in {
        "across": correlation[:, :4, 16:48],
        "down": correlation[:, 16:48, :4],
        "diagonal": correlation[:, 12:48, 12:48],
        "far": correlation[:, :6, 24:40],
    }.items():
        columns[f"repeat_{name}"] = area.reshape(count, -1).max(axis=1)
    for name, plane in (("luma", luma), ("detail", detail)):
        columns[f"halves_{name}_h"] = _agreement(plane[:, :, :32], plane[:, :, 32:])
        columns[f"halves_{name}_v"] = _agreement(plane[:, :32], plane[:, 32:])
        columns[f"mirror_{name}"] = _agreement(plane[:, :, :32], plane[:, :, :31:-1])
    return columns


def _agreement(left: Array, right: Array) -> NDArray[Any]:
    """Pearson correlation of two parts, picture by picture."""
    first, second = (part.reshape(len(part), -1) for part in (left, right))
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    norm = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.asarray((first * second).sum(axis=1) / (norm + 1e-3))


def _blurred(plane: Array, side: int) -> Array:
    """Box mean of odd width, edges repeated, same shape."""
    half = side // 2
    result = plane
    for axis in (1, 2):
        widths = [(0, 0)] * 3
        widths[axis] = (half + 1, half)
        total = np.cumsum(np.pad(result, widths, mode="edge"), axis=axis)
        low = np.take(total, range(result.shape[axis]), axis=axis)
        high = np.take(total, range(side, side + result.shape[axis]), axis=axis)
        result = np.asarray((high - low) / side, np.float32)
    return result


def blobs(batch: Array, luma: Array) -> Columns:
    """Round bright things in the upper part (suns, moons): the strongest and the runners-up.

    Boxes against the larger boxes around them, as in CenSurE (Agrawal, Konolige and Blas 2008).
    """
    columns: Columns = {}
    warm = np.maximum(batch[..., 0], batch[..., 1])
    for name, plane in (("bright", luma), ("warm", warm)):
        for side in (5, 9):
            response = (_blurred(plane, side) - _blurred(plane, 3 * side))[:, :44]
            peaks = _peaks(response, 3, side + 4)
            for index in range(3):
                columns[f"blob_{name}_{side}_{index}"] = peaks[:, index]
            columns[f"blob_{name}_{side}_ratio"] = peaks[:, 1] / (peaks[:, 0] + 0.02)
    return columns


def _peaks(response: Array, wanted: int, apart: int) -> NDArray[Any]:
    """Return the `wanted` highest values that are at least `apart` pixels from each other."""
    response = response.copy()
    count, height, width = response.shape
    rows, columns = np.arange(height)[None, :, None], np.arange(width)[None, None, :]
    found = []
    for _ in range(wanted):
        place = response.reshape(count, -1).argmax(axis=1)
        y, x = place // width, place % width
        found.append(response[np.arange(count), y, x].copy())
        near = (np.abs(rows - y[:, None, None]) < apart) & (
            np.abs(columns - x[:, None, None]) < apart
        )
        response[near] = -1.0
    return np.stack(found, axis=1)


def pyramid(batch: Array, luma: Array) -> Columns:
    """Detail by scale at the standard size: what is lost by halving it, level by level.

    Mean and sparsity of the detail of a Haar pyramid (Mallat 1989); Datta et al. (2006) measure
    texture likewise, with Daubechies' wavelets.
    """
    columns: Columns = {}
    plane = luma
    for level in range(4):
        coarse = pooled(plane, 2)
        detail = np.abs(plane - coarse.repeat(2, axis=1).repeat(2, axis=2))
        mean = detail.mean(axis=(1, 2))
        columns[f"detail_{level}"] = np.log(mean + 1e-3)
        columns[f"detail_{level}_sparsity"] = detail.std(axis=(1, 2)) / (mean + 1e-3)
        plane = coarse
    return columns


def bands(batch: Array, luma: Array) -> Columns:
    """Where light and colour lie: means of a 4 x 4 grid, horizon strength, centre of detail."""
    columns: Columns = {}
    grid = batch.reshape(len(batch), 4, 16, 4, 16, 3).mean(axis=(2, 4))
    light = grid.mean(axis=3)
    for row in range(4):
        columns[f"layout_light_{row}"] = light[:, row].mean(axis=1)
        columns[f"layout_red_{row}"] = (grid[:, row, :, 0] - light[:, row]).mean(axis=1)
        columns[f"layout_blue_{row}"] = (grid[:, row, :, 2] - light[:, row]).mean(axis=1)
        columns[f"layout_spread_{row}"] = light[:, row].std(axis=1)
    lines = luma.mean(axis=2)
    columns["horizon"] = np.abs(lines[:, 3:] - lines[:, :-3]).max(axis=1)
    energy = np.abs(luma - _blurred(luma, 5)).mean(axis=2)
    share = energy / (energy.sum(axis=1, keepdims=True) + _EPS)
    columns["detail_height"] = share @ np.linspace(0, 1, STANDARD, dtype=np.float32)
    columns["detail_top"] = share[:, :20].sum(axis=1)
    return columns

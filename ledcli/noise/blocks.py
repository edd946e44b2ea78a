"""Measurements of a photo in blocks of 8 x 8 plane pixels: brightness, noise, structure, spectrum.

Where a photo is smooth, neighbours differ by noise only. A mask that ignores slopes leaves it.
"""

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.sensor.layout import layout_of

BLOCK = 8
"""Side of a block, plane pixels."""
MASK_GAIN = 36.0
"""Sum of squares of the mask [1 -2 1]' [1 -2 1], and of [1 -2 1]' [1 2 1]: the factor by which
they raise the variance."""
SATURATED = 0.9
"""Blocks that touch this value are left out: clipping looks like silence. Some photosites are full
before the white level: those of a Canon D30 at 0.93."""
MAX_BLACK_CLIP = 0.02
"""If more of a plane than this share lies at its lowest value, the camera clipped at black."""
MIN_USABLE = 0.05
"""Share of usable blocks below which a frame clipped at black is measured by what is left of its
noise above black."""
MAX_CLIPPED = 0.98
"""If more of a dark frame is clipped, it does not tell its noise."""
STRIP = 2
"""Rows of blocks that are measured at a time: they stay in the processor's cache."""
MAX_SPECTRA = 4000
"""Blocks whose spectra are averaged, drawn at random from more."""
_CYCLES = np.minimum(np.arange(BLOCK), BLOCK - np.arange(BLOCK))
_SQUARES = _CYCLES[:, None] ** 2 + _CYCLES**2
MIN_VARIANCE = 1e-12

Floats = NDArray[np.float64]
Planes = NDArray[np.float32]
"""Of one or more planes, normalised: black is 0, white 1."""


class Blocks(NamedTuple):
    """Measurements of every block of every plane, ``(planes, blocks)``."""

    mean: Floats
    neighbours: Floats
    """Mean of the four blocks beside it: nearly its brightness, but none of its noise."""
    noise: Floats
    """Variance of what slopes do not explain; fine structure adds to it."""
    structure: Floats
    """Sum of the variances of detail along the rows and down the columns."""
    usable: NDArray[np.bool_]


def measure_blocks(planes: Planes) -> Blocks:
    """Measure the blocks inside a border of one pixel, which the masks need."""
    rows, cols = (max((n - 2) // BLOCK, 0) for n in planes.shape[1:])
    mean, noise, structure = np.zeros((3, len(planes), rows, cols))
    usable = np.zeros(mean.shape, np.bool_)
    for index, plane in enumerate(planes):
        lowest = plane.min()
        clipped = _clips_at_black(plane, lowest)
        for top in range(0, rows, STRIP):
            here = slice(top, min(top + STRIP, rows))
            # One pixel more on every side, for the masks.
            strip = plane[BLOCK * here.start : BLOCK * here.stop + 2, : BLOCK * cols + 2]
            inner = in_blocks(strip[1:-1, 1:-1])
            mean[index, here] = _block_means(strip[1:-1, 1:-1])
            noise[index, here], structure[index, here] = _noise_and_structure(strip)
            below = inner.max() < SATURATED
            usable[index, here] = below or inner.max(1).max(2) < SATURATED
            if clipped:
                usable[index, here] &= inner.min(1).min(2) > lowest
    neighbours = mean
    if mean.size:
        edged = np.pad(mean, ((0, 0), (1, 1), (1, 1)), "edge")
        neighbours = edged[:, 1:-1, 2:] + edged[:, 1:-1, :-2]
        neighbours = (neighbours + edged[:, 2:, 1:-1] + edged[:, :-2, 1:-1]) / 4
    parts = (mean, neighbours, noise, structure, usable)
    return Blocks(*(part.reshape(len(planes), -1) for part in parts))


def measure(planes: Planes) -> tuple[Planes, "Blocks"]:
    """Measure the planes that tell the noise best; returns them and their blocks."""
    regular = list(layout_of(len(planes)).regular)
    chosen = planes[regular] if len(regular) < len(planes) else planes
    blocks = measure_blocks(chosen)
    if too_few(blocks, chosen) and chosen is not planes:
        # The greens are saturated, or black.
        return planes, measure_blocks(planes)
    return chosen, blocks


def too_few(blocks: Blocks, planes: Planes) -> bool:
    """Return True if most of a photo is clipped."""
    return bool(blocks.usable.sum() < MIN_USABLE * planes.size / BLOCK**2)


def _noise_and_structure(strip: Planes) -> tuple[Floats, Floats]:
    """Noise and structure of a strip with a border of one pixel; white noise gives 1 and 2."""
    ends, middle = strip[:, 2:] + strip[:, :-2], 2 * strip[:, 1:-1]
    detail = ends - middle
    smooth = np.add(ends, middle, out=middle)
    down_columns = np.add(smooth[2:], smooth[:-2], out=ends[2:])
    down_columns -= np.multiply(smooth[1:-1], 2, out=smooth[1:-1])
    middle = np.multiply(detail[1:-1], 2, out=smooth[1:-1])
    ends = detail[2:] + detail[:-2]
    both = np.subtract(ends, middle, out=detail[1:-1])
    along_rows = np.add(ends, middle, out=ends)
    np.square(both, out=both)
    np.square(along_rows, out=along_rows)
    along_rows += np.square(down_columns, out=down_columns)
    return _block_means(both) / MASK_GAIN, _block_means(along_rows) / MASK_GAIN


def second_difference(plane: Planes) -> Planes:
    """Return what slopes do not explain of a plane ``(h, w)``, as ``(h - 2, w - 2)``.

    White noise keeps its variance; what a row or a column has in common is cancelled.
    """
    rows = plane[:, 2:] + plane[:, :-2]
    rows -= 2 * plane[:, 1:-1]
    both: Planes = rows[2:] + rows[:-2]
    both -= 2 * rows[1:-1]
    both /= np.float32(MASK_GAIN**0.5)
    return both


def in_blocks(values: NDArray[Any], side: int = BLOCK) -> NDArray[Any]:
    """View ``(h, w)`` as ``(h / side, side, w / side, side)``; what fills no block is left out."""
    rows, cols = (n // side for n in values.shape)
    return values[: rows * side, : cols * side].reshape(rows, side, cols, side)


def _block_means(values: NDArray[Any]) -> Floats:
    # Down the columns first: they lie beside each other in memory.
    return in_blocks(values).sum(1, np.float32).sum(2, np.float64) / BLOCK**2


def _clips_at_black(plane: Planes, lowest: np.float32) -> bool:
    clipped = np.count_nonzero(plane <= lowest)
    return bool(lowest < SATURATED and clipped > MAX_BLACK_CLIP * plane.size)


def variance_clipped_at_black(planes: Planes, blocks: Blocks) -> float | None:
    """Read variance of a dark frame that is clipped at or above black; None if most is not.

    Of noise ``n`` only ``max(n - z s, 0)`` is left, with ``s`` its deviation. The share of clipped
    pixels tells ``z``, and the second moment of the rest over ``(1 + z^2)(1 - P(z)) - z p(z)``, of
    the normal distribution, is ``s^2``. The darkest quarter of the blocks stands for black.
    """
    moments, shares = [], []
    for plane in planes if too_few(blocks, planes) else ():
        lowest = plane.min()
        if _clips_at_black(plane, lowest):
            above = in_blocks(plane - lowest)
            moments.append(np.mean(above**2, (1, 3), np.float64).ravel())
            shares.append(np.mean(above <= 0, (1, 3)).ravel())
    if not moments or not (moment := np.concatenate(moments)).size:
        return None
    darkest = np.argsort(moment)[: max(1, len(moment) // 4)]
    share = float(np.concatenate(shares)[darkest].mean())
    if share > MAX_CLIPPED:
        return MIN_VARIANCE
    normal = NormalDist()
    z = normal.inv_cdf(max(share, 0.5))
    left = (1 + z * z) * (1 - normal.cdf(z)) - z * normal.pdf(z)
    return float(max(moment[darkest].mean() / left, MIN_VARIANCE))


def mean_spectrum(planes: Planes, chosen: NDArray[np.int64], variance: Floats) -> Floats:
    """Return the mean power spectrum ``(8, 8)`` of blocks, over their variance and without slopes.

    `chosen` are indices of blocks, numbered as `measure_blocks` measures them; `variance` is that
    of the noise in each.
    """
    if len(chosen) > MAX_SPECTRA:
        drawn = np.random.default_rng(0).permutation(len(chosen))[:MAX_SPECTRA]
        chosen, variance = chosen[drawn], variance[drawn]
    rows_cols = [(n - 2) // BLOCK for n in planes.shape[1:]]
    plane, row, col = (
        index[:, None, None] for index in np.unravel_index(chosen, (len(planes), *rows_cols))
    )
    inside = np.arange(BLOCK)
    samples = planes[plane, 1 + BLOCK * row + inside[:, None], 1 + BLOCK * col + inside]
    samples = samples.astype(np.float64) / np.sqrt(variance)[:, None, None]
    samples -= samples.mean((1, 2), keepdims=True)
    slope = (inside - inside.mean()) / (BLOCK * np.var(inside) * BLOCK) ** 0.5
    for ramp in (slope[:, None] + 0 * slope, slope + 0 * slope[:, None]):
        samples -= (samples * ramp).sum((1, 2), keepdims=True) * ramp
    return np.square(np.abs(np.fft.fft2(samples))).mean(0)


def misfit_of(spectrum: Floats, expected: Floats, *, without_diagonal: bool = False) -> Floats:
    """Return the Itakura-Saito distance of a spectrum ``(8, 8)`` from the best multiple of others.

    `expected` is ``(..., 8, 8)``. Waves as long as a block along one side are left out: little of
    them is left without slopes. Those along both sides can be left out too: they show texture most.
    """
    compared = (4 if without_diagonal else 2) <= _SQUARES
    relative = np.maximum(spectrum[compared], 1e-30) / expected[..., compared]
    return np.log(relative.mean(-1)) - np.log(relative).mean(-1)


def longest(spectrum: Floats) -> float:
    """Return the power of waves as long as a block along both sides; 1 for the variance given."""
    return float(spectrum[_SQUARES == 2].mean() / BLOCK**2)


def long_waves(spectrum: Floats) -> float:
    """Return the power of waves as long as a block over that of shorter ones; white noise has 1."""
    return BLOCK**2 * longest(spectrum) / max(float(spectrum[_SQUARES > 2].mean()), 1e-30)

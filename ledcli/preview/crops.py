"""Which parts of a photo tell most about its noise: fine detail, a shadow, and a highlight.

Light is averaged over cells of 4 x 4 samples of all planes, which takes most of the noise, and
cells over blocks of 4 x 4. What the cells of a block differ by, less the noise that is left, is
detail. Crops begin at blocks.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.noise.estimate import NoiseProfile
from ledcli.preview.areas import STEP, Area

DETAIL, SHADOW, HIGHLIGHT = KINDS = ("detail", "shadow", "highlight")
PIXELS = 320
"""Side of a crop in pixels of the mosaic, about."""
SHARE = 5
"""A crop's side is at most this part of the frame's: then three of them always find room."""
CELL, CELLS = 4, STEP // 4
"""Samples along a cell, and cells along a block."""
GAMMA = 2.2
"""Of the tones in which light is compared, as the eye sees them; black is 0, white 1."""
MIN_LIGHT = 0.004
"""Share of white at which tones are no longer told apart."""
MAX_BLOCK_DETAIL = 0.1
"""Standard deviation of the tones of a block that counts at most: one edge is no detail."""
CLIPPED, MAX_CLIPPED = 0.98, 0.02
"""Share of white from which a cell is clipped, and share of clipped cells in a highlight."""
BLACK = 0.06
"""Tone up to which a shadow is black."""
DARK, MAX_SHADOW = 0.25, 0.35
"""Share of all blocks that are shadows, and their tone at most where the photo has such blocks."""
DARKEST = 1e-3
"""Weight of darkness itself in the choice of a shadow, beside its detail."""

Floats = NDArray[np.float32]


class Crop(NamedTuple):
    """A part of a photo and what it shows: ``detail``, ``shadow`` or ``highlight``."""

    kind: str
    area: Area


class _Candidates(NamedTuple):
    """Of each position of a crop, in blocks ``(rows, cols)``."""

    tone: Floats
    detail: Floats
    shadow: Floats
    """Detail of the blocks that are dark but not black."""
    clipped: Floats


def choose_crops(
    planes: Floats, noise: NoiseProfile, ratio: float, shown: Area, side: int
) -> list[Crop]:
    """Choose three parts of a photo that do not overlap; fewer of a tiny one.

    Parameters
    ----------
    planes : float32 ``(n, h, w)``
        Normalised, not multiplied by the ratio, without outliers.
    noise : NoiseProfile
    ratio : float
        Digital gain: highlights are those of the result.
    shown : Area
        Of the planes; crops lie in it, away from its border where it is large.
    side : int
        Plane pixels; less where the photo is small.
    """
    blocks = [-(-shown.top // STEP), -(-shown.left // STEP)]
    ends = [shown.bottom // STEP, shown.right // STEP]
    for axis in range(2):
        margin = min(2, (ends[axis] - blocks[axis]) // 8)
        blocks[axis], ends[axis] = blocks[axis] + margin, ends[axis] - margin
    sizes = [end - start for start, end in zip(blocks, ends, strict=True)]
    if min(sizes) < 1:
        return [Crop(DETAIL, shown)]
    count = max(1, min(side // STEP, max(sizes) // SHARE, min(sizes)))
    top, left = (STEP * block for block in blocks)
    inner = Area(top, left, STEP * ends[0], STEP * ends[1])
    found = _candidates(planes[:, inner.rows, inner.cols], noise, ratio, count)
    free = np.ones(found.tone.shape, np.bool_)
    chosen: dict[str, Crop] = {}
    # Highlights are rare and detail is not: it comes last.
    for kind in (HIGHLIGHT, SHADOW, DETAIL):
        if not free.any():
            break
        score = np.where(free, _score(kind, found, free), -np.inf)
        row, col = np.unravel_index(int(score.argmax()), score.shape)
        first, start = top + STEP * int(row), left + STEP * int(col)
        area = Area(first, start, first + STEP * count, start + STEP * count)
        chosen[kind] = Crop(kind, area)
        free[max(row - count + 1, 0) : row + count, max(col - count + 1, 0) : col + count] = False
    return [chosen[kind] for kind in KINDS if kind in chosen]


def _score(kind: str, found: _Candidates, free: NDArray[np.bool_]) -> Floats:
    if kind == DETAIL:
        return found.detail - found.clipped
    if kind == HIGHLIGHT:
        # Beyond that share of clipped cells any other crop is better.
        return found.tone - np.where(found.clipped > MAX_CLIPPED, 1 + found.clipped, 0)
    # Without any structure in the dark, the darkest.
    return found.shadow - DARKEST * found.tone


def _candidates(planes: Floats, noise: NoiseProfile, ratio: float, count: int) -> _Candidates:
    cells = _means(planes, CELL)
    light = cells.mean(0)
    brightest = cells.max(0)
    clipped = (brightest >= CLIPPED) | (brightest * ratio >= CLIPPED)
    variance = np.maximum(light, 0) * noise.gain + noise.read_variance
    left = variance / (CELL * CELL * len(planes))
    mean = _means(light[None], CELLS)[0]
    within = light - mean.repeat(CELLS, 0).repeat(CELLS, 1)
    # The mean of n cells takes its share of their differences.
    share = 1 - 1 / CELLS**2
    excess = _means(((within**2) - share * left)[None], CELLS)[0]
    slope = ratio / GAMMA * np.clip(mean * ratio, MIN_LIGHT, 1) ** (1 / GAMMA - 1)
    detail = np.clip(excess * slope**2, 0, MAX_BLOCK_DETAIL**2)
    tone = np.clip(mean * ratio, 0, 1) ** (1 / GAMMA)
    dark = (tone >= BLACK) & (tone <= np.quantile(tone, DARK))
    if (deep := dark & (tone <= MAX_SHADOW)).any():
        dark = deep
    share_clipped = _means(clipped[None].astype(np.float32), CELLS)[0]
    found = (tone, detail, detail * dark, share_clipped)
    tone, detail, shadow, share_clipped = (_box_means(each, count) for each in found)
    return _Candidates(tone, np.sqrt(detail), np.sqrt(shadow), share_clipped)


def _means(planes: Floats, side: int) -> Floats:
    """Average ``(n, h, w)`` over squares."""
    n, rows, cols = planes.shape
    # Rows first, in which samples lie side by side.
    lines = planes.reshape(n, rows // side, side, cols).mean(2)
    means: Floats = lines.reshape(n, rows // side, cols // side, side).mean(3)
    return means


def _box_means(blocks: Floats, count: int) -> Floats:
    """Average ``(h, w)`` over squares of blocks, at every position."""
    windows = np.lib.stride_tricks.sliding_window_view(blocks, (count, count))
    means: Floats = windows.mean((2, 3), dtype=np.float32)
    return means

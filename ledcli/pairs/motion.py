"""What moved between the frames of a pair: where they differ by more than noise can.

The short frame is compared with the long one brought to its exposure. Of what remains, the banding
and the shading of black are removed; the rest is summed over windows of growing side and compared
with the noise that the frames' profiles lead one to expect, and with what a shift below the limit,
or an uneven change of the light, may do.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ledcli.noise.blocks import Floats, Planes, in_blocks
from ledcli.noise.camera_profile import upsample
from ledcli.noise.estimate import NoiseProfile
from ledcli.pairs.similarity import STD_PER_MAD, clipping_level

BLOCKS, MIN_BLOCK = 256, 4
"""Blocks along the longer side, the smallest windows; and their smallest side, cells."""
MAX_WINDOW = 16
"""Side of the largest window, blocks."""
MIN_DEVIATIONS = 6.0
"""Standard errors by which a window must differ: chance does not reach it in a million windows."""
MIN_CONTRAST = 0.07
"""Share of the light by which a window must differ besides: lamps flicker unevenly."""
SAMPLE_DEVIATIONS, SAMPLE_CONTRAST = 4.0, 0.5
"""Largest difference of one sample that counts, in standard deviations of its noise or as a share
of the light, whichever is larger: a hot pixel is no object."""
MIN_SHIFT = 0.25
"""Cells by which parts of the frame may be apart whatever was measured: tripods vibrate."""
MAX_BANDING, MAX_SHADING, UNSURE_SHADING = 1.0, 0.25, 0.05
"""Largest banding and shading of black that are removed, standard deviations of the read noise; the
last where nothing else tells that the frames show one scene."""
BANDING_WINDOW = 31
"""Lines of a plane that a line is compared with to measure its banding."""
SHADING_NODES = 4
"""Tiles along a side in which the shading of black is measured; objects are smaller."""
MIN_TRUSTED = 0.5
"""Share of a window's samples that must be unclipped."""

Exposure = tuple[float, Floats]
"""Scale and offsets ``(planes,)`` of ``short = scale * long + offset``."""
Noise = tuple[NoiseProfile, NoiseProfile]
"""Of the short and the long frame."""


class Motion(NamedTuple):
    """The parts of a pair in which something moved."""

    blocks: NDArray[np.bool_]
    """True where something moved (rows, columns)."""
    side: int
    """Of a block, cells; the last row and column of blocks reach to the frame's edge."""
    share: float
    """Of the frame."""

    def mask(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return what moved in planes of ``shape`` (h, w)."""
        rows, cols = (
            np.minimum(np.arange(size) // self.side, count - 1)
            for size, count in zip(shape, self.blocks.shape, strict=True)
        )
        return self.blocks[np.ix_(rows, cols)]

    def place(self, pixels: int) -> str:
        """Say where it is, for messages: in pixels of the mosaic, ``pixels`` to a cell."""
        areas = self.areas()
        top, left = ((part.start + part.stop) * self.side * pixels // 2 for part in areas[0])
        where = f"around row {top}, column {left}"
        others = {1: "", 2: " and in one more place"}
        return where + others.get(len(areas), f" and in {len(areas) - 1} more places")

    def areas(self) -> list[tuple[slice, slice]]:
        """Return the connected areas as rows and columns of blocks, the largest first."""
        left = self.blocks.copy()
        found: list[tuple[int, tuple[slice, slice]]] = []
        for start in np.argwhere(left).tolist():
            reached, rows, cols = [tuple(start)], [], []
            while reached:
                row, col = reached.pop()
                inside = 0 <= row < left.shape[0] and 0 <= col < left.shape[1]
                if inside and left[row, col]:
                    left[row, col] = False
                    rows.append(row)
                    cols.append(col)
                    reached += [(row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)]
            if rows:
                box = slice(min(rows), max(rows) + 1), slice(min(cols), max(cols) + 1)
                found.append((len(rows), box))
        return [box for _, box in sorted(found, key=lambda area: -area[0])]


class _Sums(NamedTuple):
    """Sums over the samples of each block (rows, columns)."""

    residual: Floats
    variance: Floats
    light: Floats
    edges: Floats
    """By how much a shift may change the sum."""
    samples: Floats

    def windows(self, side: int, kept: NDArray[np.bool_]) -> "_Sums":
        """Sum over windows of some blocks, without those that are not kept."""
        sums = [
            sliding_window_view(part * kept, (side, side)).sum((2, 3), np.float64) for part in self
        ]
        summed = _Sums(*sums)
        # A shift changes a window at its border only.
        return summed._replace(edges=summed.edges / side)


def find_motion(
    short: Planes, long: Planes, exposure: Exposure, noise: Noise, shift: float, *, sure: bool
) -> Motion | None:
    """Find what moved between two frames; None where nothing did.

    The frames ``(planes, h, w)`` are normalised. ``shift`` is what was measured between the two,
    cells; ``sure`` says whether their detail shows that it is one scene.
    """
    side = max(MIN_BLOCK, -(-max(short.shape[1:]) // BLOCKS))
    if min(short.shape[1:]) < SHADING_NODES * side:
        return None
    shading = (MAX_SHADING if sure else UNSURE_SHADING) * noise[0].read_variance ** 0.5
    sums = _without_shading(_block_sums(short, long, exposure, noise, shift, side), shading)
    moved = np.zeros(sums.samples.shape, np.bool_)
    window = 1
    while window <= min(MAX_WINDOW, len(moved), len(moved[0])):
        # What smaller windows found does not count again: it would spread to all around it.
        found = _differing(sums.windows(window, ~moved), window, len(short) * side**2)
        moved |= _around(found, window, moved.shape)
        window *= 2
    if not moved.any():
        return None
    return Motion(moved, side, float(moved.mean()))


def _block_sums(
    short: Planes, long: Planes, exposure: Exposure, noise: Noise, shift: float, side: int
) -> _Sums:
    scale = np.float32(exposure[0])
    of_short, of_long = noise
    rows, cols = (size // side for size in short.shape[1:])
    total = np.zeros((5, rows, cols))
    clipped = clipping_level(long), clipping_level(short)
    banding = MAX_BANDING * np.float32(of_short.read_variance**0.5)
    apart = max(MIN_SHIFT, shift)
    for a, b, offset in zip(short, long, exposure[1], strict=True):
        light = scale * b
        positive = light.clip(0)
        variance = of_short.gain * positive + np.float32(of_short.read_variance)
        variance += scale * np.float32(of_long.gain) * positive
        variance += scale**2 * np.float32(of_long.read_variance)
        residual = a - light - np.float32(offset)
        for axis in (1, 0):
            lines = _fine(np.median(residual, axis)).clip(-banding, banding)
            residual -= np.expand_dims(lines, axis)
        limit = np.maximum(SAMPLE_DEVIATIONS * np.sqrt(variance), SAMPLE_CONTRAST * positive)
        np.clip(residual, -limit, limit, out=residual)
        good = (b < clipped[0]) & (a < clipped[1])
        cut = in_blocks(light, side)
        edges = side * apart * (cut.max((1, 3)) - cut.min((1, 3)))
        parts = (residual * good, variance * good, light * good)
        sums = [in_blocks(part, side).sum((1, 3), np.float64) for part in parts]
        total += np.stack([*sums, edges, in_blocks(good, side).sum((1, 3), np.float64)])
    return _Sums(*total)


def _fine(lines: Planes) -> Planes:
    """Return what lines differ by from those around them; what changes slowly is no banding."""
    padded = np.pad(lines, BANDING_WINDOW // 2, mode="reflect")
    around = np.convolve(padded, np.full(BANDING_WINDOW, 1 / BANDING_WINDOW), "valid")
    return (lines - around).astype(np.float32)


def _without_shading(sums: _Sums, limit: float) -> _Sums:
    """Remove what whole tiles of the frame differ by: black is not even."""
    mean = sums.residual / sums.samples.clip(1)
    rows, cols = (np.array_split(np.arange(size), SHADING_NODES) for size in mean.shape)
    nodes = np.array([[np.median(mean[np.ix_(r, c)]) for c in cols] for r in rows])
    shading = upsample(nodes.clip(-limit, limit)[None].astype(np.float32), mean.shape)[0]
    return sums._replace(residual=sums.residual - shading * sums.samples)


def _differing(sums: _Sums, window: int, size: int) -> NDArray[np.bool_]:
    """Return the windows that differ by more than noise, a shift or a lamp may do."""
    trusted = sums.samples >= MIN_TRUSTED * size * window**2
    if not trusted.any():
        return trusted
    error = np.sqrt(np.maximum(sums.variance, 1e-30))
    excess = (np.abs(sums.residual) - sums.edges).clip(0)
    tolerated = MIN_CONTRAST * sums.light.clip(0) + MIN_DEVIATIONS * error * _spread(sums, window)
    return trusted & (excess > tolerated)


def _spread(sums: _Sums, window: int) -> float:
    """Return by what factor windows beside each other differ more than the profiles say.

    Correlated noise makes larger sums vary more; what is as wide as a scene does not count.
    """
    relative = sums.residual / np.sqrt(np.maximum(sums.variance, 1e-30))
    edges = sums.edges / np.sqrt(np.maximum(sums.variance, 1e-30))
    step = np.abs(relative[:, window:] - relative[:, :-window])
    step = (step - edges[:, window:] - edges[:, :-window]).clip(0)
    return max(1.0, STD_PER_MAD * float(np.median(step)) / 2**0.5) if step.size else 1.0


def _around(found: NDArray[np.bool_], window: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the blocks of windows that differ, and those beside them."""
    moved = np.zeros((shape[0] + 2, shape[1] + 2), np.bool_)
    rows, cols = found.shape
    if found.any():
        for row in range(window + 2):
            for col in range(window + 2):
                moved[row : row + rows, col : col + cols] |= found
    return moved[1:-1, 1:-1]

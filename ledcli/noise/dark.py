"""What dark frames tell of a camera at one ISO, and its correction in a photo.

A dark frame is an error of black that is the same in every shot (an offset per colour, a smooth
shading, a pattern of columns, one of rows, one of single pixels), and noise that is not: of the
rows, and of each pixel. How much of each pattern is subtracted follows from its variance and that
of its error: ``signal / (signal + error)`` of it (Wiener's weight). With one frame the rows' means
are their noise, and the pixels' pattern cannot be told from theirs, but hot pixels can.
"""

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.noise.blocks import MIN_VARIANCE, Planes
from ledcli.noise.camera_profile import USUAL, cell_means, upsample
from ledcli.sensor.cfa import AnyPhase

HOT = 1.5
"""Spans of the `USUAL` pixels from black: those further away are hot or dead. Nine standard
deviations of normal noise, more where noise has long tails."""
MIN_HOT_DN = 3.0
MIN_GAIN = 0.01
"""Share of the pixels' variance that subtracting their own pattern must remove to be worth it."""
MAX_LEVEL_SIGMAS, MAX_LEVEL = 4.0, 1 / 256
"""How far a dark frame's mean may be from black, and how far shading may go: standard deviations of
a pixel, or a share of white, whichever is more."""
BLOCK, CLEAR, OF_SHADING, MAX_CLEAR = 8, 5.0, 0.2, 0.05
"""Side of a block; its mean shows a picture if it is so many standard errors from black, and by
this share of the shading's variation; share of the blocks that may."""
CUT_OFF = "its camera cuts noise off at black, so that it does not show where black is"
MAX_CUT = 0.2
"""Share of the samples that may have the lowest value: in frames cut off at black more have."""
_STEPS = 127
"""Largest value of the pixels' pattern."""
MAX_ROUNDS = 8
"""Samples of a plane that a defect may be wide or high, in pairs: it is filled from its edge."""
_CHUNK = 1 << 18
_NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1)), ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""The nearest samples of a plane, and those that are taken if none of these is good."""

Index = NDArray[np.intp]


class DarkPattern(NamedTuple):
    """The error of black that dark frames of one camera and ISO show, for white - black = 1."""

    phase: AnyPhase
    shape: tuple[int, ...]
    """Of the mosaic, (H, W)."""
    frames: int
    smooth: Planes
    """``(planes, rows, cols)``: nodes of offset and shading, as in `DarkShading`."""
    columns: Planes
    """``(planes, w)``; where an X-Trans plane takes its samples from two columns, their mean."""
    rows: Planes
    """``(planes, h)``."""
    pixels: NDArray[np.int8] | None
    """``(planes, h, w)`` in steps; None if the frames are too few to tell it."""
    step: float
    hot: NDArray[np.int64]
    """Hot and dead pixels, as indices into the flat planes."""
    read_variance: float
    """Of a pixel in a corrected photo, without the noise that rows share."""

    def describe(self, span: float) -> str:
        """Return what is corrected, for people; `span` is white - black in DN."""
        offsets = self.smooth.mean((1, 2)) * span
        parts = [f"black {', '.join(f'{dn:+.2f}' for dn in offsets)} DN"]
        parts += [f"{len(self.hot)} hot pixels"] * bool(len(self.hot))
        parts += ["pattern of the pixels"] * (self.pixels is not None)
        return f"{self.frames} dark frame{'s' * (self.frames > 1)}: {'; '.join(parts)}"

    def correct(self, planes: Planes) -> None:
        """Correct black and hot pixels of a photo's normalised planes ``(planes, h, w)``."""
        for number, plane in enumerate(planes):
            plane -= upsample(self.smooth[number : number + 1], plane.shape)[0]
            plane -= self.columns[number]
            plane -= self.rows[number][:, None]
            if self.pixels is not None:
                plane -= self.pixels[number] * np.float32(self.step)
        if len(self.hot):
            wrong = np.zeros(planes.shape, np.bool_)
            wrong.reshape(-1)[self.hot] = True
            replace_defects(planes, wrong)


def fitting(
    darks: Iterable[DarkPattern], phase: AnyPhase, shape: tuple[int, ...]
) -> DarkPattern | None:
    """Return the first pattern of a mosaic's phase and shape."""
    return next((dark for dark in darks if (dark.phase, dark.shape) == (phase, shape)), None)


class DarkMeasurement:
    """Measures the dark frames of one camera and ISO, one after the other.

    It keeps one frame of float32, the sum. `dn` is one DN for white - black = 1.
    """

    def __init__(self, phase: AnyPhase, shape: tuple[int, ...], dn: float) -> None:
        self._phase, self._shape, self._min_hot = phase, shape, MIN_HOT_DN * dn
        self._means: list[tuple[Planes, Planes, Planes]] = []
        """Nodes, means of columns and of rows of each frame."""
        self._sum: Planes | None = None
        self._variance = self._hot = 0.0

    def add(self, planes: Planes) -> str:
        """Take the normalised planes ``(planes, h, w)`` of a frame, which are overwritten.

        Returns why they are not those of a dark frame, else "". A copy of a frame before is left
        out: two would seem to have no noise.
        """
        count, height, width = planes.shape
        smooth = cell_means(planes)
        if any(np.array_equal(smooth, before) for before, _, _ in self._means):
            return ""
        columns, rows = np.empty((count, width), np.float32), np.empty((count, height), np.float32)
        for number, plane in enumerate(planes):
            lowest, high = plane.min(), np.quantile(plane[::3, ::3], USUAL[1])
            cut = np.count_nonzero(plane == lowest) > MAX_CUT * plane.size
            if cut and high - lowest > self._min_hot:  # a quiet camera's take two or three values
                return CUT_OFF
            plane -= upsample(smooth[number : number + 1], plane.shape)[0]
            hot = self._hot_from(plane)
            columns[number] = plane.clip(-hot, hot).mean(0, np.float64)
            plane -= columns[number]
            rows[number] = plane.clip(-hot, hot).mean(1, np.float64)
            plane -= rows[number][:, None]
        hot = self._hot_from(planes)
        np.clip(planes, -hot, hot, out=planes)
        variance = _mean_square(planes)
        if why := _shows_light(planes, smooth, variance):
            return why
        self._means.append((smooth, columns, rows))
        self._variance += variance
        self._hot = max(self._hot, hot)
        self._sum = planes if self._sum is None else np.add(self._sum, planes, out=self._sum)
        return ""

    def result(self) -> DarkPattern:
        """Return what the frames show, of which there is at least one."""
        assert self._sum is not None
        frames, mean, hot = len(self._means), self._sum, self._hot
        mean /= np.float32(frames)
        variance = self._variance / frames
        usual = _mean_square(mean[np.abs(mean) < hot / 2])
        # Noise changes from frame to frame, the pattern of the pixels does not.
        noise, pattern = usual, 0.0
        if frames > 1:
            noise = max(variance - _mean_square(mean), 0.0) * frames / (frames - 1)
            pattern = max(usual - noise / frames, 0.0)
            hot = max(hot * (usual / max(variance, MIN_VARIANCE)) ** 0.5, self._min_hot)
        weight = pattern / max(usual, MIN_VARIANCE)
        if weight * pattern < MIN_GAIN * (pattern + noise):
            weight = 0.0
        found = np.flatnonzero(np.abs(mean) > 0.99 * hot)
        pixels, step = None, hot / _STEPS
        if weight:
            mean /= np.float32(step)
            np.rint(mean.clip(-_STEPS, _STEPS, out=mean), out=mean)
            pixels = mean.astype(np.int8)
        nodes, columns, rows = map(np.array, zip(*self._means, strict=True))
        columns, _ = _repeated(columns, noise / mean.shape[1])
        rows, row_noise = _repeated(rows, np.inf)
        smooth = _shading(nodes, noise, max(row_noise - noise / mean.shape[2], 0.0), mean)
        left = (1 - weight) ** 2 * pattern + (1 + weight**2 / frames) * noise
        how = self._phase, self._shape, frames
        return DarkPattern(*how, smooth, columns, rows, pixels, step * weight, found, left)

    def _hot_from(self, planes: Planes) -> float:
        low, high = np.quantile(planes[..., ::3, ::3], USUAL)
        return max(HOT * float(high - low), self._min_hot)


def _mean_square(values: Planes) -> float:
    return float(np.vdot(values, values)) / max(values.size, 1)


def _weight(values: Planes, error: float) -> np.float32:
    """Return Wiener's weight of values whose error has a variance."""
    return np.float32(max(1 - error / max(_mean_square(values), MIN_VARIANCE), 0.0))


def _repeated(frames: Planes, error: float) -> tuple[Planes, float]:
    """Return what frames ``(frames, ...)`` have in common, and the variance of what each adds.

    `error` is what the variance of the mean's error is where there is one frame.
    """
    mean: Planes = frames.mean(0)
    added = float(frames.var(0, ddof=1).mean()) if len(frames) > 1 else _mean_square(mean)
    error = added / len(frames) if len(frames) > 1 else error
    return mean * _weight(mean, error), added


def _shading(frames: Planes, noise: float, row_noise: float, like: Planes) -> Planes:
    """Return the nodes of offset and shading, without what may be noise of pixels and rows.

    The noise of rows is in the nodes' rows, and in all planes.
    """
    nodes: Planes = frames.mean(0)
    _, down, across = nodes.shape
    rows_of_node, cols_of_node = like.shape[1] / down, like.shape[2] / across
    offset = nodes.mean((1, 2), keepdims=True)
    rows = nodes.mean(2, keepdims=True) - offset
    rest = nodes - rows - offset
    of_pixels = noise / (rows_of_node * cols_of_node * len(frames))
    of_rows = row_noise / (rows_of_node * len(frames)) + of_pixels / across
    return offset + rows * _weight(rows, of_rows) + rest * _weight(rest, of_pixels)


def _shows_light(residual: Planes, smooth: Planes, variance: float) -> str:
    """Return why a frame is not dark, from its nodes and what is left without patterns; or ""."""
    sigma, nodes = variance**0.5, smooth.mean(0)
    limit = max(MAX_LEVEL_SIGMAS * sigma, MAX_LEVEL)
    if (level := float(np.abs(np.median(smooth, (1, 2))).max())) > limit:
        return f"its mean is {level:.2%} of white from black"
    if np.ptp(np.quantile(nodes, (0.1, 0.9))) > limit:
        return "it is brighter at one side, as if light leaked in"
    count, rows, cols = len(residual), *(n // BLOCK for n in residual.shape[1:])
    whole = residual[:, : rows * BLOCK, : cols * BLOCK]
    sums = whole.reshape(count, rows, BLOCK, -1).sum((0, 2)).reshape(rows, cols, BLOCK).sum(2)
    means = np.abs(sums) / (count * BLOCK**2)
    clear = max(CLEAR * sigma / (count**0.5 * BLOCK), OF_SHADING * float(nodes.std()))
    return "it shows a picture" if (means > clear).mean() > MAX_CLEAR else ""


def replace_defects(planes: NDArray[Any], wrong: NDArray[np.bool_]) -> None:
    """Set wrong samples of planes (planes, h, w) to the median of the good ones next to them.

    Both arrays are changed: what lies deeper inside a group than `MAX_ROUNDS` stays wrong.
    """
    whole = np.issubdtype(planes.dtype, np.integer)
    for _ in range(MAX_ROUNDS):
        positions = np.argwhere(wrong)
        before, done = wrong.copy(), False
        for start, steps in itertools.product(range(0, len(positions), _CHUNK), _NEIGHBOURS):
            at = positions[start : start + _CHUNK]
            plane, row, col = at[wrong[tuple(at.T)]].T
            values = np.stack([_good(planes, before, plane, row + r, col + c) for r, c in steps], 1)
            some = ~np.isnan(values).all(1)
            here = plane[some], row[some], col[some]
            if len(here[0]):
                median = np.nanmedian(values[some], 1)
                planes[here] = np.rint(median) if whole else median
                wrong[here], done = False, True
        if not done:
            break


def _good(
    planes: NDArray[Any], wrong: NDArray[np.bool_], plane: Index, row: Index, col: Index
) -> NDArray[np.float32]:
    """Return samples, NaN where they are bad or outside."""
    _, rows, cols = planes.shape
    inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    at = plane, row.clip(0, rows - 1), col.clip(0, cols - 1)
    return np.where(inside & ~wrong[at], planes[at], np.nan).astype(np.float32)

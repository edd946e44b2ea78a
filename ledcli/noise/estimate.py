"""The blind estimate: gain and read variance of a photo from the photo itself.

Where a photo is smooth, neighbours differ by noise only. A mask that ignores slopes leaves the
noise; its variance over small blocks without structure lies on the line
``gain * x + read_variance``. Texture only adds, so the line is fitted from below. Whether a block
has structure is decided by the other planes: they see the same texture but have noise of their
own, so the choice does not favour blocks whose noise is low by chance.

Only the greens of an X-Trans are used: its red and blue samples swap positions from cell to cell,
which on a slope looks like noise.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.sensor.layout import layout_of

BLOCK = 8
"""Side of a block, plane pixels."""
MASK_GAIN = 36.0
"""Sum of squares of the mask [1 -2 1]' [1 -2 1], and of [1 -2 1]' [1 2 1]: the factor by which
they raise the variance."""
BLOCK_ERROR = (2 * (70 / 36) ** 2 / BLOCK**2) ** 0.5
"""Standard deviation of a block's noise variance over its mean, for white Gaussian noise: 70/36 is
the sum of squares of the autocorrelation of [1 -2 1]."""
SATURATED = 0.9
"""Blocks that touch this value are left out: clipping looks like silence. Some photosites are full
before the white level: those of a Canon D30 at 0.93."""
MAX_BLACK_CLIP = 0.02
"""If more of a plane than this share lies at its lowest value, the camera clipped at black."""
MIN_USABLE = 0.05
"""Share of usable blocks below which a frame clipped at black is measured by what is left of its
noise above black."""
STRIP = 4
"""Rows of blocks that are measured at a time: they stay in the processor's cache."""
BLOCKS_PER_BIN, MAX_BINS = 240, 60
MIN_QUIET, MIN_QUIET_SHARE, MAX_QUIET_SHARE = 6, 0.005, 0.9
"""Blocks of a bin that tell its noise: at least so many, and this share; at most this share, since
the rest holds its edges."""
QUIET_STEP = 1.4
"""Factor by which the number of blocks grows while more of them are as quiet."""
QUIET_EXCESS = 1.3
"""Standard errors by which more blocks may be noisier than fewer and still count as quiet."""
ROUNDS = 2
"""The second round weighs each plane's structure by the noise that the first found."""
FIT_ROUNDS = 30
TRUSTED_EXCESS, DOUBTED_EXCESS = 1.0, 0.67
"""Standard errors by which a point may lie above the line, and by how many more it loses three
quarters of its weight."""
MIN_VARIANCE = 1e-12

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]


class NoiseProfile(NamedTuple):
    """The noise variance over the signal, ``gain * x + read_variance``, for white - black = 1.

    ``gain`` times (white - black) is the system gain K in DN per electron.
    """

    gain: float
    read_variance: float

    def variance(self, signal: Floats) -> Floats:
        """Return the noise variance at a signal; above 0, so that it can be divided by."""
        variance: Floats = self.gain * signal.clip(min=0) + self.read_variance
        return np.maximum(variance, MIN_VARIANCE)


def estimate_noise(planes: NDArray[np.float32]) -> NoiseProfile:
    """Estimate the noise profile of one photo.

    Parameters
    ----------
    planes : float32 ``(4, h, w)``, or ``(9, h, w)`` of an X-Trans
        Normalised planes of the whole photo (white - black = 1), not multiplied by a ratio, not
        clipped below 0.

    Returns
    -------
    NoiseProfile
        Without row noise: the mask cancels what a row has in common.
    """
    regular = list(layout_of(len(planes)).regular)
    chosen = planes[regular] if len(regular) < len(planes) else planes
    blocks = measure_blocks(chosen)
    if _too_few(blocks, chosen) and chosen is not planes:
        # The greens are saturated, or black.
        chosen = planes
        blocks = measure_blocks(chosen)
    if _too_few(blocks, chosen):
        read_variance = _variance_clipped_at_black(chosen)
        if read_variance is not None:
            return NoiseProfile(0.0, read_variance)
    count = int(blocks.usable.sum())
    if count < 2:
        return NoiseProfile(0.0, MIN_VARIANCE)  # all clipped: nothing to denoise
    mean, noise = blocks.mean[blocks.usable], blocks.noise[blocks.usable]
    # Sorted by their own mean, the darkest and brightest would be so by their noise.
    order = np.argsort(blocks.neighbours[blocks.usable])
    bins = np.array_split(order, int(np.clip(count // BLOCKS_PER_BIN, 2, MAX_BINS)))
    profile = NoiseProfile(0.0, 1.0)
    for _ in range(ROUNDS):
        structure = _structure_in_other_planes(blocks, profile)[blocks.usable]
        ordered = [part[np.argsort(structure[part])] for part in bins]
        points = np.array([_quiet_point(mean[part], noise[part], profile) for part in ordered])
        profile = _fit_from_below(*points.T)
    return profile._replace(read_variance=max(profile.read_variance, MIN_VARIANCE))


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


def measure_blocks(planes: NDArray[np.float32]) -> Blocks:
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
            usable[index, here] = inner.max(1).max(2) < SATURATED
            if clipped:
                usable[index, here] &= inner.min(1).min(2) > lowest
    neighbours = mean
    if mean.size:
        edged = np.pad(mean, ((0, 0), (1, 1), (1, 1)), "edge")
        neighbours = edged[:, 1:-1, 2:] + edged[:, 1:-1, :-2]
        neighbours = (neighbours + edged[:, 2:, 1:-1] + edged[:, :-2, 1:-1]) / 4
    parts = (mean, neighbours, noise, structure, usable)
    return Blocks(*(part.reshape(len(planes), -1) for part in parts))


def _too_few(blocks: Blocks, planes: NDArray[np.float32]) -> bool:
    return bool(blocks.usable.sum() < MIN_USABLE * planes.size / BLOCK**2)


def _noise_and_structure(strip: Plane) -> tuple[Floats, Floats]:
    """Noise and structure of a strip with a border of one pixel; white noise gives 1 and 2."""
    ends, middle = strip[:, 2:] + strip[:, :-2], 2 * strip[:, 1:-1]
    detail, smooth = ends - middle, ends + middle
    ends, middle = detail[2:] + detail[:-2], 2 * detail[1:-1]
    both = ends - middle
    along_rows = ends + middle
    down_columns = smooth[2:] + smooth[:-2] - 2 * smooth[1:-1]
    np.square(both, out=both)
    np.square(along_rows, out=along_rows)
    along_rows += np.square(down_columns, out=down_columns)
    return _block_means(both) / MASK_GAIN, _block_means(along_rows) / MASK_GAIN


def second_difference(plane: Plane) -> Plane:
    """Return what slopes do not explain of a plane ``(h, w)``, as ``(h - 2, w - 2)``.

    White noise keeps its variance; what a row or a column has in common is cancelled.
    """
    rows = plane[:, 2:] + plane[:, :-2]
    rows -= 2 * plane[:, 1:-1]
    both: Plane = rows[2:] + rows[:-2]
    both -= 2 * rows[1:-1]
    both /= np.float32(MASK_GAIN**0.5)
    return both


def in_blocks(values: NDArray[Any]) -> NDArray[Any]:
    """View ``(h, w)`` as ``(h / 8, 8, w / 8, 8)``; what does not fill a block is left out."""
    rows, cols = (n // BLOCK for n in values.shape)
    return values[: rows * BLOCK, : cols * BLOCK].reshape(rows, BLOCK, cols, BLOCK)


def _block_means(values: NDArray[Any]) -> Floats:
    # Down the columns first: they lie beside each other in memory.
    means: Floats = in_blocks(values).sum(1, np.float32).sum(2, np.float64) / BLOCK**2
    return means


def _structure_in_other_planes(blocks: Blocks, profile: NoiseProfile) -> Floats:
    """Structure over noise in the other planes, or in its own if no other plane is usable."""
    relative = np.where(blocks.usable, blocks.structure / profile.variance(blocks.mean), 0)
    count = blocks.usable.sum(0)
    others: Floats = (relative.sum(0) - relative) / np.maximum(count - 1, 1)
    return np.where(count > 1, others, relative)


def _quiet_point(mean: Floats, noise: Floats, profile: NoiseProfile) -> tuple[float, float, float]:
    """Mean, noise variance and its standard error of a bin, given its quietest blocks first.

    The number of blocks grows until their variance exceeds that of fewer by more than its error: a
    smooth photo is measured by almost all of its blocks, a textured one by its few smooth ones.
    """
    first = min(max(MIN_QUIET, MIN_QUIET_SHARE * len(noise)), len(noise))
    most = max(first, MAX_QUIET_SHARE * len(noise))
    steps = int(np.log(most / first) / np.log(QUIET_STEP)) + 1
    counts = np.unique((first * QUIET_STEP ** np.arange(steps)).astype(int))
    means = np.cumsum(mean)[counts - 1] / counts
    variances = np.maximum(np.cumsum(noise)[counts - 1] / counts, MIN_VARIANCE)
    errors = BLOCK_ERROR / counts**0.5
    relative = variances / profile.variance(means)
    highest = np.minimum.accumulate(relative * (1 + QUIET_EXCESS * errors))
    louder = np.flatnonzero(relative[1:] > highest[:-1])
    last = louder[0] if len(louder) else len(counts) - 1
    return float(means[last]), float(variances[last]), float(variances[last] * errors[last])


def _clips_at_black(plane: Plane, lowest: np.float32) -> bool:
    return bool(lowest < SATURATED and (plane <= lowest).mean() > MAX_BLACK_CLIP)


def _variance_clipped_at_black(planes: NDArray[np.float32]) -> float | None:
    """Read variance of a dark frame that is clipped at black; None if it is not.

    Only the positive half of the noise is left: its second moment about black is half the
    variance. The darkest quarter of the blocks stands for black.
    """
    moments = []
    for plane in planes:
        lowest = plane.min()
        if _clips_at_black(plane, lowest):
            moments.append(np.mean(in_blocks(plane - lowest) ** 2, (1, 3), np.float64).ravel())
    every = np.sort(np.concatenate(moments)) if moments else np.empty(0)
    darkest = every[: max(1, len(every) // 4)]
    return float(max(2 * darkest.mean(), MIN_VARIANCE)) if len(every) else None


def _fit_from_below(mean: Floats, variance: Floats, error: Floats) -> NoiseProfile:
    """Fit a profile to points; those far above it count little."""
    error = np.maximum(error, MIN_VARIANCE)
    weight = 1 / error**2
    trust = np.ones_like(weight)
    profile = NoiseProfile(0.0, 0.0)
    for _ in range(FIT_ROUNDS):
        profile = NoiseProfile(*fit_nonnegative_line(mean, variance, weight * trust))
        excess = (variance - profile.gain * mean - profile.read_variance) / error
        # Texture raises a point; noise raises and lowers it by about its error.
        doubt = (excess - TRUSTED_EXCESS).clip(min=0) / DOUBTED_EXCESS
        trust = 1 / (1 + doubt**2) ** 2
        # Weighted by the fitted variance, not the measured one: low outliers gain nothing.
        weight = (variance / (profile.variance(mean) * error)) ** 2
    return profile


def fit_nonnegative_line(x: Floats, y: Floats, weight: Floats) -> tuple[float, float]:
    """Fit ``y = slope * x + intercept`` by weighted least squares with both at least 0."""
    total = weight.sum()
    x_mean, y_mean = (weight * x).sum() / total, (weight * y).sum() / total
    spread = (weight * (x - x_mean) ** 2).sum()
    slope = (weight * (x - x_mean) * (y - y_mean)).sum() / spread if spread > 0 else 0.0
    if slope <= 0:
        return 0.0, max(y_mean, 0.0)
    if y_mean - slope * x_mean < 0:
        return max(float((weight * x * y).sum() / (weight * x**2).sum()), 0.0), 0.0
    return float(slope), float(y_mean - slope * x_mean)

"""The blind estimate: gain and read variance of a photo from the photo itself.

Where a photo is smooth, what differs between neighbours is noise. A mask that ignores slopes
leaves the noise; its variance over small blocks that show no structure lies on the line
``gain * x + variance``. Texture only adds, so the line is fitted from below. Whether a block shows
structure is asked of the other planes: they see the same texture, but noise of their own, so that
to choose a block by them does not favour those where the noise is low by chance.

Of an X-Trans only the greens are asked: its red and blue samples lie to and fro from cell to cell,
which on a slope looks like noise.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.sensor.layout import XTRANS

BLOCK = 8
"""Side of a block, plane pixels."""
MASK_GAIN = 36.0
"""Sum of squares of the mask [1 -2 1]' [1 -2 1], and of [1 -2 1]' [1 2 1]: the factor by which
they raise the variance."""
SATURATED = 0.9
"""Blocks that touch this value are left out: clipping looks like silence. Some photosites are full
before the white level: those of a Canon D30 at 0.93."""
LARGEST_BLACK_CLIP = 0.02
"""Where more of a plane than this lies at its lowest value, the camera clipped at black."""
STRIP = 4
"""Rows of blocks that are measured at a time: they stay in the processor's cache."""


class Blocks(NamedTuple):
    """What is known of every block of every plane, ``(planes, blocks)``."""

    mean: NDArray[np.float64]
    beside: NDArray[np.float64]
    """Mean of the four blocks beside it: nearly its brightness, but none of its noise."""
    noise: NDArray[np.float64]
    """Variance of what slopes do not explain; structure adds to it where it is fine."""
    structure: NDArray[np.float64]
    """Sum of the variances of detail along the rows and down the columns."""
    usable: NDArray[np.bool_]


def measured(planes: NDArray[np.float32]) -> Blocks:
    """Measure every block of every plane.

    Parameters
    ----------
    planes : float32 ``(4, h, w)``
        Normalised planes (white - black = 1). Blocks lie inside a border of one pixel, which the
        masks need; what does not fill a block is left out.
    """
    rows, cols = (max((n - 2) // BLOCK, 0) for n in planes.shape[1:])
    mean, noise, structure = np.zeros((3, len(planes), rows, cols))
    usable = np.zeros(mean.shape, np.bool_)
    for index, plane in enumerate(planes):
        lowest = plane.min()
        black = lowest if clips_at_black(plane, lowest) else None
        for top in range(0, rows, STRIP):
            here = slice(top, min(top + STRIP, rows))
            # One pixel more on every side, for the masks.
            strip = plane[BLOCK * here.start : BLOCK * here.stop + 2, : BLOCK * cols + 2]
            inner = in_blocks(strip[1:-1, 1:-1])
            mean[index, here] = _block_means(strip[1:-1, 1:-1])
            noise[index, here], structure[index, here] = _noise_and_structure(strip)
            usable[index, here] = inner.max(1).max(2) < SATURATED
            if black is not None:
                usable[index, here] &= inner.min(1).min(2) > black
    flat = (len(planes), rows * cols)
    return Blocks(
        mean.reshape(flat),
        _mean_beside(mean).reshape(flat),
        noise.reshape(flat),
        structure.reshape(flat),
        usable.reshape(flat),
    )


def _mean_beside(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the four blocks beside each, ``(planes, rows, cols)``; the border is repeated."""
    if not mean.size:
        return mean
    edged = np.pad(mean, ((0, 0), (1, 1), (1, 1)), "edge")
    beside: NDArray[np.float64] = edged[:, 1:-1, 2:] + edged[:, 1:-1, :-2]
    return (beside + edged[:, 2:, 1:-1] + edged[:, :-2, 1:-1]) / 4


def _noise_and_structure(
    strip: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Noise and structure of the blocks of a strip, which has a pixel more on every side.

    White noise of variance 1 gives 1 and 2.
    """
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


def clips_at_black(plane: NDArray[np.float32], lowest: np.float32) -> bool:
    """Whether so much of a plane ``(h, w)`` lies at its lowest value that black was cut off."""
    return bool(lowest < SATURATED and (plane <= lowest).mean() > LARGEST_BLACK_CLIP)


def second_difference(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what slopes do not explain of a plane ``(h, w)``, as ``(h - 2, w - 2)``.

    White noise keeps its variance; what a row or a column has in common is gone.
    """
    rows = plane[:, 2:] + plane[:, :-2]
    rows -= 2 * plane[:, 1:-1]
    both: NDArray[np.float32] = rows[2:] + rows[:-2]
    both -= 2 * rows[1:-1]
    both /= np.float32(MASK_GAIN**0.5)
    return both


def in_blocks(values: NDArray[Any]) -> NDArray[Any]:
    """View ``(h, w)`` as ``(h / 8, 8, w / 8, 8)``; what does not fill a block is left out."""
    rows, cols = (n // BLOCK for n in values.shape)
    return values[: rows * BLOCK, : cols * BLOCK].reshape(rows, BLOCK, cols, BLOCK)


def _block_means(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean of every block of ``(h, w)``; down the columns first, which lie beside each other."""
    columns = in_blocks(values).sum(1, np.float32)
    means: NDArray[np.float64] = columns.sum(2, np.float64) / BLOCK**2
    return means


BLOCK_ERROR = (2 * (70 / 36) ** 2 / BLOCK**2) ** 0.5
"""Standard deviation of a block's noise variance over its mean, for white Gaussian noise: 70/36 is
the sum of squares of the autocorrelation of [1 -2 1]."""
BLOCKS_PER_BIN = 240
MOST_BINS = 60
FEWEST_QUIET = 6
"""Blocks of a bin, at least, that tell its noise; in a large photo QUIET_SHARE of them."""
QUIET_SHARE = 0.005
QUIET_STEP = 1.4
"""Factor by which the number of blocks grows while more of them are as quiet."""
QUIET_EXCESS = 1.3
"""Standard errors by which more blocks may be noisier than fewer and still be as quiet."""
MOST_QUIET = 0.9
"""Share of a bin's blocks that is tried at most: the rest holds its edges."""
ROUNDS = 2
"""The second weighs each plane's structure by the noise that the first found."""
TRUSTED_EXCESS, DOUBTED_EXCESS = 1.0, 0.67
"""Standard errors by which a point may lie above the line, and by how many more it loses three
quarters of its weight."""
LEAST_USABLE = 0.05
"""Share of usable blocks below which a frame clipped at black is judged by what black left of its
noise."""
SMALLEST_VARIANCE = 1e-12


class NoiseProfile(NamedTuple):
    """The noise variance over the signal, ``gain * x + read_variance``, for white - black = 1.

    ``gain`` times (white - black) is the system gain K in DN per electron.
    """

    gain: float
    read_variance: float


def estimate_noise(planes: NDArray[np.float32]) -> NoiseProfile:
    """Estimate the noise line of one photo.

    Parameters
    ----------
    planes : float32 ``(4, h, w)``, or ``(9, h, w)`` of an X-Trans
        Normalised planes of the whole photo (white - black = 1), not gained, not clipped below 0.

    Returns
    -------
    NoiseProfile
        Gain and read variance in units of white - black. Row noise is not in it: the mask
        cancels what a row has in common.
    """
    everything = planes
    if len(planes) == len(XTRANS.colours):
        planes = planes[list(XTRANS.regular)]
    blocks = measured(planes)
    count = int(blocks.usable.sum())
    if count < LEAST_USABLE * planes.size / BLOCK**2 and len(everything) > len(planes):
        # The greens are burnt out, or black.
        planes = everything
        blocks = measured(planes)
        count = int(blocks.usable.sum())
    if count < LEAST_USABLE * planes.size / BLOCK**2:
        halved = _variance_clipped_at_black(planes)
        if halved is not None:
            return NoiseProfile(0.0, halved)
    if count < 2:
        # All clipped: nothing to denoise, and nothing to tell how.
        return NoiseProfile(0.0, SMALLEST_VARIANCE)
    mean, noise = blocks.mean[blocks.usable], blocks.noise[blocks.usable]
    # By their own mean the darkest and brightest would be so by their noise, and bend the line.
    order = np.argsort(blocks.beside[blocks.usable])
    bins = np.array_split(order, int(np.clip(count // BLOCKS_PER_BIN, 2, MOST_BINS)))
    line = NoiseProfile(0.0, 1.0)
    for _ in range(ROUNDS):
        structure = _structure_of_the_others(blocks, line)[blocks.usable]
        ordered = [chosen[np.argsort(structure[chosen])] for chosen in bins]
        points = np.array([_quiet(mean[order], noise[order], line) for order in ordered])
        line = _line_from_below(*points.T)
    return NoiseProfile(line.gain, max(line.read_variance, SMALLEST_VARIANCE))


def _structure_of_the_others(blocks: Blocks, line: NoiseProfile) -> NDArray[np.float64]:
    """Structure ``(planes, blocks)`` in terms of noise, of a block's place in the other planes.

    A block that no other plane shares is judged by its own.
    """
    relative = np.where(blocks.usable, blocks.structure / _variance_at(blocks.mean, line), 0)
    count = blocks.usable.sum(0)
    others: NDArray[np.float64] = (relative.sum(0) - relative) / np.maximum(count - 1, 1)
    return np.where(count > 1, others, relative)


def _quiet(
    mean: NDArray[np.float64], noise: NDArray[np.float64], line: NoiseProfile
) -> tuple[float, float, float]:
    """Mean, noise variance and its standard error of a bin, whose blocks come quietest first.

    As many blocks count as are as quiet as the quietest: their number grows until their variance
    is more than its error above what fewer had. So a smooth photo tells its noise by almost all
    of its blocks, and a textured one by its few smooth places.
    """
    first = min(max(FEWEST_QUIET, QUIET_SHARE * len(noise)), len(noise))
    most = max(first, MOST_QUIET * len(noise))
    steps = int(np.log(most / first) / np.log(QUIET_STEP)) + 1
    counts = np.unique((first * QUIET_STEP ** np.arange(steps)).astype(int))
    means = np.cumsum(mean)[counts - 1] / counts
    variances = np.maximum(np.cumsum(noise)[counts - 1] / counts, SMALLEST_VARIANCE)
    errors = BLOCK_ERROR / counts**0.5
    relative = variances / _variance_at(means, line)
    highest = np.minimum.accumulate(relative * (1 + QUIET_EXCESS * errors))
    louder = np.flatnonzero(relative[1:] > highest[:-1])
    last = louder[0] if len(louder) else len(counts) - 1
    return float(means[last]), float(variances[last]), float(variances[last] * errors[last])


def _variance_at(mean: NDArray[np.float64], line: NoiseProfile) -> NDArray[np.float64]:
    variance: NDArray[np.float64] = line.gain * mean.clip(min=0) + line.read_variance
    return np.maximum(variance, SMALLEST_VARIANCE)


def _variance_clipped_at_black(planes: NDArray[np.float32]) -> float | None:
    """Read variance of a dark frame whose camera cut off below black; None if it did not.

    Of noise about black the positive half is left: its second moment about black is half the
    variance. The darkest quarter of the blocks stands for black.
    """
    moments = []
    for plane in planes:
        lowest = plane.min()
        if clips_at_black(plane, lowest):
            moments.append(np.mean(in_blocks(plane - lowest) ** 2, (1, 3), np.float64).ravel())
    if not moments:
        return None
    every = np.sort(np.concatenate(moments))
    darkest = every[: max(1, len(every) // 4)]
    return float(max(2 * darkest.mean(), SMALLEST_VARIANCE)) if len(every) else None


def _line_from_below(
    mean: NDArray[np.float64], variance: NDArray[np.float64], error: NDArray[np.float64]
) -> NoiseProfile:
    """Fit ``variance = gain * mean + read`` with both at least 0; points above count little."""
    weight = 1 / np.maximum(error, SMALLEST_VARIANCE) ** 2
    trust = np.ones_like(weight)
    line = NoiseProfile(0.0, 0.0)
    for _ in range(30):
        line = NoiseProfile(*fit_nonnegative_line(mean, variance, weight * trust))
        excess = (variance - line.gain * mean - line.read_variance) / np.maximum(
            error, SMALLEST_VARIANCE
        )
        # Texture lifts a point; noise lifts and lowers it by about its error.
        doubt = (excess - TRUSTED_EXCESS).clip(min=0) / DOUBTED_EXCESS
        trust = 1 / (1 + doubt**2) ** 2
        # The weight by the fitted variance, not by the measured: low outliers gain nothing.
        weight = (variance / (_variance_at(mean, line) * np.maximum(error, SMALLEST_VARIANCE))) ** 2
    return line


def fit_nonnegative_line(
    x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, float]:
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

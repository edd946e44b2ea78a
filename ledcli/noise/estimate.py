"""The blind estimate: gain and read variance of a photo from the photo itself.

Where a photo is smooth, what differs between neighbours is noise. A mask that ignores slopes
leaves the noise; its variance over small blocks, the quietest of each brightness, lies on the
line ``gain * x + variance``. Texture only adds, so the line is fitted from below.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 8
"""Side of a block, plane pixels."""
MASK_GAIN = 36.0
"""Sum of squares of the mask [1 -2 1]' [1 -2 1]: the factor by which it raises the variance."""
QUIET_SHARE = 0.2
"""The share of the blocks of a brightness that counts: the quietest."""
QUIET_BIAS = 0.608
"""Mean over those of the block variance of white Gaussian noise, over its true variance (1 would
be all blocks); from 90,000 simulated blocks."""
SATURATED = 0.95
"""Blocks that touch this value are left out: clipping looks like silence."""
LARGEST_BLACK_CLIP = 0.02
"""Where more of a plane than this lies at its lowest value, the camera clipped at black."""
LEAST_USABLE = 0.05
"""Share of usable blocks below which a frame clipped at black is judged by what black left of its
noise."""
BLOCKS_PER_BIN = 240
SMALLEST_VARIANCE = 1e-12


class NoiseLine(NamedTuple):
    """The noise variance over the signal, ``gain * x + variance``, for white - black = 1.

    ``gain`` times (white - black) is the system gain K in DN per electron.
    """

    gain: float
    variance: float


class _Blocks(NamedTuple):
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


def estimate_noise(planes: NDArray[np.float32]) -> NoiseLine:
    """Estimate the noise line of one photo.

    Parameters
    ----------
    planes : float32 ``(4, h, w)``
        Normalised planes of the whole photo (white - black = 1), not gained, not clipped below 0.

    Returns
    -------
    NoiseLine
        Gain and read variance in units of white - black. Row noise is not in it: the mask
        cancels what a row has in common.
    """
    blocks = _blocks(planes)
    if len(blocks.mean) < LEAST_USABLE * planes.size / BLOCK**2:
        halved = _variance_clipped_at_black(planes)
        if halved is not None:
            return NoiseLine(0.0, halved)
    order = np.argsort(blocks.mean)
    bins = np.array_split(order, int(np.clip(len(order) // BLOCKS_PER_BIN, 2, 40)))
    mean, variance, error = np.array([_quiet(blocks, chosen) for chosen in bins]).T
    gain, read = _line_from_below(mean, variance, error)
    return NoiseLine(float(gain), float(max(read, SMALLEST_VARIANCE)))


def _blocks(planes: NDArray[np.float32]) -> _Blocks:
    """Mean and noise variance of every usable block of every plane."""
    means, variances = [], []
    for plane in planes:
        lowest = plane.min()
        clipped = plane >= SATURATED
        if _clips_at_black(plane, lowest):
            clipped |= plane <= lowest
        # All four arrays cover the mask's valid area, so that a block's mean is of the same place.
        noise = second_difference(plane)
        np.square(noise, out=noise)
        spoilt = _block_means(clipped[1:-1, 1:-1]) > 0
        means.append(_block_means(plane[1:-1, 1:-1])[~spoilt])
        variances.append(_block_means(noise)[~spoilt])
    mean, variance = np.concatenate(means), np.concatenate(variances)
    if len(mean) < 2:
        # All clipped: nothing to denoise, and nothing to tell how.
        return _Blocks(np.array([0.0, 1.0]), np.full(2, SMALLEST_VARIANCE))
    return _Blocks(mean, variance)


def _clips_at_black(plane: NDArray[np.float32], lowest: np.float32) -> bool:
    return bool(lowest < SATURATED and (plane <= lowest).mean() > LARGEST_BLACK_CLIP)


def _variance_clipped_at_black(planes: NDArray[np.float32]) -> float | None:
    """Read variance of a dark frame whose camera cut off below black; None if it did not.

    Of noise about black the positive half is left: its second moment about black is half the
    variance. The darkest quarter of the blocks stands for black.
    """
    moments = []
    for plane in planes:
        lowest = plane.min()
        if _clips_at_black(plane, lowest):
            moments.append(np.mean(in_blocks(plane - lowest) ** 2, (1, 3), np.float64).ravel())
    if not moments:
        return None
    every = np.sort(np.concatenate(moments))
    darkest = every[: max(1, len(every) // 4)]
    return float(max(2 * darkest.mean(), SMALLEST_VARIANCE)) if len(every) else None


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


def _quiet(blocks: _Blocks, chosen: NDArray[np.intp]) -> tuple[float, float, float]:
    """Mean, noise variance and its standard error, from the quietest blocks of a bin."""
    variances = blocks.variance[chosen]
    count = max(1, round(len(variances) * QUIET_SHARE))
    quiet = np.argpartition(variances, count - 1)[:count]
    variance = max(variances[quiet].mean() / QUIET_BIAS, SMALLEST_VARIANCE)
    # Where the quiet blocks lie is not where the bin's middle is: a bin may hold dark and bright.
    return float(blocks.mean[chosen][quiet].mean()), float(variance), float(variance / count**0.5)


def _line_from_below(
    mean: NDArray[np.float64], variance: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[float, float]:
    """Fit ``variance = gain * mean + read`` with both at least 0; points above count little."""
    weight = 1 / np.maximum(error, SMALLEST_VARIANCE) ** 2
    trust = np.ones_like(weight)
    gain, read = 0.0, 0.0
    for _ in range(30):
        gain, read = nonnegative_line(mean, variance, weight * trust)
        excess = (variance - gain * mean - read) / np.maximum(error, SMALLEST_VARIANCE)
        # Texture lifts a point; noise lifts and lowers it by about its error.
        trust = 1 / (1 + np.clip(excess, 0, None) ** 2) ** 2
        # The weight by the fitted variance, not by the measured: low outliers gain nothing.
        fitted = np.maximum(gain * mean + read, SMALLEST_VARIANCE)
        weight = 1 / (fitted * error / np.maximum(variance, SMALLEST_VARIANCE)) ** 2
    return gain, read


def nonnegative_line(
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

"""The blind estimate: gain and read variance of a photo from the photo itself.

Where a photo is smooth, what differs between neighbours is noise. A mask that ignores slopes
leaves the noise; its variance over small blocks that show no structure lies on the line
``gain * x + variance``. Texture only adds, so the line is fitted from below. Whether a block shows
structure is asked of the other planes: they see the same texture, but noise of their own, so that
to choose a block by them does not favour those where the noise is low by chance.

Of an X-Trans only the greens are asked: its red and blue samples lie to and fro from cell to cell,
which on a slope looks like noise.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.noise.blocks import BLOCK, Blocks, clips_at_black, in_blocks, measured
from ledcli.noise.places import XTRANS

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


class NoiseLine(NamedTuple):
    """The noise variance over the signal, ``gain * x + variance``, for white - black = 1.

    ``gain`` times (white - black) is the system gain K in DN per electron.
    """

    gain: float
    variance: float


def estimate_noise(planes: NDArray[np.float32]) -> NoiseLine:
    """Estimate the noise line of one photo.

    Parameters
    ----------
    planes : float32 ``(4, h, w)``, or ``(9, h, w)`` of an X-Trans
        Normalised planes of the whole photo (white - black = 1), not gained, not clipped below 0.

    Returns
    -------
    NoiseLine
        Gain and read variance in units of white - black. Row noise is not in it: the mask
        cancels what a row has in common.
    """
    everything = planes
    if len(planes) == len(XTRANS.colours):
        planes = planes[list(XTRANS.straight)]
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
            return NoiseLine(0.0, halved)
    if count < 2:
        # All clipped: nothing to denoise, and nothing to tell how.
        return NoiseLine(0.0, SMALLEST_VARIANCE)
    mean, noise = blocks.mean[blocks.usable], blocks.noise[blocks.usable]
    # By their own mean the darkest and brightest would be so by their noise, and bend the line.
    order = np.argsort(blocks.beside[blocks.usable])
    bins = np.array_split(order, int(np.clip(count // BLOCKS_PER_BIN, 2, MOST_BINS)))
    line = NoiseLine(0.0, 1.0)
    for _ in range(ROUNDS):
        structure = _structure_of_the_others(blocks, line)[blocks.usable]
        ordered = [chosen[np.argsort(structure[chosen])] for chosen in bins]
        points = np.array([_quiet(mean[order], noise[order], line) for order in ordered])
        line = _line_from_below(*points.T)
    return NoiseLine(line.gain, max(line.variance, SMALLEST_VARIANCE))


def _structure_of_the_others(blocks: Blocks, line: NoiseLine) -> NDArray[np.float64]:
    """Structure ``(planes, blocks)`` in terms of noise, of a block's place in the other planes.

    A block that no other plane shares is judged by its own.
    """
    relative = np.where(blocks.usable, blocks.structure / _variance_at(blocks.mean, line), 0)
    count = blocks.usable.sum(0)
    others: NDArray[np.float64] = (relative.sum(0) - relative) / np.maximum(count - 1, 1)
    return np.where(count > 1, others, relative)


def _quiet(
    mean: NDArray[np.float64], noise: NDArray[np.float64], line: NoiseLine
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


def _variance_at(mean: NDArray[np.float64], line: NoiseLine) -> NDArray[np.float64]:
    variance: NDArray[np.float64] = line.gain * mean.clip(min=0) + line.variance
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
) -> NoiseLine:
    """Fit ``variance = gain * mean + read`` with both at least 0; points above count little."""
    weight = 1 / np.maximum(error, SMALLEST_VARIANCE) ** 2
    trust = np.ones_like(weight)
    line = NoiseLine(0.0, 0.0)
    for _ in range(30):
        line = NoiseLine(*nonnegative_line(mean, variance, weight * trust))
        excess = (variance - line.gain * mean - line.variance) / np.maximum(
            error, SMALLEST_VARIANCE
        )
        # Texture lifts a point; noise lifts and lowers it by about its error.
        doubt = (excess - TRUSTED_EXCESS).clip(min=0) / DOUBTED_EXCESS
        trust = 1 / (1 + doubt**2) ** 2
        # The weight by the fitted variance, not by the measured: low outliers gain nothing.
        weight = (variance / (_variance_at(mean, line) * np.maximum(error, SMALLEST_VARIANCE))) ** 2
    return line


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

"""The gain of a photo from its own histogram: what brings it to a normal brightness.

The photo is looked at in some ten thousand blocks, in which the noise is averaged away. The gain
brings their brightest hundredth near white, unless their middle would become too bright by it
(fog, a wall), or still lies in darkness (a street with lamps: then a part of it).

Measured on 14 Kodak photographs (384 x 256 plane pixels) as three calibrated cameras take them,
1 to 300 times too dark: one and the same photo comes back within a factor of 1.33 of itself, and
of sixteen made-up scenes all but two within 1.3. Those two are night as it is, and drown at ratio
300 in the noise of the noisiest camera in so few pixels: they keep their brightness. Where
cameras' black is off as calibrated, the worst factor is 1.5.
"""

import numpy as np
from numpy.typing import NDArray

from ledcli.sensor.layout import layout_of

ACROSS = 128
"""Blocks along the photo's longer side: what is judged does not depend on its resolution."""
PARTS = 4
"""Parts of a block, each way. Their interquartile mean is the block's level: hot pixels spoil
some parts and not the level."""
SMALLEST_PART = 4
"""Plane pixels; a block of 16 x 16 averages the deepest noise (ratio 300) to a tenth."""
MIDDLE, BRIGHT = 0.5, 0.99
"""Quantiles of the block levels. One block in a hundred may be lamps and reflections."""
MIDDLE_TARGET, BRIGHT_TARGET = 0.22, 0.9
"""What the gain brings them to at most, white at 1."""
TOLERANCE = 4.0
"""From how many times its target on bright parts no longer decide alone: the middle of the photo
then lies in darkness, and half of the stops that it lacks are given at the highlights' cost."""
LIGHT = 5e-4
"""Of white: what no camera's black is off by. Eight DN of 14 bits."""
BLACK_ERROR = 1.5e-4
"""Of white: what a camera's black is easily off by."""
SIGNIFICANT = 8.0
"""Standard deviations of a block's noise between the darkest and the brightest blocks, from which
on there is a picture. Noise alone makes 4.7."""
QUANTILE_99 = 2.326
"""Of the normal distribution, in standard deviations."""
LEAST_GAIN = 1.25
"""A third of a stop is no reason to change a photo's brightness."""
DARKEST = 1e-6
"""Of white."""


def gain_of(planes: NDArray[np.float32]) -> float:
    """Return the gain that brings a photo to the brightness of a normally exposed one.

    Parameters
    ----------
    planes : float32 (4, h, w), or (9, h, w) of an X-Trans
        Normalised planes (white - black = 1), not gained, not clipped below 0.

    Returns
    -------
    float
        At least 1, not bounded above. 1 for a photo that is bright enough, and for one in which
        there is no light (lens cap).
    """
    levels, sigma = _levels(planes)
    if not levels.size:
        return 1.0
    low, middle, high = np.quantile(levels, [1 - BRIGHT, MIDDLE, BRIGHT], axis=1)
    no_picture = (high - low <= SIGNIFICANT * sigma) & (middle < LIGHT)
    # What noise alone adds to the brightest of many blocks is not light.
    spread = np.square(high - middle) - np.square(QUANTILE_99 * sigma)
    bright = float((middle + np.sqrt(spread.clip(0))).max())
    if no_picture.all() or bright < BLACK_ERROR:
        return 1.0
    grey = float(np.median(levels.mean(0)))
    by_bright, by_middle = BRIGHT_TARGET / bright, MIDDLE_TARGET / max(grey, DARKEST)
    lacking = max(by_middle / by_bright / TOLERANCE, 1.0)
    gain = min(by_middle, by_bright * lacking**0.5)
    return gain if gain >= LEAST_GAIN else 1.0


def _levels(planes: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Level of every block in R, G, B, ``(3, blocks)``, and its noise ``(3,)``."""
    side = max(SMALLEST_PART, max(planes.shape[1:]) // (ACROSS * PARTS))
    rows, cols = (n // (side * PARTS) for n in planes.shape[1:])
    if not rows or not cols:
        return np.empty((3, 0)), np.empty(3)
    height, width = rows * PARTS, cols * PARTS
    used = planes[:, : height * side, : width * side]
    # Rows first: whole rows are added up at the memory's speed.
    sums = used.reshape(len(planes), height, side, width * side).sum(2)
    means = sums.reshape(len(planes), height, width, side).sum(3, np.float64) / side**2
    of_plane = np.array(layout_of(len(planes)).colours)
    colours = np.stack([means[of_plane == colour].mean(0) for colour in range(3)])
    parts = colours.reshape(3, rows, PARTS, cols, PARTS).transpose(0, 1, 3, 2, 4)
    # Rows of parts share the noise of their sensor rows: they differ by what a mean keeps of it.
    sigma = np.median(parts.mean(4).std(3, ddof=1), (1, 2)) / PARTS**0.5
    ordered = np.sort(parts.reshape(3, rows * cols, PARTS**2), 2)
    return ordered[:, :, PARTS:-PARTS].mean(2), sigma

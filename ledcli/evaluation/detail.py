"""Where a photo has the most detail: the place to look at what a denoiser does."""

import numpy as np
from numpy.typing import NDArray

from ledcli.noise.places import layout_of

CROP = 160
"""Side of a crop to look at, in plane pixels."""
STEP = 8


def most_detailed(
    planes: NDArray[np.float32], side: int = CROP, step: int = STEP
) -> tuple[slice, slice]:
    """Find the square with the most detail: the largest sum of squared steps of the green.

    Parameters
    ----------
    planes : float32 array (4, h, w), or (9, h, w) of an X-Trans
    side : int
        Of the square, in plane pixels; all of a side that is shorter.
    step : int
        Plane pixels between the squares that are looked at.

    Returns
    -------
    (slice, slice)
        Rows and columns.
    """
    layout = layout_of(len(planes))
    green = planes[[n for n in layout.straight if layout.colours[n] == 1]].mean(0)
    energy = np.zeros(green.shape)
    energy[1:] += np.diff(green, axis=0) ** 2
    energy[:, 1:] += np.diff(green, axis=1) ** 2
    rows, cols = (min(side, n) for n in green.shape)
    total = np.pad(energy.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    below, above = total[rows::step], total[:-rows:step]
    sums = below[:, cols::step] - above[:, cols::step]
    sums -= below[:, :-cols:step] - above[:, :-cols:step]
    row, col = (step * int(n) for n in np.unravel_index(sums.argmax(), sums.shape))
    return slice(row, row + rows), slice(col, col + cols)

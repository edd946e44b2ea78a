"""The gain of a photo from its own histogram: what brings it to a normal brightness."""

import numpy as np
from numpy.typing import NDArray

from ledcli.noise.estimate import NoiseLine

SMALL, WIDE = 8, 4
"""Side of a small block in plane pixels; small blocks a side of a wide one."""
MIDDLE, BRIGHT = 0.5, 0.98
MIDDLE_TARGET, BRIGHT_TARGET = 0.18, 0.9


def gain_of(planes: NDArray[np.float32], noise: NoiseLine | None = None) -> float:
    """Return the gain, 1 or more, that brings a photo to a normal brightness.

    Parameters
    ----------
    planes : float32 (4, h, w)
        Normalised, not gained.
    noise : NoiseLine, optional
    """
    rows, cols = (n // SMALL for n in planes.shape[1:])
    if not rows or not cols:
        return 1.0
    blocks = planes[:, : rows * SMALL, : cols * SMALL]
    level = blocks.reshape(4, rows, SMALL, cols, SMALL).mean((2, 4)).max(0)
    middle, bright = np.quantile(level, [MIDDLE, BRIGHT])
    if bright <= 1e-4:
        return 1.0
    return float(max(1.0, min(MIDDLE_TARGET / max(middle, 1e-6), BRIGHT_TARGET / bright)))

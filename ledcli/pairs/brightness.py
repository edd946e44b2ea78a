"""How much brighter the long frame really is, and whether black is black in both."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.pairs.structure import Bins

FEWEST_BINS = 16
"""Unclipped bins that a line needs."""
CLIPPED_BIN = 0.01
"""Share of a bin's pixels from which on its mean is too low."""
TUKEY = 4.685
"""Tukey's biweight: standard deviations from which on a bin is an outlier and does not count."""
ROUNDS = 15
_MAD = 1.4826


class Brightness(NamedTuple):
    """The line ``short = long / ratio + offset`` through the bins of a pair.

    Attributes
    ----------
    ratio : float
        Measured brightness ratio.
    ratio_error : float
        Standard error, as a share of the ratio.
    offsets : float64 array (planes,)
        What the short frame's black lies above the long one's in each plane; white - black = 1.
    offset_error : float
        Standard error of the offsets.
    """

    ratio: float
    ratio_error: float
    offsets: NDArray[np.float64]
    offset_error: float


def compare(short: Bins, long: Bins) -> Brightness | None:
    """Fit the line between the light of two frames of one scene, outliers aside.

    Returns
    -------
    Brightness or None
        None where too little is unclipped, or all is of one brightness.
    """
    usable = (long.clipped < CLIPPED_BIN) & (short.clipped < CLIPPED_BIN)
    if usable.sum() < FEWEST_BINS:
        return None
    y, x = short.halves.mean(0, np.float64), long.halves.mean(0, np.float64)
    weight = np.broadcast_to(usable, x.shape).astype(np.float64)
    slope, offsets, spread = 0.0, np.zeros((len(x), 1, 1)), 0.0
    off_mean, rest = x, y
    for _ in range(ROUNDS):
        total = weight.sum((1, 2), keepdims=True)
        if (total < FEWEST_BINS / 2).any():
            return None
        x_mean = (weight * x).sum((1, 2), keepdims=True) / total
        y_mean = (weight * y).sum((1, 2), keepdims=True) / total
        off_mean = x - x_mean
        spread = float((weight * off_mean**2).sum())
        if not spread > 0:
            return None
        slope = float((weight * off_mean * (y - y_mean)).sum()) / spread
        offsets = y_mean - slope * x_mean
        rest = y - slope * x - offsets
        scale = max(_MAD * float(np.median(np.abs(rest[:, usable]))), 1e-12)
        weight = usable * np.clip(1 - (rest / (TUKEY * scale)) ** 2, 0, None) ** 2
    if not slope > 0:
        return None
    slope_error = _banded(weight * off_mean * rest) / spread
    total = weight.sum((1, 2), keepdims=True)
    mean_error = _banded(weight * rest / total) / len(x)
    offset_error = (mean_error**2 + (slope_error * float(np.abs(x[:, usable]).mean())) ** 2) ** 0.5
    return Brightness(1 / slope, slope_error / slope, offsets[:, 0, 0], offset_error)


def _banded(terms: NDArray[np.float64]) -> float:
    """Give the standard error of a sum of terms (planes, rows, columns) with bands among them.

    Sensors band: what is off in a bin is off in those beside or below it as well. So it is whole
    rows, or columns, that are independent of each other.
    """
    by_row, by_column = terms.sum((0, 2)), terms.sum((0, 1))
    return float(max((by_row**2).sum(), (by_column**2).sum()) ** 0.5)

"""Planes as a picture on a screen: a pixel a cell, white balanced, in sRGB."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ledcli.sensor.layout import layout_of

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
    green = planes[[n for n in layout.regular if layout.colours[n] == 1]].mean(0)
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


_SLOPE, _POWER, _KNEE = 12.92, 2.4, 0.0031308
"""The sRGB curve, IEC 61966-2-1."""
_STRIP = 16
"""Rows that are rendered at once: they fit in cache."""


def picture(
    planes: NDArray[np.float32], white_balance: ArrayLike, to_srgb: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Render planes without a demosaic, so that nothing but the planes shows.

    Parameters
    ----------
    planes : float32 array (4, h, w), or (9, h, w) of an X-Trans
        White at 1.
    white_balance : (3,)
        Multipliers for R, G, B; green is 1.
    to_srgb : (3, 3), optional
        From white-balanced camera colours to linear sRGB; without it they are taken for sRGB.

    Returns
    -------
    float32 array (h, w, 3)
        sRGB, 0 to 1. A pixel is a cell of the mosaic, its colours the means of the planes'.
    """
    balance = np.asarray(white_balance, np.float32)
    matrix = None if to_srgb is None else np.asarray(to_srgb, np.float32)
    colours = np.empty((3, *planes.shape[1:]), np.float32)
    for top in range(0, planes.shape[1], _STRIP):
        rows = np.s_[:, top : top + _STRIP]
        colours[rows] = srgb_from_linear(_linear(planes[rows], balance, matrix))
    return np.moveaxis(colours, 0, 2)


def _linear(
    planes: NDArray[np.float32], balance: NDArray[np.float32], matrix: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Return linear colours ``(3, h, w)``, 0 to 1."""
    colours = layout_of(len(planes)).colours
    rgb = np.zeros((3, *planes.shape[1:]), np.float32)
    for colour, plane in zip(colours, planes, strict=True):
        rgb[colour] += plane * (balance[colour] / np.float32(colours.count(colour)))
    # White must stay white: what one colour has past it would tint it.
    np.clip(rgb, 0, 1, out=rgb)
    return rgb if matrix is None else np.clip(np.tensordot(matrix, rgb, 1), 0, 1)


def srgb_from_linear(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply the sRGB curve (IEC 61966-2-1), 0..1 to 0..1, to an array of any shape."""
    above = np.maximum(linear, np.float32(_KNEE)) ** np.float32(1 / _POWER)
    coded = np.where(linear <= _KNEE, linear * _SLOPE, 1.055 * above - 0.055)
    return coded.astype(np.float32)

"""The white balance of a DNG that gives its white as a chromaticity, AsShotWhiteXY.

LibRaw takes none from it, and multiplies the colour matrix by it.
"""

import numpy as np
from numpy.typing import NDArray

from ledcli.metadata.carried import Fields
from ledcli.raw.libraw import multipliers, usable_matrix

_MATRICES, _CALIBRATIONS, _ILLUMINANTS = (50721, 50722), (50723, 50724), (50778, 50779)
_ANALOG_BALANCE, _WHITE_XY = 50727, 50729
_D65_KELVIN = 6504.0
_KELVIN = {
    # Exif's LightSource: standard illuminants, then the middle of the range that Exif states.
    **dict.fromkeys((3, 17), 2856.0),
    **dict.fromkeys((1, 4, 9, 18, 20), 5503.0),
    **dict.fromkeys((10, 19, 21), _D65_KELVIN),
    **dict.fromkeys((11, 22), 7504.0),
    **{23: 5003.0, 24: 3200.0, 12: 6400.0, 13: 5050.0, 15: 3525.0, 16: 2925.0},
    **dict.fromkeys((2, 14), 4150.0),
}
"""Colour temperature of the light that a matrix is for."""
Matrix = NDArray[np.float64]


def wb_and_matrix(image: Fields) -> tuple[NDArray[np.float64], Matrix] | None:
    """Return what a DNG's AsShotWhiteXY comes to, from the fields of its first directory.

    The camera sees a white of chromaticity x, y as ``AB CC CM (x/y, 1, (1-x-y)/y)``, with the
    matrices between those of two illuminants by reciprocal colour temperature (DNG 1.7, chapter 6).

    Returns the multipliers (3,) for R, G, B with green at 1, and the matrix (3, 3) from CIE XYZ
    (D65) to camera RGB; None without a white point or a usable matrix.
    """
    if _WHITE_XY not in image or _MATRICES[0] not in image:
        return None
    x, y = image[_WHITE_XY].numbers()
    if min(x, y) < 0.05 or x + y >= 1:
        return None
    matrix, here = _matrix(image, _D65_KELVIN), _matrix(image, _temperature(x, y))
    if not usable_matrix(matrix) or not usable_matrix(here):
        return None
    with np.errstate(divide="ignore"):
        wb = multipliers((1 / (here @ [x / y, 1, (1 - x - y) / y])).tolist())
    return None if wb is None else (wb, matrix)


def _matrix(image: Fields, kelvin: float) -> Matrix:
    """Return XYZ to camera RGB (3, 3) for a light of that temperature."""
    lights = [_KELVIN.get(int(image[tag].numbers()[0])) for tag in _ILLUMINANTS if tag in image]
    first = 1.0
    if _MATRICES[1] in image and len(lights) == 2 and lights[0] and lights[1]:
        low, high = 1 / lights[0], 1 / lights[1]
        first = float(np.clip((1 / kelvin - high) / (low - high), 0, 1)) if low != high else 1.0
    balance = image[_ANALOG_BALANCE].numbers() if _ANALOG_BALANCE in image else [1, 1, 1]
    mixed = np.diag(np.array(balance, np.float64))
    for tags in (_CALIBRATIONS, _MATRICES):
        both = [image[tag].numbers() if tag in image else np.eye(3) for tag in tags]
        one, two = (np.reshape(np.array(values, np.float64), (3, 3)) for values in both)
        mixed = mixed @ (first * one + (1 - first) * two)
    return mixed


def _temperature(x: float, y: float) -> float:
    """Return the correlated colour temperature in kelvin (McCamy 1992)."""
    n = (x - 0.3320) / (0.1858 - y)
    kelvin = 437 * n**3 + 3601 * n**2 + 6861 * n + 5517
    return float(np.clip(kelvin, 1000, 50000))

"""CIEDE2000 colour differences and the mean error of each plane."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ledcli.raw.colour import linear_from_srgb

Floats = NDArray[np.floating[Any]]

_XYZ_OF_SRGB = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
"""Linear sRGB to XYZ under D65 (IEC 61966-2-1)."""
_WHITE = _XYZ_OF_SRGB.sum(1)
_CHROMA_CORNER = 25.0**7
"""CIEDE2000 rescales the axis a around a chroma of 25."""


def bias(result: Floats, truth: Floats) -> NDArray[np.float64]:
    """Return the mean error (C,) of every plane as a share of white; above 0 it is too bright.

    Both are (C, h, w), white at 1; not clipped, because a file keeps values below black.
    """
    error: NDArray[np.float64] = np.mean(result, (1, 2), np.float64)
    error -= np.mean(truth, (1, 2), np.float64)
    return error


def delta_e2000(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Return the colour difference (h, w) of two sRGB pictures; about 1 is just visible.

    It is CIEDE2000 under D65, all weights 1. The pictures are (h, w, 3), 0 to 1.
    """
    return ciede2000(lab_from_srgb(a), lab_from_srgb(b))


def lab_from_srgb(picture: Floats) -> NDArray[np.float64]:
    """Return CIE L*a*b* under D65 of an sRGB picture ``(..., 3)``, 0 to 1."""
    coded = np.clip(picture, 0, 1).astype(np.float64)
    linear = linear_from_srgb(coded)
    share = linear @ _XYZ_OF_SRGB.T / _WHITE
    root = np.where(share > (6 / 29) ** 3, np.cbrt(share), share * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def ciede2000(a: Floats, b: Floats) -> NDArray[np.float64]:
    """CIEDE2000 of L*a*b* colours ``(..., 3)``, all weights 1; symmetric.

    After Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula" (2005), equations 2 to 22.
    """
    first, second = (np.moveaxis(lab.astype(np.float64), -1, 0) for lab in (a, b))
    bend = _corner((np.hypot(first[1], first[2]) + np.hypot(second[1], second[2])) / 2)
    chroma1, hue1 = _chroma_and_hue(first, bend)
    chroma2, hue2 = _chroma_and_hue(second, bend)

    coloured = chroma1 * chroma2 > 0
    turn = hue2 - hue1
    turn -= 360 * np.round(turn / 360)  # the shorter way round
    turn = np.where(coloured, turn, 0)
    light = (first[0] + second[0]) / 2
    chroma = (chroma1 + chroma2) / 2
    # The hue half way; of a grey and a colour the colour's, and a grey's hue is 0.
    far = np.abs(hue1 - hue2) > 180
    middle = (hue1 + hue2 + np.where(far, np.where(hue1 + hue2 < 360, 360, -360), 0)) / 2
    hue = np.where(coloured, middle, hue1 + hue2)

    from_grey = (light - 50) ** 2
    light_scale = 1 + 0.015 * from_grey / np.sqrt(20 + from_grey)
    hue_weight = (
        1
        - 0.17 * _cos(hue - 30)
        + 0.24 * _cos(2 * hue)
        + 0.32 * _cos(3 * hue + 6)
        - 0.20 * _cos(4 * hue - 63)
    )
    d_light = (second[0] - first[0]) / light_scale
    d_chroma = (chroma2 - chroma1) / (1 + 0.045 * chroma)
    d_hue = 2 * np.sqrt(chroma1 * chroma2) * np.sin(np.radians(turn / 2))
    d_hue /= 1 + 0.015 * chroma * hue_weight
    # Blues: chroma and hue are not independent there.
    blue = 60 * np.exp(-(((hue - 275) / 25) ** 2))
    rotation = -2 * _corner(chroma) * np.sin(np.radians(blue))
    return np.sqrt(d_light**2 + d_chroma**2 + d_hue**2 + rotation * d_chroma * d_hue)


def _chroma_and_hue(
    lab: NDArray[np.float64], bend: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Chroma, and hue in degrees from 0 to 360, with the axis a bent for greys."""
    red = lab[1] * (1 + (1 - bend) / 2)
    return np.hypot(red, lab[2]), np.degrees(np.arctan2(lab[2], red)) % 360


def _corner(chroma: NDArray[np.float64]) -> NDArray[np.float64]:
    seventh = chroma**7
    return np.sqrt(seventh / (seventh + _CHROMA_CORNER))


def _cos(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.cos(np.radians(degrees))

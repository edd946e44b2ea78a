"""The illuminance correction that published figures of SID and ELD are given with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

SSIM_WINDOW = 7
_C1, _C2 = 0.01**2, 0.03**2
"""SSIM's constants at range 1."""
_BLOCK = (64, 256)
"""Windows down and across that are worked on at once: a dozen arrays of them fit in a core's
second cache, and a larger or a smaller block was slower."""

_XYZ_OF_SRGB = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
"""Linear sRGB to XYZ under D65 (IEC 61966-2-1)."""
_WHITE = _XYZ_OF_SRGB.sum(1)
_CHROMA_CORNER = 25.0**7
"""Where CIEDE2000 bends the axis a: at a chroma of 25."""


def psnr(result: Floats, truth: Floats) -> float:
    """Peak signal-to-noise ratio in dB, of arrays of one shape; the result is clipped to 0..1."""
    # Plane by plane, or row by row: a whole frame's differences take as much memory as the frame.
    errors = [
        np.mean((np.clip(a, 0, 1) - b) ** 2, dtype=np.float64)
        for a, b in zip(result, truth, strict=True)
    ]
    return float(-10 * np.log10(max(float(np.mean(errors)), 1e-20)))


def ssim(result: Floats, truth: Floats) -> float:
    """Mean SSIM (Wang et al. 2004, equation 13) of planes of range 1.

    Uniform window of 7 x 7 inside the planes only, unbiased covariance: what scikit-image does by
    default and most published figures of raw denoisers are.

    Parameters
    ----------
    result, truth : (C, h, w)
        White at 1, at least 7 x 7; the result is clipped to 0..1.
    """
    return float(np.mean([_ssim(a, b) for a, b in zip(result, truth, strict=True)]))


def _ssim(a: Floats, b: Floats) -> float:
    """Mean over the windows of a plane ``(h, w)``, block by block: all of a block is in cache."""
    margin = SSIM_WINDOW - 1
    rows, cols = (n - margin for n in a.shape)
    total = 0.0
    for top in range(0, rows, _BLOCK[0]):
        for left in range(0, cols, _BLOCK[1]):
            # A slice ends with the plane: the last blocks are smaller.
            place = np.s_[top : top + _BLOCK[0] + margin, left : left + _BLOCK[1] + margin]
            x, y = np.clip(a[place], 0, 1).astype(np.float64), b[place].astype(np.float64)
            total += float(_index(x, y).sum())
    return total / (rows * cols)


def _index(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """SSIM of every whole window of a block; of both variances only the sum is needed."""
    count = SSIM_WINDOW**2
    sum_x, sum_y = _window_sum(x), _window_sum(y)
    # Means times the count, and (co)variances times the count and the count less one.
    product, squares = sum_x * sum_y, sum_x * sum_x + sum_y * sum_y
    covariance = count * _window_sum(x * y) - product
    variances = count * _window_sum(x * x + y * y) - squares
    c1, c2 = _C1 * count**2, _C2 * count * (count - 1)
    above = (2 * product + c1) * (2 * covariance + c2)
    index: NDArray[np.float64] = above / ((squares + c1) * (variances + c2))
    return index


def _window_sum(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over every whole window of 7 x 7 of a block ``(h, w)``, as ``(h - 6, w - 6)``."""
    return _seven(_seven(block).T).T


def _seven(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of every seven rows that follow each other: of four, two and one, by four additions."""
    two = rows[:-1] + rows[1:]
    four = two[:-2] + two[2:]
    seven: NDArray[np.float64] = four[:-3] + two[4:-1] + rows[6:]
    return seven


def bias(result: Floats, truth: Floats) -> NDArray[np.float64]:
    """Mean error of every plane as a share of white: above 0 the result is too bright.

    Parameters
    ----------
    result, truth : (C, h, w)
        White at 1; nothing is clipped, for what a file keeps below black counts.

    Returns
    -------
    float64 array (C,)
    """
    error: NDArray[np.float64] = np.mean(result, (1, 2), np.float64)
    error -= np.mean(truth, (1, 2), np.float64)
    return error


def delta_e2000(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Colour difference of two sRGB pictures, pixel by pixel: about 1 can just be seen.

    Parameters
    ----------
    a, b : (h, w, 3)
        sRGB, 0 to 1.

    Returns
    -------
    float64 array (h, w)
        CIEDE2000 under D65, all weights 1.
    """
    return ciede2000(lab_from_srgb(a), lab_from_srgb(b))


def lab_from_srgb(picture: Floats) -> NDArray[np.float64]:
    """Return CIE L*a*b* under D65 of an sRGB picture ``(..., 3)``, 0 to 1."""
    coded = np.clip(picture, 0, 1).astype(np.float64)
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
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
    difference: NDArray[np.float64] = np.sqrt(
        d_light**2 + d_chroma**2 + d_hue**2 + rotation * d_chroma * d_hue
    )
    return difference


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


def illuminance_scale(result: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the factor that brings a result nearest to the truth.

    The long frame's light is not exactly the short one's times the ratio: lamps flicker, shutters
    are off. ELD and LED measure after one factor per frame, for all planes alike:
    ``sum(x * y) / sum(x * x)`` over the result x, clipped to 0..1, and the truth y, where the
    truth is not clipped; the least-squares scale.

    Parameters
    ----------
    result, truth : float32 arrays (C, h, w)
        White at 1.

    Returns
    -------
    float
        1 where nothing tells: a black result, or a truth that is all white.
    """
    likeness = energy = 0.0
    # Row by row, so that all is in cache.
    for x, y in zip(_rows(result), _rows(truth), strict=True):
        known = np.where(y < 1, np.clip(x, 0, 1), 0).astype(np.float64)
        likeness += float(known @ y)
        energy += float(known @ known)
    return likeness / energy if energy > 0 else 1.0


def _rows(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    return planes.reshape(-1, planes.shape[-1])


def corrected(result: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the result, clipped to 0..1, times its `illuminance_scale`; not clipped after."""
    return np.clip(result, 0, 1) * np.float32(illuminance_scale(result, truth))

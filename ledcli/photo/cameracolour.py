"""What LibRaw knows of a camera's colours: the matrix, and the white balance of a shot."""

import math
from collections.abc import Sequence

import numpy as np
import rawpy
from numpy.typing import NDArray

XYZ_FROM_SRGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
"""IEC 61966-2-1, linear sRGB to CIE XYZ, both with white D65 (the figures LibRaw uses)."""
_LARGEST_MULTIPLIER = 100.0


def colour_matrix(raw: rawpy.RawPy) -> NDArray[np.float64] | None:
    """XYZ to camera, from LibRaw's table of cameras, else from what the file says.

    What the file says reaches us as camera to sRGB with white at (1, 1, 1); the daylight
    multipliers undo that normalisation.
    """
    table = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3]
    if _usable(table):
        return table
    to_srgb = np.asarray(raw.color_matrix, np.float64)[:, :3]
    daylight = np.asarray(raw.daylight_whitebalance[:3], np.float64)
    if not _usable(to_srgb) or not np.isfinite(daylight).all() or (daylight <= 0).any():
        return None
    matrix = np.diag(1 / daylight) @ np.linalg.inv(to_srgb) @ np.linalg.inv(XYZ_FROM_SRGB)
    return matrix if _usable(matrix) else None


def _usable(matrix: NDArray[np.float64]) -> bool:
    return bool(
        np.isfinite(matrix).all()
        and np.abs(matrix).max() < 100
        and abs(np.linalg.det(matrix)) > 1e-6
    )


def multipliers(values: Sequence[float]) -> NDArray[np.float64] | None:
    """White balance with green at 1; None where LibRaw has zeros, -1 or nonsense."""
    red, green, blue = (float(value) for value in values[:3])
    if not all(math.isfinite(value) and value > 0 for value in (red, green, blue)):
        return None
    wb = np.array([red / green, 1.0, blue / green])
    return wb if wb.max() < _LARGEST_MULTIPLIER and wb.min() > 1 / _LARGEST_MULTIPLIER else None

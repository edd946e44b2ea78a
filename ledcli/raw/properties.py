"""What LibRaw knows of a camera's colours: the matrix, and the white balance of a shot."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rawpy
from numpy.typing import NDArray

from ledcli.errors import RawError
from ledcli.metadata.carried import DngMosaic
from ledcli.sensor.cfa import AnyPhase, Phase, find_phase, offsets
from ledcli.sensor.layout import XTRANS


def find_pattern(
    path: Path, raw: rawpy.RawPy, frame: DngMosaic | None
) -> tuple[Sequence[int], AnyPhase]:
    """Find out which colours an open file's pixels have.

    Parameters
    ----------
    path : Path
        For messages.
    raw : rawpy.RawPy
    frame : DngMosaic or None
        Where the active area lies, if not where LibRaw says.

    Returns
    -------
    sequence of int
        LibRaw's colour index of each plane.
    Phase or XTransPhase
        Of the active area.

    Raises
    ------
    RawError
        The sensor has no mosaic, or neither a Bayer nor an X-Trans one.
    """
    names = raw.color_desc.decode("ascii", "replace")
    repeats = raw.raw_pattern
    if raw.raw_type != rawpy.RawType.Flat or repeats is None:
        raise RawError(
            f"{path}: has no mosaic any more (linear DNG, sRAW, ProRAW or a three-layer sensor): "
            "give the camera's full-size raw"
        )
    if repeats.shape == (1, 1) or raw.num_colors == 1:
        raise RawError(f"{path}: is from a monochrome sensor, which is not supported")
    if raw.num_colors != 3 or sorted(names) != sorted("RGBG"):
        raise RawError(f"{path}: is from a sensor of four colours ({names}), not supported")
    top, left = frame.active_area[:2] if frame else (raw.sizes.top_margin, raw.sizes.left_margin)
    if repeats.shape == (XTRANS.period, XTRANS.period):
        return _xtrans_pattern(path, raw, top, left)
    # rawpy's pattern begins at the sensor's first pixel, not at the active area's.
    cell = np.roll(repeats, (-top, -left), axis=(0, 1))
    if repeats.shape == (2, 2):
        found = "".join(names[index] for index in cell.ravel())
        if found in Phase.__members__:
            phase = Phase(found)
            return [int(cell[offset]) for offset in offsets(phase)], phase
    raise RawError(f"{path}: has colours in an order that is not Bayer, not supported")


def _xtrans_pattern(
    path: Path, raw: rawpy.RawPy, top: int, left: int
) -> tuple[Sequence[int], AnyPhase]:
    """As `find_pattern`, of a pattern of 6x6."""
    # Not raw_pattern: above the active area LibRaw counts on past the pattern's end.
    names = raw.color_desc.decode("ascii", "replace")
    cell = np.empty((XTRANS.period, XTRANS.period), np.intp)
    for row, col in np.ndindex(cell.shape):
        cell[row, col] = "RGB".index(names[raw.raw_color(top + row, left + col)])
    phase = find_phase(cell)
    if phase is None:
        raise RawError(f"{path}: has colours in an order that is not X-Trans, not supported")
    return phase.layout.colours, phase


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

"""Which kind of mosaic a raw file has, as LibRaw tells it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rawpy

from ledcli.errors import RawError
from ledcli.photo.cfa import AnyPhase, Phase, layout, offsets
from ledcli.photo.dngframe import DngFrame
from ledcli.photo.xtrans import PERIOD, XTransPhase, phase_of


def find_pattern(
    path: Path, raw: rawpy.RawPy, frame: DngFrame | None
) -> tuple[Sequence[int], AnyPhase]:
    """Find out which colours an open file's pixels have.

    Parameters
    ----------
    path : Path
        For messages.
    raw : rawpy.RawPy
    frame : DngFrame or None
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
    top, left = frame.area[:2] if frame else (raw.sizes.top_margin, raw.sizes.left_margin)
    if repeats.shape == (PERIOD, PERIOD):
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
) -> tuple[Sequence[int], XTransPhase]:
    """As `find_pattern`, of a pattern of 6x6."""
    # Not raw_pattern: above the active area LibRaw counts on past the pattern's end.
    names = raw.color_desc.decode("ascii", "replace")
    cell = np.empty((PERIOD, PERIOD), np.intp)
    for row, col in np.ndindex(cell.shape):
        cell[row, col] = "RGB".index(names[raw.raw_color(top + row, left + col)])
    phase = phase_of(cell)
    if phase is None:
        raise RawError(f"{path}: has colours in an order that is not X-Trans, not supported")
    return layout(phase).colours, phase

"""X-Trans mosaics: where their pattern begins, and packing by colour as SID does it.

The pattern is 6x6 pixels, or 2x2 cells of 3x3. Mirrored, turned and moved by whole cells it is
always one of 18, and planes begin with an even cell whatever the crop: what a network sees of the
sensor is the same for every photo.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.sensor.layout import XTRANS

PERIOD = 6
"""Pixels after which the pattern repeats; nothing smaller can be packed."""
_CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))
_SIDE = XTRANS.side


class XTransPhase(NamedTuple):
    """Where in the pattern a mosaic begins.

    Attributes
    ----------
    row : int
        0 to 2: after three rows the pattern goes on as after three columns.
    col : int
        0 to 5.
    """

    row: int
    col: int

    def __str__(self) -> str:
        return f"X-Trans {self.row},{self.col}"


def every_phase() -> list[XTransPhase]:
    """Return the 18 phases."""
    return [XTransPhase(row, col) for row in range(_SIDE) for col in range(PERIOD)]


def phase_at(row: int, col: int) -> XTransPhase:
    """Return the phase of a mosaic that begins at any of the pattern's 36 pixels, or beyond."""
    return XTransPhase(row % _SIDE, (col + _SIDE * (row // _SIDE)) % PERIOD)


def shift(phase: XTransPhase, rows: int, cols: int) -> XTransPhase:
    """Return the phase of a crop that starts so much further down and to the right."""
    return phase_at(phase.row + rows, phase.col + cols)


@functools.cache
def pattern(phase: XTransPhase) -> NDArray[np.intp]:
    """Plane of each pixel of the mosaic's first 6x6."""
    planes = np.empty((PERIOD, PERIOD), np.intp)
    for row, col in _CELLS:
        places = XTRANS.odd if (row + col) % 2 else XTRANS.even
        for plane, (down, right) in enumerate(places):
            planes[_SIDE * row + down, _SIDE * col + right] = plane
    return np.roll(planes, (-phase.row, -phase.col), axis=(0, 1))


def phase_of(colours: NDArray[Any]) -> XTransPhase | None:
    """Find the phase whose first 6x6 pixels have these colours (0, 1, 2); None if there is none."""
    of_plane = np.array(XTRANS.colours)
    for phase in every_phase():
        if np.array_equal(of_plane[pattern(phase)], colours):
            return phase
    return None


def pack(mosaic: NDArray[Any], phase: XTransPhase) -> NDArray[Any]:
    """Sort a mosaic by colour.

    Parameters
    ----------
    mosaic : array (H, W)
        At least 6x6, any type. Cells that the border cuts are completed with the samples one
        period further in, which are of the same colour.
    phase : XTransPhase
        Of the mosaic's first pixel.

    Returns
    -------
    array (9, ceil((row + H)/3), ceil((col + W)/3))
        In the order of `noise.places.XTRANS`, in the mosaic's type, contiguous.
    """
    if min(mosaic.shape) < PERIOD:
        raise ValueError(f"a mosaic of {mosaic.shape[0]}x{mosaic.shape[1]} has no whole pattern")
    rows, cols = _cells(phase, (mosaic.shape[0], mosaic.shape[1]))
    whole = _completed(mosaic, phase, rows, cols)
    planes = np.empty((len(XTRANS.colours), rows, cols), mosaic.dtype)
    for plane, samples in _views(planes, whole):
        plane[...] = samples
    return planes


def unpack(planes: NDArray[Any], phase: XTransPhase, shape: tuple[int, int]) -> NDArray[Any]:
    """Put planes (9, h, w) back into a mosaic of a shape (H, W): the exact inverse of `pack`."""
    rows, cols = _cells(phase, shape)
    if planes.shape != (len(XTRANS.colours), rows, cols):
        raise ValueError(f"planes of {planes.shape} do not make a mosaic of {shape[0]}x{shape[1]}")
    whole = np.empty((_SIDE * rows, _SIDE * cols), planes.dtype)
    for plane, samples in _views(planes, whole):
        samples[...] = plane
    top, left = phase
    return np.ascontiguousarray(whole[top : top + shape[0], left : left + shape[1]])


def _cells(phase: XTransPhase, shape: tuple[int, int]) -> tuple[int, int]:
    """Count the rows and columns of cells that a mosaic touches."""
    return -(-(phase.row + shape[0]) // _SIDE), -(-(phase.col + shape[1]) // _SIDE)


def _completed(mosaic: NDArray[Any], phase: XTransPhase, rows: int, cols: int) -> NDArray[Any]:
    """Make a mosaic of whole cells."""
    (top, left), (height, width) = phase, mosaic.shape
    if (height, width) == (_SIDE * rows, _SIDE * cols):
        return mosaic
    whole = np.empty((_SIDE * rows, _SIDE * cols), mosaic.dtype)
    bottom, right = top + height, left + width
    inner = whole[:, left:right]
    inner[top:bottom] = mosaic
    inner[:top] = inner[PERIOD : PERIOD + top]
    inner[bottom:] = inner[bottom - PERIOD : len(whole) - PERIOD]
    whole[:, :left] = whole[:, PERIOD : PERIOD + left]
    whole[:, right:] = whole[:, right - PERIOD : whole.shape[1] - PERIOD]
    return whole


def _views(planes: NDArray[Any], whole: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Return parts of the planes, each with where its samples lie in a mosaic of whole cells."""
    views = []
    for plane, even, odd in zip(planes, XTRANS.even, XTRANS.odd, strict=True):
        if even == odd:
            views.append((plane, whole[even[0] :: _SIDE, even[1] :: _SIDE]))
            continue
        for row, col in _CELLS:
            down, right = odd if (row + col) % 2 else even
            samples = whole[_SIDE * row + down :: PERIOD, _SIDE * col + right :: PERIOD]
            views.append((plane[row::2, col::2], samples))
    return views

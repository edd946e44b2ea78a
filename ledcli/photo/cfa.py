"""Mosaics: phases, packing by colour, and the normalisation that everything shares.

Bayer mosaics make 4 planes: R, the green in red's row, B, the green in blue's row. X-Trans ones
make 9 (photo/xtrans.py). Which of the two a mosaic is, its phase says.
"""

import functools
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ledcli.noise.places import LAYOUTS, Layout
from ledcli.photo import xtrans
from ledcli.photo.xtrans import XTransPhase

Offset = tuple[int, int]


class Phase(StrEnum):
    """Which colour the first two pixels of the first two rows have, read row by row."""

    RGGB = "RGGB"
    BGGR = "BGGR"
    GRBG = "GRBG"
    GBRG = "GBRG"


AnyPhase = Phase | XTransPhase
"""Of a mosaic of either kind."""

_RED: dict[Phase, Offset] = {
    Phase.RGGB: (0, 0),
    Phase.GRBG: (0, 1),
    Phase.GBRG: (1, 0),
    Phase.BGGR: (1, 1),
}
_PHASE_OF_RED = {offset: phase for phase, offset in _RED.items()}


def offsets(phase: Phase) -> tuple[Offset, Offset, Offset, Offset]:
    """Position of each plane's first sample in the 2x2 pattern.

    Parameters
    ----------
    phase : Phase

    Returns
    -------
    tuple of (row, column)
        For R, G1, B, G2.

    Examples
    --------
    >>> offsets(Phase.RGGB)
    ((0, 0), (0, 1), (1, 1), (1, 0))
    """
    row, col = _RED[phase]
    return (row, col), (row, 1 - col), (1 - row, 1 - col), (1 - row, col)


def cfa_of(phase: AnyPhase) -> str:
    """Kind of a mosaic: ``bayer`` or ``xtrans``."""
    return "xtrans" if isinstance(phase, XTransPhase) else "bayer"


def layout(phase: AnyPhase) -> Layout:
    """Cells, planes and their colours of a mosaic."""
    return LAYOUTS[cfa_of(phase)]


@functools.cache
def pattern(phase: AnyPhase) -> NDArray[np.intp]:
    """Plane of each pixel of the mosaic's first 2x2, or 6x6 of an X-Trans.

    Examples
    --------
    >>> pattern(Phase.RGGB)
    array([[0, 1],
           [3, 2]])
    """
    if isinstance(phase, XTransPhase):
        return xtrans.pattern(phase)
    planes = np.empty((2, 2), np.intp)
    for plane, place in enumerate(offsets(phase)):
        planes[place] = plane
    return planes


def shift_phase(phase: AnyPhase, rows: int, cols: int) -> AnyPhase:
    """Phase of a crop that starts `rows` down and `cols` to the right; negative goes outwards."""
    if isinstance(phase, XTransPhase):
        return xtrans.shift(phase, rows, cols)
    row, col = _RED[phase]
    return _PHASE_OF_RED[(row + rows) % 2, (col + cols) % 2]


def pack(mosaic: NDArray[Any], phase: AnyPhase) -> NDArray[Any]:
    """Sort a mosaic by colour.

    Parameters
    ----------
    mosaic : array (H, W)
        At least 2x2, any type. An odd height or width is completed with the nearest sample of
        the same colour: row H is row H - 2.
    phase : Phase or XTransPhase
        Of the mosaic's first pixel.

    Returns
    -------
    array (4, ceil(H/2), ceil(W/2))
        R, G1, B, G2, in the mosaic's type, contiguous; of an X-Trans as `xtrans.pack`.
    """
    if isinstance(phase, XTransPhase):
        return xtrans.pack(mosaic, phase)
    height, width = mosaic.shape
    if height < 2 or width < 2:
        raise ValueError(f"a mosaic of {height}x{width} has no whole 2x2 cell")
    rows, cols = (height + 1) // 2, (width + 1) // 2
    planes = np.empty((4, rows, cols), mosaic.dtype)
    for plane, (row, col) in zip(planes, offsets(phase), strict=True):
        samples = mosaic[row::2, col::2]
        have_rows, have_cols = samples.shape
        plane[:have_rows, :have_cols] = samples
        if have_rows < rows:
            plane[-1] = plane[-2]
        if have_cols < cols:
            plane[:, -1] = plane[:, -2]
    return planes


def unpack(planes: NDArray[Any], phase: AnyPhase, shape: tuple[int, int]) -> NDArray[Any]:
    """Put planes back into a mosaic: the exact inverse of `pack`.

    Parameters
    ----------
    planes : array (4, h, w), or (9, h, w) of an X-Trans
    phase : Phase or XTransPhase
    shape : (H, W)
        Size of the mosaic, with h = ceil(H/2) and w = ceil(W/2); of an X-Trans as `xtrans.pack`.

    Returns
    -------
    array (H, W)
        In the type of the planes.
    """
    if isinstance(phase, XTransPhase):
        return xtrans.unpack(planes, phase, shape)
    height, width = shape
    if planes.shape != (4, (height + 1) // 2, (width + 1) // 2):
        raise ValueError(f"planes of {planes.shape} do not make a mosaic of {height}x{width}")
    mosaic = np.empty(shape, planes.dtype)
    for plane, (row, col) in zip(planes, offsets(phase), strict=True):
        target = mosaic[row::2, col::2]
        target[:] = plane[: target.shape[0], : target.shape[1]]
    return mosaic


def normalise(
    mosaic: NDArray[Any], phase: AnyPhase, black: NDArray[Any], white: NDArray[Any]
) -> NDArray[np.float32]:
    """Subtract black and divide by the range, per plane; nothing is clipped.

    Parameters
    ----------
    mosaic : array (H, W)
        In DN.
    phase : Phase or XTransPhase
    black, white : array (planes,)
        In DN, in the planes' order.

    Returns
    -------
    float32 array (H, W)
        ``x = (mosaic - black) / (white - black)``: 0 is black, 1 is white, noise goes below 0.
    """
    x = np.empty(mosaic.shape, np.float32)
    cell = pattern(phase)
    for (row, col), plane in np.ndenumerate(cell):
        here = np.s_[row :: len(cell), col :: len(cell)]
        x[here] = mosaic[here]
        x[here] -= np.float32(black[plane])
        x[here] /= np.float32(float(white[plane]) - float(black[plane]))
    return x


def denormalise(
    x: NDArray[Any], phase: AnyPhase, black: NDArray[Any], white: NDArray[Any]
) -> NDArray[np.float32]:
    """Inverse of `normalise`: a float32 mosaic (H, W) in DN, neither rounded nor clipped."""
    mosaic = np.empty(x.shape, np.float32)
    cell = pattern(phase)
    for (row, col), plane in np.ndenumerate(cell):
        here = np.s_[row :: len(cell), col :: len(cell)]
        mosaic[here] = x[here]
        mosaic[here] *= np.float32(float(white[plane]) - float(black[plane]))
        mosaic[here] += np.float32(black[plane])
    return mosaic

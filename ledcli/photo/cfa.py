"""Bayer mosaics: phases, packing by colour, and the normalisation that everything shares."""

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLANES = ("R", "G1", "B", "G2")
"""Order of the packed planes; G1 is the green in red's row, G2 the green in blue's row."""

Offset = tuple[int, int]


class Phase(StrEnum):
    """Which colour the first two pixels of the first two rows have, read row by row."""

    RGGB = "RGGB"
    BGGR = "BGGR"
    GRBG = "GRBG"
    GBRG = "GBRG"


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


def shift_phase(phase: Phase, rows: int, cols: int) -> Phase:
    """Phase of a crop that starts `rows` down and `cols` to the right; negative goes outwards."""
    row, col = _RED[phase]
    return _PHASE_OF_RED[(row + rows) % 2, (col + cols) % 2]


def pack(mosaic: NDArray[Any], phase: Phase) -> NDArray[Any]:
    """Sort a mosaic by colour.

    Parameters
    ----------
    mosaic : array (H, W)
        At least 2x2, any type. An odd height or width is completed with the nearest sample of
        the same colour: row H is row H - 2.
    phase : Phase
        Of the mosaic's first pixel.

    Returns
    -------
    array (4, ceil(H/2), ceil(W/2))
        R, G1, B, G2, in the mosaic's type, contiguous.
    """
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


def unpack(planes: NDArray[Any], phase: Phase, shape: tuple[int, int]) -> NDArray[Any]:
    """Put planes back into a mosaic: the exact inverse of `pack`.

    Parameters
    ----------
    planes : array (4, h, w)
        R, G1, B, G2.
    phase : Phase
    shape : (H, W)
        Size of the mosaic, with h = ceil(H/2) and w = ceil(W/2).

    Returns
    -------
    array (H, W)
        In the type of the planes.
    """
    height, width = shape
    if planes.shape != (4, (height + 1) // 2, (width + 1) // 2):
        raise ValueError(f"planes of {planes.shape} do not make a mosaic of {height}x{width}")
    mosaic = np.empty(shape, planes.dtype)
    for plane, (row, col) in zip(planes, offsets(phase), strict=True):
        target = mosaic[row::2, col::2]
        target[:] = plane[: target.shape[0], : target.shape[1]]
    return mosaic


def normalise(
    mosaic: NDArray[Any], phase: Phase, black: NDArray[Any], white: NDArray[Any]
) -> NDArray[np.float32]:
    """Subtract black and divide by the range, per CFA colour; nothing is clipped.

    Parameters
    ----------
    mosaic : array (H, W)
        In DN.
    phase : Phase
    black, white : array (4,)
        In DN, for R, G1, B, G2.

    Returns
    -------
    float32 array (H, W)
        ``x = (mosaic - black) / (white - black)``: 0 is black, 1 is white, noise goes below 0.
    """
    x = np.empty(mosaic.shape, np.float32)
    for (row, col), low, high in zip(offsets(phase), black, white, strict=True):
        target = x[row::2, col::2]
        target[:] = mosaic[row::2, col::2]
        target -= np.float32(low)
        target /= np.float32(float(high) - float(low))
    return x


def denormalise(
    x: NDArray[Any], phase: Phase, black: NDArray[Any], white: NDArray[Any]
) -> NDArray[np.float32]:
    """Inverse of `normalise`: a float32 mosaic (H, W) in DN, neither rounded nor clipped."""
    mosaic = np.empty(x.shape, np.float32)
    for (row, col), low, high in zip(offsets(phase), black, white, strict=True):
        target = mosaic[row::2, col::2]
        target[:] = x[row::2, col::2]
        target *= np.float32(float(high) - float(low))
        target += np.float32(low)
    return mosaic

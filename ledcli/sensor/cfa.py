"""Cells that begin alike whatever a mosaic's phase: RGGB, or the even cell of an X-Trans.

`cfa.pack` sorts a Bayer mosaic by colour in the cells that its first pixel begins, so that where in
a cell a colour lies depends on the phase. Whoever makes pictures of planes must know that place.
"""

import functools
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ledcli.sensor import xtrans
from ledcli.sensor.layout import LAYOUTS, Layout
from ledcli.sensor.xtrans import PERIOD, XTransPhase, phase_of

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


FIRST: dict[str, AnyPhase] = {"bayer": Phase.RGGB, "xtrans": XTransPhase(0, 0)}
"""The phase with which cells begin, by kind of sensor."""


def origin(phase: AnyPhase) -> tuple[int, int]:
    """Return the row and column of a mosaic's first pixel in a frame of whole first cells."""
    if isinstance(phase, XTransPhase):
        return phase.row, phase.col
    return offsets(phase)[0]


def first_cells(planes: NDArray[Any], phase: AnyPhase) -> NDArray[Any]:
    """Move planes of `pack` to cells that begin with red.

    Parameters
    ----------
    planes : array (4, h, w), or (9, h, w) of an X-Trans
    phase : Phase or XTransPhase
        Of the mosaic that they are packed from.

    Returns
    -------
    array (4, h + row, w + column)
        With `origin` (row, column): as if the mosaic had so many rows and columns more before its
        first pixel, mirrored at it. An X-Trans is packed so already.
    """
    if isinstance(phase, XTransPhase) or phase is Phase.RGGB:
        return planes
    down, right = origin(phase)
    _, height, width = planes.shape
    moved = np.empty((4, height + down, width + right), planes.dtype)
    for target, plane, (row, col) in zip(moved, planes, offsets(Phase.RGGB), strict=True):
        # What lies in a cell's first row comes from the last row of the cell above.
        rows = (down, 0) if row == 0 else (0, down)
        cols = (right, 0) if col == 0 else (0, right)
        target[:] = np.pad(plane, (rows, cols), "edge")
    return moved


def colours_at(phase: AnyPhase, shape: tuple[int, int]) -> NDArray[np.intp]:
    """Return the colour (0, 1, 2 for R, G, B) of each pixel of a mosaic of a shape (H, W)."""
    cell = np.array(layout(phase).colours, np.intp)[pattern(phase)]
    period = len(cell)
    repeats = [-(-n // period) for n in shape]
    return np.tile(cell, repeats)[: shape[0], : shape[1]]


def to_first(colours: NDArray[np.intp], cfa: str) -> tuple[int, int]:
    """Return how many rows and columns lie before the first cell of a mosaic.

    Parameters
    ----------
    colours : int array (H, W)
        Of its pixels, as `colours_at` gives them; it may have been mirrored or transposed.
    cfa : str
        ``bayer`` or ``xtrans``.
    """
    phase: AnyPhase | None
    if cfa == "xtrans":
        phase = phase_of(colours[:PERIOD, :PERIOD])
    else:
        phase = Phase("".join("RGB"[colour] for colour in colours[:2, :2].ravel()))
    period = len(pattern(FIRST[cfa]))
    for row, col in np.ndindex(layout(FIRST[cfa]).side, period):
        if phase is not None and shift_phase(phase, row, col) == FIRST[cfa]:
            return row, col
    raise ValueError(f"the colours are not those of a {cfa} mosaic")

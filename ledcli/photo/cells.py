"""Cells that begin alike whatever a mosaic's phase: RGGB, or the even cell of an X-Trans.

`cfa.pack` sorts a Bayer mosaic by colour in the cells that its first pixel begins, so that where in
a cell a colour lies depends on the phase. Whoever makes pictures of planes must know that place.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ledcli.photo.cfa import AnyPhase, Phase, layout, offsets, pattern, shift_phase
from ledcli.photo.xtrans import PERIOD, XTransPhase, phase_of

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

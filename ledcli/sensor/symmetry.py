"""Mirroring and transposing packed planes, so that they are planes of the same sensor again.

A mirrored Bayer mosaic is one of another phase: packed by colour, its planes are mirrored too, and
transposing swaps the two greens. An X-Trans has the symmetries of a square about the greens that
stand alone, but its cells have not: it is turned as a mosaic and packed anew, from the first even
cell on.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ledcli.sensor.layout import XTRANS
from ledcli.sensor.xtrans import PERIOD, XTransPhase, pack, pattern, phase_of, shift, unpack

_EVEN = XTransPhase(0, 0)
_XTRANS_PLANES = len(XTRANS.colours)
_CELLS_LOST = 2


def cells_lost(planes: int) -> int:
    """Return how many rows and columns of so many planes are cut off when they are turned."""
    return _CELLS_LOST if planes == _XTRANS_PLANES else 0


def even_start(planes: int, row: int, col: int) -> tuple[int, int]:
    """Return where to cut planes instead, so that an X-Trans's begin with an even cell."""
    if planes == _XTRANS_PLANES and (row + col) % 2:
        return (row, col - 1) if col else (row - 1, col)
    return row, col


def turned(planes: NDArray[Any], flips: Sequence[bool]) -> NDArray[Any]:
    """Turn planes.

    Parameters
    ----------
    planes : array (4, h, w), or (9, h, w) of an X-Trans
        An X-Trans's begin with an even cell.
    flips : (bool, bool, bool)
        Whether rows are mirrored, columns are, and then the two are swapped.

    Returns
    -------
    array (4, h, w) or (9, h - 2, w - 2)
        The last two swapped where rows and columns are.
    """
    if len(planes) == _XTRANS_PLANES:
        return _turned_xtrans(planes, flips)
    planes = _mirrored(planes, flips)
    return planes[[0, 3, 2, 1]].transpose(0, 2, 1) if flips[2] else planes


def _turned_xtrans(planes: NDArray[Any], flips: Sequence[bool]) -> NDArray[Any]:
    sides = [XTRANS.side * cells for cells in planes.shape[1:]]
    mosaic = unpack(planes, _EVEN, (sides[0], sides[1]))
    # As many cells as the frame has, but for whole periods: mirrored, they begin as it does.
    tiled = np.tile(np.array(XTRANS.colours)[pattern(_EVEN)], (2, 2))
    colours = tiled[: PERIOD + sides[0] % PERIOD, : PERIOD + sides[1] % PERIOD]
    mosaic, colours = (_mirrored(each, flips) for each in (mosaic, colours))
    if flips[2]:
        mosaic, colours = mosaic.T, colours.T
    phase = phase_of(colours[:PERIOD, :PERIOD])
    assert phase is not None, "the pattern has the symmetries of a square"
    top = -phase.row % XTRANS.side
    left = -shift(phase, top, 0).col % PERIOD
    rows, cols = (XTRANS.side * (n // XTRANS.side - _CELLS_LOST) for n in mosaic.shape)
    return pack(mosaic[top : top + rows, left : left + cols], _EVEN)


def _mirrored(array: NDArray[Any], flips: Sequence[bool]) -> NDArray[Any]:
    return array[..., :: -1 if flips[0] else 1, :: -1 if flips[1] else 1]

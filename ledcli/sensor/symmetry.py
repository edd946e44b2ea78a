"""Mirroring and transposing images and packed planes: for augmentation and self-ensemble.

A network sees where the planes' samples lie between one another only if they always lie alike: as
in the standard phase. A mirrored Bayer mosaic has another phase; without its first row or column it
has the standard one again, and transposing swaps the two greens. An X-Trans pattern has the
symmetries of a square about its isolated greens, but its cells do not: it is mirrored as a mosaic
and packed again, from the first cell at the standard phase on.
"""

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ledcli.sensor.cfa import (
    STANDARD_PHASE,
    AnyPhase,
    Phase,
    colour_map,
    offsets,
    pack,
    standard_start,
    unpack,
)
from ledcli.sensor.layout import Layout, layout_of

_OFFSETS = offsets(Phase.RGGB)
_X_TRANS_CELLS_LOST = 2
"""Rows and columns of cells that repacking from another first cell costs."""


class Flip(NamedTuple):
    """One of the eight symmetries of a square: mirror rows, mirror columns, then transpose."""

    rows: bool = False
    cols: bool = False
    transpose: bool = False

    @classmethod
    def random(cls, rng: np.random.Generator) -> Self:
        """Draw one of the eight."""
        return cls(*(rng.random(3) < 0.5).tolist())

    @property
    def axes(self) -> tuple[int, ...]:
        """The mirrored axes of planes ``(n, h, w)``, as ``np.flip`` and ``Tensor.flip`` want."""
        return (1,) * self.rows + (2,) * self.cols

    def image(self, image: NDArray[Any]) -> NDArray[Any]:
        """Mirror and transpose the first two axes of an image ``(H, W, ...)``; a view."""
        image = image[:: -1 if self.rows else 1, :: -1 if self.cols else 1]
        return image.swapaxes(0, 1) if self.transpose else image


MIRRORS = (Flip(), Flip(rows=True), Flip(cols=True), Flip(rows=True, cols=True))
"""The four without transposing: row noise stays row noise."""


def standard_axes(phase: AnyPhase) -> tuple[int, ...]:
    """Return the axes of planes ``(n, h, w)`` whose mirroring gives a mosaic the standard phase.

    There are none for an X-Trans: its planes are packed from the standard phase on.
    """
    fixed = phase.layout.fixed_cells
    return () if fixed else Flip(rows=phase.row > 0, cols=phase.col > 0).axes


def cells_lost(planes: int) -> int:
    """Return how many rows and columns `flip_planes` cuts off a frame of so many planes."""
    return _X_TRANS_CELLS_LOST if layout_of(planes).fixed_cells else 1


def even_start(planes: int, row: int, col: int) -> tuple[int, int]:
    """Move the start of a crop of planes to an even cell, where the layout needs that."""
    if layout_of(planes).fixed_cells and (row + col) % 2:
        return (row, col - 1) if col else (row - 1, col)
    return row, col


def flip_planes(planes: NDArray[Any], flip: Flip, phase: AnyPhase | None = None) -> NDArray[Any]:
    """Mirror and transpose planes; the result is planes of a mosaic at the standard phase.

    Maps (4, h, w), packed from a mosaic at `phase` (the standard one by default), to
    (4, h - 1, w - 1), and (9, h, w) of an X-Trans that begins with an even cell to (9, h - 2,
    w - 2), with h and w swapped where transposed.
    """
    layout = layout_of(len(planes))
    if layout.fixed_cells:
        return _flip_as_mosaic(planes, flip, layout)
    phase = phase or STANDARD_PHASE[layout.name]
    rows, cols = flip.rows != (phase.row > 0), flip.cols != (phase.col > 0)
    height, width = (size - 1 for size in planes.shape[1:])
    # Where the first row or column is left out, the planes in it begin one later.
    starts = [(int(rows and row), int(cols and col)) for row, col in _OFFSETS]
    mirrored = zip(np.flip(planes, flip.axes), starts, strict=True)
    planes = np.stack([p[top : top + height, left : left + width] for p, (top, left) in mirrored])
    return planes[[0, 3, 2, 1]].transpose(0, 2, 1) if flip.transpose else planes


def mirrored(planes: Tensor, flip: Flip) -> Tensor:
    """Mirror planes (4, h, w) at the standard phase; a row or column is added to have it again.

    That is the first and the last of the mirrored mosaic, repeated by the same colour's.
    """
    planes = planes.flip(flip.axes)
    for axis in flip.axes:
        size = planes.shape[axis]
        before = torch.cat((planes.narrow(axis, 0, 1), planes), axis)
        behind = torch.cat((planes, planes.narrow(axis, size - 1, 1)), axis)
        late = [at[axis - 1] for at in _OFFSETS]
        planes = torch.stack([(behind if each else before)[n] for n, each in enumerate(late)])
    return planes


def mirrored_back(planes: Tensor, flip: Flip) -> Tensor:
    """Undo `mirrored`."""
    for axis in flip.axes:
        size = planes.shape[axis] - 1
        late = [at[axis - 1] for at in _OFFSETS]
        parts = [planes[n].narrow(axis - 1, 1 - each, size) for n, each in enumerate(late)]
        planes = torch.stack(parts)
    return planes.flip(flip.axes)


def _flip_as_mosaic(planes: NDArray[Any], flip: Flip, layout: Layout) -> NDArray[Any]:
    standard, side, period = STANDARD_PHASE[layout.name], layout.side, layout.period
    height, width = (side * cells for cells in planes.shape[1:])
    mosaic = flip.image(unpack(planes, standard, (height, width)))
    # Two periods more or fewer change nothing: mirrored, these colours begin as the mosaic does.
    colours = colour_map(standard, (2 * period + height % period, 2 * period + width % period))
    top, left = standard_start(flip.image(colours), layout)
    rows, cols = (side * (size // side - _X_TRANS_CELLS_LOST) for size in mosaic.shape)
    return pack(mosaic[top : top + rows, left : left + cols], standard)

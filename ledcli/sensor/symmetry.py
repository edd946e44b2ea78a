"""Mirroring and transposing images and packed planes: for augmentation and self-ensemble.

A mirrored Bayer mosaic has another phase, but packed by colour its planes are simply mirrored, and
transposing swaps the two greens. An X-Trans pattern has the symmetries of a square about its
isolated greens, but its cells do not: it is mirrored as a mosaic and packed again, from the first
cell at the standard phase on.
"""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ledcli.sensor.cfa import STANDARD_PHASE, colour_map, pack, standard_start, unpack
from ledcli.sensor.layout import Layout, layout_of

_CELLS_LOST = 2
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


def cells_lost(planes: int) -> int:
    """Return how many rows and columns `flip_planes` cuts off a frame of so many planes."""
    return _CELLS_LOST if layout_of(planes).fixed_cells else 0


def even_start(planes: int, row: int, col: int) -> tuple[int, int]:
    """Move the start of a crop of planes to an even cell, where the layout needs that."""
    if layout_of(planes).fixed_cells and (row + col) % 2:
        return (row, col - 1) if col else (row - 1, col)
    return row, col


def flip_planes(planes: NDArray[Any], flip: Flip) -> NDArray[Any]:
    """Mirror and transpose planes; the result is planes of the same sensor again.

    Maps (4, h, w) to the same shape, and (9, h, w) of an X-Trans that begins with an even cell to
    (9, h - 2, w - 2), with h and w swapped where transposed.
    """
    layout = layout_of(len(planes))
    if layout.fixed_cells:
        return _flip_as_mosaic(planes, flip, layout)
    planes = np.flip(planes, flip.axes)
    return planes[[0, 3, 2, 1]].transpose(0, 2, 1) if flip.transpose else planes


def _flip_as_mosaic(planes: NDArray[Any], flip: Flip, layout: Layout) -> NDArray[Any]:
    standard, side, period = STANDARD_PHASE[layout.name], layout.side, layout.period
    height, width = (side * cells for cells in planes.shape[1:])
    mosaic = flip.image(unpack(planes, standard, (height, width)))
    # Two periods more or fewer change nothing: mirrored, these colours begin as the mosaic does.
    colours = colour_map(standard, (2 * period + height % period, 2 * period + width % period))
    top, left = standard_start(flip.image(colours), layout)
    rows, cols = (side * (size // side - _CELLS_LOST) for size in mosaic.shape)
    return pack(mosaic[top : top + rows, left : left + cols], standard)

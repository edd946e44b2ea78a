"""Phases of a mosaic, and packing it by colour.

The phase says where in the repeating pattern a mosaic begins. Planes are sorted by colour, so that
a network sees the same sensor in every photo, whatever the crop.
"""

import functools
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ledcli.sensor.layout import BAYER, MONO, XTRANS, Layout, Position


class Phase(StrEnum):
    """Phase of a Bayer mosaic: the colours of its first two pixels, then of those below."""

    RGGB = "RGGB"
    BGGR = "BGGR"
    GRBG = "GRBG"
    GBRG = "GBRG"

    @property
    def layout(self) -> Layout:
        """Always Bayer."""
        return BAYER

    @property
    def row(self) -> int:
        """Row of the RGGB pattern in which the mosaic begins; also the row of its first red."""
        return self.value.index("R") // 2

    @property
    def col(self) -> int:
        """Column of the RGGB pattern in which the mosaic begins."""
        return self.value.index("R") % 2

    def shifted(self, rows: int, cols: int) -> "Phase":
        """Phase of a crop that starts `rows` down and `cols` to the right; negative: outwards."""
        start = (self.row + rows) % 2, (self.col + cols) % 2
        return next(phase for phase in Phase if (phase.row, phase.col) == start)


class XTransPhase(NamedTuple):
    """Phase of an X-Trans mosaic: where in the 6x6 pattern it begins, one of 18."""

    row: int
    """0 to 2: three rows further down the pattern is the same as three columns to the right."""
    col: int
    """0 to 5."""

    @property
    def layout(self) -> Layout:
        """Always X-Trans."""
        return XTRANS

    def shifted(self, rows: int, cols: int) -> Self:
        """Phase of a crop that starts `rows` down and `cols` to the right; negative: outwards."""
        down, row = divmod(self.row + rows, XTRANS.side)
        return type(self)(row, (self.col + cols + XTRANS.side * down) % XTRANS.period)

    def __str__(self) -> str:
        return f"X-Trans {self.row},{self.col}"


class MonoPhase(StrEnum):
    """The phase of a monochrome sensor, which has no CFA: the same everywhere."""

    MONO = "monochrome"

    @property
    def layout(self) -> Layout:
        """Always monochrome."""
        return MONO

    @property
    def row(self) -> int:
        """Always the pattern's first."""
        return 0

    @property
    def col(self) -> int:
        """Always the pattern's first."""
        return 0

    def shifted(self, rows: int, cols: int) -> "MonoPhase":
        """Phase of a crop: the same."""
        return self


AnyPhase = Phase | XTransPhase | MonoPhase

PHASES: dict[str, tuple[AnyPhase, ...]] = {
    BAYER.name: tuple(Phase),
    XTRANS.name: tuple(XTransPhase(row, col) for row in range(3) for col in range(6)),
    MONO.name: (MonoPhase.MONO,),
}
"""All phases of each layout, the standard phase first."""
STANDARD_PHASE = {name: phases[0] for name, phases in PHASES.items()}
"""The phase in which a layout's positions are given."""


def offsets(phase: Phase) -> tuple[Position, Position, Position, Position]:
    """Position of each Bayer plane's first sample in the 2x2 pattern: R, G1, B, G2.

    Examples
    --------
    >>> offsets(Phase.RGGB)
    ((0, 0), (0, 1), (1, 1), (1, 0))
    """
    row, col = phase.row, phase.col
    return (row, col), (row, 1 - col), (1 - row, 1 - col), (1 - row, col)


@functools.cache
def pattern(phase: AnyPhase) -> NDArray[np.intp]:
    """Plane of each pixel of the mosaic's first period: 2x2 pixels, or 6x6 of an X-Trans.

    Examples
    --------
    >>> pattern(Phase.RGGB)
    array([[0, 1],
           [3, 2]])
    """
    layout = phase.layout
    planes = np.empty((layout.period, layout.period), np.intp)
    for row, col in np.ndindex(2, 2) if layout.even != layout.odd else [(0, 0)]:
        positions = layout.odd if (row + col) % 2 else layout.even
        for plane, (down, right) in enumerate(positions):
            planes[layout.side * row + down, layout.side * col + right] = plane
    return np.roll(planes, (-phase.row, -phase.col), axis=(0, 1))


def colour_pattern(phase: AnyPhase) -> NDArray[np.intp]:
    """Colour (0, 1, 2 for R, G, B) of each pixel of the mosaic's first period."""
    return np.array(phase.layout.colours, np.intp)[pattern(phase)]


def colour_map(phase: AnyPhase, shape: tuple[int, int]) -> NDArray[np.intp]:
    """Colour of each pixel of a mosaic of a shape (H, W)."""
    repeats = [-(-size // phase.layout.period) for size in shape]
    return np.tile(colour_pattern(phase), repeats)[: shape[0], : shape[1]]


def find_phase(colours: NDArray[Any]) -> AnyPhase | None:
    """Return the phase with these colours in its first period, 2x2 or 6x6; None if none has."""
    every = (phase for phases in PHASES.values() for phase in phases)
    return next((p for p in every if np.array_equal(colour_pattern(p), colours)), None)


def standard_start(colours: NDArray[np.intp], layout: Layout) -> tuple[int, int]:
    """Return how many rows and columns to cut off so that a mosaic has the standard phase.

    The colours (H, W) of its pixels, as from `colour_map`, may be mirrored or transposed.
    """
    period = layout.period
    standard = colour_pattern(STANDARD_PHASE[layout.name])
    for row, col in np.ndindex(layout.side, period):
        if np.array_equal(colours[row : row + period, col : col + period], standard):
            return row, col
    raise ValueError(f"the colours are not those of a mosaic of the layout '{layout.name}'")


def pack(mosaic: NDArray[Any], phase: AnyPhase, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Sort a mosaic (H, W), of any type and at least one period high and wide, by colour.

    Returns planes (4, ceil(H/2), ceil(W/2)), or (9, ceil((row + H)/3), ceil((col + W)/3)) of an
    X-Trans at the phase (row, col), in the layout's order, contiguous. Cells cut by the border are
    completed with the samples one period further in, which have the same colour. The planes are of
    the mosaic's type if not told otherwise.
    """
    height, width = mosaic.shape
    layout = phase.layout
    if min(height, width) < layout.period:
        raise ValueError(f"a mosaic of {height}x{width} is smaller than the sensor's pattern")
    rows, cols = _cells(phase, (height, width))
    whole = _completed(mosaic, phase, (layout.side * rows, layout.side * cols))
    planes = np.empty((layout.planes, rows, cols), dtype or mosaic.dtype)
    for plane, samples in _views(planes, whole, phase):
        plane[...] = samples
    return planes


def unpack(planes: NDArray[Any], phase: AnyPhase, shape: tuple[int, int]) -> NDArray[Any]:
    """Put planes back into a mosaic of a shape (H, W): the exact inverse of `pack`."""
    layout = phase.layout
    rows, cols = _cells(phase, shape)
    if planes.shape != (layout.planes, rows, cols):
        raise ValueError(f"planes of {planes.shape} do not make a mosaic of {shape[0]}x{shape[1]}")
    whole = np.empty((layout.side * rows, layout.side * cols), planes.dtype)
    for plane, samples in _views(planes, whole, phase):
        samples[...] = plane
    top, left = first_pixel(phase)
    return np.ascontiguousarray(whole[top : top + shape[0], left : left + shape[1]])


def to_standard_phase(planes: NDArray[Any], phase: AnyPhase) -> NDArray[Any]:
    """Repack planes (n, h, w) of `pack` as those of a mosaic that has the standard phase.

    Returns (4, h + phase.row, w + phase.col), as if the mosaic went on for `phase.row` rows and
    `phase.col` columns before its first pixel, mirrored at it. Planes with fixed cells (X-Trans)
    are returned as they are.
    """
    standard = STANDARD_PHASE[phase.layout.name]
    if phase.layout.fixed_cells or phase == standard:
        return planes
    side = phase.layout.side
    mosaic = unpack(planes, phase, (side * planes.shape[1], side * planes.shape[2]))
    margins = ((phase.row, phase.row), (phase.col, phase.col))
    return pack(np.pad(mosaic, margins, "reflect"), standard)


def first_pixel(phase: AnyPhase) -> Position:
    """Position of the mosaic's first pixel in its first cell."""
    return (phase.row, phase.col) if phase.layout.fixed_cells else (0, 0)


def _cells(phase: AnyPhase, shape: tuple[int, int]) -> tuple[int, int]:
    """Count the rows and columns of cells that a mosaic touches."""
    top, left = first_pixel(phase)
    side = phase.layout.side
    return -(-(top + shape[0]) // side), -(-(left + shape[1]) // side)


def _completed(mosaic: NDArray[Any], phase: AnyPhase, size: tuple[int, int]) -> NDArray[Any]:
    """Extend a mosaic to whole cells."""
    if mosaic.shape == size:
        return mosaic
    (top, left), (height, width) = first_pixel(phase), mosaic.shape
    bottom, right, period = top + height, left + width, phase.layout.period
    whole = np.empty(size, mosaic.dtype)
    inner = whole[:, left:right]
    inner[top:bottom] = mosaic
    inner[:top] = inner[period : period + top]
    inner[bottom:] = inner[bottom - period : size[0] - period]
    whole[:, :left] = whole[:, period : period + left]
    whole[:, right:] = whole[:, right - period : size[1] - period]
    return whole


def _views(
    planes: NDArray[Any], whole: NDArray[Any], phase: AnyPhase
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield parts of the planes, each with its samples in a mosaic of whole cells."""
    side, period = phase.layout.side, phase.layout.period
    even: tuple[Position, ...] = phase.layout.even
    odd: tuple[Position, ...] = phase.layout.odd
    if isinstance(phase, Phase):
        even = odd = offsets(phase)
    for plane, first, second in zip(planes, even, odd, strict=True):
        if first == second:
            yield plane, whole[first[0] :: side, first[1] :: side]
            continue
        for row, col in np.ndindex(2, 2):
            down, right = second if (row + col) % 2 else first
            samples = whole[side * row + down :: period, side * col + right :: period]
            yield plane[row::2, col::2], samples

"""The mosaic layouts: which colour each plane holds, and where in a cell its samples lie.

A plane has one sample per cell: 2x2 pixels of a Bayer sensor, 3x3 of an X-Trans. The X-Trans
pattern repeats every 2x2 cells: from cell to cell red and blue swap places with a neighbour, so
each of those planes takes its samples from two positions in turn, as SID packs them ("exchanging
adjacent elements", Chen et al. 2018, section 3.2). A cell is even where its row and its column in
the planes add up to an even number.
"""

from typing import NamedTuple

Position = tuple[int, int]


class Layout(NamedTuple):
    """The planes of one kind of sensor."""

    name: str
    """In model files and options; the title is for messages."""
    title: str
    side: int
    """Pixels along a side of a cell."""
    colours: tuple[int, ...]
    """Colour of each plane: 0, 1, 2 for R, G, B."""
    even: tuple[Position, ...]
    """Position (row, column) of each plane's sample in an even and in an odd cell, at the standard
    phase."""
    odd: tuple[Position, ...]
    fixed_cells: bool
    """Whether cells start where the standard pattern does, whatever the mosaic's phase; otherwise
    they start at the mosaic's first pixel, and the positions depend on its phase."""

    @property
    def network(self) -> str:
        """Name of the layout whose networks take these planes: Bayer's for a monochrome sensor."""
        return layout_of(self.planes).name

    @property
    def planes(self) -> int:
        """Number of planes."""
        return len(self.colours)

    @property
    def period(self) -> int:
        """Pixels after which the pattern repeats; a smaller mosaic cannot be packed."""
        return self.side if self.even == self.odd else 2 * self.side

    @property
    def regular(self) -> tuple[int, ...]:
        """The planes whose samples have the same position in every cell."""
        return tuple(n for n in range(self.planes) if self.even[n] == self.odd[n])

    def lines(self, axis: int) -> tuple[tuple[int, int], ...]:
        """Return each plane's row (axis 0) or column (axis 1) in an even and in an odd cell."""
        return tuple((a[axis], b[axis]) for a, b in zip(self.even, self.odd, strict=True))


_RGGB = ((0, 0), (0, 1), (1, 1), (1, 0))
BAYER = Layout("bayer", "Bayer", 2, (0, 1, 2, 1), even=_RGGB, odd=_RGGB, fixed_cells=False)
"""R, G1 (in red's row), B, G2 (in blue's row)."""
_GREENS = ((1, 0), (1, 1), (2, 0), (2, 1))
XTRANS = Layout(
    name="xtrans",
    title="X-Trans",
    side=3,
    colours=(0, 1, 2, 0, 2, 1, 1, 1, 1),
    even=((0, 0), (0, 2), (0, 1), (1, 2), (2, 2), *_GREENS),
    odd=((0, 1), (0, 2), (0, 0), (2, 2), (1, 2), *_GREENS),
    fixed_cells=True,
)
"""R, G, B of a cell's first row, R and B of its last column, four greens."""
MONO = Layout("mono", "monochrome", 2, (0, 0, 0, 0), even=_RGGB, odd=_RGGB, fixed_cells=True)
"""2x2 pixels of one colour, where a Bayer sensor has R, G1, B, G2."""
LAYOUTS = {layout.name: layout for layout in (BAYER, XTRANS)}
"""Those that networks are trained for."""


def layout_of(planes: int) -> Layout:
    """Return the layout with this number of planes; raises ValueError when there is none."""
    for layout in LAYOUTS.values():
        if layout.planes == planes:
            return layout
    raise ValueError(f"no sensor is packed into {planes} planes")

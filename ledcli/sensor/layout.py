"""Where on the sensor the samples of each plane lie: what shares a row, a column, a colour.

A plane has one sample in every cell: 2x2 pixels of a Bayer sensor, 3x3 of an X-Trans. The X-Trans
pattern repeats after 2x2 cells only. From cell to cell red and blue change places, so each of
those planes takes its sample from one of two neighbouring pixels in turn, as SID packs them
("exchanging adjacent elements", Chen et al. 2018, section 3.2). A cell is even where its row and
its column in the planes add up to an even number.
"""

from typing import NamedTuple

Place = tuple[int, int]


class Layout(NamedTuple):
    """The planes of a kind of sensor.

    Attributes
    ----------
    side : int
        Pixels along a side of a cell.
    colours : tuple of int
        Of each plane: 0, 1, 2 for R, G, B.
    even, odd : tuple of (row, column)
        Where in an even cell and in an odd one the sample of each plane lies.
    """

    side: int
    colours: tuple[int, ...]
    even: tuple[Place, ...]
    odd: tuple[Place, ...]

    def line(self, axis: int) -> tuple[tuple[int, int], ...]:
        """Return which row (0) or column (1) of an even and an odd cell each plane lies on."""
        return tuple((a[axis], b[axis]) for a, b in zip(self.even, self.odd, strict=True))

    @property
    def straight(self) -> tuple[int, ...]:
        """The planes whose samples lie at one place in all cells."""
        places = zip(self.even, self.odd, strict=True)
        return tuple(plane for plane, (even, odd) in enumerate(places) if even == odd)


_RGGB = ((0, 0), (0, 1), (1, 1), (1, 0))
BAYER = Layout(side=2, colours=(0, 1, 2, 1), even=_RGGB, odd=_RGGB)
"""R, G1, B, G2; of the phase RGGB, in the others rows, columns or both are mirrored."""
_GREENS = ((1, 0), (1, 1), (2, 0), (2, 1))
XTRANS = Layout(
    side=3,
    colours=(0, 1, 2, 0, 2, 1, 1, 1, 1),
    even=((0, 0), (0, 2), (0, 1), (1, 2), (2, 2), *_GREENS),
    odd=((0, 1), (0, 2), (0, 0), (2, 2), (1, 2), *_GREENS),
)
"""R, G, B of a cell's first row, R and B of its last column, four greens."""
LAYOUTS = {"bayer": BAYER, "xtrans": XTRANS}


def layout_of(planes: int) -> Layout:
    """Return the layout of so many planes; raises ValueError for a number that no sensor has."""
    for layout in LAYOUTS.values():
        if len(layout.colours) == planes:
            return layout
    raise ValueError(f"no sensor is packed into {planes} planes")

"""Rows that were measured elsewhere, on the twelve cells of the protocol's first version."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from protocol import CELLS, TWELVE, Cell, Score


class Row(NamedTuple):
    """A rival that does not run here.

    Attributes
    ----------
    title : str
        What it is.
    source : str
        How it was measured.
    scores : mapping
        By cell; a cell may be missing.
    """

    title: str
    source: str
    scores: Mapping[str, Score]


def twelve() -> tuple[Cell, ...]:
    """Return the cells measured elsewhere: three cameras at their high gain, four ratios."""
    return tuple(cell for cell in CELLS if cell.name in TWELVE)


def _row(title: str, source: str, figures: Sequence[tuple[float, float]]) -> Row:
    names = (cell.name for cell in twelve())
    return Row(title, source, {n: Score(*f) for n, f in zip(names, figures, strict=False)})


_TRIAL = "a trial of 2026-11-20, UNet of 7.76 M parameters, two cores with AMX, other noise draws"

PMRID = _row(
    "PMRID, oracle",
    "PMRID's released network (1.0 M parameters) with the true K and read variance, measured on "
    "this protocol on 2026-11-20 with other draws of the noise",
    [
        *((41.95, 0.983), (36.37, 0.946), (31.94, 0.870), (27.55, 0.680)),
        *((40.23, 0.975), (33.47, 0.901), (27.66, 0.676), (20.42, 0.328)),
        *((40.14, 0.974), (32.45, 0.881), (26.17, 0.651), (18.19, 0.280)),
    ],
)
TRIALS = (
    _row(
        "A: gained input, 27 min",
        f"LED's plain recipe (gained input, L1, no residual); {_TRIAL} a "
        "shade different, under 0.2 dB at the input; not run on the Canon",
        [
            *((32.06, 0.921), (31.31, 0.887), (29.37, 0.792), (26.53, 0.631)),
            *((31.95, 0.916), (30.30, 0.844), (27.53, 0.714), (24.69, 0.549)),
        ],
    ),
    _row(
        "C: stabilised, blind, 30 min",
        f"noise-stabilised input and a residual; {_TRIAL}",
        [
            *((45.41, 0.986), (36.19, 0.937), (31.16, 0.845), (27.19, 0.678)),
            *((41.88, 0.976), (32.98, 0.895), (28.40, 0.773), (24.80, 0.583)),
            *((41.76, 0.975), (31.65, 0.851), (24.84, 0.522), (18.30, 0.209)),
        ],
    ),
    _row(
        "D: C continued to 72 min, blind",
        f"C with values below zero kept and averaged weights; {_TRIAL}",
        [
            *((45.56, 0.986), (36.56, 0.941), (31.65, 0.856), (27.73, 0.717)),
            *((42.10, 0.977), (33.44, 0.902), (28.99, 0.799), (25.38, 0.642)),
            *((41.98, 0.976), (32.10, 0.862), (25.54, 0.589), (19.35, 0.259)),
        ],
    ),
)

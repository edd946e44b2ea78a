"""Replace the samples of defective pixels by those of good ones next to them."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ROUNDS = 8
"""Samples of a plane that a defect may be wide or high, in pairs: it is filled from its edge."""
_CHUNK = 1 << 18
_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1)), ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""The nearest samples of a plane, and those that are taken if none of these is good."""

Index = NDArray[np.intp]


def replace_defects(planes: NDArray[Any], wrong: NDArray[np.bool_]) -> None:
    """Set wrong samples of planes (planes, h, w) to the median of the good ones next to them.

    Both arrays are changed: what lies deeper inside a group than `MAX_ROUNDS` stays wrong.
    """
    whole = np.issubdtype(planes.dtype, np.integer)
    for _ in range(MAX_ROUNDS):
        positions = np.argwhere(wrong)
        before, done = wrong.copy(), False
        for start, steps in itertools.product(range(0, len(positions), _CHUNK), _STEPS):
            at = positions[start : start + _CHUNK]
            plane, row, col = at[wrong[tuple(at.T)]].T
            values = np.stack([_good(planes, before, plane, row + r, col + c) for r, c in steps], 1)
            some = ~np.isnan(values).all(1)
            here = plane[some], row[some], col[some]
            if len(here[0]):
                median = np.nanmedian(values[some], 1)
                planes[here] = np.rint(median) if whole else median
                wrong[here], done = False, True
        if not done:
            break


def _good(
    planes: NDArray[Any], wrong: NDArray[np.bool_], plane: Index, row: Index, col: Index
) -> NDArray[np.float32]:
    """Return samples, NaN where they are bad or outside."""
    _, rows, cols = planes.shape
    inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    at = plane, row.clip(0, rows - 1), col.clip(0, cols - 1)
    return np.where(inside & ~wrong[at], planes[at], np.nan).astype(np.float32)

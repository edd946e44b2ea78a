"""Pixels that a DNG's first opcode list marks as bad: replaced by their neighbours."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ledcli.metadata.dng_mosaic import Area, DngMosaic
from ledcli.metadata.opcodes import read_opcodes
from ledcli.sensor.cfa import AnyPhase, pack, unpack

_CONSTANT, _LIST = 4, 5
"""FixBadPixelsConstant, FixBadPixelsList."""
MAX_SHARE = 0.05
"""Of the pixels: more are not single defects. A camera may store black as the same value."""
MAX_ROUNDS = 8
"""Samples of a plane that a defect may be wide or high, in pairs: it is filled from its edge."""
_CHUNK = 1 << 18
_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1)), ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""The nearest samples of a plane, and those that are taken if none of these is good."""


def find_bad_pixels(
    samples: NDArray[Any], area: Area, header: DngMosaic
) -> tuple[NDArray[np.bool_] | None, str]:
    """Find the pixels of the active area that the file marks as bad.

    `samples` are all that the file stores. Returns which are bad (H, W), None if none is, and what
    is wrong with the list, as the end of a sentence, or nothing.
    """
    bad = np.zeros(samples.shape, np.bool_)
    left_out = []
    for number, optional, data in read_opcodes(header.opcodes):
        if number == _CONSTANT:
            (constant,) = np.frombuffer(data, ">u4", 1) if len(data) >= 4 else [0]
            if header.linearisation:
                # LibRaw has applied the table; the constant is from before it.
                last = len(header.linearisation) - 1
                constant = header.linearisation[min(int(constant), last)]
            bad |= samples == constant
        elif number == _LIST:
            _mark(bad, np.frombuffer(data[: len(data) // 4 * 4], ">u4").astype(np.int64))
        elif not optional:
            left_out.append(str(number))
    bad = bad[area[0] : area[2], area[1] : area[3]]
    share = np.count_nonzero(bad) / bad.size
    if share > MAX_SHARE:
        return None, f"marks {share:.0%} of its pixels as bad (OpcodeList1): they are left as is"
    said = f"asks for corrections that led does not make (OpcodeList1: {', '.join(left_out)})"
    return bad if share else None, said if left_out else ""


def replace_bad_pixels(
    mosaic: NDArray[np.uint16], phase: AnyPhase, bad: NDArray[np.bool_]
) -> NDArray[np.uint16]:
    """Return the mosaic (H, W) with bad pixels as the median of the good ones next to them.

    What lies deeper inside a group of bad pixels than `MAX_ROUNDS` stays as it is.
    """
    planes, wrong = pack(mosaic, phase), pack(bad, phase)
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
                planes[here] = np.rint(np.nanmedian(values[some], 1)).astype(np.uint16)
                wrong[here], done = False, True
        if not done:
            break
    repaired: NDArray[np.uint16] = unpack(planes, phase, (mosaic.shape[0], mosaic.shape[1]))
    return repaired


def _good(
    planes: NDArray[np.uint16],
    wrong: NDArray[np.bool_],
    plane: NDArray[np.intp],
    row: NDArray[np.intp],
    col: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Return samples, NaN where they are bad or outside."""
    _, rows, cols = planes.shape
    inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    at = plane, row.clip(0, rows - 1), col.clip(0, cols - 1)
    return np.where(inside & ~wrong[at], planes[at], np.nan).astype(np.float32)


def _mark(bad: NDArray[np.bool_], numbers: NDArray[np.int64]) -> None:
    """Mark the points and rectangles of a FixBadPixelsList that lie in the samples."""
    if len(numbers) < 3:
        return
    points, areas = (int(n) for n in numbers[1:3])
    listed = numbers[3 : 3 + 2 * points]
    row, col = listed[: len(listed) // 2 * 2].reshape(-1, 2).T
    inside = (row < bad.shape[0]) & (col < bad.shape[1])
    bad[row[inside], col[inside]] = True
    listed = numbers[3 + 2 * points :][: 4 * areas]
    for top, left, bottom, right in listed[: len(listed) // 4 * 4].reshape(-1, 4):
        bad[top:bottom, left:right] = True

"""Measures of smooth areas: the phases of a grid, steps, borders, seams."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]

BORDER = 8
"""Columns at either end that are judged apart: a network sees less there."""


class Grid(NamedTuple):
    """What the phases of a grid differ by; of the plane where it stands out most."""

    largest: float
    """How far a phase's mean is off the mean of all."""
    rms: float
    """Root mean square of the same over the phases."""
    chance: float
    """The rms that noise alone makes, from what independent draws differ by."""


def phases(results: list[Planes], period: int) -> Grid:
    """Compare the phases of a grid in independent draws of one flat patch, in the results' unit.

    There are two or more of (4, h, w), with h and w multiples of the period in plane pixels; some
    16 pixels along the border are left out.
    """
    edge = -(-2 * BORDER // period) * period
    inner = [planes[:, edge:-edge, edge:-edge] for planes in results]
    patterns = np.stack([_pattern(planes, period) for planes in inner])
    mean = patterns.mean(0)
    rms = np.sqrt(np.square(mean).mean((1, 2)))
    chance = np.sqrt(patterns.var(0, ddof=1).mean((1, 2)) / len(patterns))
    worst = int((rms / np.maximum(chance, 1e-12)).argmax())
    return Grid(float(np.abs(mean[worst]).max()), float(rms[worst]), float(chance[worst]))


def _pattern(planes: Planes, period: int) -> NDArray[np.float64]:
    """Mean of every phase less the mean of all, ``(4, period, period)``."""
    count, rows, cols = planes.shape
    cut = planes.reshape(count, rows // period, period, cols // period, period)
    means = cut.mean((1, 3), dtype=np.float64)
    return means - means.mean((1, 2), keepdims=True)


class Steps(NamedTuple):
    """How smoothly a smooth gradient came back; of the worst plane."""

    largest: float
    """Largest jump of the error from a column to the next, means over the rows."""
    median: float
    """Median size of such jumps: what chance makes; a band's edge stands out of it."""
    levels: float
    """Distinct values along a row over its pixels: a result of few bits has few."""
    inside: float
    border: float
    """Root mean square of the error of column means, inside and in the columns at either end."""


def steps(result: Planes, truth: Planes) -> Steps:
    """Look for bands in a gradient along the columns, ``(4, h, w)`` each."""
    error = (result.astype(np.float64) - truth).mean(1)
    inner = error[:, BORDER:-BORDER]
    outer = np.concatenate([error[:, :BORDER], error[:, -BORDER:]], 1)
    jumps = np.abs(np.diff(inner, axis=1))
    distinct = [np.mean([len(np.unique(row)) for row in plane]) for plane in result]
    worst = int(jumps.max(1).argmax())
    return Steps(
        float(jumps[worst].max()),
        float(np.median(jumps[worst])),
        float(min(distinct) / result.shape[2]),
        float(np.sqrt(np.square(inner).mean(1)).max()),
        float(np.sqrt(np.square(outer).mean(1)).max()),
    )


class Seams(NamedTuple):
    """What tiles change of the whole frame."""

    rms: float
    largest: float
    """Of the difference pixel by pixel."""
    step: float
    """Largest jump of the difference across a seam, mean over the rows: what an eye would see."""


def seams(tiled: Planes, whole: Planes, tile: int) -> Seams:
    """Compare a frame ``(4, h, w)`` in tiles of a side that divides w with the frame at once."""
    difference = tiled.astype(np.float64) - whole
    jumps = np.diff(difference.mean(1), axis=1)[:, tile - 1 :: tile]
    return Seams(
        float(np.sqrt(np.square(difference).mean())),
        float(np.abs(difference).max()),
        float(np.abs(jumps).max()),
    )

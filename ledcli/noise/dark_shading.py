"""Dark shading: the error of the black level over the frame, the same in every shot.

The camera gives one black level per colour. What the sensor adds without light varies over the
frame: one offset per colour is ELD's colour bias, a smooth pattern is dark shading. It follows the
ISO (PMN, Feng et al. 2022, section 3.3), and dark frames show it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NODES = (12, 16)
"""Nodes over the height and the width of a frame."""
MIN_CELL = 16
"""Side of the area that a node stands for, plane pixels, at least."""
USUAL = (0.001, 0.999)
"""Quantiles of a dark frame's pixels. Pixels further out than their span beyond them are hot, and
are clipped there. No standard deviations: a quiet camera's pixels take two or three DN."""
SURE = 3.0
"""Standard errors below which an offset measured on pairs is taken for chance."""

Planes = NDArray[np.float32]


class DarkShading(NamedTuple):
    """The error of the black level at one ISO, in units of white - black.

    Attributes
    ----------
    iso : float
    offsets : float32 ``(planes, rows, cols)``
        On nodes spread over the frame; one node per plane is a plain offset.
    """

    iso: float
    offsets: Planes


def measure_dark_shading(iso: float, frames: Iterable[Planes]) -> DarkShading:
    """Measure the dark shading on one or more dark frames of an ISO.

    The frames are normalised planes ``(planes, h, w)`` of the same size.
    """
    grids = [_cell_means(planes) for planes in frames]
    return DarkShading(iso, np.mean(grids, axis=0, dtype=np.float32))


def shading_from_pairs(
    iso: float, offsets: Sequence[tuple[Sequence[float], Sequence[float]]]
) -> DarkShading:
    """Average the black offsets measured on the pairs of one ISO.

    A pair has an offset and a standard error for each plane. The result has one node per plane:
    the mean over the pairs, shrunk to 0 where it may be chance.
    """
    values, errors = np.array(offsets, np.float64).transpose(1, 0, 2)
    weight = 1 / np.square(np.maximum(errors, 1e-12))
    mean = (weight * values).sum(0) / weight.sum(0)
    sure = 1 - SURE**2 / np.maximum(weight.sum(0) * np.square(mean), 1e-30)
    return DarkShading(iso, (mean * sure.clip(0)).astype(np.float32)[:, None, None])


def interpolate_shading(shading: Sequence[DarkShading], iso: float) -> Planes:
    """Return the offsets at an ISO: linear between the measured ISOs, constant beyond them.

    `shading` is sorted by rising ISO and not empty.
    """
    known = [s.iso for s in shading]
    after = int(np.searchsorted(known, iso).clip(1, max(len(known) - 1, 1)))
    low, high = shading[after - 1], shading[min(after, len(known) - 1)]
    if high.iso == low.iso:
        return low.offsets
    share = np.float32(np.clip((iso - low.iso) / (high.iso - low.iso), 0, 1))
    return low.offsets + share * (high.offsets - low.offsets)


def upsample(values: Planes, shape: tuple[int, ...]) -> Planes:
    """Spread nodes ``(n, rows, cols)`` over a frame ``(n, h, w)``, linearly between their centres.

    One node per plane is returned as it is, and broadcasts.
    """
    if values.shape[1:] == (1, 1):
        return values
    for axis, size in enumerate(shape, start=1):
        nodes = values.shape[axis]
        position = ((np.arange(size) + 0.5) * nodes / size - 0.5).clip(0, nodes - 1)
        below = np.minimum(position.astype(np.int64), max(nodes - 2, 0))
        share = (position - below).astype(np.float32)
        share = share[:, None] if axis == 1 else share
        above = np.minimum(below + 1, nodes - 1)
        values = values.take(below, axis) * (1 - share) + values.take(above, axis) * share
    return values


def _cell_means(planes: Planes) -> Planes:
    counts = [max(1, min(n, s // MIN_CELL)) for n, s in zip(NODES, planes.shape[1:], strict=True)]
    low, high = np.quantile(planes[:, ::3, ::3], USUAL, axis=(1, 2), keepdims=True)
    kept = planes.clip(2 * low - high, 2 * high - low)
    for axis, count in enumerate(counts, start=1):
        edges = np.linspace(0, kept.shape[axis], count + 1).round().astype(np.int64)
        widths = np.diff(edges).reshape((-1, 1) if axis == 1 else (-1,))
        kept = np.add.reduceat(kept, edges[:-1], axis, dtype=np.float64) / widths
    return kept.astype(np.float32)

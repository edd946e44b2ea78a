"""Blocks of a photo: what is noise in them, and what is structure."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 8
"""Side of a block, plane pixels."""
MASK_GAIN = 36.0
"""Sum of squares of the mask [1 -2 1]' [1 -2 1], and of [1 -2 1]' [1 2 1]: the factor by which
they raise the variance."""
SATURATED = 0.9
"""Blocks that touch this value are left out: clipping looks like silence. Some photosites are full
before the white level: those of a Canon D30 at 0.93."""
LARGEST_BLACK_CLIP = 0.02
"""Where more of a plane than this lies at its lowest value, the camera clipped at black."""
STRIP = 4
"""Rows of blocks that are measured at a time: they stay in the processor's cache."""


class Blocks(NamedTuple):
    """What is known of every block of every plane, ``(planes, blocks)``."""

    mean: NDArray[np.float64]
    beside: NDArray[np.float64]
    """Mean of the four blocks beside it: nearly its brightness, but none of its noise."""
    noise: NDArray[np.float64]
    """Variance of what slopes do not explain; structure adds to it where it is fine."""
    structure: NDArray[np.float64]
    """Sum of the variances of detail along the rows and down the columns."""
    usable: NDArray[np.bool_]


def measured(planes: NDArray[np.float32]) -> Blocks:
    """Measure every block of every plane.

    Parameters
    ----------
    planes : float32 ``(4, h, w)``
        Normalised planes (white - black = 1). Blocks lie inside a border of one pixel, which the
        masks need; what does not fill a block is left out.
    """
    rows, cols = (max((n - 2) // BLOCK, 0) for n in planes.shape[1:])
    mean, noise, structure = np.zeros((3, len(planes), rows, cols))
    usable = np.zeros(mean.shape, np.bool_)
    for index, plane in enumerate(planes):
        lowest = plane.min()
        black = lowest if clips_at_black(plane, lowest) else None
        for top in range(0, rows, STRIP):
            here = slice(top, min(top + STRIP, rows))
            # One pixel more on every side, for the masks.
            strip = plane[BLOCK * here.start : BLOCK * here.stop + 2, : BLOCK * cols + 2]
            inner = in_blocks(strip[1:-1, 1:-1])
            mean[index, here] = _block_means(strip[1:-1, 1:-1])
            noise[index, here], structure[index, here] = _noise_and_structure(strip)
            usable[index, here] = inner.max(1).max(2) < SATURATED
            if black is not None:
                usable[index, here] &= inner.min(1).min(2) > black
    flat = (len(planes), rows * cols)
    return Blocks(
        mean.reshape(flat),
        _mean_beside(mean).reshape(flat),
        noise.reshape(flat),
        structure.reshape(flat),
        usable.reshape(flat),
    )


def _mean_beside(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the four blocks beside each, ``(planes, rows, cols)``; the border is repeated."""
    if not mean.size:
        return mean
    edged = np.pad(mean, ((0, 0), (1, 1), (1, 1)), "edge")
    beside: NDArray[np.float64] = edged[:, 1:-1, 2:] + edged[:, 1:-1, :-2]
    return (beside + edged[:, 2:, 1:-1] + edged[:, :-2, 1:-1]) / 4


def _noise_and_structure(
    strip: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Noise and structure of the blocks of a strip, which has a pixel more on every side.

    White noise of variance 1 gives 1 and 2.
    """
    ends, middle = strip[:, 2:] + strip[:, :-2], 2 * strip[:, 1:-1]
    detail, smooth = ends - middle, ends + middle
    ends, middle = detail[2:] + detail[:-2], 2 * detail[1:-1]
    both = ends - middle
    along_rows = ends + middle
    down_columns = smooth[2:] + smooth[:-2] - 2 * smooth[1:-1]
    np.square(both, out=both)
    np.square(along_rows, out=along_rows)
    along_rows += np.square(down_columns, out=down_columns)
    return _block_means(both) / MASK_GAIN, _block_means(along_rows) / MASK_GAIN


def clips_at_black(plane: NDArray[np.float32], lowest: np.float32) -> bool:
    """Whether so much of a plane ``(h, w)`` lies at its lowest value that black was cut off."""
    return bool(lowest < SATURATED and (plane <= lowest).mean() > LARGEST_BLACK_CLIP)


def second_difference(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what slopes do not explain of a plane ``(h, w)``, as ``(h - 2, w - 2)``.

    White noise keeps its variance; what a row or a column has in common is gone.
    """
    rows = plane[:, 2:] + plane[:, :-2]
    rows -= 2 * plane[:, 1:-1]
    both: NDArray[np.float32] = rows[2:] + rows[:-2]
    both -= 2 * rows[1:-1]
    both /= np.float32(MASK_GAIN**0.5)
    return both


def in_blocks(values: NDArray[Any]) -> NDArray[Any]:
    """View ``(h, w)`` as ``(h / 8, 8, w / 8, 8)``; what does not fill a block is left out."""
    rows, cols = (n // BLOCK for n in values.shape)
    return values[: rows * BLOCK, : cols * BLOCK].reshape(rows, BLOCK, cols, BLOCK)


def _block_means(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean of every block of ``(h, w)``; down the columns first, which lie beside each other."""
    columns = in_blocks(values).sum(1, np.float32)
    means: NDArray[np.float64] = columns.sum(2, np.float64) / BLOCK**2
    return means

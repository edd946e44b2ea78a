"""Highlights that the ratio pushes above white: taken from the photo itself, which has them."""

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]

BLEND_FROM, BLEND_TO = 0.8, 1.0
"""Shares of the level up to which a network is reliable: where the photo begins to be blended in,
and from where on it replaces the network's result."""
REACH = 1
"""Cells to each side by which a highlight is widened and then smoothed, so that its edge follows
the picture and not the remaining noise."""
BAND = 256
"""Rows of cells processed at a time."""


def keep_highlights(
    clean: Planes, planes: Planes, ratio: float, *, reliable_to: float = 1.0
) -> Planes:
    """Blend the photo's own highlights in where the network has no information.

    A network whose input was ``min(x * ratio, 1)`` is reliable up to white. One with the whole
    input is reliable up to the sensor's white, which is at `ratio`: there the photo is 2 to 5
    times noisier than the network's result (synthetic lamps, D850, ratios 8 to 300).

    All planes of a cell are blended with one weight, by the brightest of them, so that the blend
    has no tint. Every cell in which something would be clipped comes from the photo alone,
    whatever its neighbours.

    Parameters
    ----------
    clean : float32 (planes, h, w)
        Denoised planes times the ratio; 1 is white.
    planes : float32 (planes, h, w)
        The photo's, not multiplied by the ratio.
    ratio : float
        At 1 nothing is pushed above white, and `clean` is returned.
    reliable_to : float
        The level up to which the network is reliable.

    Returns
    -------
    float32 (planes, h, w)
        Up to ``ratio``. A new array if something is blended, else `clean` itself. What is below
        ``BLEND_FROM`` and not beside a highlight is unchanged.
    """
    if ratio <= 1 or not clean.size or float(clean.max()) <= BLEND_FROM * reliable_to:
        return clean
    kept = clean.copy()
    rows, around = clean.shape[1], 2 * REACH
    for top in range(0, rows, BAND):
        bottom = min(top + BAND, rows)
        first, last = max(top - around, 0), min(bottom + around, rows)
        weight = _photo_weight(clean[:, first:last].max(0) / reliable_to)
        weight = weight[top - first : bottom - first]
        blended = weight > 0
        if blended.any():
            band, own = kept[:, top:bottom], planes[:, top:bottom]
            photo = np.minimum(own[:, blended], 1) * np.float32(ratio)
            band[:, blended] += weight[blended] * (photo - band[:, blended])
    return kept


def headroom_of(planes: Planes) -> float:
    """Return the value that white must cover so that no plane (n, h, w) clips; at least 1."""
    largest = float(planes.max(initial=1.0))
    return largest if np.isfinite(largest) else 1.0


def _photo_weight(brightest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weight of the photo in each cell (h, w), by the brightest plane; smooth from 0 to 1."""
    wide = _combine_neighbours(brightest, np.maximum)
    # All widened levels around a cell are at least its own, and so is their mean.
    level = _combine_neighbours(wide, np.add) / np.float32((2 * REACH + 1) ** 2)
    t = np.clip((level - BLEND_FROM) / (BLEND_TO - BLEND_FROM), 0, 1, dtype=np.float32)
    return t * t * (3 - 2 * t)


def _combine_neighbours(plane: NDArray[np.float32], combine: np.ufunc) -> NDArray[np.float32]:
    """Combine every cell with those around it; the border is repeated."""
    padded = np.pad(plane, REACH, mode="edge")
    side, (height, width) = 2 * REACH + 1, plane.shape
    rows = padded[:height].copy()
    for shift in range(1, side):
        combine(rows, padded[shift : shift + height], out=rows)
    both = rows[:, :width].copy()
    for shift in range(1, side):
        combine(both, rows[:, shift : shift + width], out=both)
    return both

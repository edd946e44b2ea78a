"""Highlights that the gain pushes past white: taken from the photo itself, which has them."""

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]

FROM, TO = 0.8, 1.0
"""Of the level up to which a network knows what it gives: where the photo itself begins to show,
and from where on it is all that is shown."""
REACH = 1
"""Cells to each side by which a highlight is widened and then smoothed, so that the edge of what
is taken follows the picture and not the noise that is left."""
BAND = 256
"""Rows of cells that are worked on at a time."""


def keep_highlights(
    clean: Planes, planes: Planes, ratio: float, *, known_to: float = 1.0
) -> Planes:
    """Put the photo's own highlights in place of those that the network knows nothing of.

    A network that was given ``min(x * ratio, 1)`` knows up to white. One that was given all knows
    up to the sensor's white, which is at `ratio`: there the photo is 2 to 5 times noisier than
    what the network makes of it (made-up lamps, D850, ratios 8 to 300), so it is not taken sooner.

    All planes of a cell are blended with one weight, by the brightest of them, so that
    the blend tints nothing. Every cell from which something would be clipped comes from the photo
    alone, whatever its neighbours.

    Parameters
    ----------
    clean : float32 (planes, h, w)
        Denoised planes times the ratio; 1 is white.
    planes : float32 (planes, h, w)
        The photo's, not gained.
    ratio : float
        The gain. At 1 nothing is pushed past white, and `clean` comes back.
    known_to : float
        The level up to which the network knows what it gives.

    Returns
    -------
    float32 (planes, h, w)
        Up to ``ratio``. A new array where something is taken, else `clean` itself; what is below
        ``FROM`` and not beside a highlight is the same bit for bit.
    """
    if ratio <= 1 or not clean.size or float(clean.max()) <= FROM * known_to:
        return clean
    kept = clean.copy()
    rows, around = clean.shape[1], 2 * REACH
    for top in range(0, rows, BAND):
        bottom = min(top + BAND, rows)
        first, last = max(top - around, 0), min(bottom + around, rows)
        weight = _weight(clean[:, first:last].max(0) / known_to)[top - first : bottom - first]
        taken = weight > 0
        if taken.any():
            band, own = kept[:, top:bottom], planes[:, top:bottom]
            share = weight[taken]
            photo = np.minimum(own[:, taken], 1) * np.float32(ratio)
            band[:, taken] += share * (photo - band[:, taken])
    return kept


def headroom_of(planes: Planes) -> float:
    """Return what white must cover so that nothing of the planes (n, h, w) is cut; at least 1."""
    largest = float(planes.max(initial=1.0))
    return largest if np.isfinite(largest) else 1.0


def _weight(brightest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Share of the photo in each cell (h, w): 0 below `FROM`, 1 from `TO` on, smooth between."""
    wide = _each_way(brightest, np.maximum)
    # Of the widened levels, all around are at least the cell's own: so is their mean.
    level = _each_way(wide, np.add) / np.float32((2 * REACH + 1) ** 2)
    place = np.clip((level - FROM) / (TO - FROM), 0, 1, dtype=np.float32)
    return place * place * (3 - 2 * place)


def _each_way(plane: NDArray[np.float32], combine: np.ufunc) -> NDArray[np.float32]:
    """Combine every cell with those around it; beyond the border lie the border's own."""
    padded = np.pad(plane, REACH, mode="edge")
    side, (height, width) = 2 * REACH + 1, plane.shape
    rows = padded[:height].copy()
    for shift in range(1, side):
        combine(rows, padded[shift : shift + height], out=rows)
    both = rows[:, :width].copy()
    for shift in range(1, side):
        combine(both, rows[:, shift : shift + width], out=both)
    return both

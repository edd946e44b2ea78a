"""Highlights of the photo itself, where the network has no information."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Planes = NDArray[np.float32]

BLEND_FROM, BLEND_TO = 0.8, 1.0
"""Shares of the level up to which a network is reliable: where the photo begins to be blended in,
and from where on it replaces the network's result."""
HIGHLIGHT_REACH = 1
"""Cells to each side by which a highlight is widened and then smoothed, so that its edge follows
the picture and not the remaining noise."""
HIGHLIGHT_BAND = 256
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

    `clean` are denoised planes (planes, h, w) times the ratio; `planes` the photo's, not multiplied
    by it. `reliable_to` is the level up to which the network is reliable; white is 1. The result
    reaches up to `ratio` and is unchanged below ``BLEND_FROM`` and not beside a highlight: a new
    array if something is blended, else `clean` itself.
    """
    if ratio <= 1 or not clean.size or float(clean.max()) <= BLEND_FROM * reliable_to:
        return clean
    kept = clean.copy()
    rows, around = clean.shape[1], 2 * HIGHLIGHT_REACH
    for top in range(0, rows, HIGHLIGHT_BAND):
        bottom = min(top + HIGHLIGHT_BAND, rows)
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


def _photo_weight(brightest: Planes) -> Planes:
    """Weight of the photo in each cell (h, w), by the brightest plane; smooth from 0 to 1."""
    level = torch.from_numpy(brightest)[None]
    # All widened levels around a cell are at least its own, and so is their mean.
    for combine in (F.max_pool2d, F.avg_pool2d):
        padded = F.pad(level, (HIGHLIGHT_REACH,) * 4, mode="replicate")
        level = combine(padded, 2 * HIGHLIGHT_REACH + 1, 1)
    t = ((level[0] - BLEND_FROM) / (BLEND_TO - BLEND_FROM)).clamp_(0, 1)
    return (t * t * (3 - 2 * t)).numpy()

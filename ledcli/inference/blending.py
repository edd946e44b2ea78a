"""What of the photo itself is blended into the denoised planes: some of its grain, its highlights.

Noise in brightness looks like film grain, noise in colour like blotches. What the network removed
is therefore split as denoisers of colour images split it, into a luminance and the rest (Dabov et
al. 2007, "Color image denoising via sparse 3D collaborative filtering with grouping constraint in
luminance-chrominance space"), but in the planes of the mosaic:

- The planes are white-balanced, so that an equal change of all of them is grey.
- The luminance of a cell is the weighted mean of its colours; it changes all planes alike.
- All greens of a cell see the same light, and their differences have no colour: that is grain
  finer than a cell, and counts as luminance too.
- The rest has no luminance: it is the colour.

Both parts are projections that add up to the whole, so that any share of either can be left.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ledcli.noise.blocks import Planes
from ledcli.sensor.cfa import AnyPhase, MonoPhase
from ledcli.sensor.layout import layout_of

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Weights of R, G and B (ITU-R BT.709). Those of white-balanced camera colours are near."""
BAND = 256
"""Plane rows processed at a time: they fit the cache."""
BLEND_FROM, BLEND_TO = 0.8, 1.0
"""Shares of the level up to which a network is reliable: where the photo begins to be blended in,
and from where on it replaces the network's result."""
HIGHLIGHT_REACH = 1
"""Cells to each side by which a highlight is widened and then smoothed, so that its edge follows
the picture and not the remaining noise."""


def leave_grain(
    clean: Tensor,
    noisy: Tensor,
    luma: float,
    chroma: float,
    phase: AnyPhase,
    white_balance: Sequence[float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """Blend denoised and noisy planes ``(planes, h, w)``, both times the ratio, in place.

    ``luma`` and ``chroma`` are the shares of noise to remove, 0 to 1: 1 gives the denoised planes
    bit for bit, 0 the noisy ones, and equal shares a plain mean of both. A monochrome sensor has
    luma only. ``white_balance`` are the multipliers of R, G and B.
    """
    if luma == chroma or isinstance(phase, MonoPhase):
        return clean if luma == 1 else torch.lerp(noisy, clean, luma, out=clean)
    colours = layout_of(len(clean)).colours
    planes = [[plane for plane, own in enumerate(colours) if own == each] for each in range(3)]
    balance = clean.new_tensor([white_balance[colour] for colour in colours])[:, None, None]
    weights, greens = clean.new_tensor(LUMINANCE)[:, None, None], planes[1]
    for top in range(0, clean.shape[1], BAND):
        band = clean[:, top : top + BAND]
        removed = (noisy[:, top : top + BAND] - band).mul_(balance)
        means = torch.stack([removed[each].mean(0) for each in planes])
        grey = (means * weights).sum(0).expand_as(removed).clone()
        grey[greens] += removed[greens] - means[1]
        left = removed.mul_(1 - chroma).add_(grey, alpha=chroma - luma)
        band += left.div_(balance)
    return clean


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


def _photo_weight(brightest: Planes) -> Planes:
    """Weight of the photo in each cell (h, w), by the brightest plane; smooth from 0 to 1."""
    level = torch.from_numpy(brightest)[None]
    # All widened levels around a cell are at least its own, and so is their mean.
    for combine in (F.max_pool2d, F.avg_pool2d):
        padded = F.pad(level, (HIGHLIGHT_REACH,) * 4, mode="replicate")
        level = combine(padded, 2 * HIGHLIGHT_REACH + 1, 1)
    t = ((level[0] - BLEND_FROM) / (BLEND_TO - BLEND_FROM)).clamp_(0, 1)
    return (t * t * (3 - 2 * t)).numpy()

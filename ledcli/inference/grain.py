"""Grain control: leave some of the noise, in brightness and in colour separately.

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

import torch
from torch import Tensor

from ledcli.sensor.cfa import AnyPhase, MonoPhase
from ledcli.sensor.layout import layout_of

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Weights of R, G and B (ITU-R BT.709). Those of white-balanced camera colours are near."""
BAND = 256
"""Plane rows processed at a time: they fit the cache."""


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

"""Specks: samples that no light can have made, taken out before the network sees them.

The tails of the read noise, and hot pixels, reach far beyond what a network that sees outliers
through a soft limit can cancel: it leaves a coloured speck. Light is never so narrow: a lens gives
some of it to the neighbours, of the same and of the other colours. A sample far from its
surroundings with no other beside it is therefore none, where it is dark; in the light it may be
fine texture.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FAR, BESIDE = 5.0, 4.0
"""Standard deviations of noise from the local mean: of a speck, and what none beside it reaches."""
DARK = 2.0
"""Standard deviations of noise over no light, below which it is dark."""


def without_specks(s: Tensor, mean: Tensor, window: int) -> Tensor:
    """Replace specks by the mean of what is around them.

    Measured on `tests/benchmarks/quality.py`: 0.12 dB at ratio 300 and 0.06 at 100 with the heavy
    tails of the CanonEOS700D, 0.02 with those of the SonyA7S2; at ratio 20 0.01 dB is lost, below
    nothing.

    Parameters
    ----------
    s, mean : Tensor ``(N, planes, h, w)``
        Stabilised planes, 0 where there is no light (noise/stabilise.py), and their local mean.
    window : int
        Side of the mean's window.
    """
    far = (s - mean).abs()
    # A speck is a part of its mean: what is dark without it is seen below.
    candidates = (far > FAR) & (mean < DARK + far / 2)
    if not candidates.any():
        return s
    # All samples of the 3 x 3 cells around, of every colour, itself among them.
    near = F.avg_pool2d((far > BESIDE).float(), 3, 1, 1).sum(1, keepdim=True) * 9
    samples = _samples(s.shape[2], window, s)[:, None] * _samples(s.shape[3], window, s)
    around = (samples * mean - s) / (samples - 1)
    return torch.where(candidates & (around < DARK) & (near < 1.5), around, s)


def _samples(length: int, window: int, like: Tensor) -> Tensor:
    """Return how many samples a window has at each place along a side: fewer at the ends."""
    place = torch.arange(length, device=like.device)
    reach = window // 2
    return (place.clamp_max(reach) + (length - 1 - place).clamp_max(reach) + 1).to(like.dtype)

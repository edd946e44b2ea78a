"""The variance-stabilising transform and its inverse.

Photon noise plus read noise has the variance ``gain * x + read_variance``, linear in the signal
(LED, section 3.1). In electrons, ``e = x / gain``, it is ``e + v`` with
``v = read_variance / gain**2``. The generalised Anscombe transform makes it one for every camera,
ISO and ratio::

    t = e + t0,  t0 = max(v + 3/8, 1)
    s = 2 sqrt(t) - 2 sqrt(t0)     where t >= 1
    s = t + 1 - 2 sqrt(t0)         below: the tangent, so that nothing under zero is cut

so that ``s`` is 0 where there is no light. The inverse is algebraic.
"""

import torch
from torch import Tensor

MAX_READ_VARIANCE = 1e4
"""Electrons squared. With more, photon noise is lost in read noise wherever the signal is not a
hundred times the noise; the gain is then raised until it fits, for float32's digits."""


def electron_scale(gain: Tensor, read_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gain to divide by and the transform's offset ``t0``, both shaped as given.

    Gain and read variance are those of the noise profile, for white - black = 1.
    """
    gain = torch.maximum(gain, (read_variance / MAX_READ_VARIANCE).sqrt()).clamp_min(1e-12)
    return gain, (read_variance / gain**2 + 3 / 8).clamp_min(1.0)


def stabilise(electrons: Tensor, t0: Tensor) -> Tensor:
    """Transform electrons to a signal whose noise has unit variance; shapes broadcast."""
    t, root = electrons + t0, t0.sqrt()
    # The difference of the roots, written so that float32 keeps it where t0 is large.
    above = (2 * electrons).div_(t.clamp_min(1.0).sqrt_().add_(root))
    # The tangent lies above the roots, and where t < 1 below this.
    return torch.minimum(above, t.add_(1 - 2 * root))


def unstabilise(s: Tensor, t0: Tensor) -> Tensor:
    """Return the electrons of a stabilised signal: the exact inverse of `stabilise`.

    That is the square of the part where t >= 1, and the rest as it is.
    """
    root = t0.sqrt()
    curved = torch.maximum(s, 2 - 2 * root)
    return torch.add(root, curved, alpha=0.25) * curved + (s - curved)

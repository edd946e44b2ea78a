"""The variance-stabilising transform, its inverse, and the removal of outliers behind it.

Photon noise plus read noise has the variance ``gain * x + read_variance``, linear in the signal
(LED, section 3.1). In electrons, ``e = x / gain``, it is ``e + v`` with
``v = read_variance / gain**2``. The generalised Anscombe transform makes it one for every camera,
ISO and ratio::

    t = e + t0,  t0 = max(v + 3/8, 1)
    s = 2 sqrt(t) - 2 sqrt(t0)     where t >= 1
    s = t + 1 - 2 sqrt(t0)         below: the tangent, so that nothing under zero is cut

so that ``s`` is 0 where there is no light. The inverse is algebraic.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

MAX_READ_VARIANCE = 1e4
"""Electrons squared. With more, photon noise is lost in read noise wherever the signal is not a
hundred times the noise; the gain is then raised until it fits, for float32's digits."""
FAR, NEIGHBOUR = 5.0, 4.0
"""Standard deviations of noise from the local mean: an outlier's, and what no neighbour reaches."""
DARK = 2.0
"""Standard deviations of noise over no light, below which a pixel is dark."""


def electron_scale(gain: Tensor, read_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gain to divide by and the transform's offset ``t0``, both shaped as given.

    Gain and read variance are those of the noise profile, for white - black = 1.
    """
    gain = torch.maximum(gain, (read_variance / MAX_READ_VARIANCE).sqrt()).clamp_min(1e-12)
    return gain, (read_variance / gain**2 + 3 / 8).clamp_min(1.0)


def stabilise(electrons: Tensor, t0: Tensor) -> Tensor:
    """Transform electrons to a signal whose noise has unit variance; shapes broadcast."""
    t = electrons + t0
    # The difference of the roots, written so that float32 keeps it where t0 is large.
    above = 2 * electrons / (t.clamp_min(1.0).sqrt() + t0.sqrt())
    return torch.where(t >= 1, above, t + 1 - 2 * t0.sqrt())


def unstabilise(s: Tensor, t0: Tensor) -> Tensor:
    """Return the electrons of a stabilised signal: the exact inverse of `stabilise`."""
    root = t0.sqrt()
    above = s * (s / 4 + root)
    return torch.where(s + 2 * root >= 2, above, s + 2 * root - 1 - t0)


def remove_outliers(s: Tensor, mean: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Replace outliers, samples that no light can have made, by the mean of their surroundings.

    The tails of the read noise and hot pixels are more than the network can cancel, which sees
    them through a soft limit: it leaves a coloured speck. A lens spreads light over neighbours of
    the same and of other colours, so a bright sample in the dark without a bright neighbour is an
    outlier. In the light it may be fine texture, and is kept.

    Measured with `tests/benchmarks/quality.py`: +0.12 dB at ratio 300 and +0.06 at 100 with the
    heavy tails of the CanonEOS700D, +0.02 with those of the SonyA7S2; -0.01 dB at ratio 20,
    nothing below.

    Takes stabilised planes ``(N, planes, h, w)``, their local mean and the side of its window.
    Returns both without the outliers: the given tensors if there are none.
    """
    far = (s - mean).abs_()
    # An outlier raises its own mean: whether it is dark without it is decided below.
    frame, plane, row, col = ((far > FAR) & (mean < 4 * DARK)).nonzero(as_tuple=True)
    if not len(frame):
        return s, mean
    height, width = s.shape[2:]
    # Bright samples in the 3 x 3 cells around, of every colour, itself included.
    near = torch.zeros_like(row)
    for r, c, inside in _around(row, col, height, width, 3):
        near += (far[frame, :, r, c] > NEIGHBOUR).sum(1) * inside
    samples = _samples(row, height, window) * _samples(col, width, window)
    value = s[frame, plane, row, col]
    replacement = (samples * mean[frame, plane, row, col] - value) / (samples - 1)
    outlier = (near == 1) & (replacement < DARK)
    frame, plane, row, col = frame[outlier], plane[outlier], row[outlier], col[outlier]
    s, mean = s.clone(), mean.clone()
    s[frame, plane, row, col] = replacement[outlier]
    change = (replacement - value)[outlier]
    for r, c, inside in _around(row, col, height, width, window):
        share = inside / (_samples(r, height, window) * _samples(c, width, window))
        mean.index_put_((frame, plane, r, c), change * share, accumulate=True)
    return s, mean


def _around(
    row: Tensor, col: Tensor, height: int, width: int, side: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield rows, columns and whether they are inside, for each offset in a square."""
    reach = side // 2
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            r, c = row + down, col + right
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            yield r.clamp(0, height - 1), c.clamp(0, width - 1), inside


def _samples(position: Tensor, length: int, window: int) -> Tensor:
    """Return how many samples along a side a window has: fewer at the ends."""
    reach = window // 2
    return position.clamp_max(reach) + (length - 1 - position).clamp_max(reach) + 1

"""Evening out the greens: what the two green planes differ by in smooth areas is error.

Both see the same light. Denoised, each keeps a little noise of long wavelength of its own, and a
demosaic shows the difference as a maze. A green pixel is compared with the mean of its four
diagonal neighbours of the other green, so that slopes cancel; what is left, averaged over a
small window, is taken out, half from each plane. Detail, which differs by more than the noise,
counts as no difference.

An X-Trans has its greens in blocks of four and one alone: they are left as they are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ledcli.noise.estimate import NoiseProfile
from ledcli.sensor.cfa import AnyPhase, Phase, XTransPhase, offsets

WINDOW = 3
"""Side in plane pixels of the mean that is taken twice: a smooth window of five. Of 3, 5, 7 and 11
it gained most on the quality benchmark, 0.1 dB on the mean of its cells."""
LARGEST_DIFFERENCE = 1.0
"""Standard deviations of the photo's noise: what differs by more is detail."""
BAND = 256
"""Plane rows that are worked on at a time."""
G1, G2 = 1, 3


def even_greens(clean: Tensor, ratio: float, noise: NoiseProfile, phase: AnyPhase) -> Tensor:
    """Take the common difference out of a Bayer mosaic's green planes, in place.

    Parameters
    ----------
    clean : Tensor ``(4, h, w)``
        Denoised planes times the ratio.
    ratio : float
        Their gain.
    noise : NoiseProfile
        The photo's noise before denoising.
    phase : Phase or XTransPhase
        Of the mosaic: where the greens lie.

    Returns
    -------
    Tensor ``(4, h, w)``
        The same tensor.
    """
    if isinstance(phase, XTransPhase):
        return clean
    halves = torch.empty_like(clean[G1])
    rows, reach = clean.shape[1], WINDOW
    for top in range(0, rows, BAND):
        # The windows of a band reach into its neighbours.
        first, last = max(top - reach, 0), min(top + BAND + reach, rows)
        part = _common_difference(clean[:, first:last], ratio, noise, phase) / 2
        end = min(top + BAND, rows)
        halves[top:end] = part[top - first : end - first]
    clean[G1] -= halves
    clean[G2] += halves
    return clean


def _common_difference(clean: Tensor, ratio: float, noise: NoiseProfile, phase: Phase) -> Tensor:
    difference = clean[G1] - _at_first_green(clean[G2], phase)
    level = (clean[G1] + clean[G2]).div_(2 * ratio).clamp_min_(0)
    limit = (level * noise.gain + noise.read_variance).sqrt_().mul_(LARGEST_DIFFERENCE * ratio)
    # Detail counts as no difference: where little is smooth, little is known and little is done.
    return _window_mean(difference.mul_(difference.abs() <= limit))


def _at_first_green(green: Tensor, phase: Phase) -> Tensor:
    """Mean of the four G2 around each G1, ``(h, w)``."""
    _, first, _, second = offsets(phase)
    above, left = (int(b > a) for a, b in zip(first, second, strict=True))
    padded = F.pad(green[None, None], (left, 1 - left, above, 1 - above), mode="replicate")
    return F.avg_pool2d(padded, 2, 1)[0, 0]


def _window_mean(plane: Tensor) -> Tensor:
    once = F.avg_pool2d(plane[None, None], WINDOW, 1, WINDOW // 2, count_include_pad=False)
    return F.avg_pool2d(once, WINDOW, 1, WINDOW // 2, count_include_pad=False)[0, 0]

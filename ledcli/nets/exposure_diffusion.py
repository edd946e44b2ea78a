"""Refinement: the network looks again at what it has guessed (ExposureDiffusion, Algorithm 2)."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from ledcli.noise.estimate import NoiseProfile

MASK_START = 3.0
"""Where the mask starts: at 95 % of the image. From half and half the noise that the residual still
has hides what is learnt, and a bias moves slowly: 4 dB less after 600 iterations."""


class AdaptiveForm:
    """The `gain` form with the adaptive residual layer (Eq. 12).

    The network makes an image, a residual and one mask plane, which raised and through a sigmoid
    is ``m``, and::

        F(x) = m [image] + (1 - m) [x ratio + residual],  [v] = v cut to 0..1

    Bright places have nearly all their signal in the input: there the mask takes the residual,
    and a second step does not wear them off.

    Parameters
    ----------
    planes : int
        Planes of the mosaic; the network makes ``2 planes + 1``.
    """

    unclipped_input = False

    def __init__(self, planes: int = 4) -> None:
        self.in_planes, self.out_planes = planes, 2 * planes + 1

    def __call__(
        self, net: nn.Module, x: Tensor, ratio: Tensor, gain: Tensor, variance: Tensor
    ) -> Tensor:
        """Denoise planes ``(N, planes, h, w)``; the others are ``(N,)``; the line is not used."""
        gained = x * ratio.reshape(-1, 1, 1, 1)
        planes = x.shape[1]
        parts: Tensor = net(gained.clamp_max(1.0))
        image, residual, mask = parts.float().split((planes, planes, 1), 1)
        share = (mask + MASK_START).sigmoid()
        return share * _cut(image) + (1 - share) * _cut(gained + residual)


def exposure_schedule(ratio: float, steps: int) -> list[float]:
    """Return the exposures that so many evaluations of the network start from.

    From ``1 / ratio`` to 1 in equal factors.
    """
    if steps < 2:
        return [1 / ratio]
    return [ratio ** (number / (steps - 1) - 1) for number in range(steps)]


def add_photons(
    x: Tensor,
    clean: Tensor,
    now: Tensor,
    then: Tensor,
    gain: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Let light into a frame for longer: sample the next one (Eq. 10).

    The photons that are still to come are drawn for the clean image as it is believed to be:
    ``x + gain Poisson((then - now) clean / gain)``.

    Parameters
    ----------
    x, clean : Tensor ``(N, planes, h, w)``
        The frame, not gained, and the clean image at the reference's exposure.
    now, then : Tensor ``(N,)``
        Exposures before and after.
    gain : Tensor ``(N,)``
        System gain K over white - black: the size of one electron.
    generator : torch.Generator, optional
        On the device of ``x``.
    """
    k = gain.reshape(-1, 1, 1, 1)
    more = (then - now).reshape(-1, 1, 1, 1) * clean.clamp_min(0)
    return x + k * torch.poisson(more / k, generator)


def _cut(x: Tensor) -> Tensor:
    """Cut to 0..1; the gradient passes, or what once lay outside would never come back."""
    return x + (x.clamp(0, 1) - x).detach()


TWO_STEPS_FROM_RATIO = 200.0
"""Ratio from which a second look is worth its time; at 100 it wears off more than it mends
(tests/benchmarks/results/exposure.md)."""


def default_steps(ratio: float) -> int:
    """Return how many evaluations of the network a photo takes when nobody says."""
    return 2 if ratio >= TWO_STEPS_FROM_RATIO else 1


def refine(
    clean_of: Callable[[Tensor, float], Tensor],
    frame: Tensor,
    ratio: float,
    noise: NoiseProfile,
    steps: int,
) -> Tensor:
    """Denoise a frame by so many evaluations of the network.

    After each but the last the photons of the guess come in, up to the next exposure; the whole
    frame at a time, so that tiles agree where they meet. The same frame gives the same result.

    Parameters
    ----------
    clean_of : callable
        Denoises planes ``(4, h, w)``, not gained, at a ratio: clean planes times it.
    frame : Tensor ``(4, h, w)``
    ratio : float
    noise : NoiseProfile
        Its gain is the size of one electron.
    steps : int
        1 is the plain pass; a photo that is not too dark takes no other.
    """
    gain, generator = frame.new_tensor([noise.gain]), torch.Generator(frame.device).manual_seed(0)
    stops = exposure_schedule(ratio, steps) if ratio > 1 else [1 / ratio]
    clean = clean_of(frame, ratio)
    for now, then in pairwise(stops):
        before, after = frame.new_tensor([now]), frame.new_tensor([then])
        frame = add_photons(frame[None], clean[None], before, after, gain, generator)[0]
        clean = clean_of(frame, 1 / then)
    return clean

"""Exposure diffusion: the network refines its own estimate (Wang et al. 2023, Algorithm 2)."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from ledcli.noise.estimate import NoiseProfile

MASK_START = 3.0
"""Offset of the mask before the sigmoid: it starts at 95 % image. Started at one half, the noise in
the residual hides what is learnt, and a bias moves slowly: 4 dB less after 600 iterations."""
TWO_STEPS_FROM_RATIO = 200.0
"""Ratio from which a second refinement step pays; at 100 it loses more detail than it restores
(tests/benchmarks/results/exposure.md)."""


class AdaptiveForm:
    """The `gain` form with the adaptive residual layer (Eq. 12).

    The network outputs an image, a residual and one mask plane, ``2 planes + 1`` in all. With
    ``m`` the sigmoid of the mask plus `MASK_START`::

        F(x) = m [image] + (1 - m) [x ratio + residual],  [v] = v clipped to 0..1

    Bright areas have nearly all their signal in the input: there the mask chooses the residual, so
    that a further refinement step does not lose detail.
    """

    unclipped_input = False

    def __init__(self, planes: int = 4) -> None:
        self.in_planes, self.out_planes = planes, 2 * planes + 1

    def __call__(
        self, net: nn.Module, x: Tensor, ratio: Tensor, gain: Tensor, read_variance: Tensor
    ) -> Tensor:
        """Denoise planes ``(N, planes, h, w)``; gain and read variance are not used."""
        bright = x * ratio.reshape(-1, 1, 1, 1)
        planes = x.shape[1]
        parts: Tensor = net(bright.clamp_max(1.0))
        image, residual, mask = parts.float().split((planes, planes, 1), 1)
        share = (mask + MASK_START).sigmoid()
        return share * _clip(image) + (1 - share) * _clip(bright + residual)


def exposure_schedule(ratio: float, steps: int) -> list[float]:
    """Return the exposure at which each refinement step starts: 1/ratio to 1 in equal factors."""
    if steps < 2:
        return [1 / ratio]
    return [ratio ** (number / (steps - 1) - 1) for number in range(steps)]


def add_photons(
    x: Tensor,
    clean: Tensor,
    exposure: Tensor,
    target: Tensor,
    gain: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Sample the frame at a longer exposure (Eq. 10).

    Adds the photons still missing, drawn for the estimated clean image:
    ``x + gain Poisson((target - exposure) clean / gain)``.

    The frame ``x`` is ``(N, planes, h, w)`` and not multiplied by the ratio; the clean image is at
    the reference's exposure, and the exposures ``(N,)`` are over it. The gain ``(N,)`` is K over
    white - black: the size of one electron.
    """
    k = gain.reshape(-1, 1, 1, 1)
    missing = (target - exposure).reshape(-1, 1, 1, 1) * clean.clamp_min(0)
    return x + k * torch.poisson(missing / k, generator)


def default_steps(ratio: float) -> int:
    """Return the default number of refinement steps at a ratio."""
    return 2 if ratio >= TWO_STEPS_FROM_RATIO else 1


def refine(
    denoise: Callable[[Tensor, float], Tensor],
    frame: Tensor,
    ratio: float,
    noise: NoiseProfile,
    steps: int,
) -> Tensor:
    """Denoise a frame ``(planes, h, w)`` in refinement steps; the same frame, the same result.

    After each step but the last, the photons of the estimate are added up to the next exposure, on
    the whole frame at once, so that tiles agree where they meet.

    `denoise` maps planes, not multiplied by the ratio, and a ratio to clean planes times the ratio.
    The gain of the noise is the size of one electron. One step is the plain network; at ratio 1 and
    below there is never more than one.
    """
    gain, generator = frame.new_tensor([noise.gain]), torch.Generator(frame.device).manual_seed(0)
    schedule = exposure_schedule(ratio, steps) if ratio > 1 else [1 / ratio]
    clean = denoise(frame, ratio)
    for exposure, target in pairwise(schedule):
        before, after = frame.new_tensor([exposure]), frame.new_tensor([target])
        frame = add_photons(frame[None], clean[None], before, after, gain, generator)[0]
        clean = denoise(frame, 1 / target)
    return clean


def _clip(x: Tensor) -> Tensor:
    """Clip to 0..1, but let the gradient pass: a value outside could not return otherwise."""
    return x + (x.clamp(0, 1) - x).detach()

"""Refinement: the network looks again at what it has guessed (ExposureDiffusion, Algorithm 2)."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ledcli.nets.adaptive import exposed_on, exposures
from ledcli.noise.estimate import NoiseLine

SECOND_LOOK_FROM = 200.0
"""Ratio from which a second look is worth its time; at 100 it wears off more than it mends
(tests/benchmarks/results/exposure.md)."""


def usual_steps(ratio: float) -> int:
    """Return how many evaluations of the network a photo takes when nobody says."""
    return 2 if ratio >= SECOND_LOOK_FROM else 1


def refined(
    clean_of: Callable[[Tensor, float], Tensor],
    frame: Tensor,
    ratio: float,
    noise: NoiseLine,
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
    noise : NoiseLine
        Its gain is the size of one electron.
    steps : int
        1 is the plain pass; a photo that is not too dark takes no other.
    """
    gain, generator = frame.new_tensor([noise.gain]), torch.Generator(frame.device).manual_seed(0)
    stops = exposures(ratio, steps) if ratio > 1 else [1 / ratio]
    clean = clean_of(frame, ratio)
    for now, then in pairwise(stops):
        before, after = frame.new_tensor([now]), frame.new_tensor([then])
        frame = exposed_on(frame[None], clean[None], before, after, gain, generator)[0]
        clean = clean_of(frame, 1 / then)
    return clean

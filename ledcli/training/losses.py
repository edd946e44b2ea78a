"""Losses: in the stabilised domain, where the noise has unit variance, and in linear light."""

import torch
from torch import Tensor

from ledcli.noise.stabilise import stabilise, unstabilise

STABLE_FLOOR, LINEAR_FLOOR = 1e-4, 1e-7
"""Mean square errors below which a frame counts as clean: a hundredth of the noise's standard
deviation; 70 dB."""
PAST_WHITE = 0.05
"""What an error past white counts: highlights are cut off there, but not without a slope."""


def frame_loss(
    denoised: Tensor,
    clean: Tensor,
    level: Tensor,
    t0: Tensor,
    counts: Tensor | None = None,
) -> Tensor:
    """Return what the stabilised form trains on: every frame by the logarithm of its error.

    Half of it in standard deviations of noise, where dark and bright weigh alike, half in linear
    light, where PSNR is measured.

    Parameters
    ----------
    denoised : Tensor ``(N, 4, h, w)``
        The network's stabilised planes.
    clean : Tensor ``(N, 4, h, w)``
        The truth times the ratio; at 1 it is cut off, and what is denoised past 1 counts little.
    level, t0 : Tensor ``(N, 1, 1, 1)``
        Gain times ratio, and the transform's offset (noise/stabilise.py).
    counts : Tensor ``(N, 4, h, w)``, optional
        1 where the truth is known, 0 elsewhere.
    """
    stable = denoised - stabilise(clean / level, t0)
    linear = under_white(unstabilise(denoised, t0) * level) - clean
    return (log_error(stable, STABLE_FLOOR, counts) + log_error(linear, LINEAR_FLOOR, counts)) / 2


def log_error(error: Tensor, floor: float, counts: Tensor | None = None) -> Tensor:
    """Return the mean over frames of the logarithm of the root mean square error.

    Nepers: PSNR turned round and divided by 8.7. A frame of deep noise, whose error is a tenth of
    the noise's deviation, so weighs as much as a clean one, where half of the noise must stay.

    Parameters
    ----------
    error : Tensor ``(N, 4, h, w)``
    floor : float
        Mean square error below which it does not matter.
    counts : Tensor ``(N, 4, h, w)``, optional
        Weights of the mean over a frame.
    """
    if counts is None:
        mean = error.square().mean((1, 2, 3))
    else:
        total = (error.square() * counts).sum((1, 2, 3))
        mean = total / counts.sum((1, 2, 3)).clamp_min(1)
    return (mean + floor).log().mean() / 2


def under_white(x: Tensor) -> Tensor:
    """Bend planes (white at 1) over at white, where PSNR cuts them off."""
    return torch.where(x > 1, 1 + PAST_WHITE * (x - 1), x)

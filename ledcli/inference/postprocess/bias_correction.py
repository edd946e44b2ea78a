"""The anchor: over wide areas the denoised photo keeps the mean of the noisy one.

A network that works in the stabilised domain answers with a mean of roots, whose square is less
than the mean, and a wrong noise estimate shifts what it takes for black: in the deepest shadows
that would darken, and where the planes differ it would tint. But the noise has no mean, so the
mean of a wide area is known well from the noisy photo itself. What the denoised one lacks there
is given back, as far as it stands out of the noise that is left in such a mean.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ledcli.noise.estimate import NoiseProfile

BLOCK = 16
"""Plane pixels a side over which means are taken first."""
BAND = 64
"""Plane rows that are worked on at a time, a multiple of the block: they stay in the cache."""
REACH = 2.25
"""Standard deviation of the window in blocks: it weighs 16,000 plane pixels, 128 a side."""
OUTLIER = 6.0
"""Standard deviations of noise beyond which a difference is a hot pixel, not a shift."""
SATURATED = 0.9
"""Noise near white is cut off above and has a mean: such pixels do not count. Judged by the
denoised level, since a choice by the noisy one would itself favour low noise."""


def anchored(noisy: Tensor, clean: Tensor, ratio: float, noise: NoiseProfile) -> Tensor:
    """Give the denoised planes the wide means of the noisy ones.

    Parameters
    ----------
    noisy : Tensor ``(planes, h, w)``
        Normalised planes, not gained.
    clean : Tensor ``(planes, h, w)``
        The denoised planes, times the ratio; changed in place.
    ratio : float
        Their gain.
    noise : NoiseProfile
        The photo's noise.

    Returns
    -------
    Tensor ``(planes, h, w)``
        Denoised planes times the ratio.
    """
    bands = range(0, noisy.shape[1], BAND)
    sums = [
        _sums(noisy[:, top : top + BAND], clean[:, top : top + BAND] / ratio, noise)
        for top in bands
    ]
    blocks = _Blocks(*(torch.cat(parts, 1) for parts in zip(*sums, strict=True)))
    whole = blocks.shift.sum((1, 2)) / blocks.weight.sum((1, 2)).clamp_min(1)
    rest = blocks._replace(shift=blocks.shift - blocks.weight * whole[:, None, None])
    correction = whole[:, None, None] + _wide_shift(rest)
    return clean.add_(_enlarged(correction, clean.shape[1:]), alpha=ratio)


class _Blocks(NamedTuple):
    """Sums over blocks, each ``(planes, h / 16, w / 16)``."""

    weight: Tensor
    shift: Tensor
    variance: Tensor


def _sums(noisy: Tensor, level: Tensor, noise: NoiseProfile) -> _Blocks:
    """Sum over the blocks of a band what the noisy planes have over the denoised ones."""
    deviation = (level.clamp_min(0) * noise.gain + noise.read_variance).sqrt_()
    usable = (level < SATURATED).float()
    shift = (noisy - level).div_(deviation).clamp_(-OUTLIER, OUTLIER).mul_(deviation).mul_(usable)
    return _Blocks(
        weight=_block_sums(usable),
        shift=_block_sums(shift),
        variance=_block_sums(deviation.square_().mul_(usable)),
    )


def _wide_shift(blocks: _Blocks) -> Tensor:
    """Mean shift in a Gaussian window around each block, shrunk by what is noise in it."""
    weight = _blurred(blocks.weight, 1).clamp_min(1e-6)
    mean = _blurred(blocks.shift, 1) / weight
    # The variance of a weighted mean takes the squares of the weights.
    variance = _blurred(blocks.variance, 2) / weight.square()
    return mean * (1 - variance / mean.square().clamp_min(1e-30)).clamp_min(0)


def _blurred(sums: Tensor, power: int) -> Tensor:
    """Convolve with a Gaussian whose taps are raised to a power; nothing lies outside."""
    radius = int(4 * REACH)
    place = torch.arange(-radius, radius + 1, dtype=sums.dtype)
    taps = (-place.square() / (2 * REACH**2)).exp() ** power
    rows = F.conv2d(sums[:, None], taps[None, None, :, None], padding=(radius, 0))
    return F.conv2d(rows, taps[None, None, None, :], padding=(0, radius))[:, 0]


def _block_sums(plane: Tensor) -> Tensor:
    rows, cols = (-n % BLOCK for n in plane.shape[1:])
    padded = F.pad(plane, (0, cols, 0, rows)) if rows or cols else plane
    return F.avg_pool2d(padded[None], BLOCK, divisor_override=1)[0]


def _enlarged(blocks: Tensor, size: torch.Size) -> Tensor:
    rows, cols = (n * BLOCK for n in blocks.shape[1:])
    whole = F.interpolate(blocks[None], (rows, cols), mode="bilinear", align_corners=False)[0]
    return whole[:, : size[0], : size[1]]

"""The ELD noise model, and the transform that gives noise the same variance everywhere.

The model: shot, Tukey-lambda read, row, quantisation, colour bias. Everything is in DN above black.
A short frame of a clean signal ``c`` is::

    K Poisson(c / K) + TL(lambda, read) + N(0, row) per sensor row + U(-1/2, 1/2) q + bias

(ELD, Wei et al. 2020, equations 1 to 9; 'ptrqc' in published code.)

The transform: photon noise plus read noise has the variance ``gain * x + read_variance``, linear in
the signal (LED, section 3.1). In electrons, ``e = x / gain``, it is ``e + v`` with
``v = read_variance / gain**2``. The generalised Anscombe transform makes it one for every camera,
ISO and ratio::

    t = e + t0,  t0 = max(v + 3/8, 1)
    s = 2 sqrt(t) - 2 sqrt(t0)     where t >= 1
    s = t + 1 - 2 sqrt(t0)         below: the tangent, so that nothing under zero is cut

so that ``s`` is 0 where there is no light. The inverse is algebraic.
"""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from ledcli.sensor.layout import layout_of

MIN_LAMBDA = 1e-3
"""Below this the Tukey-lambda formula loses digits in float32; its limit is used instead."""
NO_POISSON = ("mps",)
"""Devices for which torch has no Poisson distribution."""
MAX_READ_VARIANCE = 1e4
"""Electrons squared. With more, photon noise is lost in read noise wherever the signal is not a
hundred times the noise; the gain is then raised until it fits, for float32's digits."""


def column(per_frame: Tensor) -> Tensor:
    """Return figures ``(N,)`` of frames as ``(N, 1, 1, 1)``, to multiply their planes by."""
    return per_frame.reshape(-1, 1, 1, 1)


@dataclass(frozen=True)
class PerFrame:
    """Tensors whose first axis is the frame."""

    def to(self, device: torch.device | str) -> Self:
        """Return the same on another device."""
        return type(self)(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True)
class NoiseParameters(PerFrame):
    """Noise parameters of ``N`` frames: Tensors ``(N,)``."""

    gain: Tensor
    """System gain K, DN per electron."""
    tukey_lambda: Tensor
    """Lambda of the Tukey-lambda distribution; 0 is the logistic one. Its scale, DN, is `read`."""
    read: Tensor
    row: Tensor
    """Standard deviation of the row noise, DN."""
    colour_bias: Tensor
    """``(N, 4)``: error of the black level of each plane R, G1, B, G2, DN. All greens of an X-Trans
    take that of G1."""
    step: Tensor
    """Quantisation step, DN."""

    def pixel_variance(self) -> Tensor:
        """Return the variance ``(N,)`` of a pixel without light, row noise excluded, DN^2."""
        return self.read**2 * tukey_variance(self.tukey_lambda) + self.step**2 / 12


def tukey_quantile(probability: Tensor, shape: Tensor) -> Tensor:
    """Quantile of the Tukey-lambda distribution of scale 1: ``(p^l - (1-p)^l) / l``."""
    limit = torch.logit(probability)
    safe = torch.where(shape.abs() < MIN_LAMBDA, torch.ones_like(shape), shape)
    value = (probability**safe - (1 - probability) ** safe) / safe
    return torch.where(shape.abs() < MIN_LAMBDA, limit, value)


def tukey_variance(shape: Tensor) -> Tensor:
    """Variance of the Tukey-lambda distribution of scale 1; infinite at lambda <= -1/2."""
    lam = shape.cpu().double()  # Apple's GPUs have no float64
    safe = torch.where(lam.abs() < MIN_LAMBDA, torch.full_like(lam, 0.1), lam)
    safe = safe.clamp_min(-0.499999)
    beta = torch.exp(2 * torch.lgamma(safe + 1) - torch.lgamma(2 * safe + 2))
    value = 2 / safe**2 * (1 / (1 + 2 * safe) - beta)
    value = torch.where(lam.abs() < MIN_LAMBDA, torch.pi**2 / 3, value)
    return torch.where(lam <= -0.5, torch.inf, value).to(shape)


def shot_noise(clean: Tensor, gain: Tensor, generator: torch.Generator) -> Tensor:
    """Photon noise: ``K Poisson(c / K)`` of a clean signal ``(N, planes, h, w)``, DN."""
    k = column(gain)
    return poisson((clean / k).clamp_min(0), generator) * k


def poisson(rate: Tensor, generator: torch.Generator) -> Tensor:
    """Draw photons; on the CPU for a device where torch cannot."""
    if rate.device.type not in NO_POISSON:
        return torch.poisson(rate, generator)
    seed = int(torch.randint(2**31, (), generator=generator, device=rate.device))
    return torch.poisson(rate.cpu(), torch.Generator().manual_seed(seed)).to(rate)


def read_noise(like: Tensor, shape: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
    """Tukey-lambda read noise of the shape of ``like``, DN."""
    # Open interval: the quantile is infinite at 0 and 1.
    p = _uniform(like, generator).clamp(2**-24, 1 - 2**-24)
    return tukey_quantile(p, column(shape)) * column(scale)


def row_noise(like: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
    """Row noise, a Gaussian value per sensor row, DN; shaped as by `on_sensor_lines`."""
    return on_sensor_lines(like, 0, generator) * column(scale)


def on_sensor_lines(like: Tensor, axis: int, generator: torch.Generator) -> Tensor:
    """Draw a standard normal value for every sensor row (axis 0) or column (1) of planes ``like``.

    Returns ``(N, 4, h, 1)`` or ``(N, 4, 1, w)`` for Bayer planes; ``(N, 9, h, w)`` for an X-Trans,
    where some planes lie on another line in odd cells than in even ones. It begins with an even
    cell.
    """
    n, planes, h, w = like.shape
    layout = layout_of(planes)
    size = (n, layout.side, h, 1) if axis == 0 else (n, layout.side, 1, w)
    drawn = torch.randn(size, generator=generator, device=like.device, dtype=like.dtype)
    even, odd = ([lines[cell] for lines in layout.lines(axis)] for cell in (0, 1))
    if even == odd:
        return drawn[:, even]
    rows, cols = (torch.arange(count, device=like.device) for count in (h, w))
    return torch.where((rows[:, None] + cols) % 2 == 0, drawn[:, even], drawn[:, odd])


def quantisation_noise(like: Tensor, step: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform noise one quantisation step wide, of the shape of ``like``, DN."""
    return (_uniform(like, generator) - 0.5) * column(step)


def add_noise(clean: Tensor, noise: NoiseParameters, generator: torch.Generator) -> Tensor:
    """Add all noise components to clean planes ``(N, planes, h, w)``.

    Signals are in DN above black; the result is not clipped below zero. Noise parameters and
    generator are on the device of ``clean``.
    """
    bias, layout = noise.colour_bias, layout_of(clean.shape[1])
    if bias.shape[1] != clean.shape[1]:
        bias = bias[:, list(layout.colours)]  # the Bayer planes R, G1, B stand for the colours
    return (
        shot_noise(clean, noise.gain, generator)
        + read_noise(clean, noise.tukey_lambda, noise.read, generator)
        + row_noise(clean, noise.row, generator)
        + quantisation_noise(clean, noise.step, generator)
        + bias[:, :, None, None]
    )


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)


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

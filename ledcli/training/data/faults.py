"""What the noise model of a camera lacks, sampled for training.

`Defects` are the out-of-model noise of the sensor; `Faults` are what cameras do to a frame before
they save it: corrected vignetting, smoothing, defective pixels, a wrong black level, values clipped
at black, and quantisation coarser than the noise. A backbone trained on them tolerates them. Both
stay on the CPU: what has to be done is decided by their values, and reading one from another device
would wait for it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ledcli.noise.physics import PerFrame, column, on_sensor_lines
from ledcli.training.data.scenes import log_uniform

COLUMN_SHARE, HOT_SHARE = 0.25, 0.25
"""Shares of frames with column noise and with hot pixels."""
COLUMN_SCALE = (0.05, 0.6)
"""Standard deviation of a column's value, in standard deviations of a pixel's read noise."""
HOT_DENSITY = (1e-5, 2e-3)
"""Share of hot pixels, uniform in its logarithm."""
HOT_SCALE = (4.0, 60.0)
"""Mean excess of a hot pixel in standard deviations of read noise, uniform in its logarithm."""
BAND_ROW_SHARE, BAND_ROW_SCALE = 0.12, (0.1, 1.0)
BAND_COLUMN_SHARE, BAND_COLUMN_SCALE = 0.1, (0.3, 1.0)
"""Shares of frames with strong row and column patterns, and their standard deviation over that of
the read noise (the demo camera has 0.45 and 0.5)."""
VIGNETTING_SHARE, MAX_VIGNETTING, VIGNETTING_SLOPE = 0.1, 4.0, 0.15
"""Vignetting correction: share of frames, largest factor, and how much the logarithm of the factor
changes from a crop's middle to its edge."""
SMOOTHING_SHARE, SMOOTHING = 0.08, (0.02, 0.25)
"""Share of frames smoothed in the camera, and the weight of each neighbour over the middle's."""
DEFECTIVE_SHARE, DEFECTIVE_DENSITY = 0.15, (1e-5, 1e-3)
DEAD_SHARE, STORED_ZERO_SHARE = 0.5, 0.15
"""Share of frames with defective pixels, and the density of these; share of the defective pixels
that are too dark, and of the frames whose dead pixels are stored as zero, below black."""
PEDESTALS = (64.0, 128.0, 512.0, 1024.0, 2048.0)
"""Black levels of cameras, DN of 14 bits: how far below black a stored zero lies."""
BLACK_SHARE, BLACK_ERROR = 0.08, (0.05, 0.6)
"""Share of frames with a wrong black level, and its standard deviation over the planes, DN of 14
bits."""
CLIP_SHARE, MAX_CLIP_BELOW = 0.04, 1.0
"""Share of frames clipped at black, or up to so many standard deviations of read noise below."""
COARSE_SHARE, COARSE_STEP = 0.04, (0.5, 4.0)
"""Share of frames with a coarse quantisation step, in standard deviations of read noise."""


@dataclass(frozen=True)
class Defects(PerFrame):
    """The out-of-model noise of ``N`` frames, each ``(N,)``."""

    columns: Tensor
    """Standard deviation of a column's value over that of the read noise."""
    density: Tensor
    hot: Tensor
    """Share of hot pixels, and their mean excess over the read noise's deviation."""

    def sample(self, like: Tensor, read: Tensor, generator: torch.Generator) -> Tensor:
        """Draw what is added to frames ``(N, planes, h, w)`` with read noise of deviation ``read``.

        X-Trans frames start with an even cell.
        """
        added, on = torch.zeros_like(like), self.to(like.device)
        if self.columns.any():
            added += on_sensor_lines(like, 1, generator) * column(on.columns * read)
        if self.density.any():
            chance = torch.rand(like.shape, generator=generator, device=like.device)
            share = chance / column(on.density).clamp_min(1e-9)
            # Of the pixels that are hot the share is even in 0..1: its logarithm is exponential.
            excess = -share.clamp(1e-6, 1.0).log() * column(on.hot * read)
            added += torch.where(share < 1, excess, 0.0)
        return added


def sample_defects(count: int, share: float, rng: np.random.Generator) -> Defects:
    """Draw the defects of ``count`` frames; ``share`` scales how many have any."""
    hot = torch.from_numpy(log_uniform(rng, *HOT_SCALE, count).astype(np.float32))
    columns = _for_some(rng, share * COLUMN_SHARE, log_uniform(rng, *COLUMN_SCALE, count))
    density = _for_some(rng, share * HOT_SHARE, log_uniform(rng, *HOT_DENSITY, count))
    return Defects(columns, density, hot)


@dataclass(frozen=True)
class Faults(PerFrame):
    """The faults of ``N`` frames, each ``(N,)``; zero means none, except for `clip`."""

    rows: Tensor
    columns: Tensor
    """Standard deviation of a row's or column's value over that of the read noise."""
    vignetting: Tensor
    slope_down: Tensor
    slope_right: Tensor
    """Logarithm of the vignetting correction in the middle of the frame, and its slopes."""
    smoothing: Tensor
    """Weight of each of the eight neighbours over the middle's."""
    defective: Tensor
    """Share of defective pixels."""
    pedestal: Tensor
    """How far below black a dead pixel is stored, DN; 0 if it keeps a part of its light."""
    black: Tensor
    """Error of the black level ``(N, planes)``, DN."""
    clip: Tensor
    """Standard deviations of read noise below black at which it is clipped; infinite if not."""
    step: Tensor
    """Quantisation step in standard deviations of read noise."""
    known: Tensor
    """How much of vignetting and smoothing the noise profile takes into account, 0 to 1."""

    def correction(self, like: Tensor) -> Tensor:
        """Return the factors ``(N, 1, h, w)`` of the vignetting correction, at least 1."""
        on = self.to(like.device)
        down, right = (torch.linspace(-1, 1, n, device=like.device) for n in like.shape[2:])
        slope = column(on.slope_down) * down[:, None] + column(on.slope_right) * right
        corrected = column((on.vignetting > 0).float())
        return ((column(on.vignetting) + slope) * corrected).clamp_min(0).exp()

    def smooth(self, planes: Tensor) -> Tensor:
        """Smooth planes ``(N, planes, h, w)`` as the camera does."""
        if not self.smoothing.any():
            return planes
        smoothed = planes.clone()
        for frame in self.smoothing.nonzero().flatten().tolist():
            kernel = _kernel(self.smoothing[frame]).to(planes.device)[None, None]
            edged = F.pad(planes[frame][:, None], (1, 1, 1, 1), "replicate")
            smoothed[frame] = F.conv2d(edged, kernel)[:, 0]
        return smoothed

    def apply(self, dn: Tensor, read: Tensor, white: float, generator: torch.Generator) -> Tensor:
        """Return frames as the camera saves them.

        ``dn`` ``(N, planes, h, w)`` are noisy frames of the signal over `correction`, DN above
        black; ``read`` ``(N,)`` is the standard deviation of their read noise, DN; ``white`` is the
        DN above black at which the sensor is full.
        """
        on = self.to(dn.device)
        for axis, scale in ((0, self.rows), (1, self.columns)):
            if scale.any():
                lines = on_sensor_lines(dn, axis, generator)
                dn = dn + lines * column((on.rows, on.columns)[axis] * read)
        dn = self.with_defective_pixels(dn, read, white, generator).clamp_max(white)
        dn = self.smooth((dn + on.black[:, :, None, None]) * self.correction(dn))
        return self.quantise_and_clip(dn, read, generator)

    def with_defective_pixels(
        self, dn: Tensor, read: Tensor, white: float, generator: torch.Generator
    ) -> Tensor:
        """Return frames with their defective pixels; the arguments are those of `apply`."""
        if not self.defective.any():
            return dn
        on = self.to(dn.device)

        def chance() -> Tensor:
            return torch.rand(dn.shape, generator=generator, device=dn.device)

        defective = chance() < column(on.defective)
        dead = chance() < DEAD_SHARE
        pedestal = column(on.pedestal)
        # A dead pixel keeps up to two thirds of its light; a bright one lies anywhere up to white.
        too_dark = torch.where(pedestal > 0, -pedestal.expand_as(dn), dn * chance() * 2 / 3)
        floor = column(5 * read).clamp_max(white)
        too_bright = torch.maximum(dn, floor * (white / floor) ** chance())
        return torch.where(defective, torch.where(dead, too_dark, too_bright), dn)

    def quantise_and_clip(self, dn: Tensor, read: Tensor, generator: torch.Generator) -> Tensor:
        """Return frames quantised coarsely and clipped at black, where they have these faults."""
        on = self.to(dn.device)
        coarse = on.step > 0
        if (self.step > 0).any():
            step = column(torch.where(coarse, on.step * read, torch.ones_like(read)))
            # Black lies anywhere between two steps.
            phase = torch.rand(step.shape, generator=generator, device=dn.device)
            rounded = ((dn / step + phase).round() - phase) * step
            dn = torch.where(column(coarse), rounded, dn)
        lowest = torch.where(on.clip.isfinite(), -on.clip * read, -torch.inf)
        return torch.maximum(dn, column(lowest))

    def noise_profile(self, gain: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return gain and read variance ``(N,)`` as an estimate finds them, from the sensor's.

        They lie between the noise in the middle of the frame and what the blind estimate would make
        of it: it judges a frame by its quietest parts, and underrates smoothed noise.
        """
        correction = (self.known * self.vignetting).exp()
        smoothed = torch.ones_like(correction)
        for frame in self.smoothing.nonzero().flatten().tolist():
            true, seen = _smoothed_variance(_kernel(self.smoothing[frame]))
            smoothed[frame] = true ** self.known[frame] * seen ** (1 - self.known[frame])
        factor = correction.square() * smoothed + self.step.square() / 12
        correction, smoothed, factor = (
            each.to(gain.device) for each in (correction, smoothed, factor)
        )
        return gain * correction * smoothed, variance * factor


def sample_faults(count: int, planes: int, share: float, rng: np.random.Generator) -> Faults:
    """Draw the faults of ``count`` frames; ``share`` scales how many have each, 1 is usual."""

    def some(part: float, values: NDArray[Any], otherwise: float = 0.0) -> Tensor:
        return _for_some(rng, share * part, values, otherwise)

    def scale(limits: tuple[float, float]) -> NDArray[Any]:
        return log_uniform(rng, *limits, count)

    def uniform(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, count)).float()

    black = scale(BLACK_ERROR)[:, None] * rng.standard_normal((count, planes))
    return Faults(
        rows=some(BAND_ROW_SHARE, scale(BAND_ROW_SCALE)),
        columns=some(BAND_COLUMN_SHARE, scale(BAND_COLUMN_SCALE)),
        vignetting=some(VIGNETTING_SHARE, rng.uniform(0.05, np.log(MAX_VIGNETTING), count)),
        slope_down=uniform(-VIGNETTING_SLOPE, VIGNETTING_SLOPE),
        slope_right=uniform(-VIGNETTING_SLOPE, VIGNETTING_SLOPE),
        smoothing=some(SMOOTHING_SHARE, scale(SMOOTHING)),
        defective=some(DEFECTIVE_SHARE, scale(DEFECTIVE_DENSITY)),
        pedestal=_for_some(rng, STORED_ZERO_SHARE, rng.choice(PEDESTALS, count)),
        black=some(BLACK_SHARE, black),
        clip=some(
            CLIP_SHARE, rng.uniform(0, MAX_CLIP_BELOW, count) * rng.integers(0, 2, count), np.inf
        ),
        step=some(COARSE_SHARE, scale(COARSE_STEP)),
        known=torch.from_numpy(rng.random(count)).float(),
    )


def _for_some(
    rng: np.random.Generator, share: float, values: NDArray[Any], otherwise: float = 0.0
) -> Tensor:
    """Keep the values ``(N, ...)`` of a random share of frames."""
    chosen = rng.random(len(values)) < share
    chosen = chosen.reshape(-1, *[1] * (values.ndim - 1))
    return torch.from_numpy(np.where(chosen, values, otherwise).astype(np.float32))


def _kernel(weight: Tensor) -> Tensor:
    kernel = weight.expand(3, 3).clone()
    kernel[1, 1] = 1
    return kernel / kernel.sum()


def _smoothed_variance(kernel: Tensor) -> tuple[float, float]:
    """Variance of smoothed white noise, and what the blind estimate's mask makes of it."""
    line = torch.tensor([1.0, -2.0, 1.0], device=kernel.device)
    mask = torch.outer(line, line)[None, None]
    seen = F.conv2d(F.pad(kernel, (2, 2, 2, 2))[None, None], mask).square().sum()
    return float(kernel.square().sum()), float(seen / mask.square().sum())

"""Noise smoothed in the camera: finding the kernel, taking it back, and putting it on again.

Some cameras average each sample with its neighbours of the same colour before they save a raw. Its
noise then differs little between neighbours and much over wider areas, where the network, which
expects white noise, leaves it standing. The kernel is found from the noise itself: the one whose
spectrum fits that of the quietest blocks. Divided by its response, a photo has the sensor's white
noise again; what the network makes of it is smoothed as the camera would have.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from ledcli.noise.blocks import BLOCK, Blocks, Floats, Planes, longest, mean_spectrum, misfit_of
from ledcli.noise.estimate import NoiseProfile, QuietPoints

STEP, MAX_BESIDE, MAX_DIAGONAL = 0.01, 0.24, 0.12
"""Weights that are tried: every hundredth, up to those of the neighbours beside and diagonal."""
MIN_BLOCKS = 800
"""Blocks that a spectrum needs; with fewer, chance looks like smoothing."""
MIN_MISFIT, MAX_REMAINING = 0.01, 0.06
"""How badly white noise fits at least, and the share of that which a kernel leaves at most, apart
from chance. A neighbour's weight of 0.05 gives 0.016 and leaves 0.0002. The texture of photos
gives up to 0.2 and leaves a tenth or more."""
CORRELATED, MIN_SMOOTH = 0.3, 0.3
"""How badly white noise fits if neighbouring samples clearly share noise, and the share of blocks
among the quietest from which that is no texture."""
MIN_EXCESS = 1.5
"""Variance of long waves over that between neighbours from which it matters."""
MIN_RESPONSE = 0.1
"""What the camera weakened further is not restored in full: quantisation would be amplified."""
EDGE = 16
"""Plane pixels by which a plane is mirrored beyond its borders."""


class Smoothing(NamedTuple):
    """Weights of the neighbours in a kernel of 3 x 3 samples of one colour, whose sum is 1."""

    column: float
    """Of each of the two in the column; of the two in the row; of the four diagonal ones."""
    row: float
    diagonal: float

    def undo(self, planes: Planes) -> Planes:
        """Return planes ``(n, h, w)`` as they were, apart from frequencies that are nearly lost."""
        return self._filter(planes, _inverse)

    def measured_after_undo(self) -> float:
        """Return the share of the sensor's noise variance that `measure` finds after `undo`."""
        wave = 2 * np.pi * np.arange(64) / 64
        response = _response(self, wave[:, None], wave)
        mask = ((np.cos(wave[:, None]) - 1) * (np.cos(wave) - 1)) ** 2
        return float((mask * (response * _inverse(response)) ** 2).sum() / mask.sum())

    def apply(self, planes: Planes) -> Planes:
        """Smooth planes ``(n, h, w)``."""
        return self._filter(planes, lambda response: response)

    def _filter(self, planes: Planes, factor: Callable[[Floats], Floats]) -> Planes:
        edge = min(EDGE, *(n - 1 for n in planes.shape[1:]))
        filtered = np.empty_like(planes)
        for result, plane in zip(filtered, planes, strict=True):
            wide = np.pad(plane, edge, "reflect")
            down = np.fft.fftfreq(wide.shape[0]).astype(np.float64)
            right = np.fft.rfftfreq(wide.shape[1]).astype(np.float64)
            factors = factor(_response(self, 2 * np.pi * down[:, None], 2 * np.pi * right))
            wide = np.fft.irfft2(np.fft.rfft2(wide) * factors.astype(np.float32), wide.shape)
            result[:] = wide[edge : edge + plane.shape[0], edge : edge + plane.shape[1]]
        return filtered


def find_smoothing(
    planes: Planes,
    blocks: Blocks,
    profile: NoiseProfile,
    points: QuietPoints,
    *,
    can_be_undone: bool = True,
) -> tuple[Smoothing | None, float]:
    """Find how a photo was smoothed; None unless that is clear.

    `planes` are those that the blocks, the profile and its `quiet_points` are of. The second result
    is the variance of long waves over the profile's, if the noise is clearly not white but no
    kernel explains it, or it cannot be undone: on an X-Trans, a kernel of the regular planes says
    nothing of the others. Otherwise 1.
    """
    chosen = [quiet for _, quiet in points]
    quiet = np.concatenate(chosen) if chosen else np.empty(0, np.int64)
    if len(quiet) < MIN_BLOCKS:
        return None, 1.0
    spectrum = mean_spectrum(planes, quiet, profile.variance(blocks.mean.take(quiet)))
    white = float(misfit_of(spectrum, np.ones_like(spectrum)))
    if white < MIN_MISFIT:
        return None, 1.0
    kernels, expected = _kernels()
    if misfit_of(spectrum, expected).min() <= MAX_REMAINING * white + 1 / len(quiet):
        if not can_be_undone:
            return None, longest(spectrum)
        best = int(misfit_of(spectrum, expected, without_diagonal=True).argmin())
        return Smoothing(*kernels[best].tolist()), 1.0
    # Texture makes most blocks louder than the quietest; smoothed noise is alike in nearly all.
    smooth = len(quiet) > MIN_SMOOTH * blocks.usable.sum()
    correlated = smooth and white > CORRELATED and longest(spectrum) > MIN_EXCESS
    return None, longest(spectrum) if correlated else 1.0


@cache
def _kernels() -> tuple[Floats, Floats]:
    """Return the kernels that are tried ``(n, 3)`` and their spectra ``(n, 8, 8)``."""
    beside, diagonal = (np.arange(0, most + STEP / 2, STEP) for most in (MAX_BESIDE, MAX_DIAGONAL))
    kernels = np.stack(np.meshgrid(beside, beside, diagonal, indexing="ij"), -1).reshape(-1, 3)
    wave = 2 * np.pi * np.arange(2 * BLOCK) / (2 * BLOCK)
    power = _response(kernels.T[..., None, None], wave[:, None], wave) ** 2
    # A block sees a lag the less often, the longer it is.
    lag = np.minimum(np.arange(2 * BLOCK), 2 * BLOCK - np.arange(2 * BLOCK))
    seen = 1 - lag / BLOCK
    covariance = np.fft.ifft2(power).real * seen[:, None] * seen
    return kernels, np.fft.fft2(covariance).real[:, ::2, ::2]


def _inverse(response: Floats) -> Floats:
    return response / (response**2 + MIN_RESPONSE**2 * (1 - response))


def _response(weights: "Smoothing | Floats", down: Floats, right: Floats) -> Floats:
    """Return by what a kernel multiplies waves of so many radians per sample."""
    column, row, diagonal = weights
    beside = 2 * column * (np.cos(down) - 1) + 2 * row * (np.cos(right) - 1)
    return 1 + beside + 4 * diagonal * (np.cos(down) * np.cos(right) - 1)

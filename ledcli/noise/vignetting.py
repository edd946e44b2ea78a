"""Gain that differs over the frame: vignetting that the camera corrected before it saved the raw.

Multiplied by ``g``, a sensor's signal has the noise variance ``g gain y + g^2 read_variance`` at
the result ``y``: corners that were brightened are noisier than the middle at the same brightness.
A lens darkens evenly all round, so ``g`` depends on the distance ``r`` from the middle, and is
fitted in the form in which such corrections are written (DNG 1.7, FixVignetteRadial)::

    g = 1 + a r^2 + b r^4,  r = 1 in the corners

It is measured in cells, rings times sectors, on their quietest blocks. Texture too adds noise, but
seldom all round with the same strength, and most in long waves: the map counts only if it explains
the noise much better than one gain does, in every quarter of the frame, and if the outer cells have
no more of long waves than the inner ones.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.noise.blocks import BLOCK, Blocks, Floats, Planes, long_waves, mean_spectrum
from ledcli.noise.estimate import (
    NoiseProfile,
    fit_from_below,
    quiet_point,
    structure_in_other_planes,
)

RINGS, SECTORS, LEVELS = 6, 8, 2
"""Cells: rings of equal area, each cut into sectors, the blocks of each parted by brightness."""
MIN_BLOCKS, MIN_CELLS = 12, 48
"""Blocks that a cell needs, and cells that a map needs."""
MAX_STRUCTURE, STRUCTURE_ERROR = 1.2, 0.6
"""Structure over twice the noise in a cell, at most; white noise has 1, and three standard errors
of this for one block."""
MAX_MORE_WAVES = 0.2
"""How far long waves may exceed white noise more in the outer rings than in the inner: a real gain
hides texture outside, and texture taken for a gain shows there."""
EDGE_RINGS = 2
"""Inner and outer rings that are compared."""
MODEL_ERROR = 0.05
"""Relative error of a measured variance that more blocks do not lessen."""
MAX_OFF = 9.0
"""Squared standard errors that a measurement counts at most in a misfit."""
MAX_REMAINING = 0.7
"""Share of the misfit of one gain that a map leaves at most. On 28 photos with noise added, of 0.5
to 1.5 megapixels, one gain is right with 0.74 or more; a gain of 2 in the corners leaves 0.4 from
ratio 20 on."""
MIN_GAIN, MAX_GAIN = 1.15, 16.0
"""In the corners."""
MIN_AGREEMENT, MIN_QUARTERS = 0.5, 3
"""Share of the map's gain that each quarter of the frame shows by itself, and quarters that do."""
FIT_ROUNDS, TRUST_ROUNDS = 12, 10


class VignettingMap(NamedTuple):
    """Gain over the frame, relative to its middle: ``1 + square r^2 + fourth r^4``."""

    square: float
    fourth: float
    part: tuple[int, int, int, int] | None = None
    """Height and width of the whole frame, and the first row and column, of planes that are a part
    of it."""

    def at(self, radius_squared: Floats) -> Floats:
        """Return the gain at squared distances from the middle; 1 is in the corners."""
        return 1 + radius_squared * (self.square + radius_squared * self.fourth)

    @property
    def corners(self) -> float:
        """Gain in the corners."""
        return 1 + self.square + self.fourth

    def over(self, shape: tuple[int, ...]) -> Planes:
        """Return the gain ``(h, w)`` of every pixel of a plane."""
        height, width, top, left = self.part or (*shape, 0, 0)
        gain = self.at(_radius_squared((height, width), 1)).astype(np.float32)
        return gain[top : top + shape[0], left : left + shape[1]]

    def without(self, blocks: Blocks, shape: tuple[int, ...]) -> Blocks:
        """Return the blocks of planes of a shape ``(h, w)`` as they would be without this gain."""
        gain = self.at(_radius_squared(shape, BLOCK).ravel())
        mean, neighbours, noise, structure, usable = blocks
        return Blocks(mean / gain, neighbours / gain, noise / gain**2, structure / gain**2, usable)


def find_vignetting(planes: Planes, blocks: Blocks, profile: NoiseProfile) -> VignettingMap | None:
    """Find a gain that differs over the frame; None unless that is clear.

    `planes` are those that the blocks and the profile were measured on.
    """
    if not blocks.mean.size:
        return None
    cells, members = _measure_cells(planes.shape[1:], blocks, profile)
    vignetting = _fit_if_clear(cells)
    if vignetting is None:
        return None
    inner, outer = (
        np.concatenate([chosen for chosen, there in zip(members, where, strict=True) if there])
        for where in (cells.ring < EDGE_RINGS, cells.ring >= RINGS - EDGE_RINGS)
    )
    inside, outside = (
        long_waves(mean_spectrum(planes, chosen, profile.variance(blocks.mean.take(chosen))))
        for chosen in (inner, outer)
    )
    return vignetting if outside < inside + MAX_MORE_WAVES else None


class _Cells(NamedTuple):
    """Measurements of the cells, ``(cells,)``."""

    mean: Floats
    variance: Floats
    error: Floats
    """Relative, of the variance."""
    radius_squared: Floats
    ring: NDArray[np.int64]
    sector: NDArray[np.int64]


def _measure_cells(
    shape: tuple[int, ...], blocks: Blocks, profile: NoiseProfile
) -> tuple[_Cells, list[NDArray[np.int64]]]:
    """Measure the cells whose noise is white; with the blocks of each that were measured."""
    radius_squared = _radius_squared(shape, BLOCK)
    ring = np.searchsorted(np.quantile(radius_squared, np.arange(1, RINGS) / RINGS), radius_squared)
    down, right = (_centres(n, BLOCK) / n for n in shape)
    turn = np.arctan2(down[:, None], right) / (2 * np.pi) + 0.5
    cell = ring * SECTORS + np.minimum((turn * SECTORS).astype(np.int64), SECTORS - 1)
    shape = blocks.mean.shape
    cell = np.where(blocks.usable, np.resize(cell, shape), -1)
    radius_squared = np.resize(radius_squared, shape).astype(np.float64)
    relative = structure_in_other_planes(blocks, profile)
    rows, members = [], []
    for number in range(RINGS * SECTORS):
        inside = np.flatnonzero(cell == number)
        if len(inside) < MIN_BLOCKS:
            continue
        inside = inside[np.argsort(blocks.neighbours.take(inside))]
        for part in np.array_split(inside, LEVELS):
            (mean, variance, error), quiet = quiet_point(blocks, part, relative, profile)
            white = 2 * blocks.noise.take(quiet).sum()
            limit = MAX_STRUCTURE + STRUCTURE_ERROR / len(quiet) ** 0.5
            if blocks.structure.take(quiet).sum() < limit * white:
                error = np.hypot(error / variance, MODEL_ERROR)
                radius = radius_squared.take(quiet).mean()
                rows.append((mean, variance, error, radius, *divmod(number, SECTORS)))
                members.append(quiet)
    columns = np.array(rows).reshape(-1, len(_Cells._fields)).T
    return _Cells(*columns[:4], *columns[4:].astype(np.int64)), members


def _fit_if_clear(cells: _Cells) -> VignettingMap | None:
    """Fit a map; None unless it explains the cells far better than one gain, all round."""
    if len(cells.mean) < MIN_CELLS:
        return None
    one_gain, profile = _misfit(cells, VignettingMap(0.0, 0.0))
    vignetting, remaining = VignettingMap(0.0, 0.0), one_gain
    for _ in range(FIT_ROUNDS):
        vignetting = _fit(cells, profile, vignetting)
        if not 0 < vignetting.at(np.linspace(0, 1, 9)).min() < MAX_GAIN:
            return None
        remaining, profile = _misfit(cells, vignetting)
    if remaining > MAX_REMAINING * one_gain or not MIN_GAIN < vignetting.corners < MAX_GAIN:
        return None
    shown = (_gains(cells, profile) - 1) / (vignetting.at(cells.radius_squared) - 1)
    outside = cells.ring >= RINGS - EDGE_RINGS
    quarters = [outside & (cells.sector * 4 // SECTORS == quarter) for quarter in range(4)]
    # By the lower ones of a quarter: texture raises the others.
    shares = [np.quantile(shown[quarter], 0.3) for quarter in quarters if quarter.sum() >= 2]
    return vignetting if len(shares) >= MIN_QUARTERS and min(shares) > MIN_AGREEMENT else None


def _fit(cells: _Cells, profile: NoiseProfile, before: VignettingMap) -> VignettingMap:
    """Fit a map to the gain of each cell by a profile; cells far above it count little."""
    expected = before.at(cells.radius_squared)
    photons = profile.gain * cells.mean.clip(0) / expected
    # The variance goes with the gain where photon noise rules, else with its square.
    power = 2 - photons / (photons + profile.read_variance)
    error, measured = expected * cells.error / power, _gains(cells, profile)
    powers = cells.radius_squared[:, None] ** np.arange(3)
    trust = np.ones_like(error)
    for _ in range(TRUST_ROUNDS):
        weighted = powers * (trust / error**2)[:, None]
        # The fourth power is held back a little: few cells tell it from the square.
        fit = np.linalg.solve(powers.T @ weighted + np.diag([0, 0, 1]), weighted.T @ measured)
        excess = (measured - powers @ fit) / error
        trust = 1 / (1 + ((excess - 1).clip(min=0) / 2) ** 2)
    middle, square, fourth = fit
    return VignettingMap(float(square / middle), float(fourth / middle))


def _gains(cells: _Cells, profile: NoiseProfile) -> Floats:
    """Return the gain at which a profile has each cell's variance."""
    photons = profile.gain * cells.mean.clip(0)
    root = np.sqrt(photons**2 + 4 * profile.read_variance * cells.variance)
    return 2 * cells.variance / np.maximum(photons + root, 1e-30)


def _misfit(cells: _Cells, vignetting: VignettingMap) -> tuple[float, NoiseProfile]:
    """Return how badly a map with the best profile explains the cells; with that profile."""
    gain = vignetting.at(cells.radius_squared)
    mean, variance = cells.mean / gain, cells.variance / gain**2
    profile = fit_from_below(mean, variance, cells.error * variance)
    off = (variance / profile.variance(mean) - 1) / cells.error
    return float(np.minimum(off**2, MAX_OFF).mean()), profile


def _centres(length: int, step: int) -> Floats:
    """Return the distances of pixels, or of blocks, from the middle of a side."""
    first, count = (0, length) if step == 1 else (1, max((length - 2) // step, 0))
    return first + step * (np.arange(count, dtype=np.float64) + 0.5) - length / 2


def _radius_squared(shape: tuple[int, ...], step: int) -> Floats:
    down, right = (_centres(length, step) for length in shape)
    corner = (shape[0] / 2) ** 2 + (shape[1] / 2) ** 2
    return (down[:, None] ** 2 + right**2) / corner

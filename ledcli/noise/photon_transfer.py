"""Photon transfer on pairs: a camera's gain and read variance from short and long frames.

The long frame tells how much light fell on every pixel of the short one. What the short frame
differs by is noise, and its variance over the light is a line, ``gain * x + read_variance``
(Janesick's photon transfer, without a uniform target). Two ISOs give the camera's noise profile.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ledcli.errors import PairError
from ledcli.noise.blocks import (
    MIN_VARIANCE,
    SATURATED,
    Floats,
    Planes,
    in_blocks,
    second_difference,
)
from ledcli.noise.camera_profile import CameraNoiseProfile, DarkShading
from ledcli.noise.estimate import fit_nonnegative_line

MAX_BINS = 40
"""Brightness bins of a pair."""
MIN_BLOCKS = 64
"""Blocks of 8 x 8 plane pixels below which a pair does not tell its noise."""
OUTLIER = 5.0
"""Times the median block variance of its bin: a block above holds a hot pixel or an edge."""
MIN_GAIN = 1e-2
"""Smallest gain, in standard deviations of the read noise; less cannot be told from none."""
EXPOSURE_ROUNDS, VARIANCE_ROUNDS = 12, 3
"""Rounds of the reweighted fits."""
SCALE_SPREAD = 0.05
"""Standard deviation of true exposure ratios around those of the EXIF data."""


class ExposureFit(NamedTuple):
    """How a short frame follows from its long one: ``short = scale * long / ratio + offset``."""

    scale: float
    """Near 1: the shutter and the rounding of the EXIF data change the ratio."""
    offset: tuple[float, ...]
    """Error of the black level in each plane, and its standard error."""
    error: tuple[float, ...]


class Transfer(NamedTuple):
    """Noise variance over the light in a pair, and the blocks measured; arrays ``(bins,)``."""

    level: Floats
    variance: Floats
    blocks: Floats


def measure_exposure(short: Planes, long: Planes, ratio: float) -> ExposureFit:
    """Fit the scale and the black offsets that lead from a long frame to its short one.

    Both are normalised planes ``(planes, h, w)``, not multiplied by the nominal ratio. Raises
    PairError if too much of the long frame is clipped, or it is black.
    """
    # Light by the long frame, NaN where it is clipped, and signal of the short one, in blocks.
    level = np.stack([in_blocks(plane).mean((1, 3), np.float64) / ratio for plane in long])
    level[np.stack([in_blocks(plane >= SATURATED).any((1, 3)) for plane in long])] = np.nan
    seen = np.stack([in_blocks(plane).mean((1, 3), np.float64) for plane in short])
    good = np.isfinite(level)
    if (good.sum((1, 2)) < MIN_BLOCKS).any() or not np.square(level[good]).sum() > 0:
        raise PairError("the long frame is clipped nearly everywhere, or black")
    x, y, plane = level[good], seen[good], np.nonzero(good)[0]
    columns = np.stack([x, *(plane == p for p in range(len(short)))], 1).astype(np.float64)
    rest, weight = y - x, np.ones(len(x))
    for _ in range(EXPOSURE_ROUNDS):
        spread = max(float(np.median(np.abs(rest))) * 1.4826, 1e-12)
        weighted = columns * weight[:, None]
        normal, right = weighted.T @ columns, weighted.T @ y
        # A scene without contrast cannot tell scale from offset: the scale then stays at 1.
        prior = (spread / SCALE_SPREAD) ** 2
        normal[0, 0] += prior
        right[0] += prior
        found = np.linalg.solve(normal, right)
        rest = y - columns @ found
        weight = 1 / (1 + np.square(rest / (2 * spread)))
    fitted = spread * np.sqrt(np.diag(np.linalg.inv(normal)))[1:]
    left = np.full(level.shape, np.nan)
    left[good] = rest
    errors = [np.hypot(error, _banding(part)) for error, part in zip(fitted, left, strict=True)]
    return ExposureFit(float(found[0]), tuple(found[1:].tolist()), tuple(float(e) for e in errors))


def _banding(left: Floats) -> float:
    """Return the standard error of a plane's mean that noise of whole rows and columns makes."""
    total = 0.0
    for axis in (0, 1):
        count = np.isfinite(left).sum(axis)
        means = np.nansum(left, axis)[count > 0] / count[count > 0]
        total += float(means.var()) / len(means)
    return float(np.sqrt(total))


def measure_transfer(
    short: Planes, long: Planes, ratio: float, exposure: ExposureFit, iso_ratio: float
) -> Transfer:
    """Measure the noise variance of a short frame over the light that its long frame shows.

    Takes what `measure_exposure` takes, its result, and the ISO of the long frame over that of the
    short one, which tells how much of the noise is the long frame's own. Raises PairError if too
    much of the long frame is clipped.
    """
    levels, variances = [], []
    for a, b, offset in zip(short, long, exposure.offset, strict=True):
        light = b * np.float32(exposure.scale / ratio)
        clipped = (b >= SATURATED) | (a >= SATURATED)
        # All without a border of one pixel, as the noise, so that level and noise match.
        good = ~in_blocks(clipped[1:-1, 1:-1]).any((1, 3))
        noise = second_difference(a - light - np.float32(offset))
        levels.append(in_blocks(light[1:-1, 1:-1]).mean((1, 3), np.float64)[good])
        variances.append(in_blocks(np.square(noise)).mean((1, 3), np.float64)[good])
    level, variance = np.concatenate(levels), np.concatenate(variances)
    if len(level) < MIN_BLOCKS:
        raise PairError("the long frame is clipped nearly everywhere")
    # The long frame's photon noise, divided by the ratio: iso_ratio / ratio of the short one's.
    level *= 1 + iso_ratio / ratio
    order = np.array_split(np.argsort(level), min(MAX_BINS, len(level) // (MIN_BLOCKS // 2)))
    return Transfer(*np.array([_bin(level[part], variance[part]) for part in order]).T)


def fit_camera_profile(
    transfers: dict[float, list[Transfer]], shading: Sequence[DarkShading], frame: tuple[int, int]
) -> CameraNoiseProfile:
    """Fit a camera's noise profile to transfers by ISO; pairs of one ISO are fitted together.

    Shading and frame size become part of the profile.
    """
    isos = sorted(transfers)
    points = [_line(transfers[iso]) for iso in isos]
    log_isos = np.log(isos)
    lines = []
    for values in np.log(points).T:
        slope = np.polyfit(log_isos, values, 1)[0] if len(isos) > 1 else 1.0
        lines.append((float(slope), float(np.mean(values - slope * log_isos))))
    return CameraNoiseProfile(tuple(isos), lines[0], lines[1], tuple(shading), frame)


def _bin(level: Floats, variance: Floats) -> tuple[float, float, float]:
    kept = variance <= OUTLIER * np.median(variance)
    return float(level[kept].mean()), float(variance[kept].mean()), float(kept.sum())


def _line(transfers: Sequence[Transfer]) -> tuple[float, float]:
    level, variance, blocks = (np.concatenate(column) for column in zip(*transfers, strict=True))
    fitted = variance
    for _ in range(VARIANCE_ROUNDS):
        weight = blocks / np.square(np.maximum(fitted, MIN_VARIANCE))
        gain, read = fit_nonnegative_line(level, variance, weight)
        fitted = gain * level + read
    read = max(read, MIN_VARIANCE)
    return max(gain, MIN_GAIN * float(np.sqrt(read))), read

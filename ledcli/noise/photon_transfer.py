"""Photon transfer on pairs: a camera's gain and read variance from short and long frames.

The long frame says how much light fell on every pixel of the short one, so what the short one
differs by is noise, and its variance over the light is a line: ``gain * x + variance`` (Janesick's
photon transfer, without a uniform target). Two ISOs then give the camera's lines over ISO.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import PairError
from ledcli.noise.dark_shading import DarkShading
from ledcli.noise.estimate import (
    SATURATED,
    SMALLEST_VARIANCE,
    fit_nonnegative_line,
    in_blocks,
    second_difference,
)
from ledcli.noise.profile import CameraNoiseProfile

BINS = 40
"""Brightness bins of a pair."""
FEWEST_BLOCKS = 64
"""Blocks of 8 x 8 plane pixels below which a pair says nothing about its noise."""
OUTLIER = 5.0
"""Times the median block variance of its bin beyond which a block holds a hot pixel or an edge."""
LEAST_GAIN = 1e-2
"""Gain in standard deviations of read noise; less cannot be told from none."""
ROUNDS = 12
SCALE_SPREAD = 0.05
"""Standard deviation of true exposure ratios around those that EXIF says."""

Planes = NDArray[np.float32]


class ExposureFit(NamedTuple):
    """How a short frame follows from its long one: ``short = scale * long / ratio + offset``.

    Attributes
    ----------
    scale : float
        Near 1; what the shutter and the EXIF's rounding make of the ratio.
    offset : tuple of floats
        What black is off by in each plane.
    error : tuple of floats
        Standard errors of the offsets.
    """

    scale: float
    offset: tuple[float, ...]
    error: tuple[float, ...]


class Transfer(NamedTuple):
    """Noise variance over the light of one pair or several; arrays ``(bins,)``."""

    level: NDArray[np.float64]
    variance: NDArray[np.float64]
    blocks: NDArray[np.float64]


def measure_exposure(short: Planes, long: Planes, ratio: float) -> ExposureFit:
    """Fit the scale and the black offsets that lead from a long frame to its short one.

    Parameters
    ----------
    short, long : float32 ``(planes, h, w)``
        Normalised planes of one scene, not gained.
    ratio : float
        Nominal ratio.

    Raises
    ------
    PairError
        Too much of the long frame is clipped.
    """
    planes = [_block_means(a, b, ratio) for a, b in zip(short, long, strict=True)]
    level = np.stack([light for light, _ in planes])
    seen = np.stack([signal for _, signal in planes])
    good = np.isfinite(level)
    if (good.sum((1, 2)) < FEWEST_BLOCKS).any() or not np.square(level[good]).sum() > 0:
        raise PairError("the long frame is clipped nearly everywhere, or black")
    x, y, plane = level[good], seen[good], np.nonzero(good)[0]
    columns = np.stack([x, *(plane == p for p in range(len(short)))], 1).astype(np.float64)
    rest, weight = y - x, np.ones(len(x))
    for _ in range(ROUNDS):
        spread = max(float(np.median(np.abs(rest))) * 1.4826, 1e-12)
        weighted = columns * weight[:, None]
        normal, right = weighted.T @ columns, weighted.T @ y
        # A scene without contrast cannot tell scale from offset: then the scale stays at 1.
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


def _banding(left: NDArray[np.float64]) -> float:
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

    Parameters
    ----------
    short, long, ratio
        As in `measure_exposure`.
    exposure : ExposureFit
        Of this pair.
    iso_ratio : float
        ISO of the long frame over that of the short one: it tells how much of the noise is the
        long frame's own.
    """
    levels, variances = [], []
    for a, b, offset in zip(short, long, exposure.offset, strict=True):
        light = b * np.float32(exposure.scale / ratio)
        clipped = (b >= SATURATED) | (a >= SATURATED)
        # All cover the mask's valid area, so that level and noise are of the same place.
        good = ~in_blocks(clipped[1:-1, 1:-1]).any((1, 3))
        noise = second_difference(a - light - np.float32(offset))
        levels.append(in_blocks(light[1:-1, 1:-1]).mean((1, 3), np.float64)[good])
        variances.append(in_blocks(np.square(noise)).mean((1, 3), np.float64)[good])
    level, variance = np.concatenate(levels), np.concatenate(variances)
    if len(level) < FEWEST_BLOCKS:
        raise PairError("the long frame is clipped nearly everywhere")
    # The long frame's photon noise, gained down: iso_ratio / ratio of the short one's.
    level *= 1 + iso_ratio / ratio
    order = np.array_split(np.argsort(level), min(BINS, len(level) // (FEWEST_BLOCKS // 2)))
    return Transfer(*np.array([_bin(level[part], variance[part]) for part in order]).T)


def fit_camera_profile(
    transfers: dict[float, list[Transfer]], shading: Sequence[DarkShading], frame: tuple[int, int]
) -> CameraNoiseProfile:
    """Draw the camera's lines over ISO.

    Parameters
    ----------
    transfers : dict
        Measured transfers by ISO; pairs of one ISO are taken together.
    shading : sequence of DarkShading
        Black offsets by ISO.
    frame : (h, w)
        Size of the camera's frames in plane pixels.
    """
    isos = sorted(transfers)
    points = [_line(transfers[iso]) for iso in isos]
    place = np.log(isos)
    lines = []
    for values in np.log(points).T:
        slope, intercept = np.polyfit(place, values, 1) if len(isos) > 1 else (1.0, 0.0)
        intercept = float(np.mean(values - slope * place))
        lines.append((float(slope), intercept))
    return CameraNoiseProfile(tuple(isos), lines[0], lines[1], tuple(shading), frame)


def _block_means(
    short: Planes, long: Planes, ratio: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Light by the long plane, NaN where it is clipped, and signal of the short one, by blocks."""
    light = in_blocks(long).mean((1, 3), np.float64) / ratio
    light[in_blocks(long >= SATURATED).any((1, 3))] = np.nan
    return light, in_blocks(short).mean((1, 3), np.float64)


def _bin(level: NDArray[np.float64], variance: NDArray[np.float64]) -> tuple[float, float, float]:
    kept = variance <= OUTLIER * np.median(variance)
    return float(level[kept].mean()), float(variance[kept].mean()), float(kept.sum())


def _line(transfers: Sequence[Transfer]) -> tuple[float, float]:
    level, variance, blocks = (np.concatenate(column) for column in zip(*transfers, strict=True))
    fitted = variance
    for _ in range(3):
        weight = blocks / np.square(np.maximum(fitted, SMALLEST_VARIANCE))
        gain, read = fit_nonnegative_line(level, variance, weight)
        fitted = gain * level + read
    read = max(read, SMALLEST_VARIANCE)
    return max(gain, LEAST_GAIN * float(np.sqrt(read))), read

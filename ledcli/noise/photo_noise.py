"""The noise of one photo, with what cameras do to it before they save a raw.

A sensor's noise has the variance ``gain * x + read_variance``. In a photo that the camera smoothed,
whose vignetting it corrected, or whose black level lies below the sensor's it has not: the photo is
then brought back to what the sensor gave, denoised, and treated as the camera had.
"""

from typing import NamedTuple, Self

import numpy as np

from ledcli.noise.blocks import MIN_VARIANCE, Floats, Planes, measure, variance_clipped_at_black
from ledcli.noise.estimate import (
    NoiseProfile,
    QuietPoints,
    fit_from_below,
    fit_profile,
    quiet_points,
)
from ledcli.noise.smoothing import Smoothing, find_smoothing
from ledcli.noise.vignetting import MAX_OFF, MODEL_ERROR, VignettingMap, find_vignetting
from ledcli.sensor.layout import layout_of

MIN_POINTS, BLACKS = 12, 20
"""Brightnesses at which noise must be measured to tell black, and black levels that are tried."""
MIN_MISFIT, MAX_MISFIT, MAX_REMAINING = 2.0, 2.5, 0.4
"""Misfit of the black level in the file from which others are tried; misfit that the best of them
leaves at most, and its share of the first. With noise added to photographs, a right black level is
left with 0.6 or more, one that is 20 of 16,000 DN too low with 0.2 from ratio 20 on."""
SURE = 2.0
"""Standard errors from 0 from which a figure is known."""
ROUNDED = 2.0
"""Variances of quantisation below which noise is lost in rounding."""


class PhotoNoise(NamedTuple):
    """The noise of a photo as the sensor gave it, and what the camera has done to it since."""

    profile: NoiseProfile
    smoothing: Smoothing | None = None
    black: float = 0.0
    """How far black lies above the black level in the file, for white - black = 1."""
    vignetting: VignettingMap | None = None
    gain_known: bool = True
    read_known: bool = True
    """Whether the photo tells the gain, and the read noise."""
    correlated: bool = False
    """Whether neighbouring samples share noise in a way that cannot be undone."""

    def describe(self, span: float) -> str:
        """Return what the camera did to the photo, for people; empty if nothing was found.

        `span` is white - black in DN.
        """
        done = []
        if self.smoothing is not None:
            done.append("noise smoothed in the camera")
        if self.vignetting is not None:
            done.append(f"{self.vignetting.corners:.1f} times the gain in the corners")
        if self.black:
            done.append(f"black level corrected by {self.black * span:.0f} DN")
        return ", ".join(done)

    def part(self, frame: tuple[int, int], rows: slice, cols: slice) -> Self:
        """Return that of a part of a frame ``(h, w)``."""
        part = (*frame, rows.start, cols.start)
        vignetting = self.vignetting and self.vignetting._replace(part=part)
        return self._replace(vignetting=vignetting)

    def undo(self, planes: Planes) -> Planes:
        """Return normalised planes ``(planes, h, w)`` as the sensor gave them."""
        if self.smoothing is not None:
            planes = self.smoothing.undo(planes)
        if self.black:
            planes = planes - np.float32(self.black)
        if self.vignetting is not None:
            planes = planes / self.vignetting.over(planes.shape[1:])
        return planes

    def redo(self, clean: Planes, ratio: float, gain: Planes | None = None) -> Planes:
        """Do to denoised planes ``(planes, h, w)`` times the ratio what the camera did.

        For a part of a frame, ``gain`` ``(h, w)`` is the part of the vignetting map.
        """
        if self.vignetting is not None:
            clean = clean * (self.vignetting.over(clean.shape[1:]) if gain is None else gain)
        if self.black:
            clean = clean + np.float32(self.black * ratio)
        if self.smoothing is not None:
            clean = self.smoothing.apply(clean)
        return clean


def estimate_photo_noise(
    planes: Planes,
    step: float = 0.0,
    stated: NoiseProfile | None = None,
    dark_read: float | None = None,
) -> PhotoNoise:
    """Estimate the noise of one photo, and find what the camera did to it.

    Parameters
    ----------
    planes : float32 ``(4, h, w)``, or ``(9, h, w)`` of an X-Trans
        Normalised planes of the whole photo (white - black = 1), not multiplied by a ratio, not
        clipped below 0.
    step : float
        One DN. The read noise is never taken for less than that of quantisation.
    stated : NoiseProfile, optional
        What the file says (DNG's NoiseProfile). It counts as three measurements of low accuracy,
        unless the photo contradicts it.
    dark_read : float, optional
        Read variance of the dark frames that black has been corrected by; for photos whose noise
        the camera has not changed.
    """
    floor = max(step**2 / 12, MIN_VARIANCE)
    chosen, blocks = measure(planes)
    if (read_variance := variance_clipped_at_black(chosen, blocks)) is not None:
        read_known = read_variance > floor
        profile = NoiseProfile(0.0, read_variance)
        if stated is not None and (not read_known or stated.agrees(np.zeros(()), read_variance)):
            profile = stated
        profile = profile._replace(read_variance=max(profile.read_variance, floor))
        return PhotoNoise(profile, gain_known=False, read_known=read_known)
    profile = fit_profile(blocks, read_variance=dark_read)
    quiet = quiet_points(blocks, profile)
    can_be_undone = len(layout_of(len(planes)).regular) == len(planes)
    smoothing, excess = find_smoothing(chosen, blocks, profile, quiet, can_be_undone=can_be_undone)
    if smoothing is not None:
        chosen, blocks = measure(smoothing.undo(planes))
        profile = fit_profile(blocks)
        quiet = quiet_points(blocks, profile)
    vignetting, black = find_vignetting(chosen, blocks, profile), 0.0
    if vignetting is not None:
        blocks = vignetting.without(blocks, chosen.shape[1:])
    elif dark_read is None and (black := _find_black(_points(quiet))):
        blocks = blocks._replace(mean=blocks.mean - black, neighbours=blocks.neighbours - black)
    before = profile
    if vignetting is not None or black:
        profile = fit_profile(blocks)
    elif stated is not None and smoothing is None:
        profile = fit_profile(blocks, stated, dark_read)
    if profile is not before:
        quiet = quiet_points(blocks, profile)
    gain_known, read_known = _what_is_known(_points(quiet), profile, floor)
    correlated = excess > 1
    if smoothing is not None:
        excess = 1 / smoothing.measured_after_undo()
    profile = NoiseProfile(profile.gain * excess, max(profile.read_variance * excess, floor))
    read_known |= dark_read is not None and smoothing is None and vignetting is None
    return PhotoNoise(profile, smoothing, black, vignetting, gain_known, read_known, correlated)


def _find_black(points: Floats) -> float:
    """Find how far black lies above 0: where the variance would reach 0 on its line.

    0 unless that explains the noise much better than a line through 0.
    """
    if len(points) < MIN_POINTS:
        return 0.0
    straight, darkest = _misfit(points, 0.0), float(points[:, 0].min())
    if straight < MIN_MISFIT:
        return 0.0
    misfits = {
        black: _misfit(points, black) for black in np.linspace(0, darkest, BLACKS + 1)[1:].tolist()
    }
    black = min(misfits, key=lambda black: misfits[black])
    return black if misfits[black] < min(MAX_REMAINING * straight, MAX_MISFIT) else 0.0


def _points(quiet: QuietPoints) -> Floats:
    """Return mean, variance and its error at each brightness, ``(points, 3)``."""
    points = np.array([point for point, _ in quiet]).reshape(-1, 3)
    points[:, 2] = np.hypot(points[:, 2], MODEL_ERROR * points[:, 1])
    return points


def _misfit(points: Floats, black: float) -> float:
    mean, variance, error = points.T
    expected = fit_from_below(mean - black, variance, error).variance(mean - black)
    off = (variance / expected - 1) * variance / error
    return float(np.minimum(off**2, MAX_OFF).mean())


def _what_is_known(points: Floats, profile: NoiseProfile, floor: float) -> tuple[bool, bool]:
    """Return whether the photo tells the gain, and whether it tells the read noise."""
    if len(points) < 2:
        return False, False
    mean, variance, error = points.T
    if np.median(variance) < ROUNDED * floor:
        return False, False
    weight = np.array([np.ones_like(mean), mean]) / error
    covariance = np.linalg.pinv(weight @ weight.T)
    read_error, gain_error = np.sqrt(np.diag(covariance))
    gain_known = profile.gain > SURE * gain_error
    return bool(gain_known), bool(profile.read_variance > max(SURE * read_error, floor))

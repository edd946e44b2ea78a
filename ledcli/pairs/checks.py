"""Whether a short and a long frame are a pair that a denoiser can be tuned with."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ledcli.noise.blocks import Floats, Planes
from ledcli.noise.estimate import NoiseProfile, estimate_noise
from ledcli.pairs.frames import Frame
from ledcli.pairs.motion import Motion, find_motion
from ledcli.pairs.similarity import STD_PER_MAD, Bins, Shift, frame_features, register
from ledcli.raw.reader import RawPhoto

MIN_UNCLIPPED_BINS = 16
"""Bins needed to fit a line."""
CLIPPED_BIN = 0.01
"""Share of clipped pixels from which a bin's mean is too low."""
TUKEY = 4.685
"""Tukey's biweight: standard deviations from which a bin is an outlier and does not count."""
FIT_ROUNDS = 15

MAX_SHIFT_PIXELS = 0.2
"""Pixels of the mosaic that a pair may be apart."""
CONFIDENCE = 3.0
"""Standard errors by which a measurement must exceed a limit to count."""
SAME_SCENE = 0.3
"""Minimum correlation of two signatures of one scene; other scenes stay below."""
SAME_LIGHT = 0.8
"""The same of the plain bins, for scenes without fine structure."""
MIN_RELIABILITY = 0.2
"""Reliability of a signature below which the frame shows no fine structure."""
SAFE_PEAK = 15.0
"""Standard deviations; the peak of two clean frames of other scenes reached 12 in 300 pairs, that
of one scene was never below 80."""
NEAR_SHIFT = 8.0
"""Cells; a lower peak is valid if it is this near to no shift, where chance seldom puts one."""
MAX_CLIPPED = 0.1
"""Share of the long frame. Clipped parts teach nothing, and do no harm: both frames are white."""
MAX_MOVED, MAX_UNLIKE = 0.25, 0.05
"""Share of the frame in which something may have moved: it is left out of training; and in which
frames may differ that have no detail to tell whether they show one scene."""
MAX_LONG_NOISE = 0.5
"""Noise of the long frame over that of the short one times the ratio."""
RATIO_TOLERANCE = 0.15
"""Shutters and nominal speeds are off by up to 7 %, aperture blades by a few."""
MAX_OFFSET = 5e-4
"""Share of white - black (8 DN of 14 bits): maximum difference of the black of good frames, ELD's
colour bias included, where the read noise is not larger."""
OFFSET_IN_NOISE = 0.5
"""The same in standard deviations of the read noise."""
MAX_BLACK_DIFFERENCE = 4e-3
"""Share of white - black: the files' own black levels. Cameras that measure it vary by some DN."""


class BrightnessFit(NamedTuple):
    """The line ``short = long / ratio + offset`` through the bins of a pair."""

    ratio: float
    ratio_error: float
    """Standard error, as a share of the ratio."""
    offsets: Floats
    """Black of the short frame minus that of the long one (planes,); white - black = 1."""
    offset_error: float
    """Standard error of the offsets."""


@dataclass(frozen=True)
class PairCheck:
    """What was measured on a pair."""

    ratio: float
    """By EXIF, or as the list says."""
    problems: tuple[str, ...] = ()
    """Short phrases, "shifted by 3.2 pixels"; empty when the pair is good."""
    shifted: bool = False
    """Whether the frames are shifted, which is the first of the problems then."""
    shift: tuple[float, float] | None = None
    """Of the short frame against the long one (rows, columns), pixels of the mosaic."""
    shift_error: float | None = None
    """Standard error of the shift, pixels."""
    similarity: float | None = None
    """Correlation of what the two show, -1 to 1; noise lowers it."""
    measured_ratio: float | None = None
    """Brightness of the long frame over that of the short one."""
    black_offset: float | None = None
    """Black of the short frame minus that of the long one, DN, of the plane where it is largest."""
    clipped: float | None = None
    """Share of the long frame's pixels that are clipped."""
    long_noise: float | None = None
    """Noise of the long frame over that of the short one times the ratio, at median brightness."""
    motion: Motion | None = field(default=None, compare=False)
    """Where something moved; None if nothing did, or it could not be told."""
    notes: tuple[str, ...] = ()
    """What is left out of training of a pair that is good otherwise."""

    @property
    def same_scene(self) -> bool:
        """Whether the two could be compared: one camera, one size, one scene."""
        return self.clipped is not None

    def problems_if(self, *, keep_shifted: bool = False) -> tuple[str, ...]:
        """Return the problems, without the shift if shifted pairs are kept."""
        return self.problems[1:] if keep_shifted and self.shifted else self.problems


class CheckedPair(NamedTuple):
    """A short frame, a long one that may belong to it, and what the checks say."""

    short: Frame
    long: Frame
    check: PairCheck


def check_pair(short: RawPhoto, long: RawPhoto, ratio: float) -> PairCheck:
    """Measure a pair of a nominal ratio, and name its problems.

    Frames that cannot be compared (two cameras, sizes or scenes) get nothing but the problem.
    """
    mismatch = _mismatch(short, long)
    if mismatch:
        return PairCheck(ratio, (mismatch,))
    ours, other = frame_features(short), frame_features(long)
    similarity = ours.signature.similarity(other.signature)
    side = short.phase.layout.side
    found = _measure_shift(ours.cells * np.float32(ratio), other.cells, side)
    alike = similarity >= SAME_SCENE or (found is not None and found.peak >= SAFE_PEAK)
    near = found is not None and max(abs(found.rows), abs(found.cols)) <= NEAR_SHIFT
    if not alike and not near:
        structure = min(ours.signature.reliability, other.signature.reliability)
        if structure >= MIN_RELIABILITY:
            return PairCheck(ratio, ("shows another scene",), similarity=similarity)
        if _bin_correlation(ours.bins, other.bins) < SAME_LIGHT:
            problem = "shows another scene, or too little to tell"
            return PairCheck(ratio, (problem,), similarity=similarity)
    shift = None if found is None else (side * found.rows, side * found.cols)
    problems = []
    if found is not None and _exceeds_max_shift(found, side):
        pixels = side * np.hypot(found.rows, found.cols)
        problems.append(f"shifted by {pixels:.1f} pixels")
    shifted = bool(problems)
    clipped = float(other.bins.clipped.mean())
    if clipped > MAX_CLIPPED:
        problems.append(f"{clipped:.0%} of the long frame is clipped")
    noise = estimate_noise(ours.planes), estimate_noise(other.planes)
    read_noise = noise[0].read_variance ** 0.5
    long_noise = _relative_noise(*noise, float(np.median(other.planes)), ratio)
    if long_noise > MAX_LONG_NOISE:
        problems.append(f"the long frame is noisy ({long_noise:.0%} of the short one's noise)")
    fit = fit_brightness(ours.bins, other.bins)
    problems += _brightness_problems(short, long, fit, read_noise, ratio)
    motion: Motion | None = None
    notes: tuple[str, ...] = ()
    if fit is not None and not problems:
        apart = 0.0 if found is None else float(np.hypot(found.rows, found.cols))
        exposure = 1 / fit.ratio, fit.offsets
        motion = find_motion(ours.planes, other.planes, exposure, noise, apart, sure=alike)
        if motion and motion.share > (MAX_MOVED if alike else MAX_UNLIKE):
            what = "differs in" if alike else "shows another scene: differs in"
            problems.append(f"{what} {motion.share:.0%} of the frame")
        elif motion:
            moved = f"something moved {motion.place(side)}"
            notes = (f"{moved}: {motion.share:.1%} of the frame is left out of training",)
    return PairCheck(
        ratio=ratio,
        problems=tuple(problems),
        shifted=shifted,
        shift=shift,
        shift_error=None if found is None else side * found.error,
        similarity=similarity,
        measured_ratio=None if fit is None else fit.ratio,
        black_offset=None if fit is None else short.span * float(max(fit.offsets, key=abs)),
        clipped=clipped,
        long_noise=long_noise,
        motion=motion,
        notes=notes,
    )


def fit_brightness(short: Bins, long: Bins) -> BrightnessFit | None:
    """Fit the line between the light of two frames of one scene, by Tukey's biweight.

    Returns None where too little is unclipped, or all is of one brightness.
    """
    usable = (long.clipped < CLIPPED_BIN) & (short.clipped < CLIPPED_BIN)
    if usable.sum() < MIN_UNCLIPPED_BINS:
        return None
    y, x = short.halves.mean(0, np.float64), long.halves.mean(0, np.float64)
    weight = np.broadcast_to(usable, x.shape).astype(np.float64)
    slope, offsets, spread = 0.0, np.zeros((len(x), 1, 1)), 0.0
    centred, residual = x, y
    for _ in range(FIT_ROUNDS):
        total = weight.sum((1, 2), keepdims=True)
        if (total < MIN_UNCLIPPED_BINS / 2).any():
            return None
        x_mean = (weight * x).sum((1, 2), keepdims=True) / total
        y_mean = (weight * y).sum((1, 2), keepdims=True) / total
        centred = x - x_mean
        spread = float((weight * centred**2).sum())
        if not spread > 0:
            return None
        slope = float((weight * centred * (y - y_mean)).sum()) / spread
        offsets = y_mean - slope * x_mean
        residual = y - slope * x - offsets
        scale = max(STD_PER_MAD * float(np.median(np.abs(residual[:, usable]))), 1e-12)
        weight = usable * np.clip(1 - (residual / (TUKEY * scale)) ** 2, 0, None) ** 2
    if not slope > 0:
        return None
    slope_error = _error_of_sum(weight * centred * residual) / spread
    total = weight.sum((1, 2), keepdims=True)
    mean_error = _error_of_sum(weight * residual / total) / len(x)
    offset_error = (mean_error**2 + (slope_error * float(np.abs(x[:, usable]).mean())) ** 2) ** 0.5
    return BrightnessFit(1 / slope, slope_error / slope, offsets[:, 0, 0], offset_error)


def _error_of_sum(terms: Floats) -> float:
    """Return the standard error of a sum of terms (planes, rows, columns) with banding.

    Banding makes the bins of a row or column err together: only whole rows, or columns, are
    independent of each other.
    """
    by_row, by_column = terms.sum((0, 2)), terms.sum((0, 1))
    return float(max((by_row**2).sum(), (by_column**2).sum()) ** 0.5)


def _measure_shift(short: Planes, long: Planes, side: int) -> Shift | None:
    """Shift of the whole, or of the quarter that is surely shifted most: cameras rotate too."""
    whole = register(short, long)
    if whole is None:
        return None
    rows, cols = (length // 2 for length in short.shape)
    quarters = itertools.product((np.s_[:rows], np.s_[rows:]), (np.s_[:cols], np.s_[cols:]))
    parts = (register(short[quarter], long[quarter]) for quarter in quarters)
    found = [whole, *(part for part in parts if part is not None)]
    worst = max(found, key=lambda one: np.hypot(one.rows, one.cols) - CONFIDENCE * one.error)
    return worst if _exceeds_max_shift(worst, side) else whole


def _exceeds_max_shift(found: Shift, side: int) -> bool:
    """Whether a shift is above the limit whatever its error; a cell is `side` pixels."""
    size = side * float(np.hypot(found.rows, found.cols))
    return size - CONFIDENCE * side * found.error > MAX_SHIFT_PIXELS


def _mismatch(short: RawPhoto, long: RawPhoto) -> str | None:
    cameras = [photo.exif.camera or "" for photo in (short, long)]
    if cameras[0].casefold() != cameras[1].casefold():
        return f"is of another camera ({cameras[0] or 'unknown'}, {cameras[1] or 'unknown'})"
    serials = [photo.exif.serial for photo in (short, long)]
    if all(serials) and serials[0] != serials[1]:
        return f"is of another camera of that model (serial {serials[0]}, {serials[1]})"
    if short.mosaic.shape != long.mosaic.shape:
        sizes = [f"{p.mosaic.shape[1]}x{p.mosaic.shape[0]}" for p in (short, long)]
        return f"is of another size ({sizes[0]}, {sizes[1]})"
    if short.phase != long.phase:
        return f"has its colours in another order ({short.phase}, {long.phase})"
    return None


def _bin_correlation(short: Bins, long: Bins) -> float:
    usable = long.clipped == 0
    a, b = short.luminance[usable], long.luminance[usable]
    if a.size < 2 or not (a.std() > 0 and b.std() > 0):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _relative_noise(short: NoiseProfile, long: NoiseProfile, light: float, ratio: float) -> float:
    """Noise of the long frame over the short one's times the ratio, at a light of the long one."""
    light = max(light, 0.0)
    long_variance = long.gain * light + long.read_variance
    short_variance = ratio * short.gain * light + ratio**2 * short.read_variance
    return float((long_variance / short_variance) ** 0.5)


def _brightness_problems(
    short: RawPhoto, long: RawPhoto, fit: BrightnessFit | None, read_noise: float, ratio: float
) -> Iterator[str]:
    """Yield what is wrong with black, and with the ratio."""
    if float(np.abs(short.black - long.black).max()) > MAX_BLACK_DIFFERENCE * short.span:
        levels = (f"{float(photo.black.mean()):g}" for photo in (short, long))
        yield f"black levels differ ({' and '.join(levels)} DN)"
    elif fit is not None:
        offset = abs(float(max(fit.offsets, key=abs)))
        if offset - CONFIDENCE * fit.offset_error > max(MAX_OFFSET, OFFSET_IN_NOISE * read_noise):
            yield f"black levels disagree by {offset * short.span:.0f} DN"
    if fit is not None:
        off = fit.ratio / ratio - 1
        if abs(off) - CONFIDENCE * fit.ratio_error * fit.ratio / ratio > RATIO_TOLERANCE:
            yield f"is {fit.ratio:.3g} times darker, not {ratio:g} ({off:+.0%})"

"""Whether a short and a long frame are a pair that a denoiser can be tuned with."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.noise.estimate import estimate_noise
from ledcli.pairs.registration import Shift, register
from ledcli.pairs.signature import Bins, view_of
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import layout

FEWEST_BINS = 16
"""Unclipped bins that a line needs."""
CLIPPED_BIN = 0.01
"""Share of a bin's pixels from which on its mean is too low."""
TUKEY = 4.685
"""Tukey's biweight: standard deviations from which on a bin is an outlier and does not count."""
ROUNDS = 15
_MAD = 1.4826


class Brightness(NamedTuple):
    """The line ``short = long / ratio + offset`` through the bins of a pair.

    Attributes
    ----------
    ratio : float
        Measured brightness ratio.
    ratio_error : float
        Standard error, as a share of the ratio.
    offsets : float64 array (planes,)
        What the short frame's black lies above the long one's in each plane; white - black = 1.
    offset_error : float
        Standard error of the offsets.
    """

    ratio: float
    ratio_error: float
    offsets: NDArray[np.float64]
    offset_error: float


def compare(short: Bins, long: Bins) -> Brightness | None:
    """Fit the line between the light of two frames of one scene, outliers aside.

    Returns
    -------
    Brightness or None
        None where too little is unclipped, or all is of one brightness.
    """
    usable = (long.clipped < CLIPPED_BIN) & (short.clipped < CLIPPED_BIN)
    if usable.sum() < FEWEST_BINS:
        return None
    y, x = short.halves.mean(0, np.float64), long.halves.mean(0, np.float64)
    weight = np.broadcast_to(usable, x.shape).astype(np.float64)
    slope, offsets, spread = 0.0, np.zeros((len(x), 1, 1)), 0.0
    off_mean, rest = x, y
    for _ in range(ROUNDS):
        total = weight.sum((1, 2), keepdims=True)
        if (total < FEWEST_BINS / 2).any():
            return None
        x_mean = (weight * x).sum((1, 2), keepdims=True) / total
        y_mean = (weight * y).sum((1, 2), keepdims=True) / total
        off_mean = x - x_mean
        spread = float((weight * off_mean**2).sum())
        if not spread > 0:
            return None
        slope = float((weight * off_mean * (y - y_mean)).sum()) / spread
        offsets = y_mean - slope * x_mean
        rest = y - slope * x - offsets
        scale = max(_MAD * float(np.median(np.abs(rest[:, usable]))), 1e-12)
        weight = usable * np.clip(1 - (rest / (TUKEY * scale)) ** 2, 0, None) ** 2
    if not slope > 0:
        return None
    slope_error = _banded(weight * off_mean * rest) / spread
    total = weight.sum((1, 2), keepdims=True)
    mean_error = _banded(weight * rest / total) / len(x)
    offset_error = (mean_error**2 + (slope_error * float(np.abs(x[:, usable]).mean())) ** 2) ** 0.5
    return Brightness(1 / slope, slope_error / slope, offsets[:, 0, 0], offset_error)


def _banded(terms: NDArray[np.float64]) -> float:
    """Give the standard error of a sum of terms (planes, rows, columns) with bands among them.

    Sensors band: what is off in a bin is off in those beside or below it as well. So it is whole
    rows, or columns, that are independent of each other.
    """
    by_row, by_column = terms.sum((0, 2)), terms.sum((0, 1))
    return float(max((by_row**2).sum(), (by_column**2).sum()) ** 0.5)


LARGEST_SHIFT = 0.2
"""Pixels of the mosaic that a pair may be apart."""
SURE = 3.0
"""Standard errors by which a measurement must break a limit to count."""
SAME_SCENE = 0.3
"""Least correlation of two signatures of one scene; other scenes stay below."""
SAME_LIGHT = 0.8
"""The same of the plain bins, for scenes without fine structure."""
VISIBLE = 0.2
"""Reliability of a signature below which the frame shows no fine structure."""
SURE_PEAK = 15.0
"""Standard deviations; the peak of two clean frames of other scenes reached 12 in 300 pairs, that
of one scene was never below 80."""
NEAR = 8.0
"""Cells; a lower peak is believed where it is as near to no shift as chance seldom puts it."""
LARGEST_CLIPPED = 0.1
"""Share of the long frame. Clipped parts teach nothing, and do no harm: both frames are white."""
LARGEST_LONG_NOISE = 0.5
"""Noise of the long frame over that of the gained short one."""
RATIO_TOLERANCE = 0.15
"""Shutters and nominal speeds are off by up to 7 %, aperture blades by a few."""
LARGEST_OFFSET = 5e-4
"""Of white - black, 8 DN of 14 bits: what black levels of good frames differ by at most, ELD's
colour bias included, where the read noise is not larger."""
OFFSET_IN_NOISE = 0.5
"""The same in standard deviations of the read noise."""
LARGEST_BLACK = 4e-3
"""Of white - black: the files' own black levels. Cameras that measure it differ by some DN."""


@dataclass(frozen=True)
class PairCheck:
    """What was measured on a pair.

    Attributes
    ----------
    ratio : float
        By EXIF, or as the list says.
    problems : tuple of str
        Short phrases, "shifted by 3.2 pixels"; empty when the pair is good.
    shifted : bool
        Whether the frames are shifted, which is the first of the problems then.
    shift : (rows, columns) or None
        Of the short frame against the long one, pixels of the mosaic; None where it could not be
        measured.
    shift_error : float or None
        Standard error of the shift, pixels.
    similarity : float or None
        Correlation of what the two show, -1 to 1; noise lowers it.
    measured_ratio : float or None
        Brightness of the long frame over that of the short one.
    offset : float or None
        What the short frame's black lies above the long one's, DN; the plane where it is most.
    clipped : float or None
        Share of the long frame's pixels that are clipped.
    long_noise : float or None
        Noise of the long frame over that of the gained short one, in the middle brightness.
    """

    ratio: float
    problems: tuple[str, ...] = ()
    shifted: bool = False
    shift: tuple[float, float] | None = None
    shift_error: float | None = None
    similarity: float | None = None
    measured_ratio: float | None = None
    offset: float | None = None
    clipped: float | None = None
    long_noise: float | None = None

    @property
    def measured(self) -> bool:
        """Whether the two could be compared: one camera, one size, one scene."""
        return self.clipped is not None

    def against(self, *, keep_shifted: bool = False) -> tuple[str, ...]:
        """Return the problems that speak against the pair."""
        return self.problems[1:] if keep_shifted and self.shifted else self.problems


def check_pair(short: RawPhoto, long: RawPhoto, ratio: float) -> PairCheck:
    """Measure a pair, and say what speaks against it.

    Parameters
    ----------
    short, long : RawPhoto
    ratio : float
        Of exposure levels, `ledcli.pairs.exposure.ratio_of`.

    Returns
    -------
    PairCheck
        Of frames that cannot be compared (two cameras, two sizes, two scenes) only the problem.
    """
    unlike = _unlike(short, long)
    if unlike:
        return PairCheck(ratio, (unlike,))
    mine, other = view_of(short), view_of(long)
    similarity = mine.signature.similarity(other.signature)
    side = layout(short.phase).side
    found = _measured_shift(mine.cells * np.float32(ratio), other.cells, side)
    dim = min(mine.signature.reliability, other.signature.reliability) < VISIBLE
    if similarity < SAME_SCENE and not _is_match(found):
        if not dim:
            return PairCheck(ratio, ("shows another scene",), similarity=similarity)
        if _plain_similarity(mine.bins, other.bins) < SAME_LIGHT:
            problem = "shows another scene, or too little to tell"
            return PairCheck(ratio, (problem,), similarity=similarity)
    shift = None if found is None else (side * found.rows, side * found.cols)
    error = None if found is None else side * found.error
    problems = []
    shifted = False
    if found is not None and shift is not None:
        shifted = _surely_shifted(found, side)
        if shifted:
            problems.append(f"shifted by {np.hypot(*shift):.1f} pixels")
    clipped = float(other.bins.clipped.mean())
    if clipped > LARGEST_CLIPPED:
        problems.append(f"{clipped:.0%} of the long frame is clipped")
    long_noise, read = _long_noise(mine.planes, other.planes, ratio)
    if long_noise > LARGEST_LONG_NOISE:
        problems.append(
            f"the long frame is noisy itself ({long_noise:.0%} of the short one's noise)"
        )
    light = compare(mine.bins, other.bins)
    span = float((short.white - short.black).mean())
    problems += _black_problems(short, long, light, read)
    problems += _ratio_problems(light, ratio)
    return PairCheck(
        ratio=ratio,
        problems=tuple(problems),
        shifted=shifted,
        shift=shift,
        shift_error=error,
        similarity=similarity,
        measured_ratio=None if light is None else light.ratio,
        offset=None if light is None else span * float(max(light.offsets, key=abs)),
        clipped=clipped,
        long_noise=long_noise,
    )


def _measured_shift(
    short: NDArray[np.float32], long: NDArray[np.float32], side: int
) -> Shift | None:
    """Shift of the whole, or of the quarter that is surely shifted most: frames turn as well."""
    whole = register(short, long)
    if whole is None:
        return None
    found = [whole]
    rows, cols = (length // 2 for length in short.shape)
    for r in (np.s_[:rows], np.s_[rows:]):
        for c in (np.s_[:cols], np.s_[cols:]):
            part = register(short[r, c], long[r, c])
            if part is not None:
                found.append(part)
    worst = max(found, key=lambda shift: np.hypot(shift.rows, shift.cols) - SURE * shift.error)
    return worst if _surely_shifted(worst, side) else whole


def _surely_shifted(found: Shift, side: int) -> bool:
    """Whether a shift is above the limit whatever its error; a cell is `side` pixels."""
    size = side * float(np.hypot(found.rows, found.cols))
    return size - SURE * side * found.error > LARGEST_SHIFT


def _is_match(found: Shift | None) -> bool:
    """Whether a correlation's peak is one that two scenes do not have by chance."""
    if found is None:
        return False
    near = max(abs(found.rows), abs(found.cols)) <= NEAR
    return near or found.peak >= SURE_PEAK


def _unlike(short: RawPhoto, long: RawPhoto) -> str | None:
    """Say why two frames cannot be compared at all."""
    cameras = [photo.exif.camera for photo in (short, long)]
    if (cameras[0] or "").casefold() != (cameras[1] or "").casefold():
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


def _plain_similarity(short: Bins, long: Bins) -> float:
    """Correlation of the bins as they are, for scenes that hold no more than a gradient."""
    usable = long.clipped == 0
    a, b = short.luminance[usable], long.luminance[usable]
    if a.size < 2 or not (a.std() > 0 and b.std() > 0):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _long_noise(
    short: NDArray[np.float32], long: NDArray[np.float32], ratio: float
) -> tuple[float, float]:
    """Noise of the long frame over the gained short one's; and the short one's read noise."""
    theirs, ours = estimate_noise(long), estimate_noise(short)
    middle = max(float(np.median(long)), 0.0)
    long_variance = theirs.gain * middle + theirs.read_variance
    short_variance = ratio * ours.gain * middle + ratio**2 * ours.read_variance
    return float((long_variance / short_variance) ** 0.5), float(ours.read_variance**0.5)


def _black_problems(
    short: RawPhoto, long: RawPhoto, light: Brightness | None, read: float
) -> list[str]:
    span = float((short.white - short.black).mean())
    if float(np.abs(short.black - long.black).max()) > LARGEST_BLACK * span:
        levels = (f"{float(photo.black.mean()):g}" for photo in (short, long))
        return [f"black levels differ ({' and '.join(levels)} DN)"]
    if light is None:
        return []
    offset = float(max(light.offsets, key=abs))
    limit = max(LARGEST_OFFSET, OFFSET_IN_NOISE * read)
    if abs(offset) - SURE * light.offset_error > limit:
        return [f"black levels disagree by {abs(offset) * span:.0f} DN"]
    return []


def _ratio_problems(light: Brightness | None, ratio: float) -> list[str]:
    if light is None:
        return []
    off = light.ratio / ratio - 1
    if abs(off) - SURE * light.ratio_error * light.ratio / ratio > RATIO_TOLERANCE:
        return [f"is {light.ratio:.3g} times darker, not {ratio:g} ({off:+.0%})"]
    return []

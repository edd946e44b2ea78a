"""How alike two frames are: their light in bins, a signature of the scene, and the shift between.

Bins of 16 pixels and more average the noise away: at ratio 300 a short frame, drowned in noise
pixel by pixel, still shows its scene. Each bin is measured twice, over the even and over the odd
rows of cells: what the two halves have in common is light, the rest is noise.

The shift is measured by phase correlation, to a hundredth of a pixel. Each frequency's phase
counts by its signal to noise, up to a limit (the generalised correlation of Knapp and Carter,
1976, with a ceiling).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ledcli.noise.blocks import Floats, Planes
from ledcli.raw.reader import RawPhoto

BINS = 64
"""Bins along the longer side."""
MIN_BIN = 8
"""Smallest side of a bin, cells."""
CLIPPED = 0.98
"""Share of white from which a pixel always counts as clipped."""
LIKELY_CLIPPED = 0.85
"""Share of white above which a sensor may saturate before its white level."""
MIN_BINS = 32
"""With fewer bins, two frames look alike by chance."""
DARK_LEVEL = 2.0
"""Maximum brightness of a lens-cap frame, standard deviations of a pixel's noise."""
CLEAR_STRUCTURE = 0.5
"""Reliability of a signature that rules out a lens cap."""
STD_PER_MAD = 1.4826
"""Standard deviation over median absolute deviation, of Gaussian values."""

SEARCH_RANGE = 0.25
"""Largest shift searched for, share of the frame's height or width; frames farther apart show
different scenes. How far a pair may be apart is `checks.MAX_SHIFT_PIXELS`."""
TAPER = 0.1
"""Share of each side that the window fades over."""
NOISE_BAND = 0.35
"""Cycles per cell from which the spectrum is taken for noise."""
CEILING = 0.1
"""Frequencies whose signal to noise is above 1 / CEILING count alike: a change of the light alters
their strength, not their phase."""
MAX_FREQUENCY = 0.15
"""Cycles per cell; higher ones are largely aliased in a mosaic, and do not move as the picture."""
MIN_FREQUENCY = 3.0
"""Cycles per frame; lower ones are shading, and along the axes the banding of rows or columns."""
MIN_PEAK = 7.0
"""Height of a valid peak in standard deviations of the correlation; of a million values of pure
noise the highest is at 5."""
MAX_SIDE = 2048
"""Cells; of larger frames the middle is measured."""
MIN_SIDE = 16
"""Cells; smaller frames have no usable spectrum."""


class Bins(NamedTuple):
    """Light of a frame."""

    halves: Planes
    """Means over the even and the odd rows of cells of each bin (2, planes, rows, columns);
    white - black = 1."""
    clipped: Planes
    """Share of each bin's pixels that are clipped (rows, columns)."""

    @property
    def luminance(self) -> Planes:
        """Mean over halves and planes (rows, columns)."""
        return self.halves.mean((0, 1))


class Signature(NamedTuple):
    """What a frame shows, whatever its exposure."""

    vector: Planes
    """Fine structure of the bins (bins,), of length 1; without shading, banding and brightness."""
    reliability: float
    """Share of the vector's variance that is light; 0 is all noise."""

    def similarity(self, other: "Signature") -> float:
        """Correlation of two signatures of frames of one size, -1 to 1; noise lowers it."""
        return float(self.vector @ other.vector)


class Shift(NamedTuple):
    """Where the short frame's picture lies against the long one's, in cells, down and right."""

    rows: float
    cols: float
    error: float
    """Standard error of the larger of the two, from how the frequencies disagree."""
    peak: float
    """Height of the correlation's peak in its own standard deviations."""


@dataclass(frozen=True)
class FrameFeatures:
    """What the checks need of a frame."""

    planes: Planes
    """Normalised (planes, h, w)."""
    cells: Planes
    """Mean of the planes without hot and dead pixels (h, w): the mosaic binned by cells."""
    bins: Bins
    signature: Signature


def frame_features(photo: RawPhoto) -> FrameFeatures:
    """Reduce a photo to what the checks need."""
    planes = photo.planes()
    despiked = _without_hot_pixels(planes)
    bins = _binned(planes, despiked)
    return FrameFeatures(planes, despiked.mean(0), bins, _signature(bins))


def clipping_level(planes: Planes) -> float:
    """Value from which the pixels of a frame are clipped: near white, or where the sensor fills up.

    Many sensors saturate some percent below the white level of the file. The brightest pixel of a
    frame with clipped parts is there; in a frame without, hardly another pixel reaches it. The
    level is 0.98 (white - black = 1) unless the frame saturates below that. `planes` are
    normalised (planes, h, w), of a whole frame: a crop may have no clipped part to tell from.

    Examples
    --------
    >>> planes = np.full((4, 8, 8), 0.2, np.float32)
    >>> clipping_level(planes)
    0.98
    >>> planes[:, 2:4] = 0.93
    >>> round(clipping_level(planes), 3)
    0.925
    """
    top = float(planes.max())
    return min(CLIPPED, 0.995 * top) if top > LIKELY_CLIPPED else CLIPPED


def is_dark(frame: FrameFeatures) -> bool:
    """Return True for a lens-cap frame: no brighter than black, and no picture in it."""
    if frame.signature.reliability > CLEAR_STRUCTURE:
        return False
    steps = np.diff(frame.planes[:, ::2, :], axis=2)[:, :, ::2]
    noise = STD_PER_MAD * float(np.median(np.abs(steps))) / 2**0.5
    # One DN of 12 bits is the smallest noise that can be measured.
    if float(np.median(frame.bins.luminance)) > DARK_LEVEL * max(noise, 1 / 4095):
        return False
    # Fine detail of a scene is in both halves of the rows, noise and hot pixels in one.
    rows = frame.cells.shape[0] // 2 * 2
    return register(frame.cells[0:rows:2], frame.cells[1:rows:2]) is None


def _without_hot_pixels(planes: Planes) -> Planes:
    """Clip every sample to the range of its two neighbours on each side: edges stay.

    Along the row only, so that rows stay independent of each other.
    """
    despiked = np.empty_like(planes)
    width = planes.shape[2]
    for plane, result in zip(planes, despiked, strict=True):
        padded = np.pad(plane, ((0, 0), (2, 2)), mode="reflect")
        a, b, c, d = (padded[:, at : at + width] for at in (0, 1, 3, 4))
        low = np.minimum(np.minimum(a, b), np.minimum(c, d))
        high = np.maximum(np.maximum(a, b), np.maximum(c, d))
        np.clip(plane, low, high, out=result)
    return despiked


def _binned(planes: Planes, despiked: Planes) -> Bins:
    """Average planes (n, h, w) in bins: light of the despiked ones, clipping of the full ones."""
    count, height, width = planes.shape
    side = max(MIN_BIN, -(-max(height, width) // BINS))
    side += side % 2
    rows, cols = height // side, width // side
    whole = np.s_[:, : rows * side, : cols * side]
    halves = despiked[whole].reshape(count, rows, side // 2, 2, cols, side)
    clipped = planes[whole] >= clipping_level(planes)
    return Bins(
        np.ascontiguousarray(halves.mean((2, 5), np.float32).transpose(2, 0, 1, 3)),
        clipped.reshape(count, rows, side, cols, side).mean((0, 2, 4), np.float32),
    )


def _signature(bins: Bins) -> Signature:
    """Reduce bins to their fine structure.

    Centring rows and columns removes vignetting, gradients and banding; subtracting a local mean
    removes the large shapes that most photographs share (sky above ground); tanh keeps a lamp
    from being all of it.
    """
    light = bins.halves.mean(1)
    padded = np.pad(light, ((0, 0), (1, 1), (1, 1)), mode="edge")
    fine = _centred(light - sliding_window_view(padded, (3, 3), axis=(1, 2)).mean((3, 4)))
    both = fine.mean(0)
    scale = 3 * STD_PER_MAD * float(np.median(np.abs(both)))
    if both.size < MIN_BINS or not scale > 0:
        return Signature(np.zeros(both.size, np.float32), 0.0)
    fine = _centred(np.tanh(fine / scale))
    first, second = fine[0].ravel(), fine[1].ravel()
    vector = (first + second) / 2
    norm = float(np.linalg.norm(vector))
    both_norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not norm > 0 or not both_norms > 0:
        return Signature(np.zeros(both.size, np.float32), 0.0)
    correlation = float(first @ second) / both_norms
    # The Spearman-Brown formula: both halves together are more reliable than one.
    reliability = max(2 * correlation / (1 + correlation), 0.0) if correlation > -1 else 0.0
    return Signature((vector / norm).astype(np.float32), reliability)


def _centred(light: NDArray[Any]) -> NDArray[Any]:
    rows, cols = light.mean(-1, keepdims=True), light.mean(-2, keepdims=True)
    return light - rows - cols + light.mean((-2, -1), keepdims=True)


def register(short: Planes, long: Planes) -> Shift | None:
    """Measure the shift between the cells (h, w) of two frames, the short one times the ratio.

    Returns None where nothing common to both stands out of the noise: other scenes, or one
    without structure.
    """
    if min(short.shape) < MIN_SIDE:
        return None
    short, long = _middle(short), _middle(long)
    found = _correlate(short, long)
    if found is None:
        return None
    rows, cols = round(found.rows), round(found.cols)
    if rows or cols:
        # Again on the overlap, without the strip that only one of the frames has.
        height, width = short.shape
        overlap = _correlate(
            short[max(rows, 0) : height + min(rows, 0), max(cols, 0) : width + min(cols, 0)],
            long[max(-rows, 0) : height + min(-rows, 0), max(-cols, 0) : width + min(-cols, 0)],
        )
        if overlap is not None:
            return overlap._replace(rows=overlap.rows + rows, cols=overlap.cols + cols)
    return found


def _correlate(short: Planes, long: Planes) -> Shift | None:
    height, width = short.shape
    window = np.outer(_tukey_window(height), _tukey_window(width))
    a, b = (np.fft.rfft2(window * (frame - frame.mean())) for frame in (short, long))
    ky = np.fft.fftfreq(height)[:, None]
    kx = np.fft.rfftfreq(width)[None, :]
    noise = float(np.median((np.abs(a) ** 2)[np.hypot(ky, kx) > NOISE_BAND])) / np.log(2)
    cross = a * b.conj()
    cross /= noise + CEILING * np.abs(b) ** 2 + np.finfo(np.float32).tiny
    cross[(np.abs(ky) * height < MIN_FREQUENCY) | (np.abs(kx) * width < MIN_FREQUENCY)] = 0
    cross *= np.exp(-((np.hypot(ky, kx) / MAX_FREQUENCY) ** 2) / 2)
    surface = np.fft.irfft2(cross, s=short.shape)
    spread = float(surface.std())
    rows, cols = int(height * SEARCH_RANGE), int(width * SEARCH_RANGE)
    surface[rows + 1 : height - rows] = surface[:, cols + 1 : width - cols] = -np.inf
    row, col = (int(n) for n in np.unravel_index(int(np.argmax(surface)), surface.shape))
    peak = float(surface[row, col]) / spread if spread > 0 else 0.0
    if not peak >= MIN_PEAK:
        return None
    # The second half of the correlation's rows and columns are negative shifts.
    start = (row - height if row > rows else row, col - width if col > cols else col)
    return _refine(cross, 2 * np.pi * ky, 2 * np.pi * kx, start, peak)


def _refine(
    cross: NDArray[np.complex128],
    ky: NDArray[Any],
    kx: NDArray[Any],
    start: tuple[int, int],
    peak: float,
) -> Shift | None:
    """Find the maximum of the correlation between the samples, by Newton's method."""
    at = np.array(start, np.float64)
    covariance = np.full((2, 2), np.inf)
    for _ in range(12):
        rotated = cross * np.exp(1j * ky * at[0]) * np.exp(1j * kx * at[1])
        real, imag = rotated.real, rotated.imag
        gradient = -np.array([(ky * imag).sum(), (kx * imag).sum()])
        mixed = (ky * kx * real).sum()
        hessian = np.array([[(ky**2 * real).sum(), mixed], [mixed, (kx**2 * real).sum()]])
        if np.linalg.det(hessian) <= 0 or hessian[0, 0] <= 0:
            return None
        step = np.linalg.solve(hessian, gradient)
        # The error follows from the phases' disagreement; no model of the noise is needed.
        both = ((ky * imag) * (kx * imag)).sum()
        scatter = np.array([[((ky * imag) ** 2).sum(), both], [both, ((kx * imag) ** 2).sum()]])
        inverse = np.linalg.inv(hessian)
        covariance = inverse @ scatter @ inverse
        at += np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < 1e-4:
            break
    if np.abs(at - start).max() > 1.5:
        return None
    error = float(np.sqrt(max(covariance[0, 0], covariance[1, 1])))
    return Shift(float(at[0]), float(at[1]), error, peak)


def _middle(frame: Planes) -> Planes:
    height, width = frame.shape
    rows, cols = min(height, MAX_SIDE), min(width, MAX_SIDE)
    top, left = (height - rows) // 2, (width - cols) // 2
    return frame[top : top + rows, left : left + cols]


def _tukey_window(length: int) -> Floats:
    edge = max(1, int(length * TAPER))
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    window = np.ones(length)
    window[:edge], window[-edge:] = rise, rise[::-1]
    return window

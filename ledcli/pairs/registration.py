"""How far two frames of one scene are apart: phase correlation, to a hundredth of a pixel.

Each frequency's phase counts by its signal to noise, up to a limit (the generalised correlation
of Knapp and Carter, 1976, with a ceiling), so that a short frame at ratio 300, where the noise
is above the light in every pixel, is measured by what the whole frame has in common.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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


class Shift(NamedTuple):
    """Where the short frame's picture lies against the long one's.

    Attributes
    ----------
    rows, cols : float
        In cells; positive is down and right.
    error : float
        Standard error of the larger of the two, from how the frequencies disagree.
    peak : float
        Height of the correlation's peak in its own standard deviations.
    """

    rows: float
    cols: float
    error: float
    peak: float


def register(short: NDArray[np.float32], long: NDArray[np.float32]) -> Shift | None:
    """Measure the shift between two frames.

    Parameters
    ----------
    short, long : float32 arrays (h, w)
        Cells of the mosaic (2x2 pixels binned) of both frames, the short one times the ratio.

    Returns
    -------
    Shift or None
        None where nothing common to both stands out of the noise: other scenes, or one without
        structure.
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


def _correlate(short: NDArray[np.float32], long: NDArray[np.float32]) -> Shift | None:
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
    searched = _within_search_range(surface)
    row, col = (int(n) for n in np.unravel_index(int(np.argmax(searched)), surface.shape))
    peak = float(surface[row, col]) / spread if spread > 0 else 0.0
    if not peak >= MIN_PEAK:
        return None
    start = (_signed(row, height), _signed(col, width))
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


def _middle(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = frame.shape
    rows, cols = min(height, MAX_SIDE), min(width, MAX_SIDE)
    top, left = (height - rows) // 2, (width - cols) // 2
    return frame[top : top + rows, left : left + cols]


def _tukey_window(length: int) -> NDArray[np.float64]:
    edge = max(1, int(length * TAPER))
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    window = np.ones(length)
    window[:edge], window[-edge:] = rise, rise[::-1]
    return window


def _within_search_range(surface: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation with -inf at shifts that are too large."""
    height, width = surface.shape
    rows, cols = int(height * SEARCH_RANGE), int(width * SEARCH_RANGE)
    searched = np.full_like(surface, -np.inf)
    for r in (slice(None, rows + 1), slice(height - rows, None)):
        for c in (slice(None, cols + 1), slice(width - cols, None)):
            searched[r, c] = surface[r, c]
    return searched


def _signed(index: int, length: int) -> int:
    return index - length if index > length // 2 else index

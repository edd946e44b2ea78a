"""How far two frames of one scene are apart: phase correlation, to a hundredth of a pixel.

Each frequency's phase counts by its signal to noise, up to a limit (the generalised correlation
of Knapp and Carter, 1976, with a ceiling), so that a short frame at ratio 300, where the noise
is above the light in every pixel, is measured by what the whole frame has in common.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGEST_SHIFT = 0.25
"""Of the frame's height or width; frames farther apart are of different scenes."""
TAPER = 0.1
"""Share of each side that the window fades over."""
NOISE_BAND = 0.35
"""Cycles per cell from which on the spectrum is taken for noise."""
CEILING = 0.1
"""Frequencies whose signal to noise is above 1 / CEILING count alike: a change of the light alters
their strength, not their phase."""
HIGHEST = 0.15
"""Cycles per cell; faster ones are largely aliased in a mosaic, and do not move as the picture."""
LOWEST = 3.0
"""Cycles per frame; slower ones are shading, and along the axes the banding of rows or columns."""
LEAST_PEAK = 7.0
"""Standard deviations of the correlation that its peak must stand out; of a million values of
pure noise the highest is at 5."""
LARGEST_SIDE = 2048
"""Cells; of larger frames the middle is measured."""
LEAST_SIDE = 16
"""Cells; less than that has no spectrum to speak of."""


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
        Cells of the mosaic (2x2 pixels binned) of both frames, the short one's gained.

    Returns
    -------
    Shift or None
        None where the two have nothing in common that stands out of the noise: other scenes, or
        one without structure.
    """
    if min(short.shape) < LEAST_SIDE:
        return None
    short, long = _middle(short), _middle(long)
    found = _correlate(short, long)
    if found is None:
        return None
    rows, cols = round(found.rows), round(found.cols)
    if rows or cols:
        # Of what both frames see, without the strip that only one of them has.
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
    window = np.outer(_taper(height), _taper(width))
    a, b = (np.fft.rfft2(window * (frame - frame.mean())) for frame in (short, long))
    ky = np.fft.fftfreq(height)[:, None]
    kx = np.fft.rfftfreq(width)[None, :]
    power = np.abs(a) ** 2
    noise = float(np.median(power[np.hypot(ky, kx) > NOISE_BAND])) / np.log(2)
    b_power = np.abs(b) ** 2
    cross = a * b.conj()
    cross /= noise + CEILING * b_power + np.finfo(np.float32).tiny
    cross[(np.abs(ky) * height < LOWEST) | (np.abs(kx) * width < LOWEST)] = 0
    cross *= np.exp(-((np.hypot(ky, kx) / HIGHEST) ** 2) / 2)
    surface = np.fft.irfft2(cross, s=short.shape)
    spread = float(surface.std())
    allowed = _allowed(surface)
    at = np.unravel_index(int(np.argmax(allowed)), surface.shape)
    peak = float(surface[at]) / spread if spread > 0 else 0.0
    if not peak >= LEAST_PEAK:
        return None
    start = (_signed(int(at[0]), height), _signed(int(at[1]), width))
    return _refined(cross, 2 * np.pi * ky, 2 * np.pi * kx, start, peak)


def _refined(
    cross: NDArray[np.complex128],
    ky: NDArray[Any],
    kx: NDArray[Any],
    start: tuple[int, int],
    peak: float,
) -> Shift | None:
    """Climb to the top of the correlation between the samples, by Newton's method."""
    at = np.array(start, np.float64)
    covariance = np.full((2, 2), np.inf)
    for _ in range(12):
        turned = cross * np.exp(1j * ky * at[0]) * np.exp(1j * kx * at[1])
        real, imag = turned.real, turned.imag
        slope = -np.array([(ky * imag).sum(), (kx * imag).sum()])
        mixed = (ky * kx * real).sum()
        bend = np.array([[(ky**2 * real).sum(), mixed], [mixed, (kx**2 * real).sum()]])
        if np.linalg.det(bend) <= 0 or bend[0, 0] <= 0:
            return None
        step = np.linalg.solve(bend, slope)
        # The phases' disagreement is the error's measure: no model of the noise is needed.
        both = ((ky * imag) * (kx * imag)).sum()
        scatter = np.array([[((ky * imag) ** 2).sum(), both], [both, ((kx * imag) ** 2).sum()]])
        inverse = np.linalg.inv(bend)
        covariance = inverse @ scatter @ inverse
        at += np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < 1e-4:
            break
    if np.abs(at - start).max() > 1.5:
        return None
    error = float(np.sqrt(max(covariance[0, 0], covariance[1, 1])))
    return Shift(float(at[0]), float(at[1]), error, peak)


def _middle(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut out the middle of a frame that is larger than accuracy needs."""
    height, width = frame.shape
    rows, cols = min(height, LARGEST_SIDE), min(width, LARGEST_SIDE)
    top, left = (height - rows) // 2, (width - cols) // 2
    return frame[top : top + rows, left : left + cols]


def _taper(length: int) -> NDArray[np.float64]:
    """Tukey's window."""
    edge = max(1, int(length * TAPER))
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    window = np.ones(length)
    window[:edge], window[-edge:] = rise, rise[::-1]
    return window


def _allowed(surface: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = surface.shape
    rows, cols = int(height * LARGEST_SHIFT), int(width * LARGEST_SHIFT)
    allowed = np.full_like(surface, -np.inf)
    for r in (slice(None, rows + 1), slice(height - rows, None)):
        for c in (slice(None, cols + 1), slice(width - cols, None)):
            allowed[r, c] = surface[r, c]
    return allowed


def _signed(index: int, length: int) -> int:
    return index - length if index > length // 2 else index

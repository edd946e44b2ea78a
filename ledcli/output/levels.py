"""Levels of a 16-bit result: where its black lies, and rounding to whole DN."""

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import OutputError
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import AnyPhase, pattern

WHITE = 65535
"""DN of the output's white: all 16 bits."""
SMALLEST_PEDESTAL = 1024
"""DN kept under black, so that noise about black keeps its mean."""
LARGEST_PEDESTAL = 16384
_NOISE_SAMPLES = 1 << 20
_NOISE_QUANTILE = 1e-4
_CHUNK = 1 << 18
"""Samples rounded at a time: what stays in a core's cache."""
_DITHER_SEED = 20230817
_DITHER_SPARE = 1 << 16


def output_black(
    photo: RawPhoto, x: NDArray[np.float32], headroom: float = 1.0
) -> NDArray[np.int64]:
    """Black levels of the output.

    The source's levels times one factor that brings white to 65,535, and raised together where
    that leaves less than 1,024 DN, or less than the noise below black takes.

    Parameters
    ----------
    photo : RawPhoto
    x : float32 array (H, W)
    headroom : float
        The value of `x` that becomes white.

    Returns
    -------
    int array (planes,)
        In DN, in the planes' order.
    """
    span = photo.white.astype(np.float64) - photo.black
    # An odd step meets all four colours whatever the width; an X-Trans repeats after three.
    step = max(1, x.size // _NOISE_SAMPLES) | 1
    if photo.cfa == "xtrans" and step > 1 and step % 3 == 0:
        step += 2
    samples = x.ravel()[::step]
    deepest = max(0.0, -float(np.quantile(samples, _NOISE_QUANTILE))) / headroom
    scaled = WHITE * float((photo.black / photo.white).min())
    # A value of -deepest lies black * (1 + deepest) = deepest * white under black.
    needed = 1.1 * deepest / (1 + 1.1 * deepest) * WHITE
    pedestal = max(scaled, SMALLEST_PEDESTAL, min(needed, LARGEST_PEDESTAL))
    factor = (WHITE - pedestal) / span.max()
    black: NDArray[np.int64] = np.rint(WHITE - factor * span).astype(np.int64)
    return black


def quantise(
    x: NDArray[np.float32],
    phase: AnyPhase,
    black: NDArray[np.int64],
    *,
    headroom: float = 1.0,
    gains: NDArray[np.float64] | None = None,
) -> NDArray[np.uint16]:
    """Round normalised values to DN of the output.

    With a headroom the steps are coarse: rounding then is up or down by chance, in proportion,
    from the same draws every time, so that a sky does not fall into bands.

    Parameters
    ----------
    x : float32 array (H, W)
        0 black.
    phase : Phase or XTransPhase
    black : int array (planes,)
        In DN, in the planes' order.
    headroom : float
        The value of `x` that becomes 65,535 DN; 1 or more.
    gains : float array (planes,) or None
        Factors on top, in the planes' order.

    Returns
    -------
    uint16 array (H, W)

    Raises
    ------
    OutputError
        `x` holds values that are not numbers.
    """
    height, width = x.shape
    cell = pattern(phase)
    period = len(cell)
    low, scale = (np.empty((period, width), np.float32) for _ in range(2))
    factors = np.ones(len(black)) if gains is None else gains
    for (row, col), plane in np.ndenumerate(cell):
        low[row, col::period] = black[plane]
        scale[row, col::period] = (WHITE - int(black[plane])) / headroom * factors[plane]
    rows = period * max(1, _CHUNK // (period * width))
    draws = np.random.default_rng(_DITHER_SEED)
    dither = draws.random(rows * width + _DITHER_SPARE, np.float32) if headroom > 1 else None
    mosaic = np.empty(x.shape, np.uint16)
    chunk = np.empty((rows, width), np.float32)
    for top in range(0, height, rows):
        part = x[top : top + rows]
        levels = chunk[: len(part)]
        for row in range(period):
            np.multiply(part[row::period], scale[row], out=levels[row::period])
            levels[row::period] += low[row]
        if dither is None:
            levels += np.float32(0.5)
        else:
            start = int(draws.integers(_DITHER_SPARE))
            levels += dither[start : start + levels.size].reshape(levels.shape)
        np.clip(levels, 0, WHITE + 0.5, out=levels)
        if np.isnan(levels.min()):
            raise OutputError(
                "the denoised picture holds values that are not numbers: try --precision float32"
            )
        # Cutting off what is behind the point rounds, as a half or a draw was added.
        mosaic[top : top + rows] = levels
    return mosaic

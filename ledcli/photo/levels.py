"""Levels of a 16-bit result: where its black lies, and rounding to whole DN."""

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import OutputError
from ledcli.photo.cfa import Phase, offsets
from ledcli.photo.raw import RawPhoto

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
    int array (4,)
        In DN, for R, G1, B, G2.
    """
    span = photo.white.astype(np.float64) - photo.black
    # An odd step meets all four colours whatever the width.
    samples = x.ravel()[:: max(1, x.size // _NOISE_SAMPLES) | 1]
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
    phase: Phase,
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
    phase : Phase
    black : int array (4,)
        In DN, for R, G1, B, G2.
    headroom : float
        The value of `x` that becomes 65,535 DN; 1 or more.
    gains : float array (4,) or None
        Factors on top, for R, G1, B, G2.

    Returns
    -------
    uint16 array (H, W)

    Raises
    ------
    OutputError
        `x` holds values that are not numbers.
    """
    height, width = x.shape
    low, scale = np.empty((2, width), np.float32), np.empty((2, width), np.float32)
    factors = np.ones(4) if gains is None else gains
    for (row, col), level, factor in zip(offsets(phase), black, factors, strict=True):
        low[row, col::2] = level
        scale[row, col::2] = (WHITE - int(level)) / headroom * factor
    rows = 2 * max(1, _CHUNK // (2 * width))
    draws = np.random.default_rng(_DITHER_SEED)
    dither = draws.random(rows * width + _DITHER_SPARE, np.float32) if headroom > 1 else None
    mosaic = np.empty(x.shape, np.uint16)
    chunk = np.empty((rows, width), np.float32)
    for top in range(0, height, rows):
        part = x[top : top + rows]
        levels = chunk[: len(part)]
        for row in (0, 1):
            np.multiply(part[row::2], scale[row], out=levels[row::2])
            levels[row::2] += low[row]
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

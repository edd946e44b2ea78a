"""Whether what was decoded is a photograph at all."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOSTLY = 0.99
"""Share of the pixels with one and the same value from which there is no picture."""
_TAIL = 0.01
"""Share of the rows, all of one value, from which the end of the picture is missing."""
_TAIL_AT_BLACK = 0.25
"""The same for a tail that is exactly black in a camera of few bits: night can look like that."""
_FEW_DN = 1023
_FEWEST_TAIL_ROWS = 4
_BELOW, _ABOVE = -0.1, 1.25
"""Of black to white. Noise goes a little below black; sensors overshoot white a little."""
_OUTSIDE = 0.9
_BRIGHT = 0.9
"""Of black to white: what is above is saturated and may well be all the same."""
_SAMPLE = 13
"""One in so many pixels is counted before all are; odd, so that every colour has its turn."""
_WAY_OUT = "the file is damaged or truncated: copy it from the card again"


def what_is_missing(
    mosaic: NDArray[np.uint16], black: NDArray[np.float32], white: NDArray[np.float32]
) -> str | None:
    """Find out why a decoded mosaic is no picture.

    Saturated areas, frames of pure noise (lens cap on) and a few bits per pixel are fine.

    Parameters
    ----------
    mosaic : uint16 array (H, W)
        In DN.
    black, white : float32 array (4,)
        In DN, of the four colours.

    Returns
    -------
    str or None
        What is wrong, as the end of a sentence about the file; None for a picture.
    """
    value = int(mosaic[0, 0])
    if (mosaic == value).all():
        return f"holds no picture (every pixel is {value}), {_WAY_OUT}"
    low, high = float(black.min()), float(white.max())
    span = high - low
    rows = _constant_tail(mosaic)
    if rows:
        end = int(mosaic[-1, -1])
        dark = end in black and int(mosaic.max()) <= _FEW_DN
        limit = _TAIL_AT_BLACK if dark else _TAIL
        saturated = end > low + _BRIGHT * span
        if not saturated and rows >= max(_FEWEST_TAIL_ROWS, limit * mosaic.shape[0]):
            return f"lacks its last {rows} of {mosaic.shape[0]} rows, {_WAY_OUT}"
    lowest = max(0, math.ceil(low + _BELOW * span))
    highest = math.floor(float(black.max()) + _ABOVE * span)
    outside = (np.count_nonzero(mosaic < lowest) + np.count_nonzero(mosaic > highest)) / mosaic.size
    if outside > _OUTSIDE:
        return (
            f"holds no picture ({outside:.0%} of the pixels lie outside black and white), "
            f"{_WAY_OUT}"
        )
    common = int(np.bincount(mosaic.ravel()[::_SAMPLE]).argmax())
    share = np.count_nonzero(mosaic == common) / mosaic.size
    if share > _MOSTLY and common < low + _BRIGHT * span:
        return f"holds no picture ({share:.1%} of the pixels are {common}), {_WAY_OUT}"
    return None


def _constant_tail(mosaic: NDArray[Any]) -> int:
    """Count the rows at the end that hold nothing but the last pixel's value."""
    last = mosaic[-1, -1]
    if (mosaic[-1] != last).any():
        return 0
    differs = (mosaic != last).any(axis=1)
    return int(differs[::-1].argmax())

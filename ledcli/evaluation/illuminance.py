"""The illuminance correction that published figures of SID and ELD are given with."""

import numpy as np
from numpy.typing import NDArray


def illuminance_scale(result: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the factor that brings a result nearest to the truth.

    The long frame's light is not exactly the short one's times the ratio: lamps flicker, shutters
    are off. ELD and LED measure after one factor per frame, for all planes alike:
    ``sum(x * y) / sum(x * x)`` over the result x, clipped to 0..1, and the truth y, where the
    truth is not clipped; the least-squares scale.

    Parameters
    ----------
    result, truth : float32 arrays (C, h, w)
        White at 1.

    Returns
    -------
    float
        1 where nothing tells: a black result, or a truth that is all white.
    """
    likeness = energy = 0.0
    # Row by row, so that all is in cache.
    for x, y in zip(_rows(result), _rows(truth), strict=True):
        known = np.where(y < 1, np.clip(x, 0, 1), 0).astype(np.float64)
        likeness += float(known @ y)
        energy += float(known @ known)
    return likeness / energy if energy > 0 else 1.0


def _rows(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    return planes.reshape(-1, planes.shape[-1])


def corrected(result: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the result, clipped to 0..1, times its `illuminance_scale`; not clipped after."""
    return np.clip(result, 0, 1) * np.float32(illuminance_scale(result, truth))

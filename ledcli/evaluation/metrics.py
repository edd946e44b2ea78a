"""How near a result is to the truth."""

import numpy as np
from numpy.typing import NDArray


def psnr(result: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio in dB, of arrays of one shape; the result is clipped to 0..1."""
    error = np.mean((np.clip(result, 0, 1) - truth) ** 2, dtype=np.float64)
    return float(-10 * np.log10(max(error, 1e-20)))

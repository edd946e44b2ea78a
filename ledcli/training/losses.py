"""Losses in the stabilised domain, where the noise has unit variance."""

from torch import Tensor

CHARBONNIER = 0.5
"""Half a standard deviation of noise: a square below, an absolute value above. Closer to the mean
than to the median, so that dim light is not darkened."""


def charbonnier(error: Tensor) -> Tensor:
    """Return ``sqrt(error^2 + c^2) - c`` element by element."""
    return (error.square() + CHARBONNIER**2).sqrt() - CHARBONNIER

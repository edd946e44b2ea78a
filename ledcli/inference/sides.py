"""A photo looked at from four sides: `led denoise --quality best`.

A mirrored mosaic is a mosaic too, of another phase, with its row noise still in rows: the network
denoises all four mirror images as well, but not alike. Their mean lacks what each got wrong by
chance.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ledcli.errors import ModelError

MIRRORS: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (1, 2))
"""Axes that are mirrored; planes are packed by colour, so that they are just mirrored too."""
_BAYER_PLANES = 4


def from_four_sides(
    clean_of: Callable[[Tensor, float], Tensor], frame: Tensor, ratio: float
) -> Tensor:
    """Denoise a frame and its mirror images; return their mean ``(4, h, w)``.

    Parameters
    ----------
    clean_of : callable
        Denoises planes ``(4, h, w)``, not gained, at a ratio: clean planes times it.
    frame : Tensor ``(4, h, w)``
    ratio : float

    Raises
    ------
    ModelError
        An X-Trans frame: mirrored, its planes are others.
    """
    if len(frame) != _BAYER_PLANES:
        raise ModelError("--quality best is for Bayer sensors: leave it out")
    total = torch.zeros_like(frame)
    for axes in MIRRORS:
        total += clean_of(frame.flip(axes), ratio).flip(axes)
    return total.div_(len(MIRRORS))

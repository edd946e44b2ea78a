"""Tiles: a frame is denoised window by window, each with a halo that is thrown away."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ledcli.errors import UsageError

TILE = 640
"""Side of a tile without its halo, plane pixels: what fits a processor's cache; larger ones waste
less on halos, and gain no more than a fiftieth."""
HALO = 96
"""Plane pixels around a tile that the network sees and that are thrown away: as far as the bundled
network reaches. In float32 a tile then is the whole frame to 1e-5 of white; 80 left 3e-4 at ratio
300, and 1e-2 in single pixels at ratio 100."""
SMALLEST_TILE = 64


def check_tile(side: int) -> None:
    """Refuse a side that no tile can have; 0 is the whole frame. Raises UsageError."""
    if side < 0 or 0 < side < SMALLEST_TILE:
        raise UsageError(f"a tile has {SMALLEST_TILE} pixels or more, not {side}")


class Window(NamedTuple):
    """Where to read and what to keep: rows and columns, first and one past the last."""

    read: tuple[int, int, int, int]
    keep: tuple[int, int, int, int]


def plan(rows: int, cols: int, tile: int, halo: int, multiple: int) -> Iterator[Window]:
    """Cover a frame with windows of nearly equal size.

    Every window starts at a multiple of ``multiple``, so that pooling sees the same grid in a
    tile as in the whole frame, and the halo ends at the frame's border, where the network meets
    the same zeros as it would in the whole frame.

    Parameters
    ----------
    rows, cols : int
        Size of the frame, multiples of ``multiple``.
    tile, halo : int
        Sides in plane pixels; rounded up to ``multiple``.
    """
    halo = _round_up(halo, multiple)
    for top, bottom in _spans(rows, tile, multiple):
        for left, right in _spans(cols, tile, multiple):
            yield Window(
                read=(
                    max(top - halo, 0),
                    min(bottom + halo, rows),
                    max(left - halo, 0),
                    min(right + halo, cols),
                ),
                keep=(top, bottom, left, right),
            )


def tiled(
    function: Callable[[Tensor], Tensor], frame: Tensor, *, tile: int, halo: int, multiple: int
) -> Tensor:
    """Apply a function of windows to a whole frame.

    Parameters
    ----------
    function : callable
        Maps ``(1, C, h, w)`` to the same size, ``h`` and ``w`` multiples of ``multiple``; its
        result may live on another device.
    frame : Tensor ``(C, H, W)``
        Any size; mirrored to a multiple at the bottom and the right.
    tile, halo, multiple : int
        As in `plan`.

    Returns
    -------
    Tensor ``(C, H, W)``
        On the frame's device.
    """
    _, rows, cols = frame.shape
    padded = _mirrored(frame, _round_up(rows, multiple), _round_up(cols, multiple))
    result = torch.empty_like(padded)
    for window in plan(padded.shape[1], padded.shape[2], tile, halo, multiple):
        top, bottom, left, right = window.keep
        y0, y1, x0, x1 = window.read
        out = function(padded[None, :, y0:y1, x0:x1])[0]
        kept = out[:, top - y0 : bottom - y0, left - x0 : right - x0]
        result[:, top:bottom, left:right] = kept.to(result.device)
    return result[:, :rows, :cols]


def _mirrored(frame: Tensor, rows: int, cols: int) -> Tensor:
    """Mirror at the bottom and the right, again and again where the frame is too small."""
    while frame.shape[1:] != (rows, cols):
        down, right = (
            min(want - have, have - 1)
            for want, have in zip((rows, cols), frame.shape[1:], strict=True)
        )
        mode = "reflect" if down or right else "replicate"
        down, right = (down, right) if mode == "reflect" else (rows - 1, cols - 1)
        frame = F.pad(frame[None], (0, right, 0, down), mode=mode)[0]
    return frame


def _spans(length: int, tile: int, multiple: int) -> list[tuple[int, int]]:
    count = -(-length // tile)
    ends = [_round_up(length * i // count, multiple) for i in range(count + 1)]
    return [(a, b) for a, b in pairwise(ends) if b > a]


def _round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple

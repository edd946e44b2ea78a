"""Tiles: a frame is denoised window by window, each with a halo that is thrown away.

Some networks average over all that they see (``global_operations``): NAFNet's channel attention,
Restormer's attention. For these a tile differs from the whole frame, however wide the halo, and
neighbours would meet in a step, so they are blended into each other across the border.
tests/inference/test_global_tiles.py measures by how much tiles and whole frame differ, on small
networks with random weights, as RMS over that of what the network changes: in tiles of 64 of a
frame of 96 x 512, 0.17 % for NAFNet (1.8 % at most) and 4.5 % for Restormer (36 % at most); in
tiles of 128, 0.16 % and 3.8 %.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ledcli.errors import UsageError
from ledcli.reporting import OnProgress

MIN_TILE = 64
Span = tuple[int, int]
FADE = 16
"""Plane pixels on either side of a border over which tiles with global operations are blended."""


def check_tile(side: int | None) -> None:
    """Raise UsageError for a tile that is too small; 0 is the whole frame."""
    if side is not None and (side < 0 or 0 < side < MIN_TILE):
        raise UsageError(f"a tile has {MIN_TILE} pixels or more, not {side}")


class Window(NamedTuple):
    """Where to read and what to keep: top, bottom, left and right, the ends exclusive."""

    read: tuple[int, int, int, int]
    keep: tuple[int, int, int, int]


def windows(rows: int, cols: int, tile: int, halo: int, multiple: int) -> Iterator[Window]:
    """Cover a frame with windows that are all of one size, so that a network is compiled once.

    Every window starts at a multiple of ``multiple``, so that pooling sees the same grid in a
    tile as in the whole frame. The halo ends at the frame's border, where the network pads with
    the same zeros as in the whole frame. All sizes are in plane pixels; ``rows`` and ``cols`` must
    be multiples, ``tile`` and ``halo`` are rounded up.
    """
    halo = _round_up(halo, multiple)
    for read_rows, keep_rows in _spans(rows, tile, halo, multiple):
        for read_cols, keep_cols in _spans(cols, tile, halo, multiple):
            yield Window((*read_rows, *read_cols), (*keep_rows, *keep_cols))


def tiled(
    function: Callable[[Tensor], Tensor],
    frame: Tensor,
    *,
    tile: int,
    halo: int,
    multiple: int,
    fade: int = 0,
    progress: OnProgress | None = None,
) -> Tensor:
    """Apply a function of windows to a whole frame ``(C, H, W)``.

    The function maps ``(1, C, h, w)`` to the same size, ``h`` and ``w`` multiples of ``multiple``;
    its result may have other planes and be on another device. The whole result is on the frame's.
    The frame may have any size; it is mirrored to a multiple at the bottom and the right.

    ``fade`` is the number of pixels on either side of a border over which two tiles are blended;
    the halo begins behind them. With 0 every pixel belongs to one tile. ``progress`` is called
    after each tile.
    """
    _, rows, cols = frame.shape
    padded = mirrored_to(multiple, frame)
    result: Tensor | None = None
    done = 0
    for window in windows(padded.shape[1], padded.shape[2], tile, halo + fade, multiple):
        y0, y1, x0, x1 = window.read
        out = function(padded[None, :, y0:y1, x0:x1])[0]
        top, vertical = _weights(*window.keep[:2], padded.shape[1], fade)
        left, horizontal = _weights(*window.keep[2:], padded.shape[2], fade)
        bottom, right = top + len(vertical), left + len(horizontal)
        kept = out[:, top - y0 : bottom - y0, left - x0 : right - x0].to(frame.device)
        if fade:
            kept = kept * (vertical[:, None] * horizontal).to(frame.device)
        if result is None:
            result = padded.new_zeros(len(out), *padded.shape[1:])
        result[:, top:bottom, left:right] += kept
        done += (window.keep[1] - window.keep[0]) * (window.keep[3] - window.keep[2])
        if progress is not None:
            progress(done / padded[0].numel())
    assert result is not None, "a frame has at least one window"
    return result[:, :rows, :cols]


def _weights(start: int, end: int, length: int, fade: int) -> tuple[int, Tensor]:
    """Return where a tile's part of the result begins, and its weight in each pixel from there.

    The part reaches `fade` beyond start and end; the weights of all tiles add up to 1.
    """
    first = max(start - fade, 0)
    middle = torch.arange(first, min(end + fade, length)) + 0.5
    weights = torch.ones_like(middle)
    if fade and start > 0:
        weights = ((middle - start) / (2 * fade) + 0.5).clamp(0, 1)
    if fade and end < length:
        weights = weights - ((middle - end) / (2 * fade) + 0.5).clamp(0, 1)
    return first, weights


def mirrored_to(multiple: int, frame: Tensor) -> Tensor:
    """Mirror ``(C, H, W)`` at the bottom and the right until its sides are multiples.

    Does so repeatedly if the frame is too small.
    """
    rows, cols = (_round_up(side, multiple) for side in frame.shape[1:])
    while frame.shape[1:] != (rows, cols):
        down, right = (
            min(want - have, have - 1)
            for want, have in zip((rows, cols), frame.shape[1:], strict=True)
        )
        mode = "reflect" if down or right else "replicate"
        down, right = (down, right) if mode == "reflect" else (rows - 1, cols - 1)
        frame = F.pad(frame[None], (0, right, 0, down), mode=mode)[0]
    return frame


def _spans(length: int, tile: int, halo: int, multiple: int) -> list[tuple[Span, Span]]:
    """Return what each window reads and keeps of a length; `halo` is a multiple."""
    count = max(1, -(-(length - 2 * halo) // _round_up(tile, multiple)))
    # As small as the least overlap, two halos, allows.
    side = _round_up(-(-(length + 2 * halo * (count - 1)) // count), multiple)
    free = (length - side) // multiple
    starts = [i * free // max(count - 1, 1) * multiple for i in range(count)]
    ends = [0, *((a + side + b) // 2 for a, b in pairwise(starts)), length]
    ends = [_round_up(end, multiple) for end in ends]
    return [((a, a + side), keep) for a, keep in zip(starts, pairwise(ends), strict=True)]


def _round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple

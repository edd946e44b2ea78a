"""Lossless JPEG (ITU-T T.81, process 14) as DNG readers want it: tiles, predictor 1, 16 bits.

The layout is that of Adobe's converter: two neighbours of a Bayer row are the two components of
one pixel, so that each sample is predicted by the nearest one of its colour on its left. Readers
differ in what else they open (rawspeed refuses every predictor but this), so nothing else is
written.
"""

import math
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray

_MIDDLE = 1 << 15
"""What the first sample is predicted as: half of 16 bits (T.81, H.1.2.1)."""
_LONGEST_SIDE = 65535
"""A JPEG counts rows and columns in 16 bits."""
_TILE_STEP = 16
"""TIFF 6: a tile's sides are multiples of 16."""
_TILE_SAMPLES = 1 << 19
"""Aimed at: a megabyte, which stays in a core's cache on its way through the coder."""
_TILE_WIDTH = 8192
_MOST_THREADS = 4
_SOI, _SOF3, _DHT, _SOS = b"\xff\xd8", b"\xff\xc3", b"\xff\xc4", b"\xff\xda"


@dataclass(frozen=True)
class Tiles:
    """A picture in tiles.

    Attributes
    ----------
    width, length : int
        Of every tile, in pixels; those at the right and the bottom reach over the edge.
    blobs : list of bytes
        Row by row.
    """

    width: int
    length: int
    blobs: list[bytes]


def ljpeg_tiles(samples: NDArray[np.uint16]) -> Tiles:
    """Compress a picture in tiles, with a few threads.

    Parameters
    ----------
    samples : uint16 array (H, W) or (H, W, 3)
        A Bayer mosaic, or a picture of three colours; 32 pixels or more on each side.

    Returns
    -------
    Tiles
    """
    height, width = samples.shape[:2]
    depth = samples.shape[2] if samples.ndim == 3 else 1
    across = _tile_side(width, _TILE_WIDTH // depth)
    down = _tile_side(height, max(_TILE_STEP, _TILE_SAMPLES // (across * depth)))
    components = depth if depth > 1 else 2

    def one(corner: tuple[int, int]) -> bytes:
        top, left = corner
        tile = _filled(samples[top : top + down, left : left + across], down, across)
        return ljpeg_bytes(tile.reshape(down, across * depth), components)

    corners = [(row, col) for row in range(0, height, down) for col in range(0, width, across)]
    threads = min(_MOST_THREADS, os.cpu_count() or 1, len(corners))
    with ThreadPoolExecutor(threads) as pool:
        return Tiles(across, down, list(pool.map(one, corners)))


def ljpeg_bytes(samples: NDArray[np.uint16], components: int) -> bytes:
    """Compress one picture: 16 bits, predictor 1, one Huffman table.

    liblj92 codes the differences between the neighbours of a single row; of a row whose
    differences are those that predictor 1 asks for, that code is this picture's, and only the
    headers are to be rewritten. It takes 2/3 of the time of libjpeg-turbo's lossless mode, for
    files 2 to 4 % larger.

    Parameters
    ----------
    samples : uint16 array (H, W * components)
        Pixels with their components beside each other; 65,535 rows and pixels a row at most.
    components : int
        1 to 4.

    Returns
    -------
    bytes
    """
    height, row = samples.shape
    if row % components or not 0 < height <= _LONGEST_SIDE >= row // components > 0:
        raise ValueError(f"{height}x{row} samples are no picture of {components} components")
    code = bytes(imagecodecs.ljpeg_encode(_as_one_row(samples, components), bitspersample=16))
    table, entropy = _parts(code)
    named = range(components)
    frame = struct.pack(">HBHHB", 8 + 3 * components, 16, height, row // components, components)
    frame += b"".join(bytes((name, 0x11, 0)) for name in named)
    scan = struct.pack(">HB", 6 + 2 * components, components)
    scan += b"".join(bytes((name, 0)) for name in named) + b"\x01\0\0"
    return b"".join([_SOI, _SOF3, frame, table, _SOS, scan, entropy])


def _as_one_row(samples: NDArray[np.uint16], components: int) -> NDArray[np.uint16]:
    """Make samples (1, N) whose differences to the left are those of predictor 1.

    Predictor 1 takes the component's sample on the left, in the first pixel of a row that above.
    Within a row the sum of the differences telescopes: it is the sum of the last `components`
    samples and a constant. All modulo 2**16, as T.81 has it.
    """
    height, row = samples.shape
    one = np.empty((height, row), np.uint16)
    one[:, components - 1 :] = samples[:, components - 1 :]
    for back in range(1, components):
        one[:, components - 1 :] += samples[:, components - 1 - back : row - back]
    first = samples[:, :components].astype(np.int64)
    steps = first.copy()
    steps[1:] -= first[:-1]
    steps[0] -= _MIDDLE
    ends = samples[:, row - components :].sum(axis=1, dtype=np.int64)
    # The constant of each row makes the step from the row before right.
    change = steps.sum(axis=1) - first.sum(axis=1)
    change[0] += _MIDDLE
    change[1:] += ends[:-1]
    constant = np.cumsum(change)
    one += constant.astype(np.uint16)[:, None]
    before = np.concatenate(([_MIDDLE], (ends + constant)[:-1]))
    one[:, :components] = (before[:, None] + np.cumsum(steps, axis=1)).astype(np.uint16)
    return one.reshape(1, -1)


def _parts(code: bytes) -> tuple[bytes, bytes]:
    """Huffman table with its marker, and the entropy-coded bytes with the end marker."""
    table, at = b"", len(_SOI)
    while True:
        marker = code[at : at + 2]
        after = at + 2 + int.from_bytes(code[at + 2 : at + 4], "big")
        if marker == _DHT:
            table = code[at:after]
        at = after
        if marker == _SOS:
            return table, code[at:]


def _tile_side(side: int, most: int) -> int:
    """Length of a tile: a multiple of 16, no longer than the picture, with little left over.

    dcraw and LibRaw wrap a tile that is wider than the picture.
    """
    count = math.ceil(side / max(_TILE_STEP, most))
    length = _TILE_STEP * math.ceil(side / count / _TILE_STEP)
    if length > side:
        length = _TILE_STEP * math.ceil(side / (count + 1) / _TILE_STEP)
    return length


def _filled(part: NDArray[np.uint16], height: int, width: int) -> NDArray[np.uint16]:
    """Make a whole tile: past the edge the last two columns and the last row go on."""
    have_rows, have_cols = part.shape[:2]
    if (have_rows, have_cols) == (height, width):
        return np.ascontiguousarray(part)
    tile = np.empty((height, width, *part.shape[2:]), np.uint16)
    tile[:have_rows, :have_cols] = part
    # Two: a colour goes on with itself, which costs least.
    for col in range(have_cols, width):
        tile[:have_rows, col] = tile[:have_rows, max(0, col - 2)]
    tile[have_rows:] = tile[have_rows - 1]
    return tile

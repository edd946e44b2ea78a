"""Floating-point samples of a DNG, which LibRaw would clip at 0 and scale by the brightest one."""

import math
import zlib

import numpy as np
from numpy.typing import NDArray

from ledcli.metadata.tiff import STRIPS, TILES, Bytes, Directory
from ledcli.sensor.levels import Levels

_BITS, _COMPRESSION, _ROWS_PER_STRIP, _PREDICTOR = 258, 259, 278, 317
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_UNCOMPRESSED, _DEFLATE = 1, (8, 32946)
_NO_PREDICTOR = 1
_FLOAT_PREDICTORS = {3: 1, 34894: 2, 34895: 4}
"""Predictor of TIFF technical note 3 and DNG 1.4's: the sample that predicts lies that far left."""
_LOWEST, _HIGHEST = 0.25, 1.25
"""Black is 0, white 1: noise is kept down to the first below black, sensors go up to the second."""
_MAX_DN = 65535
Samples = NDArray[np.float32]


def read_float_samples(data: Bytes, mosaic: Directory, shape: tuple[int, int]) -> Samples:
    """Read all stored samples (H, W) of a mosaic's directory, floats of 16, 24 or 32 bits.

    ValueError names a layout that is not supported, or says that a part is damaged.
    """
    tiled = TILES[0] in mosaic.entries
    offsets, counts = (mosaic.integers(tag) for tag in (TILES if tiled else STRIPS))
    rows, cols = _one(mosaic, _ROWS_PER_STRIP, shape[0]), shape[1]
    if tiled:
        rows, cols = _one(mosaic, _TILE_HEIGHT, 0), _one(mosaic, _TILE_WIDTH, 0)
    rows, down, across = min(rows, 2 * shape[0]), 0, 0
    if min(rows, cols) > 0:
        down, across = math.ceil(shape[0] / rows), math.ceil(shape[1] / cols)
    if not len(offsets) == len(counts) == down * across or cols > 2 * shape[1] + 64:
        raise ValueError("its parts do not make up the image")
    samples = np.zeros(shape, np.float32)
    for number, (start, size) in enumerate(zip(offsets, counts, strict=True)):
        top, left = rows * (number // across), cols * (number % across)
        height = rows if tiled else min(rows, shape[0] - top)
        part = _decode(data[start : start + size], mosaic, height, cols)
        place = samples[top : top + height, left : left + cols]
        place[:] = part[: place.shape[0], : place.shape[1]]
    return np.nan_to_num(samples, copy=False, posinf=math.inf, neginf=-math.inf)


def to_whole_numbers(samples: Samples, levels: Levels) -> tuple[NDArray[np.uint16], Levels]:
    """Scale samples to whole numbers of 16 bits, noise below black included, and their levels."""
    black, white = float(levels.black.min()), float(levels.white.max())
    span = white - black
    low = black + span * min(max((float(samples.min()) - black) / span, -_LOWEST), 0.0)
    high = black + span * max(min((float(samples.max()) - black) / span, _HIGHEST), 1.0)
    factor = _MAX_DN / (high - low)
    dn = samples * np.float32(factor) - np.float32(low * factor)
    whole = np.rint(np.clip(dn, 0, _MAX_DN, out=dn), out=dn).astype(np.uint16)
    return whole, levels.scaled(factor, -low * factor)


def _decode(stored: bytes, mosaic: Directory, rows: int, cols: int) -> Samples:
    bits, compression = _one(mosaic, _BITS, 0), _one(mosaic, _COMPRESSION, _UNCOMPRESSED)
    predictor = _one(mosaic, _PREDICTOR, _NO_PREDICTOR)
    count = bits // 8
    if bits not in (16, 24, 32) or predictor not in (_NO_PREDICTOR, *_FLOAT_PREDICTORS):
        raise ValueError(f"floats of {bits} bits with predictor {predictor} are not supported")
    if compression in _DEFLATE:
        try:
            stored = zlib.decompressobj().decompress(stored, rows * cols * count)
        except zlib.error:
            raise ValueError("a part of the image is damaged") from None
    elif compression != _UNCOMPRESSED:
        raise ValueError(f"floats with compression {compression} are not supported")
    if len(stored) < rows * cols * count:
        raise ValueError("a part of the image is missing")
    plain = np.frombuffer(stored, np.uint8, rows * cols * count)
    if predictor == _NO_PREDICTOR:
        most_first = plain.reshape(rows, cols, count)[..., :: 1 if mosaic.order == ">" else -1]
    else:
        # In each row first the highest bytes of all samples; each byte minus an earlier one.
        step = _FLOAT_PREDICTORS[predictor]
        differences = plain.reshape(rows, cols * count // step, step)
        bytewise = differences.cumsum(1, dtype=np.uint8).reshape(rows, count, cols)
        most_first = bytewise.transpose(0, 2, 1)
    if count == 3:
        return _from_24_bits(most_first)
    return np.ascontiguousarray(most_first).view(f">f{count}")[..., 0].astype(np.float32)


def _from_24_bits(most_first: NDArray[np.uint8]) -> Samples:
    """Convert floats of 1 + 7 + 16 bits, exponent bias 63 (DNG 1.4): bytes (rows, cols, 3)."""
    high, middle, low = np.moveaxis(most_first.astype(np.int32), 2, 0)
    exponent, fraction = high & 127, (middle << 8 | low) / 65536
    normal = exponent > 0
    value = np.ldexp(fraction + normal, np.where(normal, exponent, 1) - 63)
    return np.where(high & 128, -value, value).astype(np.float32)


def _one(mosaic: Directory, tag: int, default: int) -> int:
    return next(iter(mosaic.integers(tag)), default)

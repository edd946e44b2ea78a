"""What LibRaw gets wrong in a DNG: floating-point samples, bad pixels, and white as a chromaticity.

It would clip floating-point samples at 0 and scale them by the brightest one. It leaves the pixels
that the first opcode list marks as bad: they are replaced by their neighbours. From AsShotWhiteXY
it takes no white balance, and multiplies the colour matrix by it.
"""

import math
import zlib
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ledcli.metadata.carried import Fields
from ledcli.metadata.dng_mosaic import Area, DngMosaic, read_opcodes
from ledcli.metadata.tiff import STRIPS, TILES, Bytes, Directory
from ledcli.noise.dark import replace_defects
from ledcli.raw.libraw import multipliers, usable_matrix
from ledcli.sensor.cfa import AnyPhase, pack, unpack
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
_CONSTANT, _LIST = 4, 5
"""FixBadPixelsConstant, FixBadPixelsList."""
MAX_SHARE = 0.05
"""Of the pixels: more are not single defects. A camera may store black as the same value."""

_MATRICES, _CALIBRATIONS, _ILLUMINANTS = (50721, 50722), (50723, 50724), (50778, 50779)
_ANALOG_BALANCE, _WHITE_XY = 50727, 50729
_D65_KELVIN = 6504.0
_KELVIN = {
    # Exif's LightSource: standard illuminants, then the middle of the range that Exif states.
    **dict.fromkeys((3, 17), 2856.0),
    **dict.fromkeys((1, 4, 9, 18, 20), 5503.0),
    **dict.fromkeys((10, 19, 21), _D65_KELVIN),
    **dict.fromkeys((11, 22), 7504.0),
    **{23: 5003.0, 24: 3200.0, 12: 6400.0, 13: 5050.0, 15: 3525.0, 16: 2925.0},
    **dict.fromkeys((2, 14), 4150.0),
}
"""Colour temperature of the light that a matrix is for."""
_EPICENTRE = (0.3320, 0.1858)
"""Chromaticity in which the lines of equal temperature meet: none can be told at its height."""

Samples = NDArray[np.float32]
Matrix = NDArray[np.float64]


def read_float_samples(data: Bytes, mosaic: Directory, shape: tuple[int, int]) -> Samples:
    """Read all stored samples (H, W) of a mosaic's directory, floats of 16, 24 or 32 bits.

    ValueError names a layout that is not supported, or says that a part is damaged.
    """
    tiled = TILES[0] in mosaic.entries
    offsets, counts = (mosaic.integers(tag) for tag in (TILES if tiled else STRIPS))
    rows, cols = _one(mosaic, _ROWS_PER_STRIP, shape[0]), shape[1]
    if tiled:
        rows, cols = _one(mosaic, _TILE_HEIGHT, 0), _one(mosaic, _TILE_WIDTH, 0)
    if rows <= 0 or not 0 < cols <= 2 * shape[1] + 64:
        raise ValueError("its parts have no possible size")
    rows = min(rows, 2 * shape[0])
    down, across = math.ceil(shape[0] / rows), math.ceil(shape[1] / cols)
    if not len(offsets) == len(counts) == down * across:
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
    most_first = np.ascontiguousarray(most_first)
    if count == 3:
        samples = imagecodecs.float24_decode(most_first.tobytes(), byteorder=">")
        return np.asarray(samples).reshape(rows, cols)
    return most_first.view(f">f{count}")[..., 0].astype(np.float32)


def _one(mosaic: Directory, tag: int, default: int) -> int:
    return next(iter(mosaic.integers(tag)), default)


def find_bad_pixels(
    samples: NDArray[Any], area: Area, header: DngMosaic
) -> tuple[NDArray[np.bool_] | None, str]:
    """Find the pixels of the active area that the file marks as bad.

    `samples` are all that the file stores. Returns which are bad (H, W), None if none is, and what
    is wrong with the list, as the end of a sentence, or nothing.
    """
    bad = np.zeros(samples.shape, np.bool_)
    left_out = []
    for opcode in read_opcodes(header.opcodes):
        number, data = opcode.number, opcode.data
        if number == _CONSTANT:
            (constant,) = np.frombuffer(data, ">u4", 1) if len(data) >= 4 else [0]
            if header.linearisation:
                # LibRaw has applied the table; the constant is from before it.
                last = len(header.linearisation) - 1
                constant = header.linearisation[min(int(constant), last)]
            bad |= samples == constant
        elif number == _LIST:
            _mark(bad, np.frombuffer(data[: len(data) // 4 * 4], ">u4").astype(np.int64))
        elif not opcode.optional:
            left_out.append(str(number))
    bad = bad[area[0] : area[2], area[1] : area[3]]
    share = np.count_nonzero(bad) / bad.size
    if share > MAX_SHARE:
        return None, f"marks {share:.0%} of its pixels as bad (OpcodeList1): they are left as is"
    said = f"asks for corrections that led does not make (OpcodeList1: {', '.join(left_out)})"
    return bad if share else None, said if left_out else ""


def replace_bad_pixels(
    mosaic: NDArray[np.uint16], phase: AnyPhase, bad: NDArray[np.bool_]
) -> NDArray[np.uint16]:
    """Return the mosaic (H, W) with bad pixels as the median of the good ones next to them."""
    planes = pack(mosaic, phase)
    replace_defects(planes, pack(bad, phase))
    return unpack(planes, phase, (mosaic.shape[0], mosaic.shape[1]))


def _mark(bad: NDArray[np.bool_], numbers: NDArray[np.int64]) -> None:
    """Mark the points and rectangles of a FixBadPixelsList that lie in the samples."""
    if len(numbers) < 3:
        return
    points, areas = (int(n) for n in numbers[1:3])
    listed = numbers[3 : 3 + 2 * points]
    row, col = listed[: len(listed) // 2 * 2].reshape(-1, 2).T
    inside = (row < bad.shape[0]) & (col < bad.shape[1])
    bad[row[inside], col[inside]] = True
    listed = numbers[3 + 2 * points :][: 4 * areas]
    for top, left, bottom, right in listed[: len(listed) // 4 * 4].reshape(-1, 4):
        bad[top:bottom, left:right] = True


def wb_and_matrix(image: Fields) -> tuple[NDArray[np.float64], Matrix] | None:
    """Return what a DNG's AsShotWhiteXY comes to, from the fields of its first directory.

    The camera sees a white of chromaticity x, y as ``AB CC CM (x/y, 1, (1-x-y)/y)``, with the
    matrices between those of two illuminants by reciprocal colour temperature (DNG 1.7, chapter 6).

    Returns the multipliers (3,) for R, G, B with green at 1, and the matrix (3, 3) from CIE XYZ
    (D65) to camera RGB; None without a white point or a usable matrix.
    """
    if _WHITE_XY not in image or _MATRICES[0] not in image:
        return None
    x, y = image[_WHITE_XY].numbers()
    if min(x, y) < 0.05 or x + y >= 1 or y == _EPICENTRE[1]:
        return None
    matrix, here = _matrix(image, _D65_KELVIN), _matrix(image, _temperature(x, y))
    if not usable_matrix(matrix) or not usable_matrix(here):
        return None
    with np.errstate(divide="ignore"):
        wb = multipliers((1 / (here @ [x / y, 1, (1 - x - y) / y])).tolist())
    return None if wb is None else (wb, matrix)


def _matrix(image: Fields, kelvin: float) -> Matrix:
    """Return XYZ to camera RGB (3, 3) for a light of that temperature."""
    lights = [_KELVIN.get(int(image[tag].numbers()[0])) for tag in _ILLUMINANTS if tag in image]
    first = 1.0
    if _MATRICES[1] in image and len(lights) == 2 and lights[0] and lights[1]:
        low, high = 1 / lights[0], 1 / lights[1]
        first = float(np.clip((1 / kelvin - high) / (low - high), 0, 1)) if low != high else 1.0
    balance = image[_ANALOG_BALANCE].numbers() if _ANALOG_BALANCE in image else [1, 1, 1]
    mixed = np.diag(np.array(balance, np.float64))
    for tags in (_CALIBRATIONS, _MATRICES):
        both = [image[tag].numbers() if tag in image else np.eye(3) for tag in tags]
        one, two = (np.reshape(np.array(values, np.float64), (3, 3)) for values in both)
        mixed = mixed @ (first * one + (1 - first) * two)
    return mixed


def _temperature(x: float, y: float) -> float:
    """Return the correlated colour temperature in kelvin (McCamy 1992)."""
    n = (x - _EPICENTRE[0]) / (_EPICENTRE[1] - y)
    kelvin = 437 * n**3 + 3601 * n**2 + 6861 * n + 5517
    return float(np.clip(kelvin, 1000, 50000))

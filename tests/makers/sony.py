"""Sony's ARW: uncompressed samples of 14 bits, or ARW 2, one byte a sample.

ARW 2 takes 32 columns of a row at a time: 16 bytes hold their 16 even samples, 16 more the odd
ones. A sample is first brought to 11 bits through the tone curve, whose four bends are in tag
0x7010. The 128 bits, the lowest first, are the largest and the smallest sample (11 bits each),
where among the 16 these are (4 each), and for the other 14 the distance from the smallest (7
each), without its low bits where the largest is 128 or more away. Black level (0x7310), white
balance (0x7313) and the last linear sample (0x787F) are in an encrypted directory (SR2), to which
DNGPrivateData leads. The raw's own directory has the crop (0x74C7, 0x74C8); older cameras' maker
notes have only the JPEG's size (0xB02B).
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.makers.bits import nearest
from tests.makers.tiff import (
    EXIF,
    STRIP_BYTES,
    STRIP_OFFSET,
    SUB_IFDS,
    Fields,
    Nested,
    directory,
    placed,
    shot,
    tiff,
)

BENDS = (8000, 10400, 12900, 14100)
"""SonyToneCurve of every camera: where the slope doubles, in 14-bit codes."""
_TOP = 0x7FF
"""The largest sample of 11 bits."""
_PRIVATE = 0xC634
"""DNGPrivateData."""
_KEY, _WORD = 0x44332211, 0xFFFFFFFF


def tone_curve() -> NDArray[np.int64]:
    """Return the samples, of 14 bits and a little more, that the 2048 codes stand for."""
    ends = [0, *(bend >> 2 for bend in BENDS), 4095]
    slopes = [1 << part for part in range(5) for _ in range(ends[part + 1] - ends[part])]
    return np.concatenate([[0], np.cumsum(slopes)])[::2]


def arw2(mosaic: NDArray[np.uint16]) -> tuple[bytes, NDArray[np.uint16]]:
    """Encode samples (H, W), W a multiple of 32; return the stream and what it decodes to."""
    height, width = mosaic.shape
    curve = tone_curve()
    codes = nearest(curve, mosaic)
    # (H, blocks, even and odd, 16)
    blocks = codes.reshape(height, width // 32, 16, 2).swapaxes(2, 3).reshape(-1, 16)
    every = np.arange(len(blocks))
    largest = blocks.argmax(1)
    inner = blocks.copy()
    inner[every, largest] = _TOP + 1
    smallest = inner.argmin(1)
    high, low = blocks[every, largest], blocks[every, smallest]
    shift = np.sum([(high - low) >= 0x80 << step for step in range(4)], axis=0)
    others = np.ones(blocks.shape, bool)
    others[every, largest] = others[every, smallest] = False
    rest = (blocks - low[:, None])[others].reshape(-1, 14)
    rest = np.minimum((rest + (1 << shift >> 1)[:, None]) >> shift[:, None], 0x7F)
    fields = [(high, 0), (low, 11), (largest, 22), (smallest, 26)]
    fields += [(rest[:, place], 30 + 7 * place) for place in range(14)]
    words = np.zeros((len(blocks), 2), np.uint64)
    for value, at in fields:
        bits = value.astype(np.uint64)
        if at < 64:
            words[:, 0] |= bits << np.uint64(at)
            words[:, 1] |= bits >> np.uint64(64 - at) if at else np.uint64(0)
        else:
            words[:, 1] |= bits << np.uint64(at - 64)
    blocks[others] = np.minimum((rest << shift[:, None]) + low[:, None], _TOP).ravel()
    decoded = blocks.reshape(height, width // 32, 2, 16).swapaxes(2, 3).reshape(height, width)
    return words.astype("<u8").tobytes(), curve[decoded].astype(np.uint16)


def raw_fields(shape: tuple[int, int], size: int, *, compressed: bool) -> dict[int, Any]:
    """Return the tags of the raw's directory, but for the offset of its stream of `size` bytes."""
    height, width = shape
    return {
        254: ("I", [0]),
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [12 if compressed else 14]),
        259: ("H", [32767 if compressed else 1]),
        262: ("H", [32803]),
        277: ("H", [1]),
        278: ("I", [height]),
        STRIP_BYTES: ("I", [size]),
        33421: ("H", [2, 2]),
        33422: ("B", [0, 1, 1, 2]),
        0x7000: ("H", [2 if compressed else 0]),
        0x7010: ("H", list(BENDS)),
    }


def encrypted(block: bytes, key: int) -> bytes:
    """Combine a block of whole 32-bit words with the stream of a shift register; undoes itself."""
    pad = []
    for _ in range(4):
        key = (key * 48828125 + 1) & _WORD
        pad.append(key)
    pad[3] = (pad[3] << 1 | (pad[0] ^ pad[2]) >> 31) & _WORD
    for at in range(4, 127):
        sum_ = pad[at - 4] ^ pad[at - 2]
        pad.append((sum_ << 1 | (pad[at - 3] ^ pad[at - 1]) >> 31) & _WORD)
    words = np.frombuffer(block, ">u4")
    for at in range(127, 127 + len(words)):
        pad.append(pad[at - 127] ^ pad[at - 63])
    return (words ^ np.array(pad[127 : 127 + len(words)], np.uint32)).astype(">u4").tobytes()


def arw(
    stream: bytes,
    shape: tuple[int, int],
    *,
    compressed: bool,
    balance: Sequence[int],
    black: Sequence[int] = (512,) * 4,
    linear: int = 15360,
    crop: tuple[int, int, int, int] | None = None,
    image_size: tuple[int, int] | None = None,
    model: str = "ILCE-7M3",
    iso: int = 800,
    time: Fraction = Fraction(1, 60),
) -> bytes:
    """Return an ARW; RGGB.

    Parameters
    ----------
    stream : bytes
        Of `arw2`, or little-endian SHORTs.
    shape : (H, W)
    balance, black : four int
        For R, G, G, B.
    linear : int
        WhiteLevel, up to which the sensor is linear.
    crop : (top, left, height, width) or None
    image_size : (height, width) or None
        Of the camera's JPEG, which is all that older cameras state.
    """
    own: Fields = {0xB02B: ("I", list(image_size))} if image_size else {}
    notes = Nested(own, notes=True, name=b"SONY DSC \0\0\0")
    camera, exif = shot("SONY", model, iso=iso, time=time, notes=notes)
    tags = raw_fields(shape, len(stream), compressed=compressed)
    if crop:
        tags |= {0x74C7: ("I", [crop[1], crop[0]]), 0x74C8: ("I", [crop[3], crop[2]])}
    colours = {
        0x7310: ("H", list(black)),
        0x7313: ("h", list(balance)),
        0x787F: ("H", [linear] * 3),
    }
    # LibRaw leaves out a value that lies close to the end.
    size = len(directory(colours, 0)) // 4 * 4 + 64

    def header(start: int) -> bytes:
        raw = Nested({**tags, STRIP_OFFSET: ("I", [start + size])})
        private = Nested({0x7200: ("I", [start]), 0x7201: ("I", [size]), 0x7221: ("I", [_KEY])})
        first = {**camera, SUB_IFDS: raw, EXIF: exif, _PRIVATE: private}
        front = tiff([first]).ljust(start, b"\0")
        return front + encrypted(directory(colours, start).ljust(size, b"\0"), _KEY)

    return placed(header, stream)

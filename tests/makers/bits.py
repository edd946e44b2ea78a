"""Huffman codes and bit streams: what the makers' compressed raws have in common."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CHUNK = 1 << 20
"""Codes packed at once, for memory's sake."""


class Huffman:
    """A canonical Huffman code, as a JPEG's DHT segment states it (ITU-T T.81, annex C).

    Parameters
    ----------
    counts : sequence of int (at most 16)
        How many codes have 1, 2, ... bits.
    leaves : sequence of int
        What the codes stand for, in the order of their values; 0 to 255.
    """

    def __init__(self, counts: Sequence[int], leaves: Sequence[int]) -> None:
        assert sum(counts) == len(leaves)
        self.counts, self.leaves = bytes(counts).ljust(16, b"\0"), bytes(leaves)
        self._codes, self._lengths = (np.zeros(256, np.uint64) for _ in range(2))
        lengths = [bits for bits, count in enumerate(counts, 1) for _ in range(count)]
        code = 0
        for number, (leaf, length) in enumerate(zip(leaves, lengths, strict=True)):
            if number:
                code = (code + 1) << (length - lengths[number - 1])
            self._codes[leaf], self._lengths[leaf] = code, length

    def encode(
        self, leaves: NDArray[np.uint8], extra: NDArray[np.uint64], bits: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return each leaf's code followed by its `extra` bits, and the length of both in bits."""
        lengths = self._lengths[leaves]
        assert lengths.all(), "a leaf without a code"
        return (self._codes[leaves] << bits) | extra, lengths + bits

    def differences(self, values: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Encode differences as lossless JPEG does: the number of bits, then the low ones.

        A negative difference of n bits is stored as itself plus 2^n - 1 (ITU-T T.81, H.1.2.2).
        """
        flat = np.asarray(values, np.int64).ravel()
        # Of each difference that occurs, once.
        low = int(flat.min())
        every = np.arange(low, int(flat.max()) + 1)
        bits = np.ceil(np.log2(np.abs(every) + 1)).astype(np.int64)
        stored = every + np.where(every < 0, (1 << bits) - 1, 0)
        codes, lengths = self.encode(
            bits.astype(np.uint8), stored.astype(np.uint64), bits.astype(np.uint64)
        )
        return codes[flat - low], lengths[flat - low]


def nearest(curve: NDArray[np.int64], samples: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Return the index into a rising curve that comes nearest to each sample, ties to the even."""
    middle = (curve[:-1] + curve[1:]) / 2 + np.resize([0.1, -0.1], len(curve) - 1)
    every = np.searchsorted(middle, np.arange(int(samples.max()) + 1))
    return every[samples]


def packed(values: NDArray[np.uint64], lengths: NDArray[np.uint64], filler: int = 0) -> bytes:
    """Join codes to a stream, the highest bit first; the last byte is filled with `filler` bits.

    Parameters
    ----------
    values, lengths : uint64 arrays (N,)
        Codes and their lengths in bits, 32 at most.
    """
    parts, carry, carried = [], 0, 0
    for start in range(0, len(values), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        code = np.concatenate([[np.uint64(carry)], values[chunk]])
        length = np.concatenate([[np.uint64(carried)], lengths[chunk]])
        ends = np.cumsum(length)
        begins = ends - length
        word = (begins >> np.uint64(5)).astype(np.int64)
        # Each code lies in two neighbouring words of 32 bits; sums of disjoint bits are exact.
        placed = code << (np.uint64(64) - (begins & np.uint64(31)) - length)
        count = int(word[-1]) + 2
        high = np.bincount(word, (placed >> np.uint64(32)).astype(np.float64), count)
        low = np.bincount(word + 1, (placed & np.uint64(0xFFFFFFFF)).astype(np.float64), count + 1)
        high = np.append(high, 0) + low
        total = int(ends[-1])
        whole, carried = divmod(total, 8)
        data = high.astype(np.uint32).astype(">u4").tobytes()
        carry = data[whole] >> (8 - carried) if carried else 0
        parts.append(data[:whole])
    if carried:
        parts.append(bytes([(carry << (8 - carried)) | (((1 << (8 - carried)) - 1) * filler)]))
    return b"".join(parts)


def from_two_left(mosaic: NDArray[np.uint16], first: ArrayLike) -> NDArray[np.int64]:
    """Return differences (H, W) from the sample two to the left, the same colour.

    Parameters
    ----------
    mosaic : (H, W)
    first : (H, 2)
        What the first two samples of each row are predicted by.
    """
    values = mosaic.astype(np.int64)
    differences = np.empty_like(values)
    differences[:, :2] = values[:, :2] - np.asarray(first)
    differences[:, 2:] = values[:, 2:] - values[:, :-2]
    return differences

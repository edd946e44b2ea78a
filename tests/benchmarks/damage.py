"""Damaging raw files, as cards, copies and disks do it, and as nobody would."""

import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

HEADER = 4096
"""Bytes in which most of what describes a raw lies."""
_EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 100_000)


def cut(data: bytearray, others: Sequence[bytes], draw: random.Random) -> bytearray:
    """Cut the end off: near the end, in the middle, in the header."""
    end = draw.choice([draw.randrange(len(data)), draw.randrange(HEADER), len(data) - 1])
    return data[:end]


def flip(data: bytearray, others: Sequence[bytes], draw: random.Random) -> bytearray:
    """Flip 1 to 64 bits, in the header or anywhere."""
    reach = draw.choice([min(HEADER, len(data)), len(data)])
    for _ in range(2 ** draw.randrange(7)):
        data[draw.randrange(reach)] ^= 1 << draw.randrange(8)
    return data


def swap(data: bytearray, others: Sequence[bytes], draw: random.Random) -> bytearray:
    """Put the first bytes of another raw before the rest of this one."""
    size = 2 ** draw.randrange(3, 13)
    return bytearray(draw.choice(others)[:size]) + data[size:]


def number(data: bytearray, others: Sequence[bytes], draw: random.Random) -> bytearray:
    """Overwrite numbers of the header with very large and very small ones."""
    for _ in range(draw.choice([1, 4])):
        at = 2 * draw.randrange(4, min(HEADER, len(data)) // 2 - 2)
        struct.pack_into("<I", data, at, draw.choice(_EXTREMES))
    return data


def blank(data: bytearray, others: Sequence[bytes], draw: random.Random) -> bytearray:
    """Blank a block, as a card's lost sector."""
    size = 512 * 2 ** draw.randrange(8)
    at = draw.randrange(0, len(data), 512)
    data[at : at + size] = bytes(len(data[at : at + size]))
    return data


Damage = Callable[[bytearray, Sequence[bytes], random.Random], bytearray]
KINDS: dict[str, Damage] = {
    "truncations": cut,
    "bit flips": flip,
    "swapped headers": swap,
    "numbers in the header": number,
    "lost blocks": blank,
}


def variants(
    originals: Sequence[Path], folder: Path, count: int, draw: random.Random
) -> list[Path]:
    """Write damaged variants of files, as many of each file and each kind; return them."""
    folder.mkdir(parents=True)
    contents = [path.read_bytes() for path in originals]
    kinds = list(KINDS)
    made = []
    for index in range(count):
        which = index % len(originals)
        kind = kinds[index // len(originals) % len(kinds)]
        others = [data for place, data in enumerate(contents) if place != which]
        data = KINDS[kind](bytearray(contents[which]), others, draw)
        name = f"{index:03d}-{kind.replace(' ', '-')}-{originals[which].name}"
        (folder / name).write_bytes(data)
        made.append(folder / name)
    return made

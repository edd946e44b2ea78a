"""Real headers of cameras, whose images were cut off, completed with made-up streams."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ledcli.metadata.tiff import Directory, byte_order
from tests.makers import canon, nikon, sony
from tests.makers.tiff import EXIF, STRIP_BYTES, STRIP_OFFSET, directory
from tests.shoot import SHARED

Made = tuple[bytes, NDArray[np.uint16]]
"""A raw, and the sensor's samples (H, W) that it must decode to."""
Complete = Callable[[bytes, NDArray[np.uint16]], Made]


@dataclass(frozen=True)
class Donor:
    """A real header, and what exiftool says of it.

    Attributes
    ----------
    file : str
    shape : (H, W)
        Of the sensor.
    bits : int
    black : int
        In DN.
    white : (lowest, highest)
        The white level in DN, from LibRaw's table of cameras where the file has none.
    balance : (red, blue)
        As-shot multipliers.
    crop : (top, left, height, width) or None
        Of the sensor; what the camera's own JPEG shows.
    iso, time : float
        Time in seconds.
    date : str
    complete : function
        Makes the header and samples (H, W) of `bits` to a raw.
    lit : (top, left, bottom, right) or None
        What is not masked, by LibRaw's table of cameras; None for all.
    """

    file: str
    shape: tuple[int, int]
    bits: int
    black: int
    white: tuple[int, int]
    balance: tuple[float, float]
    crop: tuple[int, int, int, int] | None
    iso: float
    time: float
    date: str
    complete: Complete
    lit: tuple[int, int, int, int] | None = None

    def __str__(self) -> str:
        return self.file

    @property
    def path(self) -> Path:
        """Where the header is; it may be missing."""
        return SHARED / "raw/bad" / self.file

    def shoot(
        self,
        folder: Path,
        scene: NDArray[np.float64],
        *,
        noise: float = 1.0,
        name: str = "",
        longer: int = 1,
    ) -> tuple[Path, NDArray[np.uint16]]:
        """Write a raw of a small scene (h, w), 0 black, 1 white, repeated over the sensor.

        Returns its path and all its samples. `noise` is the read noise and the gain, in DN and DN
        per electron; the exposure time is `longer` than the header's by that factor.
        """
        rng = np.random.default_rng(longer)
        light = rng.poisson(scene * (self.white[0] - self.black) / noise) * noise
        seen, dark = (
            self.black + part + rng.normal(0, noise, scene.shape) for part in (light, 0 * light)
        )
        repeats = [-(-side // part) for side, part in zip(self.shape, scene.shape, strict=True)]
        mosaic, masked = (
            np.tile(np.rint(part).clip(0, (1 << self.bits) - 1).astype(np.uint16), repeats)
            for part in (seen, dark)
        )
        if self.lit:
            top, left, bottom, right = self.lit
            masked[top:bottom, left:right] = mosaic[top:bottom, left:right]
            mosaic = masked
        data, decoded = self.complete(
            _exposed(self.path.read_bytes(), longer), mosaic[: self.shape[0], : self.shape[1]]
        )
        path = folder / (name or self.file)
        path.write_bytes(data)
        return path, decoded


def _exposed(header: bytes, longer: int) -> bytes:
    """Multiply the exposure time, a RATIONAL of the Exif directory."""
    exif = Directory.first(header).child(EXIF)
    data, at = bytearray(header), exif.entries[33434].position
    (numerator,) = struct.unpack_from(exif.order + "I", data, at)
    struct.pack_into(exif.order + "I", data, at, numerator * longer)
    return bytes(data)


def _cr2(slices: Sequence[int], bits: int) -> Complete:
    def complete(header: bytes, mosaic: NDArray[np.uint16]) -> Made:
        return _with_image(header, canon.stream(mosaic, slices, bits=bits)), mosaic

    return complete


def _nef(kind: str, bits: int) -> Complete:
    def complete(header: bytes, mosaic: NDArray[np.uint16]) -> Made:
        order = byte_order(header) or ""
        coded = nikon.encode(mosaic, kind, bits=bits, order=order)
        notes = header.index(b"Nikon\0\2") + 10
        own = Directory.first(header[notes:])
        table = own.entries[0x96]
        whole = bytearray(header + bytes(len(header) % 2))
        # The entry's place is known by its value: tag, type and count of undefined bytes.
        entry = struct.pack(f"{order}HHII", 0x96, 7, table.count, table.position)
        new = struct.pack(f"{order}HHII", 0x96, 7, len(coded.table), len(whole) - notes)
        whole = whole.replace(entry, new) + coded.table
        return _with_image(bytes(whole), coded.stream), coded.decoded

    return complete


def _arw(header: bytes, mosaic: NDArray[np.uint16]) -> Made:
    stream, decoded = sony.arw2(mosaic)
    return _with_image(header, stream), decoded


def _arw_without_directory(header: bytes, mosaic: NDArray[np.uint16]) -> Made:
    """Complete a header that ends before the raw's directory, whose place it names."""
    at = Directory.first(header).integers(330)[0]
    stream, decoded = sony.arw2(mosaic)
    fields = sony.raw_fields(mosaic.shape, len(stream), compressed=True)
    own = directory({**fields, STRIP_OFFSET: ("I", [at + 4096])}, at)
    return header.ljust(at, b"\0") + own.ljust(4096, b"\0") + stream, decoded


def _with_image(header: bytes, stream: bytes) -> bytes:
    """Put an image where the raw's directory says, or at the end where the header is longer."""
    order = byte_order(header) or ""
    raw = next(
        own
        for own in Directory.walk(header)
        if {0xC640, 33422} & own.entries.keys() and STRIP_OFFSET in own.entries
    )
    data, at = bytearray(header), raw.integers(STRIP_OFFSET)[0]
    if at < len(header):
        at = len(data) + len(data) % 2
    for tag, value in ((STRIP_OFFSET, at), (STRIP_BYTES, len(stream))):
        struct.pack_into(order + "I", data, raw.entries[tag].position, value)
    return bytes(data).ljust(at, b"\0") + stream


DONORS = (
    Donor(
        "exiftool_Nikon.nef", (2014, 3040), 12, 0, (3685, 4095), (2.01516247, 1.6951313), None,
        200, 1 / 20, "2004:06:09 16:02:35", _nef("D\x10", 12),
    ),
    Donor(
        "exiftool_CanonRaw.cr2", (2328, 3516), 12, 256, (3685, 4095), (2002 / 1185, 2364 / 1185),
        (19, 52, 2304, 3456), 400, 1 / 15, "2005:08:03 18:59:18", _cr2((1, 1758, 1758), 12),
        (14, 42, 2328, 3516),
    ),
    Donor(
        "sony_a55_truncated.ARW", (3280, 4928), 14, 512, (15360, 15360), (2500 / 1024, 1600 / 1024),
        (8, 8, 3264, 4912), 100, 1 / 100, "2017:10:22 11:54:20", _arw,
    ),
    Donor(
        "canon_1ds3_header.CR2", (3774, 5712), 14, 1024, (15000, 15500), (1898 / 1030, 2400 / 1030),
        (25, 72, 3744, 5616), 100, 1 / 40, "2007:10:18 13:44:32", _cr2((2, 1920, 1872), 14),
        (20, 62, 3772, 5702),
    ),
    Donor(
        "nikon_d7100_truncated.NEF", (4020, 6036), 14, 0, (14745, 16383), (2.38671875, 1.59765625),
        None, 100, 1 / 30, "2013:09:03 09:45:16", _nef("F0", 14),
    ),
    Donor(
        "trunc_sony_zve10.arw", (4024, 6048), 14, 512, (15360, 15360), (2760 / 1024, 1960 / 1024),
        (12, 12, 4000, 6000), 100, 1 / 160, "2021:07:24 14:23:06", _arw_without_directory,
    ),
)  # fmt: skip
"""The smallest first. The D70's white balance is that of Nikon Capture, which changed the file."""

"""Developed pictures: a mosaic rendered by LibRaw, and PNG or TIFF with 16 bits per channel."""

import functools
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import imagecodecs
import numpy as np
import rawpy
from numpy.typing import NDArray
from PIL import ImageCms

from ledcli.errors import OutputError, RawError
from ledcli.metadata.carried import Carried
from ledcli.metadata.tiff import Directory, FieldType, serialise
from ledcli.metadata.xmp import PNG_XMP, XMP_TAG, xmp_packet
from ledcli.output.dng import SOFTWARE, dng_bytes
from ledcli.output.gain_maps import apply_gain_maps
from ledcli.output.pixels import postprocess
from ledcli.output.tags import EXIF_IFD, IPTC_TAG, RGB, put_image, put_tags
from ledcli.raw.exif import Exif
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import unpack

SRGB_GAMMA = (2.4, 12.92)
"""Power and slope of the sRGB curve, IEC 61966-2-1, for LibRaw."""
_ICC_TAG = 34675
_LZW = 5
"""Compression that TIFF 6.0 itself defines: some readers lack Deflate."""
_STRIP_BYTES = 1 << 20
_DOTS_PER_INCH = 300
_DEFLATE_LEVEL = 1
"""Slower levels make 16-bit photos less than 1 % smaller."""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ITXT_PLAIN = bytes(5)
"""After the keyword of a text chunk: its end, not compressed (2 bytes), no language and no
translated keyword."""


@dataclass
class DenoisedPhoto:
    """A denoised photo, ready to be written in any format."""

    photo: RawPhoto
    note: Mapping[str, object] = field(default_factory=dict)
    """What was done, for the record in the file."""
    planes: NDArray[np.float32] | None = None
    """``(planes, h, w)``, denoised, times the ratio; None if the network made a picture."""
    headroom: float = 1.0
    """The brightest value that a DNG must hold; white is 1."""
    developed: NDArray[np.uint16] | None = None
    """The network's picture (h, w, 3): sRGB, upright."""

    @cached_property
    def mosaic(self) -> NDArray[np.float32]:
        """The denoised mosaic (H, W), white at 1; raises OutputError if there is none."""
        if self.planes is None:
            raise OutputError(
                f"{self.photo.path}: the model makes pictures, not raw planes; use --format png"
            )
        return unpack(self.planes, self.photo.phase, self.photo.mosaic.shape)

    @cached_property
    def picture(self) -> NDArray[np.uint16]:
        """The picture (h, w, 3): sRGB, the maker's crop, upright.

        Developed by LibRaw, with the source's gain maps, if the network made none.
        """
        if self.developed is not None:
            return self.developed
        photo = self.photo
        x = apply_gain_maps(self.mosaic, photo.phase, photo.carried)
        plain = replace(photo, orientation=1, carried=replace(photo.carried, raw={}))
        whole = develop_dng(dng_bytes(plain, x, compression="none"))
        return upright(cropped(whole, photo), photo.orientation)


def develop_mosaic(photo: RawPhoto, x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Develop a mosaic (H, W) like `develop_dng`, with the photo's colours and white balance.

    Its white is 1. Returns sRGB (H, W, 3) in the sensor's orientation: one pixel for each of the
    mosaic. Raises RawError when the photo's pixels are not square, OutputError when LibRaw fails.
    """
    check_square(photo)
    plain = replace(photo, orientation=1, crop=None)
    return develop_dng(dng_bytes(plain, x, compression="none"))


def check_square(photo: RawPhoto) -> None:
    """Raise RawError if a photo's pixels are not square."""
    if photo.pixel_aspect != 1:
        raise RawError(
            f"{photo.path}: its pixels are not square, so no picture can be made of it: leave it "
            "out, or use a model that writes DNGs"
        )


def cropped(picture: NDArray[np.uint16], photo: RawPhoto) -> NDArray[np.uint16]:
    """Return the maker's crop of a picture (H, W, 3) of the whole mosaic, in its orientation.

    The picture may be stretched where pixels are not square.
    """
    if photo.crop is None:
        return picture
    scale = np.divide(picture.shape[:2], photo.mosaic.shape)
    top, left, height, width = np.rint(photo.crop * np.tile(scale, 2)).astype(int)
    return picture[top : top + height, left : left + width]


def upright(picture: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Turn a picture (H, W, 3) upright, given its TIFF orientation, 1 to 8."""
    rows, cols = orientation in (3, 4, 6, 7), orientation in (2, 3, 7, 8)
    picture = picture[:: -1 if rows else 1, :: -1 if cols else 1]
    return np.ascontiguousarray(picture.transpose(1, 0, 2) if orientation >= 5 else picture)


def develop_dng(dng: bytes) -> NDArray[np.uint16]:
    """Develop a DNG of `dng_bytes` with LibRaw: as-shot white balance, unchanged brightness.

    Returns sRGB (h, w, 3), upright. Raises OutputError when LibRaw cannot develop it.
    """
    return postprocess(
        dng,
        {"use_camera_wb": True, "gamma": SRGB_GAMMA, "output_color": rawpy.ColorSpace.sRGB},
        advice="use --format dng",
    )


def png_bytes(
    rgb: NDArray[np.uint16],
    *,
    photo: RawPhoto | None = None,
    note: Mapping[str, object] | None = None,
) -> bytes:
    """Make a PNG of 16 bits per channel with the sRGB profile, of an upright picture (h, w, 3).

    The photo is the source of the EXIF, GPS and XMP tags; the note says what was done, for the XMP
    record.
    """
    height, width, _ = rgb.shape
    samples = rgb.astype(">u2").view(np.uint8).reshape(height, width * 6)
    # Filter type 1: each byte minus the same byte of the pixel on its left.
    lines = np.ones((height, 1 + width * 6), np.uint8)
    lines[:, 1:] = samples
    lines[:, 7:] -= samples[:, :-6]
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), _chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(srgb_profile()))]
    if photo is not None:
        tags = _tags(photo)
        tags.fields.pop(IPTC_TAG, None)  # PNG has no place for it
        chunks.append(_chunk(b"eXIf", serialise(tags)))
    if xmp := _xmp(photo, note):
        chunks.append(_chunk(b"iTXt", PNG_XMP.encode() + _ITXT_PLAIN + xmp))
    # Three times as fast as zlib.
    data = bytes(imagecodecs.deflate_encode(lines.tobytes(), level=_DEFLATE_LEVEL))
    chunks += [_chunk(b"IDAT", data), _chunk(b"IEND", b"")]
    return b"".join([_PNG_SIGNATURE, *chunks])


def tiff_bytes(
    rgb: NDArray[np.uint16],
    *,
    photo: RawPhoto | None = None,
    note: Mapping[str, object] | None = None,
) -> bytes:
    """Make a TIFF of 16 bits per channel with the sRGB profile.

    The parameters are those of `png_bytes`; the tags include IPTC.
    """
    height, width, _ = rgb.shape
    rows = max(1, _STRIP_BYTES // (width * 6))
    root = _tags(photo)
    put_image(root, rgb.shape, bits=16, photometric=RGB)
    del root.fields[254]
    root.set(259, FieldType.SHORT, _LZW)  # Compression
    root.set(278, FieldType.LONG, rows)  # RowsPerStrip
    root.set(317, FieldType.SHORT, 2)  # Predictor: horizontal differences
    root.set(_ICC_TAG, FieldType.UNDEFINED, srgb_profile())
    if xmp := _xmp(photo, note):
        root.set(XMP_TAG, FieldType.BYTE, xmp)
    root.strips = [_lzw_strip(rgb[top : top + rows]) for top in range(0, height, rows)]
    return serialise(root)


@functools.cache
def srgb_profile() -> bytes:
    """Return the ICC profile of sRGB, the same bytes every time."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Bytes 24 to 35 are the time of creation: with it no two runs would write the same file.
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


def _lzw_strip(rows: NDArray[np.uint16]) -> bytes:
    differences = rows.astype("<u2")
    differences[:, 1:] -= rows[:, :-1]
    return bytes(imagecodecs.lzw_encode(differences.tobytes()))


def _xmp(photo: RawPhoto | None, note: Mapping[str, object] | None) -> bytes | None:
    """Make the XMP packet; None if there is nothing to record."""
    base = photo.carried.xmp if photo else None
    return xmp_packet(note or {}, base, upright=True) if note or base else None


def _tags(photo: RawPhoto | None) -> Directory:
    """Make a directory with the tags of the shot and of an sRGB picture."""
    root = Directory()
    put_tags(root, photo.exif if photo else Exif(), photo.carried if photo else Carried())
    root.set(274, FieldType.SHORT, 1)  # Orientation: the pixels are upright
    root.set_text(305, SOFTWARE)  # Software
    root.set(282, FieldType.RATIONAL, _DOTS_PER_INCH)  # XResolution
    root.set(283, FieldType.RATIONAL, _DOTS_PER_INCH)  # YResolution
    root.set(296, FieldType.SHORT, 2)  # ResolutionUnit: inch
    (exif,) = root.children[EXIF_IFD]
    exif.set(40960, FieldType.UNDEFINED, b"0100")  # FlashpixVersion
    exif.set(40961, FieldType.SHORT, 1)  # ColorSpace: sRGB
    return root


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

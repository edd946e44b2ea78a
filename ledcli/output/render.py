"""Pictures to look at: a DNG developed by LibRaw, as PNG or TIFF of 16 bits per channel."""

import functools
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

import imagecodecs
import numpy as np
import rawpy
from numpy.typing import NDArray
from PIL import ImageCms

from ledcli.errors import OutputError, RawError
from ledcli.metadata.tiff import Blob, Directory, FieldType, serialise
from ledcli.metadata.xmp import PNG_XMP, XMP_TAG, xmp_packet
from ledcli.output.dng import dng_bytes
from ledcli.output.formats import FORMATS, SOFTWARE
from ledcli.output.samples import postprocess
from ledcli.output.tags import EXIF_IFD, IPTC_TAG, put_tags
from ledcli.raw.exif import Exif
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import unpack

_TRANSPOSED = (5, 6, 7, 8)
_ROWS_MIRRORED, _COLUMNS_MIRRORED = (3, 4, 7, 8), (2, 3, 6, 7)
"""TIFF orientations: of the stored picture, before rows and columns change places."""


@dataclass
class DenoisedPhoto:
    """A denoised photo, ready to be written in any format.

    Attributes
    ----------
    note : mapping
        What was done, for the record in the file.
    planes : float32 array (planes, h, w) or None
        Denoised, times the ratio; None if the network made a picture.
    headroom : float
        The brightest value that a DNG must hold; white is 1.
    developed : uint16 array (h, w, 3) or None
        The network's picture: sRGB, upright.
    """

    photo: RawPhoto
    note: Mapping[str, object] = field(default_factory=dict)
    planes: NDArray[np.float32] | None = None
    headroom: float = 1.0
    developed: NDArray[np.uint16] | None = None

    @cached_property
    def mosaic(self) -> NDArray[np.float32]:
        """The denoised mosaic (H, W), white at 1; raises OutputError if there is none."""
        if self.planes is None:
            raise OutputError(
                f"{self.photo.path}: the model makes pictures; use --format "
                + " or ".join(each.name for each in FORMATS.values() if not each.raw)
            )
        return unpack(self.planes, self.photo.phase, self.photo.mosaic.shape)

    @cached_property
    def picture(self) -> NDArray[np.uint16]:
        """The picture (h, w, 3): sRGB, upright; developed by LibRaw if the network made none."""
        if self.developed is not None:
            return self.developed
        return render_rgb16(
            dng_bytes(self.photo, self.mosaic, software=SOFTWARE, compression="none")
        )


def developed(photo: RawPhoto, x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Develop a mosaic plainly, as `render_rgb16` does: the photo's white balance, sRGB.

    Parameters
    ----------
    photo : RawPhoto
        Gives the colours.
    x : float32 array (H, W)
        Its mosaic or a cleaner one, white at 1, times any ratio.

    Returns
    -------
    uint16 array (H, W, 3)
        In the sensor's orientation: a pixel of the picture for each of the mosaic.

    Raises
    ------
    RawError
        The photo's pixels are not square.
    OutputError
        LibRaw cannot develop it.
    """
    check_square(photo)
    plain = replace(photo, orientation=1, crop=None)
    return render_rgb16(dng_bytes(plain, x, software=SOFTWARE, compression="none"))


def check_square(photo: RawPhoto) -> None:
    """Raise RawError where a photo's pixels are not square."""
    if photo.pixel_aspect != 1:
        raise RawError(
            f"{photo.path}: its pixels are not square, and a picture's are: leave it out, or use "
            "a model that makes DNGs"
        )


def upright(picture: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Turn a picture (H, W, 3) as its TIFF orientation, 1 to 8, says."""
    if orientation in _TRANSPOSED:
        picture = picture.transpose(1, 0, 2)
        # What mirrored the stored rows mirrors the shown columns.
        rows, cols = orientation in (7, 8), orientation in (6, 7)
    else:
        rows, cols = orientation in _ROWS_MIRRORED, orientation in _COLUMNS_MIRRORED
    return np.ascontiguousarray(picture[:: -1 if rows else 1, :: -1 if cols else 1])


SRGB_GAMMA = (2.4, 12.92)
"""Power and slope of the sRGB curve, IEC 61966-2-1."""
_ICC_TAG = 34675
_LZW = 5
_HORIZONTAL = 2
_STRIP_BYTES = 1 << 20
_DOTS_PER_INCH = Fraction(300)
_LEVEL = 1
"""Noise and fine gradients of 16 bits gain under 1 % from the slower levels."""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PLAIN_TEXT = bytes(5)
"""Behind a text chunk's keyword: its end, not compressed (two bytes), no language, no translation
of the keyword."""


def render_rgb16(dng: bytes) -> NDArray[np.uint16]:
    """Develop a DNG plainly: its white balance, sRGB, no change of brightness.

    Parameters
    ----------
    dng : bytes
        As `dng_bytes` makes it.

    Returns
    -------
    uint16 array (h, w, 3)
        sRGB, turned upright.

    Raises
    ------
    OutputError
        LibRaw cannot develop it.
    """
    return postprocess(
        dng,
        {
            "use_camera_wb": True,
            "gamma": SRGB_GAMMA,
            "output_color": rawpy.ColorSpace.sRGB,
        },
        advice="use --format dng",
    )


def png_bytes(
    rgb: NDArray[np.uint16],
    *,
    photo: RawPhoto | None = None,
    software: str | None = None,
    note: Mapping[str, object] | None = None,
) -> bytes:
    """Make a PNG of 16 bits per channel with the sRGB profile.

    Parameters
    ----------
    rgb : uint16 array (h, w, 3)
        sRGB, upright.
    photo : RawPhoto or None
        Its tags are embedded: EXIF, GPS, XMP.
    software : str or None
    note : mapping or None
        Of what was done, embedded as XMP.

    Returns
    -------
    bytes
    """
    height, width, _ = rgb.shape
    samples = rgb.astype(">u2").view(np.uint8).reshape(height, width * 6)
    # PNG filter 1: each byte as the difference to the same byte of the pixel on its left.
    lines = np.ones((height, 1 + width * 6), np.uint8)
    lines[:, 1:] = samples
    lines[:, 7:] -= samples[:, :-6]
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = [
        _chunk(b"IHDR", header),
        _chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(srgb_profile())),
    ]
    if photo is not None:
        about = _about(photo, software)
        # IPTC has no place in a PNG.
        about.fields.pop(IPTC_TAG, None)
        chunks.append(_chunk(b"eXIf", serialise(about)))
    packet = _packet(photo, note)
    if packet:
        chunks.append(_chunk(b"iTXt", PNG_XMP.encode() + _PLAIN_TEXT + packet))
    chunks += [_chunk(b"IDAT", _deflate(lines.tobytes())), _chunk(b"IEND", b"")]
    return b"".join([_PNG_SIGNATURE, *chunks])


def tiff_bytes(
    rgb: NDArray[np.uint16],
    *,
    photo: RawPhoto | None = None,
    software: str | None = None,
    note: Mapping[str, object] | None = None,
) -> bytes:
    """Make a TIFF of 16 bits per channel with the sRGB profile.

    Compressed by LZW, which TIFF 6.0 itself defines: readers that lack Deflate have it.

    Parameters
    ----------
    rgb : uint16 array (h, w, 3)
        sRGB, upright.
    photo : RawPhoto or None
        Its tags are embedded: EXIF, GPS, XMP, IPTC.
    software : str or None
    note : mapping or None
        Of what was done, embedded as XMP.

    Returns
    -------
    bytes
    """
    height, width, _ = rgb.shape
    rows = max(1, _STRIP_BYTES // (width * 6))
    root = _about(photo, software)
    root.set(256, FieldType.LONG, width)
    root.set(257, FieldType.LONG, height)
    root.set(258, FieldType.SHORT, (16, 16, 16))
    root.set(259, FieldType.SHORT, _LZW)
    root.set(262, FieldType.SHORT, 2)
    root.set(277, FieldType.SHORT, 3)
    root.set(278, FieldType.LONG, rows)
    root.set(284, FieldType.SHORT, 1)
    root.set(317, FieldType.SHORT, _HORIZONTAL)
    root.set(_ICC_TAG, FieldType.UNDEFINED, srgb_profile())
    packet = _packet(photo, note)
    if packet:
        root.set(XMP_TAG, FieldType.BYTE, packet)
    root.strips = [_strip(rgb[top : top + rows]) for top in range(0, height, rows)]
    return serialise(root)


@functools.cache
def srgb_profile() -> bytes:
    """Return the ICC profile of sRGB, the same bytes every time."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Bytes 24 to 35 are the moment it was made: with it no two runs would write the same file.
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


def _strip(rows: NDArray[np.uint16]) -> Blob:
    """Compress rows of pixels as differences to the left neighbour."""
    differences = rows.astype("<u2")
    differences[:, 1:] -= rows[:, :-1]
    return bytes(imagecodecs.lzw_encode(differences.tobytes()))


def _deflate(data: bytes) -> bytes:
    """Compress as zlib does, three times as fast."""
    return bytes(imagecodecs.deflate_encode(data, level=_LEVEL))


def _packet(photo: RawPhoto | None, note: Mapping[str, object] | None) -> bytes | None:
    """Make the XMP packet; None when there is nothing to say."""
    base = photo.carried.xmp if photo else None
    return xmp_packet(note or {}, base, upright=True) if note or base else None


def _about(photo: RawPhoto | None, software: str | None) -> Directory:
    """Tags about the shot. The pixels are upright already, so the orientation is 1."""
    root = Directory()
    put_tags(root, photo.exif if photo else Exif(), photo.carried if photo else None)
    root.set(274, FieldType.SHORT, 1)
    root.set_text(305, software)
    for tag in (282, 283):
        root.set(tag, FieldType.RATIONAL, _DOTS_PER_INCH)
    root.set(296, FieldType.SHORT, 2)
    (shot,) = root.children[EXIF_IFD]
    shot.set(40960, FieldType.UNDEFINED, b"0100")
    shot.set(40961, FieldType.SHORT, 1)
    return root


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

"""Writing a mosaic back as a DNG that opens as if the camera had made it.

Laid out as Adobe's own: a thumbnail with the tags of camera and shot in the first directory, the
raw picture and a larger preview in directories below it.
"""

import re
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ledcli.photo.carried import Fields
from ledcli.photo.cfa import AnyPhase, pattern
from ledcli.photo.colour import put_colour
from ledcli.photo.exifwrite import put_shot
from ledcli.photo.levels import WHITE, output_black, quantise
from ledcli.photo.linear import demosaic, put_pattern
from ledcli.photo.ljpeg import ljpeg_tiles
from ledcli.photo.preview import jpeg_bytes, preview_rgb, thumbnail
from ledcli.photo.raw import RawPhoto
from ledcli.photo.tiff import Directory, Kind, serialise
from ledcli.photo.xmp import XMP_TAG, xmp_packet

COMPRESSIONS = ("ljpeg", "none")
_SUB_IFDS = 330
_MAIN, _REDUCED = 0, 1
"""NewSubfileType."""
_UNCOMPRESSED, _JPEG = 1, 7
_RGB, _YCBCR, _CFA, _LINEAR_RAW = 2, 6, 32803, 34892
"""PhotometricInterpretation."""
_SRGB = 2
"""PreviewColorSpace."""
_CENTRED = 1
"""YCbCrPositioning."""
_OF_MOSAIC, _OF_COLOURS = (50733, 51009, 51022), (51022,)
"""BayerGreenSplit and the opcodes of lens and sensor corrections (checked by `read_carried`).
OpcodeList2 may count by the Bayer pattern, so that it is not for a demosaiced picture."""
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)?")


def dng_bytes(
    photo: RawPhoto,
    x: NDArray[np.float32],
    *,
    software: str,
    note: Mapping[str, object] | None = None,
    compression: str = "ljpeg",
    linear: bool = False,
    headroom: float = 1.0,
) -> bytes:
    """Make a DNG of 16 bits.

    Parameters
    ----------
    photo : RawPhoto
        Gives everything but the pixels.
    x : float32 array (H, W)
        The mosaic, normalised (0 black, 1 white) and already times the ratio. Rounded to the
        nearest DN; above the headroom it is white; noise below 0 is kept by the pedestal.
    software : str
        Name and version of the program.
    note : mapping or None
        What was done, for the XMP record; its ``when`` is also the preview's date.
    compression : str
        ``ljpeg`` or ``none``; both keep every bit.
    linear : bool
        Demosaiced: three colours a pixel (LinearRaw) instead of the mosaic.
    headroom : float
        Values of `x` up to here are kept; programs that honour BaselineExposure show 1 as white.

    Returns
    -------
    bytes

    Raises
    ------
    OutputError
        `x` holds values that are not numbers, or the file would exceed 4 GB.
    """
    if x.shape != photo.mosaic.shape:
        raise ValueError(f"pixels of {x.shape} for a mosaic of {photo.mosaic.shape}")
    if compression not in COMPRESSIONS:
        raise ValueError(f"{compression!r} is not one of {', '.join(COMPRESSIONS)}")
    if linear:
        samples = demosaic(photo, x, headroom)
        raw = _colours(samples, photo.carried.raw)
    else:
        black = output_black(photo, x, headroom)
        samples = quantise(x, photo.phase, black, headroom=headroom)
        raw = _mosaic(samples, photo.phase, black, photo.carried.raw)
    _put_frame(raw, photo)
    _put_samples(raw, samples, compression)
    shown = preview_rgb(photo, x)
    root = _first(photo, thumbnail(shown), software)
    put_colour(root, photo, headroom)
    if note or photo.carried.xmp:
        root.raw(XMP_TAG, Kind.BYTE, xmp_packet(note or {}, base=photo.carried.xmp))
    root.children[_SUB_IFDS] = [raw, _preview(shown, software, note)]
    return serialise(root)


def _first(photo: RawPhoto, picture: NDArray[np.uint8], software: str) -> Directory:
    """Make the first directory: the thumbnail, and the tags of shot, camera and file."""
    ifd = Directory()
    put_shot(ifd, photo)
    _put_picture(ifd, _REDUCED, picture.shape, bits=8, photometric=_RGB)
    ifd.integers(259, Kind.SHORT, _UNCOMPRESSED)
    ifd.strips = [picture.tobytes()]
    ifd.integers(274, Kind.SHORT, photo.orientation)
    ifd.text(305, software)
    ifd.integers(50706, Kind.BYTE, (1, 4, 0, 0))
    ifd.integers(50707, Kind.BYTE, (1, 1, 0, 0))
    name = photo.path.name.encode("utf-8", "replace") + b"\0"
    ifd.raw(50827, Kind.ASCII if name.isascii() else Kind.BYTE, name)
    return ifd


def _preview(
    picture: NDArray[np.uint8], software: str, note: Mapping[str, object] | None
) -> Directory:
    ifd = Directory(strips=[jpeg_bytes(picture)])
    _put_picture(ifd, _REDUCED, picture.shape, bits=8, photometric=_YCBCR)
    ifd.integers(259, Kind.SHORT, _JPEG)
    ifd.integers(530, Kind.SHORT, (2, 2))
    ifd.integers(531, Kind.SHORT, _CENTRED)
    # JFIF: all of 8 bits, colour about 128.
    ifd.rationals(532, [Fraction(level) for level in (0, 255, 128, 255, 128, 255)])
    name, _, version = software.rpartition(" ")
    ifd.text(50966, name or software)
    ifd.text(50967, version if name else None)
    ifd.integers(50970, Kind.LONG, _SRGB)
    when = str((note or {}).get("when", ""))
    ifd.text(50971, when if _DATE.fullmatch(when) else None)
    return ifd


def _mosaic(
    samples: NDArray[np.uint16], phase: AnyPhase, black: NDArray[np.int64], carried: Fields
) -> Directory:
    """Make the directory of a mosaic but for the samples: pattern and levels."""
    ifd = Directory()
    _put_picture(ifd, _MAIN, samples.shape, bits=16, photometric=_CFA)
    put_pattern(ifd, phase)
    ifd.integers(50710, Kind.BYTE, (0, 1, 2))
    ifd.integers(50711, Kind.SHORT, 1)
    levels = black[pattern(phase)]
    ifd.integers(50713, Kind.SHORT, levels.shape)
    ifd.integers(50714, Kind.LONG, levels.ravel().tolist())
    ifd.integers(50717, Kind.LONG, WHITE)
    _copy(ifd, carried, _OF_MOSAIC)
    return ifd


def _colours(samples: NDArray[np.uint16], carried: Fields) -> Directory:
    """Make the directory of a demosaiced picture but for the samples."""
    ifd = Directory()
    _put_picture(ifd, _MAIN, samples.shape, bits=16, photometric=_LINEAR_RAW)
    ifd.integers(50717, Kind.LONG, (WHITE, WHITE, WHITE))
    _copy(ifd, carried, _OF_COLOURS)
    return ifd


def _copy(ifd: Directory, carried: Fields, tags: tuple[int, ...]) -> None:
    ifd.fields.update({tag: carried[tag] for tag in tags if tag in carried})


def _put_frame(ifd: Directory, photo: RawPhoto) -> None:
    """Put the shape of a pixel, the active area and the maker's crop."""
    height, width = photo.mosaic.shape
    aspect = Fraction(photo.pixel_aspect).limit_denominator(10000)
    wide, high = (aspect, Fraction(1)) if aspect >= 1 else (Fraction(1), 1 / aspect)
    ifd.rationals(50718, [wide, high])
    top, left, rows_shown, cols_shown = photo.crop or (0, 0, height, width)
    ifd.integers(50719, Kind.LONG, (left, top))
    ifd.integers(50720, Kind.LONG, (cols_shown, rows_shown))
    ifd.integers(50829, Kind.LONG, (0, 0, height, width))


def _put_samples(ifd: Directory, samples: NDArray[np.uint16], compression: str) -> None:
    if compression == "none":
        ifd.integers(259, Kind.SHORT, _UNCOMPRESSED)
        ifd.strips = [samples.astype("<u2", copy=False).tobytes()]
        return
    tiles = ljpeg_tiles(samples)
    del ifd.fields[278]
    ifd.integers(259, Kind.SHORT, _JPEG)
    ifd.integers(322, Kind.LONG, tiles.width)
    ifd.integers(323, Kind.LONG, tiles.length)
    ifd.strips, ifd.tiled = [*tiles.blobs], True


def _put_picture(
    ifd: Directory, purpose: int, shape: tuple[int, ...], *, bits: int, photometric: int
) -> None:
    """Put the tags that every picture has: one strip unless said otherwise later."""
    colours = shape[2] if len(shape) == 3 else 1
    ifd.integers(254, Kind.LONG, purpose)
    ifd.integers(256, Kind.LONG, shape[1])
    ifd.integers(257, Kind.LONG, shape[0])
    ifd.integers(258, Kind.SHORT, [bits] * colours)
    ifd.integers(262, Kind.SHORT, photometric)
    ifd.integers(277, Kind.SHORT, colours)
    ifd.integers(278, Kind.LONG, shape[0])
    ifd.integers(284, Kind.SHORT, 1)

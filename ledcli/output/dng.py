"""Writing a mosaic back as a DNG that opens as if the camera had made it.

Laid out as Adobe's own: a thumbnail with the tags of camera and shot in the first directory, the
raw picture and a larger preview in directories below it.
"""

import io
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import rawpy
from numpy.typing import NDArray

from ledcli.errors import OutputError
from ledcli.metadata.carried import Fields
from ledcli.metadata.tags import Place, Rule, tags_in
from ledcli.metadata.tiff import Directory, FieldType, serialise
from ledcli.metadata.xmp import XMP_TAG, xmp_packet
from ledcli.output.exif import put_shot
from ledcli.output.levels import WHITE, output_black, quantise
from ledcli.output.ljpeg import ljpeg_tiles
from ledcli.output.preview import jpeg_bytes, preview_rgb, thumbnail
from ledcli.raw.colour import put_colour, shot_wb
from ledcli.raw.libraw import demosaic_algorithm, quiet
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import AnyPhase, colour_pattern, pattern


def put_pattern(ifd: Directory, phase: AnyPhase) -> None:
    """Put which colour each pixel of a mosaic has; DNG numbers R, G, B as the planes' colours."""
    colours = colour_pattern(phase)
    ifd.set(33421, FieldType.SHORT, colours.shape)
    ifd.set(33422, FieldType.BYTE, colours.ravel().tolist())


def demosaic(photo: RawPhoto, x: NDArray[np.float32], headroom: float = 1.0) -> NDArray[np.uint16]:
    """Demosaic with LibRaw (AHD), and nothing else: no balance, no colour change, no clipping.

    LibRaw gets the mosaic balanced, as edges are found where the colours agree, and the balance
    is taken out afterwards. Its gains are at most 1, so that nothing is cut off below white.
    It also gets a pedestal. The result has none: with one in a demosaiced DNG, LibRaw shows it
    too dark and darktable and RawTherapee in false colours (LibRaw 0.22, darktable 4.2,
    RawTherapee 5.9).

    Parameters
    ----------
    photo : RawPhoto
        Gives everything but the pixels.
    x : float32 array (H, W)
        0 black.
    headroom : float
        The value of `x` that becomes 65,535 DN.

    Returns
    -------
    uint16 array (H, W, 3)
        Camera RGB, 0 black, 65,535 white; all of the mosaic, not turned.

    Raises
    ------
    OutputError
        `x` holds values that are not numbers, or LibRaw fails.
    """
    black = int(output_black(photo, x, headroom).max())
    wb = shot_wb(photo)
    gains = wb / wb.max()
    colours = photo.colours
    mosaic = quantise(
        x, photo.phase, np.full(len(colours), black), headroom=headroom, gains=gains[colours]
    )
    rgb = _by_libraw(_mosaic_alone(photo, mosaic))
    for colour, gain in enumerate(gains):
        plane = rgb[..., colour]
        # 65,536 entries instead of two passes in floating point over the picture.
        plane[...] = _without(black, gain)[plane]
    return rgb


def _without(black: int, gain: float) -> NDArray[np.uint16]:
    """Make a table of 65,536 DN that takes out a pedestal and a gain."""
    levels = (np.arange(WHITE + 1) - black) / (WHITE - black) / gain * WHITE
    return np.clip(np.rint(levels), 0, WHITE).astype(np.uint16)


def _by_libraw(dng: bytes) -> NDArray[np.uint16]:
    try:
        with quiet(), rawpy.imread(io.BytesIO(dng)) as raw:
            rgb: NDArray[Any] = raw.postprocess(
                demosaic_algorithm=demosaic_algorithm(raw),
                user_wb=[1, 1, 1, 1],
                user_black=0,
                user_sat=WHITE,
                user_flip=0,
                output_color=rawpy.ColorSpace.raw,
                output_bps=16,
                gamma=(1, 1),
                no_auto_bright=True,
                adjust_maximum_thr=0.0,
            )
    except rawpy.LibRawError as error:
        raise OutputError(
            f"LibRaw cannot demosaic the result ({error}): leave --linear out"
        ) from None
    return rgb.astype(np.uint16, copy=False)


def _mosaic_alone(photo: RawPhoto, mosaic: NDArray[np.uint16]) -> bytes:
    """Make a DNG of a mosaic (H, W) for LibRaw: black 0, so that the pedestal stays in."""
    height, width = mosaic.shape
    root = Directory(strips=[mosaic.astype("<u2", copy=False).data])
    for tag, kind, value in (
        (254, FieldType.LONG, 0),
        (256, FieldType.LONG, width),
        (257, FieldType.LONG, height),
        (258, FieldType.SHORT, 16),
        (259, FieldType.SHORT, 1),
        (262, FieldType.SHORT, 32803),
        (277, FieldType.SHORT, 1),
        (278, FieldType.LONG, height),
        (50717, FieldType.LONG, WHITE),
    ):
        root.set(tag, kind, value)
    put_pattern(root, photo.phase)
    root.set(50706, FieldType.BYTE, (1, 4, 0, 0))
    put_colour(root, photo)
    return serialise(root)


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
        root.set(XMP_TAG, FieldType.BYTE, xmp_packet(note or {}, base=photo.carried.xmp))
    root.children[_SUB_IFDS] = [raw, _preview(shown, software, note)]
    return serialise(root)


def _first(photo: RawPhoto, picture: NDArray[np.uint8], software: str) -> Directory:
    """Make the first directory: the thumbnail, and the tags of shot, camera and file."""
    ifd = Directory()
    put_shot(ifd, photo)
    _put_picture(ifd, _REDUCED, picture.shape, bits=8, photometric=_RGB)
    ifd.set(259, FieldType.SHORT, _UNCOMPRESSED)
    ifd.strips = [picture.tobytes()]
    ifd.set(274, FieldType.SHORT, photo.orientation)
    ifd.set_text(305, software)
    ifd.set(50706, FieldType.BYTE, (1, 4, 0, 0))
    ifd.set(50707, FieldType.BYTE, (1, 1, 0, 0))
    name = photo.path.name.encode("utf-8", "replace") + b"\0"
    ifd.set(50827, FieldType.ASCII if name.isascii() else FieldType.BYTE, name)
    return ifd


def _preview(
    picture: NDArray[np.uint8], software: str, note: Mapping[str, object] | None
) -> Directory:
    ifd = Directory(strips=[jpeg_bytes(picture)])
    _put_picture(ifd, _REDUCED, picture.shape, bits=8, photometric=_YCBCR)
    ifd.set(259, FieldType.SHORT, _JPEG)
    ifd.set(530, FieldType.SHORT, (2, 2))
    ifd.set(531, FieldType.SHORT, _CENTRED)
    # JFIF: all of 8 bits, colour about 128.
    ifd.set(532, FieldType.RATIONAL, (0, 255, 128, 255, 128, 255))
    name, _, version = software.rpartition(" ")
    ifd.set_text(50966, name or software)
    ifd.set_text(50967, version if name else None)
    ifd.set(50970, FieldType.LONG, _SRGB)
    when = str((note or {}).get("when", ""))
    ifd.set_text(50971, when if _DATE.fullmatch(when) else None)
    return ifd


def _mosaic(
    samples: NDArray[np.uint16], phase: AnyPhase, black: NDArray[np.int64], carried: Fields
) -> Directory:
    """Make the directory of a mosaic but for the samples: pattern and levels."""
    ifd = Directory()
    _put_picture(ifd, _MAIN, samples.shape, bits=16, photometric=_CFA)
    put_pattern(ifd, phase)
    ifd.set(50710, FieldType.BYTE, (0, 1, 2))
    ifd.set(50711, FieldType.SHORT, 1)
    levels = black[pattern(phase)]
    ifd.set(50713, FieldType.SHORT, levels.shape)
    ifd.set(50714, FieldType.LONG, levels.ravel().tolist())
    ifd.set(50717, FieldType.LONG, WHITE)
    ifd.fields.update(carried)
    return ifd


def _colours(samples: NDArray[np.uint16], carried: Fields) -> Directory:
    """Make the directory of a demosaiced picture but for the samples."""
    ifd = Directory()
    _put_picture(ifd, _MAIN, samples.shape, bits=16, photometric=_LINEAR_RAW)
    ifd.set(50717, FieldType.LONG, (WHITE, WHITE, WHITE))
    tags = tags_in(Place.RAW)
    for tag, field in carried.items():
        if tags[tag].rule is not Rule.MOSAIC_ONLY:
            ifd.fields[tag] = field
    return ifd


def _put_frame(ifd: Directory, photo: RawPhoto) -> None:
    """Put the shape of a pixel, the active area and the maker's crop."""
    height, width = photo.mosaic.shape
    aspect = Fraction(photo.pixel_aspect).limit_denominator(10000)
    wide, high = (aspect, Fraction(1)) if aspect >= 1 else (Fraction(1), 1 / aspect)
    ifd.set(50718, FieldType.RATIONAL, (wide, high))
    top, left, rows_shown, cols_shown = photo.crop or (0, 0, height, width)
    ifd.set(50719, FieldType.LONG, (left, top))
    ifd.set(50720, FieldType.LONG, (cols_shown, rows_shown))
    ifd.set(50829, FieldType.LONG, (0, 0, height, width))


def _put_samples(ifd: Directory, samples: NDArray[np.uint16], compression: str) -> None:
    if compression == "none":
        ifd.set(259, FieldType.SHORT, _UNCOMPRESSED)
        ifd.strips = [samples.astype("<u2", copy=False).tobytes()]
        return
    tiles = ljpeg_tiles(samples)
    del ifd.fields[278]
    ifd.set(259, FieldType.SHORT, _JPEG)
    ifd.set(322, FieldType.LONG, tiles.width)
    ifd.set(323, FieldType.LONG, tiles.length)
    ifd.strips, ifd.tiled = [*tiles.blobs], True


def _put_picture(
    ifd: Directory, purpose: int, shape: tuple[int, ...], *, bits: int, photometric: int
) -> None:
    """Put the tags that every picture has: one strip unless said otherwise later."""
    colours = shape[2] if len(shape) == 3 else 1
    ifd.set(254, FieldType.LONG, purpose)
    ifd.set(256, FieldType.LONG, shape[1])
    ifd.set(257, FieldType.LONG, shape[0])
    ifd.set(258, FieldType.SHORT, [bits] * colours)
    ifd.set(262, FieldType.SHORT, photometric)
    ifd.set(277, FieldType.SHORT, colours)
    ifd.set(278, FieldType.LONG, shape[0])
    ifd.set(284, FieldType.SHORT, 1)

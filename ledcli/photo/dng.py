"""Writing a mosaic back as a DNG that opens as if the camera had made it."""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import OutputError
from ledcli.photo.cfa import Phase, offsets
from ledcli.photo.exif import Exif
from ledcli.photo.raw import XYZ_FROM_SRGB, RawPhoto
from ledcli.photo.tags import ISO_ELSEWHERE, date
from ledcli.photo.tiff import Blob, Directory, Kind, rational, serialise
from ledcli.photo.xmp import XMP_TAG, xmp_packet

WHITE = 65535
"""DN of the output's white: all 16 bits."""
SMALLEST_PEDESTAL = 1024
"""DN kept under black, so that noise about black keeps its mean."""
LARGEST_PEDESTAL = 16384
_NOISE_SAMPLES = 1 << 20
_NOISE_QUANTILE = 1e-4
_D65 = 21
_CFA_COLOURS = {"R": 0, "G": 1, "B": 2}
_PPM = 1_000_000
_EXIF_IFD = 34665


def dng_bytes(
    photo: RawPhoto,
    x: NDArray[np.float32],
    *,
    software: str,
    note: Mapping[str, object] | None = None,
) -> bytes:
    """Make a DNG of 16 bits.

    Where the source gives no colour matrix, the camera's colours are taken for sRGB, as LibRaw
    shows such files; where it gives no white balance, daylight stands as the shot's.

    Parameters
    ----------
    photo : RawPhoto
        Gives everything but the pixels.
    x : float32 array (H, W)
        The mosaic, normalised (0 black, 1 white) and already times the ratio. Rounded to the
        nearest DN; above 1 it is white; noise below 0 is kept by the pedestal.
    software : str
        Name and version of the program.
    note : mapping or None
        What was done, for the XMP record.

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
    black = output_black(photo, x)
    root = _camera(photo, software)
    _put_colour(root, photo)
    _put_mosaic(root, photo, black, quantise(x, photo.phase, black))
    root.children[_EXIF_IFD] = [exif_directory(photo.exif)]
    if note:
        root.raw(XMP_TAG, Kind.BYTE, xmp_packet(note))
    return serialise(root)


def output_black(photo: RawPhoto, x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Black levels of the output.

    The source's levels times one factor that brings white to 65,535, and raised together where
    that leaves less than 1,024 DN, or less than the noise below black takes.

    Parameters
    ----------
    photo : RawPhoto
    x : float32 array (H, W)

    Returns
    -------
    int array (4,)
        In DN, for R, G1, B, G2.
    """
    span = photo.white.astype(np.float64) - photo.black
    # An odd step meets all four colours whatever the width.
    samples = x.ravel()[:: max(1, x.size // _NOISE_SAMPLES) | 1]
    deepest = max(0.0, -float(np.quantile(samples, _NOISE_QUANTILE)))
    scaled = WHITE * float((photo.black / photo.white).min())
    # A value of -deepest lies black * (1 + deepest) = deepest * white under black.
    needed = 1.1 * deepest / (1 + 1.1 * deepest) * WHITE
    pedestal = max(scaled, SMALLEST_PEDESTAL, min(needed, LARGEST_PEDESTAL))
    factor = (WHITE - pedestal) / span.max()
    black: NDArray[np.int64] = np.rint(WHITE - factor * span).astype(np.int64)
    return black


def quantise(x: NDArray[np.float32], phase: Phase, black: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Round normalised values (H, W) to DN of the output; raises OutputError on NaN."""
    mosaic = np.empty(x.shape, np.uint16)
    for (row, col), low in zip(offsets(phase), black, strict=True):
        level = x[row::2, col::2].astype(np.float32)
        level *= np.float32(WHITE - int(low))
        level += np.float32(low)
        np.rint(level, out=level)
        np.clip(level, 0, WHITE, out=level)
        if np.isnan(level).any():
            raise OutputError(
                "the denoised picture holds values that are not numbers: try --precision float32"
            )
        mosaic[row::2, col::2] = level
    return mosaic


def exif_directory(exif: Exif) -> Directory:
    """Make the Exif directory: exposure, ISO, aperture, lens and date, as far as they are known."""
    ifd = Directory()
    for tag, value in (
        (33434, exif.exposure_time),
        (33437, exif.aperture),
        (37386, exif.focal_length),
    ):
        if value is not None:
            ifd.rationals(tag, [rational(value)])
    if exif.iso is not None:
        iso = round(exif.iso)
        ifd.integers(34855, Kind.SHORT, min(max(iso, 1), ISO_ELSEWHERE))
        if iso >= ISO_ELSEWHERE:
            ifd.integers(34864, Kind.SHORT, 2)
            ifd.integers(34866, Kind.LONG, iso)
    ifd.raw(36864, Kind.UNDEFINED, b"0231")
    ifd.text(36867, date(exif.datetime))
    ifd.text(42033, exif.serial)
    ifd.text(42035, exif.lens_make)
    ifd.text(42036, exif.lens)
    return ifd


def _camera(photo: RawPhoto, software: str) -> Directory:
    """Tags about the camera and the file, not about its pixels."""
    exif = photo.exif
    ifd = Directory()
    ifd.text(271, exif.make)
    ifd.text(272, exif.model)
    ifd.integers(274, Kind.SHORT, photo.orientation)
    ifd.text(305, software)
    ifd.text(306, date(exif.datetime))
    ifd.text(315, exif.artist)
    ifd.text(33432, exif.copyright)
    ifd.integers(50706, Kind.BYTE, (1, 4, 0, 0))
    ifd.integers(50707, Kind.BYTE, (1, 1, 0, 0))
    ifd.text(50708, exif.camera or "Unknown camera")
    ifd.text(50735, exif.serial)
    name = photo.path.name.encode("utf-8", "replace") + b"\0"
    ifd.raw(50827, Kind.ASCII if name.isascii() else Kind.BYTE, name)
    return ifd


def _put_colour(ifd: Directory, photo: RawPhoto) -> None:
    """Colour matrix and the neutral of the shot, both always there: a DNG without is refused."""
    matrix = photo.colour_matrix
    if matrix is None:
        matrix = np.linalg.inv(XYZ_FROM_SRGB)
    ifd.rationals(50721, [_millionths(value) for value in matrix.ravel()], signed=True)
    ifd.integers(50778, Kind.SHORT, _D65)
    wb = photo.as_shot_wb if photo.as_shot_wb is not None else photo.daylight_wb
    neutral = np.ones(3) if wb is None else 1 / wb
    ifd.rationals(50728, [_millionths(value) for value in neutral])
    ifd.rationals(50730, [Fraction(0)], signed=True)


def _put_mosaic(
    ifd: Directory, photo: RawPhoto, black: NDArray[np.int64], mosaic: NDArray[np.uint16]
) -> None:
    """Tags about the pixels, and the pixels."""
    height, width = mosaic.shape
    ifd.integers(254, Kind.LONG, 0)
    ifd.integers(256, Kind.LONG, width)
    ifd.integers(257, Kind.LONG, height)
    ifd.integers(258, Kind.SHORT, 16)
    compression, strips, rows = _compressed(mosaic)
    ifd.integers(259, Kind.SHORT, compression)
    ifd.integers(262, Kind.SHORT, 32803)
    ifd.integers(277, Kind.SHORT, 1)
    ifd.integers(278, Kind.LONG, rows)
    ifd.integers(284, Kind.SHORT, 1)
    ifd.strips = strips
    ifd.integers(33421, Kind.SHORT, (2, 2))
    ifd.integers(33422, Kind.BYTE, [_CFA_COLOURS[letter] for letter in photo.phase])
    ifd.integers(50710, Kind.BYTE, (0, 1, 2))
    ifd.integers(50711, Kind.SHORT, 1)
    cell = dict(zip(offsets(photo.phase), black, strict=True))
    ifd.integers(50713, Kind.SHORT, (2, 2))
    ifd.integers(50714, Kind.LONG, [int(cell[at]) for at in ((0, 0), (0, 1), (1, 0), (1, 1))])
    ifd.integers(50717, Kind.LONG, WHITE)
    aspect = Fraction(photo.pixel_aspect).limit_denominator(10000)
    wide, high = (aspect, Fraction(1)) if aspect >= 1 else (Fraction(1), 1 / aspect)
    ifd.rationals(50718, [wide, high])
    top, left, rows_shown, cols_shown = photo.crop or (0, 0, height, width)
    ifd.integers(50719, Kind.LONG, (left, top))
    ifd.integers(50720, Kind.LONG, (cols_shown, rows_shown))
    ifd.integers(50829, Kind.LONG, (0, 0, height, width))


def _compressed(mosaic: NDArray[np.uint16]) -> tuple[int, list[Blob], int]:
    """TIFF compression, strips and rows per strip; the one place that knows how pixels are kept."""
    return 1, [mosaic.astype("<u2", copy=False).tobytes()], mosaic.shape[0]


def _millionths(value: float) -> Fraction:
    return Fraction(round(float(value) * _PPM), _PPM)

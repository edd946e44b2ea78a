"""LibRaw behind one interface: open a file, and explain what is wrong with it."""

import contextlib
import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import rawpy
from numpy.typing import NDArray

from ledcli.errors import RawError, os_reason
from ledcli.metadata.containers import is_crw, truncated
from ledcli.metadata.dng_mosaic import mosaic_directory, stored_size, wrong_layout
from ledcli.metadata.tiff import byte_order
from ledcli.sensor.cfa import AnyPhase, MonoPhase, find_phase, pattern
from ledcli.sensor.layout import MONO, XTRANS

LIBRAW_VERSION = ".".join(str(part) for part in rawpy.libraw_version)
_MAGIC = (
    *(b"FUJIFILM", b"\0MRM", b"FOVb", b"IIII", b"MMMM", b"PWAD", b"qktk", b"qktn"),
    *(b"DSC-Image", b"XPDS", b"SDPX", b"RED1", b"ARRI"),
)
"""First bytes of raws that are not a TIFF."""
_CODECS = {8: "Deflate", 9: "VC-5", 32946: "Deflate", 52546: "JPEG XL"}
"""By TIFF's Compression: what LibRaw does not decode in a DNG, but for Deflate with floats."""
_COMPRESSION, _SAMPLE_FORMAT, _FLOAT = 259, 339, 3
_JPEG_MAGIC = b"\xff\xd8\xff"
_MIN_HEADER_BYTES = 1024
MIN_SIDE = 32
"""Pixels; no camera makes smaller images, and networks need some context."""
_MIN_RAW_BYTES = 1 << 16
"""A smaller file that begins like a raw has lost its image."""
_MIN_MARKESTEIJN_SIDE = 512
"""Pixels; LibRaw does not demosaic smaller X-Trans images by Markesteijn's method."""
XYZ_FROM_SRGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
"""IEC 61966-2-1, linear sRGB to CIE XYZ, both with white D65 (the figures LibRaw uses)."""
_STEP, _MAX_SQUARED_ERROR = 7, 3.0
"""Every seventh pixel suffices to fit a matrix; rounding leaves a third of a DN squared."""
_MAX_NUMBER, _MIN_DETERMINANT = 100.0, 1e-6
"""Of colour matrices; multipliers lie between 1/100 and 100."""


def demosaic_algorithm(raw: rawpy.RawPy) -> rawpy.DemosaicAlgorithm:
    """Return how to demosaic: AHD, which for X-Trans is Markesteijn's method."""
    small = min(raw.sizes.height, raw.sizes.width) < _MIN_MARKESTEIJN_SIDE
    return rawpy.DemosaicAlgorithm.VNG if small and is_xtrans(raw) else rawpy.DemosaicAlgorithm.AHD


def is_xtrans(raw: rawpy.RawPy) -> bool:
    """Return True if a mosaic's pattern repeats after 6x6 pixels."""
    repeats = raw.raw_pattern
    return repeats is not None and repeats.shape == (XTRANS.period, XTRANS.period)


@dataclass
class OpenedRaw:
    """A raw file that LibRaw has decoded."""

    raw: rawpy.RawPy
    size: int
    """Of the file, in bytes."""
    whole: bool
    """The file is as long as its header says; False if the header does not tell."""
    crw: bool = False
    """A Canon CRW, whose time has no zone: LibRaw takes it for UTC."""

    def shot(self) -> dict[str, Any]:
        """Return what LibRaw knows of the shot, by the field names of `Exif`; 0 is "unknown"."""
        known: dict[str, Any] = {}
        # An impossible date raises and takes the whole record with it.
        with contextlib.suppress(ValueError, OverflowError, OSError):
            other = self.raw.other
            known = {
                "iso": other.iso_speed,
                "exposure_time": other.shutter_speed,
                "aperture": other.aperture,
                "focal_length": other.focal_length,
                # Canons come with "unknown" for their owner's name.
                "artist": "" if other.artist == "unknown" else other.artist,
            }
            if (time := other.timestamp).timestamp() > 0:
                time = time.astimezone(UTC) if self.crw else time
                known["datetime"] = time.strftime("%Y:%m:%d %H:%M:%S")
        known["lens"] = self.raw.lens.model
        return known


@contextlib.contextmanager
def open_raw(path: Path) -> Iterator[OpenedRaw]:
    """Open and decode a raw file.

    Raises RawError if it is missing, not a raw file, damaged, or not supported by LibRaw.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise RawError(f"{path}: is a folder, not a raw file")
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise RawError(f"{path}: is not a regular file")
        # Through memory: LibRaw cannot open every name that a file system allows.
        data = path.read_bytes()
    except OSError as error:
        raise RawError(f"{path}: cannot be read: {os_reason(error)}") from None
    raw = rawpy.RawPy()
    try:
        try:
            if truncated(data):
                # LibRaw would decode what is left, and leave the rest uninitialised.
                raise RawError(f"{path}: {_what_is_wrong(data, None)}")
            raw.open_buffer(io.BytesIO(data))
            raw.unpack()
            if not _begins_like_raw(data) and not data.startswith(_JPEG_MAGIC):
                # LibRaw takes such a file for one of a list of phones by its size alone.
                raise RawError(
                    f"{path}: has no header, so its camera, size and colours are unknown: give a "
                    "raw file with a header"
                )
        except (rawpy.LibRawError, rawpy.NotSupportedError, OSError, ValueError) as error:
            raise RawError(f"{path}: {_what_is_wrong(data, error)}") from None
        opened = OpenedRaw(raw, len(data), truncated(data) is False, is_crw(data))
        del data
        yield opened
    finally:
        raw.close()


def _what_is_wrong(data: bytes, error: Exception | None) -> str:
    if not data:
        return "is empty: copy it from the card again"
    if isinstance(error, rawpy.LibRawTooBigError):
        return "is larger than LibRaw allows (2 GB decoded)"
    if isinstance(error, rawpy.LibRawUnsufficientMemoryError | rawpy.LibRawMemPoolOverflowError):
        return "needs more memory than there is: close other programs and try again"
    if not _begins_like_raw(data):
        if data.startswith(_JPEG_MAGIC):
            return "is a JPEG, not a raw file (or a raw file that lost its raw part)"
        return "is not a raw file"
    if len(data) < _MIN_HEADER_BYTES:
        return f"is not a raw file: it has {len(data)} bytes and no image"
    image = mosaic_directory(data)
    if (shape := stored_size(image)) and min(shape) < MIN_SIDE:
        size = "x".join(map(str, reversed(shape)))
        return f"is too small ({size} pixels; minimum {MIN_SIDE}x{MIN_SIDE})"
    if wrong := wrong_layout(data):
        return f"{wrong}: convert the camera's raw anew"
    whole = len(data) >= _MIN_RAW_BYTES and not truncated(data)
    codec = _CODECS.get(next(iter(image.integers(_COMPRESSION)), 0))
    if codec == "Deflate" and image.integers(_SAMPLE_FORMAT) == [_FLOAT]:
        codec = None
    if whole and (codec or isinstance(error, rawpy.LibRawFileUnsupportedError)):
        compressed = f"is compressed by {codec}, which is" if codec else "is"
        return (
            f"{compressed} not supported by this LibRaw ({LIBRAW_VERSION}): convert it to DNG with "
            "the maker's or Adobe's converter first"
        )
    return "is damaged or truncated: copy it from the card again"


def _begins_like_raw(data: bytes) -> bool:
    known = data.startswith(_MAGIC) or data[4:12] == b"ftypcrx " or is_crw(data)
    return known or byte_order(data) is not None


def find_pattern(
    path: Path, raw: rawpy.RawPy, top: int, left: int
) -> tuple[Sequence[int], AnyPhase]:
    """Return LibRaw's colour index of each plane, and the active area's CFA phase.

    `top` and `left` are the first row and column of the active area. Raises RawError if the file
    has no mosaic, or its CFA is neither Bayer nor X-Trans. A monochrome sensor has no CFA.
    """
    names = raw.color_desc.decode("ascii", "replace")
    repeats = raw.raw_pattern
    if raw.raw_type != rawpy.RawType.Flat or repeats is None:
        raise RawError(
            f"{path}: has no mosaic: each pixel has all colours already (linear DNG, sRAW, ProRAW "
            "or a three-layer sensor), and their noise is mixed: give the camera's full-size raw"
        )
    if repeats.shape == (1, 1) and raw.num_colors == 1:
        return [0] * MONO.planes, MonoPhase.MONO
    if raw.num_colors != 3 or sorted(names) != sorted("RGBG"):
        raise RawError(f"{path}: is from a four-colour sensor, which is not supported")
    # rawpy's pattern begins at the sensor's first pixel, not at the active area's.
    cell = np.roll(repeats, (-top, -left), axis=(0, 1))
    if repeats.shape == (XTRANS.period, XTRANS.period):
        # Above the active area LibRaw reads past an X-Trans pattern's end.
        for row, col in np.ndindex(cell.shape):
            cell[row, col] = raw.raw_color(top + row, left + col)
    colours = np.array(["RGB".index(names[index]) for index in cell.ravel()]).reshape(cell.shape)
    phase = find_phase(colours)
    if phase is None:
        raise RawError(f"{path}: has a CFA that is neither Bayer nor X-Trans, not supported")
    planes = pattern(phase)
    return [int(cell[planes == plane][0]) for plane in range(len(phase.layout.colours))], phase


def maker_crop(raw: rawpy.RawPy) -> tuple[int, int, int, int]:
    """Return what the camera's own JPEG shows of a maker's raw, undoing what LibRaw made of it.

    Top, left, height and width, from the active area's first pixel; it need not fit in there.
    """
    sizes = raw.sizes
    top, left = sizes.crop_top_margin - sizes.top_margin, sizes.crop_left_margin - sizes.left_margin
    height, width = sizes.crop_height, sizes.crop_width
    if not (sizes.crop_top_margin or sizes.crop_left_margin):
        # Sony's tag is a size without a place; the border is the same on all sides.
        return (sizes.height - height) // 2, (sizes.width - width) // 2, height, width
    # A crop that begins at an odd line loses that line; no camera makes JPEGs of odd sizes.
    return top - height % 2, left - width % 2, height + height % 2, width + width % 2


def colour_matrix(raw: rawpy.RawPy, *, dng: bool) -> NDArray[np.float64] | None:
    """Return XYZ to camera (3, 3), from LibRaw's table of cameras, else from the file.

    LibRaw gives the file's matrix as camera to sRGB with white at (1, 1, 1); the daylight
    multipliers undo that normalisation. Of some old cameras it has a matrix that rawpy cannot read.
    """
    table = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3]
    if usable_matrix(table):
        return table
    to_srgb = np.asarray(raw.color_matrix, np.float64)[:, :3]
    if not dng and not to_srgb.any():
        to_srgb = _fitted_matrix(raw)
    daylight = np.asarray(raw.daylight_whitebalance[:3], np.float64)
    if not usable_matrix(to_srgb) or not np.isfinite(daylight).all() or (daylight <= 0).any():
        return None
    matrix = np.diag(1 / daylight) @ np.linalg.inv(to_srgb) @ np.linalg.inv(XYZ_FROM_SRGB)
    return matrix if usable_matrix(matrix) else None


def _fitted_matrix(raw: rawpy.RawPy) -> NDArray[np.float64]:
    """Return camera to sRGB (3, 3) as LibRaw's own rendering shows it; zeros if it does not."""
    kinds = rawpy.ColorSpace.raw, rawpy.ColorSpace.sRGB
    plain: dict[str, Any] = {"half_size": True, "output_bps": 16, "no_auto_bright": True}
    plain |= {"gamma": (1, 1), "user_wb": [1] * 4, "adjust_maximum_thr": 0.0}
    try:
        camera, srgb = (
            raw.postprocess(output_color=kind, **plain).reshape(-1, 3)[::_STEP].astype(float)
            for kind in kinds
        )
    except rawpy.LibRawError:
        return np.zeros((3, 3))
    inside = (np.minimum(camera, srgb).min(1) > 0) & (np.maximum(camera, srgb).max(1) < 65535)
    matrix, error, rank, _ = np.linalg.lstsq(camera[inside], srgb[inside], rcond=None)
    exact = rank == 3 and error.sum() <= _MAX_SQUARED_ERROR * np.count_nonzero(inside)
    return matrix.T if exact else np.zeros((3, 3))


def usable_matrix(matrix: NDArray[np.float64]) -> bool:
    """Return True if a colour matrix (3, 3) is finite, invertible and of a normal size."""
    return bool(
        np.isfinite(matrix).all()
        and np.abs(matrix).max() < _MAX_NUMBER
        and abs(np.linalg.det(matrix)) > _MIN_DETERMINANT
    )


def multipliers(values: Sequence[float]) -> NDArray[np.float64] | None:
    """Return white balance multipliers (3,) with green at 1; None if LibRaw has no usable ones."""
    red, green, blue = (float(value) for value in values[:3])
    if not all(math.isfinite(value) and value > 0 for value in (red, green, blue)):
        return None
    wb = np.array([red / green, 1.0, blue / green])
    return wb if wb.max() < _MAX_NUMBER and wb.min() > 1 / _MAX_NUMBER else None

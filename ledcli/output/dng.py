"""Writing a denoised mosaic as a DNG that opens as if the camera had made it.

Laid out like Adobe's: the first directory has a thumbnail and the tags of camera and shot; the raw
image and a larger preview are its sub-directories.
"""

import math
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ledcli import __version__
from ledcli.metadata.carried import Place, Rule, tags_in
from ledcli.metadata.dng_mosaic import read_opcodes
from ledcli.metadata.tiff import SUB_IFDS, Directory, FieldType, serialise
from ledcli.metadata.xmp import XMP_TAG, xmp_packet
from ledcli.output.gain_maps import IMAGE_LIST, MOSAIC_LIST, apply_gain_maps
from ledcli.output.pixels import (
    WHITE,
    black_levels,
    demosaic,
    jpeg_bytes,
    preview_rgb,
    quantise,
    thumbnail,
)
from ledcli.output.tags import (
    ILLUMINANT_DATA,
    JPEG,
    LINEAR_RAW,
    RGB,
    YCBCR,
    put_cfa_pattern,
    put_colour,
    put_image,
    put_shot,
)
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import pattern

SOFTWARE = f"led {__version__}"
"""Written to the Software tag and to the record of what was done."""
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)?")
_DNG_1_1, _DNG_1_4, _DNG_1_6, _DNG_1_7_1 = 0x01010000, 0x01040000, 0x01060000, 0x01070100
_TILE_STEP = 16
"""Tile sides are multiples of 16 (TIFF 6.0, section 15)."""
_TILE_SAMPLES, _TILE_WIDTH = 1 << 19, 8192
"""The tile size aimed at, in samples: a megabyte stays in a core's cache during encoding."""
_MAX_THREADS = 4


def dng_bytes(
    photo: RawPhoto,
    x: NDArray[np.float32],
    *,
    software: str = SOFTWARE,
    note: Mapping[str, object] | None = None,
    compression: str = "ljpeg",
    linear: bool = False,
    headroom: float = 1.0,
) -> bytes:
    """Make a DNG of 16 bits; the photo gives all but the pixels.

    `x` (H, W) is the mosaic, normalised (0 black, 1 white) and multiplied by the ratio. Noise below
    0 is kept by a pedestal. The value `headroom` becomes 65,535 DN; programs that honour
    BaselineExposure show 1 as white.

    `software` is name and version of the program, `note` what was done, for the XMP record; its
    ``when`` is also the date of the preview. `compression` is ``ljpeg`` (lossless JPEG) or
    ``none``. A `linear` DNG is demosaiced: three colours per pixel (LinearRaw) instead of the
    mosaic, whose gain maps are applied. A monochrome image is LinearRaw with one sample per pixel
    in any case.

    Raises OutputError if `x` has values that are not numbers, or the file would be larger than
    4 GB.
    """
    if linear and not photo.monochrome:
        corrected = apply_gain_maps(x, photo.phase, photo.carried, (MOSAIC_LIST,))
        samples = demosaic(photo, corrected, headroom)
        raw = _linear_raw(photo, samples)
    else:
        black = black_levels(photo, x, headroom)
        samples = quantise(x, photo.phase, black, headroom=headroom)
        raw = _mosaic(photo, samples, black)
    _put_geometry(raw, photo)
    if compression == "ljpeg":
        put_tiles(raw, samples, components=1 if photo.monochrome else 2)
    preview = preview_rgb(photo, apply_gain_maps(x, photo.phase, photo.carried))
    root = _first_directory(photo, thumbnail(preview), software)
    put_colour(root, photo, headroom)
    _put_versions(root, raw)
    if note or photo.carried.xmp:
        root.set(XMP_TAG, FieldType.BYTE, xmp_packet(note or {}, base=photo.carried.xmp))
    root.children[SUB_IFDS] = [raw, _preview(preview, software, note or {})]
    return serialise(root)


def _first_directory(photo: RawPhoto, picture: NDArray[np.uint8], software: str) -> Directory:
    """Make the first directory: the thumbnail, and the tags of camera, shot and file."""
    ifd = Directory(strips=[picture.tobytes()])
    put_shot(ifd, photo)
    put_image(ifd, picture.shape, bits=8, photometric=RGB, reduced=True)
    ifd.set(274, FieldType.SHORT, photo.orientation)  # Orientation
    ifd.set_text(305, software)  # Software
    name = photo.path.name.encode("utf-8", "replace") + b"\0"
    # OriginalRawFileName: UTF-8 is stored as BYTE.
    ifd.set(50827, FieldType.ASCII if name.isascii() else FieldType.BYTE, name)
    return ifd


def _put_versions(root: Directory, raw: Directory) -> None:
    """Put the version of the specification, and the oldest one whose readers can show the file.

    Those are the readers that know every correction that must be made, and the illuminants.
    """
    lists = [raw.fields[tag].data for tag in (MOSAIC_LIST, IMAGE_LIST) if tag in raw.fields]
    required = [each for data in lists for each in read_opcodes(data) if not each.optional]
    oldest = max([_DNG_1_1, *(min(each.version, _DNG_1_7_1) for each in required)])
    if root.fields.keys() & {*ILLUMINANT_DATA}:
        oldest = max(oldest, _DNG_1_6)
    # ProfileGainTableMap came with 1.6.
    version = max(_DNG_1_6 if 52525 in raw.fields else _DNG_1_4, oldest)
    root.set(50706, FieldType.BYTE, version.to_bytes(4))  # DNGVersion
    root.set(50707, FieldType.BYTE, oldest.to_bytes(4))  # DNGBackwardVersion


def _mosaic(photo: RawPhoto, samples: NDArray[np.uint16], black: NDArray[np.int64]) -> Directory:
    """Make the directory of the mosaic: CFA pattern, levels, uncompressed samples."""
    ifd = Directory(strips=[samples.astype("<u2", copy=False).data])
    levels = black[pattern(photo.phase)]
    if photo.monochrome:
        put_image(ifd, samples.shape, bits=16, photometric=LINEAR_RAW)
        levels = levels if np.ptp(levels) else levels[:1, :1]
    else:
        put_image(ifd, samples.shape, bits=16)
        put_cfa_pattern(ifd, photo.phase)
        ifd.set(50710, FieldType.BYTE, (0, 1, 2))  # CFAPlaneColor
        ifd.set(50711, FieldType.SHORT, 1)  # CFALayout: rectangular
    ifd.set(50713, FieldType.SHORT, levels.shape)  # BlackLevelRepeatDim
    ifd.set(50714, FieldType.LONG, levels.ravel().tolist())  # BlackLevel
    ifd.set(50717, FieldType.LONG, WHITE)  # WhiteLevel
    ifd.fields.update(photo.carried.raw)
    return ifd


def _linear_raw(photo: RawPhoto, samples: NDArray[np.uint16]) -> Directory:
    """Make the directory of the demosaiced image: white level, uncompressed samples."""
    ifd = Directory(strips=[samples.astype("<u2", copy=False).data])
    put_image(ifd, samples.shape, bits=16, photometric=LINEAR_RAW)
    ifd.set(50717, FieldType.LONG, (WHITE, WHITE, WHITE))  # WhiteLevel
    tags = tags_in(Place.RAW)
    for tag, field in photo.carried.raw.items():
        if tags[tag].rule is not Rule.MOSAIC_ONLY:
            ifd.fields[tag] = field
    return ifd


def _put_geometry(ifd: Directory, photo: RawPhoto) -> None:
    """Put the pixels' aspect ratio, the active area and the camera's crop."""
    height, width = photo.mosaic.shape
    aspect = Fraction(photo.pixel_aspect).limit_denominator(10000)
    scale = (aspect, Fraction(1)) if aspect >= 1 else (Fraction(1), 1 / aspect)
    ifd.set(50718, FieldType.RATIONAL, scale)  # DefaultScale
    top, left, crop_height, crop_width = photo.crop or (0, 0, height, width)
    ifd.set(50719, FieldType.LONG, (left, top))  # DefaultCropOrigin
    ifd.set(50720, FieldType.LONG, (crop_width, crop_height))  # DefaultCropSize
    ifd.set(50829, FieldType.LONG, (0, 0, height, width))  # ActiveArea


def _preview(picture: NDArray[np.uint8], software: str, note: Mapping[str, object]) -> Directory:
    """Make the directory of the preview, a JPEG."""
    ifd = Directory(strips=[jpeg_bytes(picture)])
    put_image(ifd, picture.shape, bits=8, photometric=YCBCR, reduced=True)
    ifd.set(259, FieldType.SHORT, JPEG)  # Compression
    ifd.set(530, FieldType.SHORT, (2, 2))  # YCbCrSubSampling
    ifd.set(531, FieldType.SHORT, 1)  # YCbCrPositioning: centred
    # ReferenceBlackWhite as in JFIF: the full range, colour around 128.
    ifd.set(532, FieldType.RATIONAL, (0, 255, 128, 255, 128, 255))
    name, _, version = software.rpartition(" ")
    ifd.set_text(50966, name or software)  # PreviewApplicationName
    ifd.set_text(50967, version if name else None)  # PreviewApplicationVersion
    ifd.set(50970, FieldType.LONG, 2)  # PreviewColorSpace: sRGB
    when = str(note.get("when", ""))
    ifd.set_text(50971, when if _DATE.fullmatch(when) else None)  # PreviewDateTime
    return ifd


def put_tiles(ifd: Directory, samples: NDArray[np.uint16], components: int = 2) -> None:
    """Compress an image (H, W) or (H, W, 3) to tiles of lossless JPEG (ITU-T T.81, process 14).

    As in Adobe's converter, two neighbours in a row of the mosaic are the components of a JPEG
    pixel, so that predictor 1 predicts a sample from the nearest one of its colour on its left.
    rawspeed, darktable's reader, supports no other predictor. A monochrome image has one component.
    """
    height, width = samples.shape[:2]
    depth = samples.shape[2] if samples.ndim == 3 else 1
    tile_width = _tile_side(width, _TILE_WIDTH // depth)
    tile_height = _tile_side(height, max(_TILE_STEP, _TILE_SAMPLES // (tile_width * depth)))
    components = depth if depth > 1 else components

    def encode(corner: tuple[int, int]) -> bytes:
        top, left = corner
        part = samples[top : top + tile_height, left : left + tile_width]
        tile = _fill_tile(part, tile_height, tile_width)
        return bytes(
            imagecodecs.jpeg8_encode(
                tile.reshape(tile_height, -1, components),
                lossless=True,
                predictor=1,
                bitspersample=16,
                colorspace=0,  # unknown: no colour conversion
                outcolorspace=0,
            )
        )

    corners = [(y, x) for y in range(0, height, tile_height) for x in range(0, width, tile_width)]
    threads = min(_MAX_THREADS, os.cpu_count() or 1, len(corners))
    with ThreadPoolExecutor(threads) as pool:
        ifd.strips, ifd.tiled = list(pool.map(encode, corners)), True
    ifd.fields.pop(278, None)  # RowsPerStrip
    ifd.set(259, FieldType.SHORT, JPEG)  # Compression
    ifd.set(322, FieldType.LONG, tile_width)  # TileWidth
    ifd.set(323, FieldType.LONG, tile_height)  # TileLength


def _tile_side(side: int, limit: int) -> int:
    """Return a multiple of 16 that divides a side with little waste and does not exceed it.

    dcraw and LibRaw misread a tile that is wider than the image.
    """
    count = math.ceil(side / max(_TILE_STEP, limit))
    length = _TILE_STEP * math.ceil(side / count / _TILE_STEP)
    if length > side:
        length = _TILE_STEP * math.ceil(side / (count + 1) / _TILE_STEP)
    return length


def _fill_tile(part: NDArray[np.uint16], height: int, width: int) -> NDArray[np.uint16]:
    """Extend a part of the image to a whole tile by repeating its last columns and row."""
    rows, cols = part.shape[:2]
    tile = np.empty((height, width, *part.shape[2:]), np.uint16)
    tile[:rows, :cols] = part
    for col in range(cols, width):
        # From two columns back, of the same colour: that compresses best.
        tile[:rows, col] = tile[:rows, max(0, col - 2)]
    tile[rows:] = tile[rows - 1]
    return tile

"""Reading a raw file: the mosaic, and all it takes to write it back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rawpy
from numpy.typing import NDArray

from ledcli.errors import RawError
from ledcli.metadata.carried import Carried, DngMosaic, is_dng, misread_mosaic, read_carried
from ledcli.metadata.containers import FileBytes
from ledcli.raw.exif import Exif, read_exif_opened
from ledcli.raw.libraw import open_raw
from ledcli.raw.properties import colour_matrix, find_pattern, multipliers
from ledcli.sensor.cfa import AnyPhase, normalise, pack, pattern

_MOSTLY = 0.99
"""Share of the pixels with one and the same value from which there is no picture."""
_TAIL = 0.01
"""Share of the rows, all of one value, from which the end of the picture is missing."""
_TAIL_AT_BLACK = 0.25
"""The same for a tail that is exactly black in a camera of few bits: night can look like that."""
_FEW_DN = 1023
_FEWEST_TAIL_ROWS = 4
_BELOW, _ABOVE = -0.1, 1.25
"""Of black to white. Noise goes a little below black; sensors overshoot white a little."""
_OUTSIDE = 0.9
_BRIGHT = 0.9
"""Of black to white: what is above is saturated and may well be all the same."""
_SAMPLE = 13
"""One in so many pixels is counted before all are; odd, so that every colour has its turn."""
_WAY_OUT = "the file is damaged or truncated: copy it from the card again"


def what_is_missing(
    mosaic: NDArray[np.uint16], black: NDArray[np.float32], white: NDArray[np.float32]
) -> str | None:
    """Find out why a decoded mosaic is no picture.

    Saturated areas, frames of pure noise (lens cap on) and a few bits per pixel are fine.

    Parameters
    ----------
    mosaic : uint16 array (H, W)
        In DN.
    black, white : float32 array (4,)
        In DN, of the four colours.

    Returns
    -------
    str or None
        What is wrong, as the end of a sentence about the file; None for a picture.
    """
    value = int(mosaic[0, 0])
    if (mosaic == value).all():
        return f"holds no picture (every pixel is {value}), {_WAY_OUT}"
    low, high = float(black.min()), float(white.max())
    span = high - low
    rows = _constant_tail(mosaic)
    if rows:
        end = int(mosaic[-1, -1])
        dark = end in black and int(mosaic.max()) <= _FEW_DN
        limit = _TAIL_AT_BLACK if dark else _TAIL
        saturated = end > low + _BRIGHT * span
        if not saturated and rows >= max(_FEWEST_TAIL_ROWS, limit * mosaic.shape[0]):
            return f"lacks its last {rows} of {mosaic.shape[0]} rows, {_WAY_OUT}"
    lowest = max(0, math.ceil(low + _BELOW * span))
    highest = math.floor(float(black.max()) + _ABOVE * span)
    outside = (np.count_nonzero(mosaic < lowest) + np.count_nonzero(mosaic > highest)) / mosaic.size
    if outside > _OUTSIDE:
        return (
            f"holds no picture ({outside:.0%} of the pixels lie outside black and white), "
            f"{_WAY_OUT}"
        )
    common = int(np.bincount(mosaic.ravel()[::_SAMPLE]).argmax())
    share = np.count_nonzero(mosaic == common) / mosaic.size
    if share > _MOSTLY and common < low + _BRIGHT * span:
        return f"holds no picture ({share:.1%} of the pixels are {common}), {_WAY_OUT}"
    return None


def _constant_tail(mosaic: NDArray[Any]) -> int:
    """Count the rows at the end that hold nothing but the last pixel's value."""
    last = mosaic[-1, -1]
    if (mosaic[-1] != last).any():
        return 0
    differs = (mosaic != last).any(axis=1)
    return int(differs[::-1].argmax())


SMALLEST_SIDE = 32
"""Pixels; no camera makes fewer, and a network needs more to look at."""

FEWEST_BITS = 0.1
"""Per pixel; the tightest codes of cameras take 1, and a header alone under 0.01. What LibRaw
decodes from nothing is whatever memory held before, so it cannot be told by its pixels."""

_TIFF_ORIENTATION = (1, 2, 4, 3, 5, 8, 6, 7)
"""By LibRaw's flip: 1 mirrors columns, 2 mirrors rows, 4 swaps the axes."""


@dataclass(frozen=True)
class RawPhoto:
    """A raw file in memory, of a Bayer or an X-Trans sensor.

    Attributes
    ----------
    path : Path
    mosaic : uint16 array (H, W)
        The active area, in DN.
    phase : Phase or XTransPhase
        Of the mosaic's first pixel.
    black, white : float32 array (planes,)
        In DN; a Bayer mosaic's for R, G1, B, G2.
    exif : Exif
    colour_matrix : float64 array (3, 3) or None
        CIE XYZ (D65) to camera RGB, as DNG's ColorMatrix.
    as_shot_wb, daylight_wb : float64 array (3,) or None
        Multipliers for R, G, B; green is 1.
    orientation : int
        TIFF orientation, 1 to 8.
    bits : int
        Bits that the white level takes.
    crop : (top, left, height, width) or None
        The part of the mosaic that the maker shows, where it is not all.
    pixel_aspect : float
        Width of a pixel over its height.
    carried : Carried
        Tags that go to the result as they are.
    """

    path: Path
    mosaic: NDArray[np.uint16]
    phase: AnyPhase
    black: NDArray[np.float32]
    white: NDArray[np.float32]
    exif: Exif
    colour_matrix: NDArray[np.float64] | None
    as_shot_wb: NDArray[np.float64] | None
    daylight_wb: NDArray[np.float64] | None
    orientation: int
    bits: int
    crop: tuple[int, int, int, int] | None = None
    pixel_aspect: float = 1.0
    carried: Carried = field(default_factory=Carried)

    @property
    def cfa(self) -> str:
        """Kind of sensor: ``bayer`` or ``xtrans``."""
        return self.phase.layout.name

    @property
    def colours(self) -> list[int]:
        """Colour of each plane: 0, 1, 2 for R, G, B."""
        return list(self.phase.layout.colours)

    def normalised(self) -> NDArray[np.float32]:
        """Mosaic (H, W) with black at 0 and white at 1, not clipped."""
        return normalise(self.mosaic, self.phase, self.black, self.white)

    def planes(self) -> NDArray[np.float32]:
        """Packed planes of the normalised mosaic; faster than packing that."""
        planes = pack(self.mosaic, self.phase).astype(np.float32)
        for plane, black, white in zip(planes, self.black, self.white, strict=True):
            plane -= black
            plane /= np.float32(float(white) - float(black))
        return planes


def read_raw(path: Path) -> RawPhoto:
    """Read a raw file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    RawPhoto

    Raises
    ------
    RawError
        The file cannot be read or decoded, holds no picture, or comes from a sensor without a
        Bayer or X-Trans mosaic.
    """
    path = Path(path)
    with open_raw(path) as opened:
        raw = opened.raw
        header = _header(path, (raw.sizes.raw_height, raw.sizes.raw_width))
        frame = header.frame
        try:
            indices, phase = find_pattern(path, raw, frame)
            if frame is None:
                mosaic = np.array(raw.raw_image_visible, np.uint16)
            else:
                top, left, bottom, right = frame.active_area
                mosaic = np.array(raw.raw_image[top:bottom, left:right], np.uint16)
        except (rawpy.LibRawError, NotImplementedError) as error:  # rawpy's, for layered sensors
            raise RawError(f"{path}: is not supported by LibRaw ({error})") from None
        if min(mosaic.shape) < SMALLEST_SIDE:
            height, width = mosaic.shape
            raise RawError(
                f"{path}: is too small ({width}x{height} pixels; the least is "
                f"{SMALLEST_SIDE}x{SMALLEST_SIDE})"
            )
        if 8 * opened.size < FEWEST_BITS * mosaic.size:
            raise RawError(
                f"{path}: is damaged or truncated: {opened.size} bytes cannot hold its "
                f"{mosaic.size} pixels, copy it from the card again"
            )
        black, white = _levels(path, raw, indices, phase, header)
        missing = what_is_missing(mosaic, black, white)
        if missing:
            raise RawError(f"{path}: {missing}")
        aspect = float(raw.sizes.pixel_aspect)
        return RawPhoto(
            path=path,
            mosaic=mosaic,
            phase=phase,
            black=black,
            white=white,
            exif=read_exif_opened(path, opened),
            colour_matrix=colour_matrix(raw),
            as_shot_wb=multipliers(raw.camera_whitebalance),
            daylight_wb=multipliers(raw.daylight_whitebalance),
            orientation=_TIFF_ORIENTATION[raw.sizes.flip & 7],
            bits=int(white.max()).bit_length(),
            crop=_crop(raw, mosaic.shape, frame),
            pixel_aspect=aspect if math.isfinite(aspect) and 0.1 < aspect < 10 else 1.0,
            carried=header.carried,
        )


class _Header(NamedTuple):
    """What the file itself says, LibRaw aside."""

    carried: Carried
    is_dng: bool
    frame: DngMosaic | None


def _header(path: Path, shape: tuple[int, int]) -> _Header:
    """Read it; the frame only when LibRaw has decoded samples of the same shape."""
    try:
        with FileBytes(path) as data:
            frame = misread_mosaic(data)
            frame = frame if frame and frame.shape == shape else None
            return _Header(read_carried(data), is_dng(data), frame)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise RawError(f"{path}: cannot be read: {why}") from None


def _levels(
    path: Path, raw: rawpy.RawPy, indices: Sequence[int], phase: AnyPhase, header: _Header
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Black and white in plane order; the file's own linearity limit goes before LibRaw's white.

    But not before a DNG's, which is the file's own too. One white for all colours: saturated areas
    must stay neutral.
    """
    black = np.array([raw.black_level_per_channel[index] for index in indices], np.float32)
    if header.frame is not None and header.frame.black is not None:
        cell = pattern(phase)
        black = np.zeros(len(indices), np.float32)
        for place, plane in np.ndenumerate(cell):
            black[plane] = header.frame.black[place]
    white = float(raw.white_level)
    limits = raw.camera_white_level_per_channel
    if (
        limits
        and not header.is_dng
        and white / 2 <= min(limits) <= 65535
        and min(limits) > black.max()
    ):
        white = float(min(limits))
    if not black.max() < white <= 65535:
        raise RawError(
            f"{path}: has a white level ({white:g}) that is not above its black level "
            f"({black.max():g}): the file is damaged or its camera unknown"
        )
    return black, np.full(len(indices), white, np.float32)


def _crop(
    raw: rawpy.RawPy, shape: tuple[int, ...], frame: DngMosaic | None
) -> tuple[int, int, int, int] | None:
    """Maker's crop, counted from the active area's first pixel; None when it is all or unknown."""
    sizes = raw.sizes
    top, left = sizes.crop_top_margin - sizes.top_margin, sizes.crop_left_margin - sizes.left_margin
    height, width = sizes.crop_height, sizes.crop_width
    if frame is not None:
        top, left, height, width = frame.crop or (0, 0, *shape)
    if min(height, width) < SMALLEST_SIDE or min(top, left) < 0:
        return None
    if top + height > shape[0] or left + width > shape[1] or (height, width) == shape:
        return None
    return top, left, height, width

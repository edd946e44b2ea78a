"""Read a raw file: the mosaic, and everything needed to write it back as a DNG."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rawpy
from numpy.typing import NDArray

from ledcli.errors import RawError, os_reason
from ledcli.metadata.carried import Carried, read_carried
from ledcli.metadata.containers import FileBytes
from ledcli.metadata.dng_mosaic import DngMosaic, is_dng, mosaic_directory, read_dng_mosaic
from ledcli.noise.blocks import in_blocks
from ledcli.noise.dark import DarkPattern
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.photo_noise import PhotoNoise, estimate_photo_noise
from ledcli.raw.dng import (
    find_bad_pixels,
    read_float_samples,
    replace_bad_pixels,
    to_whole_numbers,
    wb_and_matrix,
)
from ledcli.raw.exif import Exif, read_exif_opened
from ledcli.raw.levels import lower_white, nikon_black, read_levels
from ledcli.raw.libraw import (
    MIN_SIDE,
    colour_matrix,
    find_pattern,
    maker_crop,
    multipliers,
    open_raw,
)
from ledcli.sensor.cfa import AnyPhase, MonoPhase
from ledcli.sensor.levels import Levels, Values

Mosaic = NDArray[np.uint16]

MIN_BITS_PER_PIXEL = 0.1
"""Cameras' tightest codes take 1, a header alone under 0.01. What LibRaw decodes from nothing is
uninitialised memory, so its pixels do not tell."""
_TIFF_ORIENTATION = (1, 2, 4, 3, 5, 8, 6, 7)
"""By LibRaw's flip: 1 mirrors columns, 2 mirrors rows, 4 swaps the axes."""

# What a decoded mosaic must look like to be an image.
_MAX_EQUAL = 0.99
"""Share of the pixels that may have one and the same value."""
_MIN_TAIL_ROWS, _MAX_TAIL = 4, 0.01
"""Rows at the end, and their share of all, that may have one value."""
_LOWEST, _HIGHEST = -0.1, 1.25
"""Black is 0, white 1. Noise goes a little below black, sensors a little above white."""
_MAX_OUTSIDE = 0.9
"""Share of the pixels that may lie outside these."""
_SATURATED, _BURNT = 0.9, 0.5
"""Black is 0, white 1: above the first, equal values are normal; above the second they can be:
some sensors saturate below their white level."""
_BLOCK = 8
"""Pixels; a square of them at one value below half of black is no picture."""
_STEP = 13
"""Every 13th pixel is counted before all are; odd, so that every colour has its turn."""
_COPY_AGAIN = (
    "the file is damaged or truncated: copy it from the card again, or denoise it with --force-read"
)


@dataclass(frozen=True)
class RawPhoto:
    """A raw file in memory, from a Bayer, an X-Trans or a monochrome sensor."""

    path: Path
    mosaic: Mosaic
    """The active area (H, W), in DN."""
    phase: AnyPhase
    """CFA phase of the mosaic's first pixel."""
    levels: Levels
    """Black and white of every pixel; `black` and `white` are those of the planes."""
    exif: Exif
    colour_matrix: NDArray[np.float64] | None
    """CIE XYZ (D65) to camera RGB (3, 3), as DNG's ColorMatrix."""
    as_shot_wb: NDArray[np.float64] | None
    daylight_wb: NDArray[np.float64] | None
    """White balance multipliers (3,) for R, G, B; green is 1. A monochrome sensor has none."""
    orientation: int
    """TIFF orientation, 1 to 8; the mosaic itself is not rotated."""
    bits: int
    """Bits needed for the white level."""
    crop: tuple[int, int, int, int] | None = None
    """The maker's crop (top, left, height, width) in pixels of the mosaic; None if it is all of it
    or unknown."""
    pixel_aspect: float = 1.0
    """Width of a pixel over its height."""
    carried: Carried = field(default_factory=Carried)
    """Tags that go to the result unchanged."""
    stated_noise: NoiseProfile | None = None
    """What a DNG says of its noise."""
    warnings: tuple[str, ...] = ()
    """What may be wrong with the frame, for its user."""

    @property
    def cfa(self) -> str:
        """Kind of networks for the sensor: ``xtrans`` or ``bayer``, also if monochrome."""
        return self.phase.layout.network

    @property
    def monochrome(self) -> bool:
        """Whether the sensor has no CFA."""
        return self.phase == MonoPhase.MONO

    @property
    def colours(self) -> list[int]:
        """Colour of each plane: 0, 1, 2 for R, G, B."""
        return list(self.phase.layout.colours)

    @property
    def black(self) -> Values:
        """Black level (planes,) in DN, the mean where it varies; R, G1, B, G2 for Bayer."""
        return self.levels.black

    @property
    def white(self) -> Values:
        """White level (planes,) in DN."""
        return self.levels.white

    def normalised(self) -> Values:
        """Mosaic (H, W), black at 0 and white at 1, not clipped."""
        return self.levels.normalise(self.mosaic, self.phase)

    def planes(self, dark: DarkPattern | None = None) -> Values:
        """Planes (planes, h, w), black at 0 and white at 1, not clipped.

        The error of black that dark frames show is corrected.
        """
        planes = self.levels.planes(self.mosaic, self.phase)
        if dark is not None:
            dark.correct(planes)
        return planes

    @property
    def span(self) -> float:
        """White - black in DN, the mean of the planes."""
        return float((self.white - self.black).mean())

    def estimate_noise(
        self, planes: NDArray[np.float32], dark: DarkPattern | None = None
    ) -> PhotoNoise:
        """Estimate the noise of its `planes`, from which a dark pattern has been subtracted."""
        read = None if dark is None else dark.read_variance
        return estimate_photo_noise(planes, 1 / self.span, self.stated_noise, read)


def read_raw(path: Path, *, force: bool = False) -> RawPhoto:
    """Read a raw file; `force` warns of pixels that look damaged instead of refusing them.

    Raises RawError if the file cannot be read or decoded, holds no image, or its sensor is neither
    Bayer nor X-Trans nor monochrome.
    """
    path, warnings = Path(path), []
    with open_raw(path) as opened:
        raw = opened.raw
        sizes = raw.sizes
        carried, dng, header, black = _read_header(path, (sizes.raw_height, sizes.raw_width))
        if header and header.unreadable:
            raise RawError(
                f"{path}: {header.unreadable}, which is not supported: give the camera's own raw"
            )
        top, left = sizes.top_margin, sizes.left_margin
        area = (top, left, top + sizes.height, left + sizes.width)
        if header and header.active_area:
            top, left, _, _ = area = header.active_area
        try:
            indices, phase = find_pattern(path, raw, top, left)
            samples: NDArray[Any] = raw.raw_image
        except (rawpy.LibRawError, NotImplementedError) as error:  # rawpy's, for layered sensors
            raise RawError(f"{path}: is not supported by LibRaw ({error})") from None
        if header and header.lost:
            # LibRaw leaves whatever its memory held in their place: there is nothing to force.
            raise RawError(
                f"{path}: {header.lost}, the file is damaged: copy it from the card again"
            )
        if header and header.is_float:
            samples = _read_floats(path, header.shape)
        mosaic = samples[area[0] : area[2], area[1] : area[3]]
        if min(mosaic.shape) < MIN_SIDE:
            size = "x".join(map(str, reversed(mosaic.shape)))
            raise RawError(f"{path}: is too small ({size} pixels; minimum {MIN_SIDE}x{MIN_SIDE})")
        if 8 * opened.size < MIN_BITS_PER_PIXEL * mosaic.size:
            raise RawError(
                f"{path}: is damaged or truncated: {opened.size} bytes cannot hold its "
                f"{mosaic.size} pixels, copy it from the card again"
            )
        bad = None
        if header and header.opcodes:
            bad, problem = find_bad_pixels(samples, area, header)
            warnings += [f"{path}: {problem}"] if problem else []
        levels, doubt = read_levels(path, raw, samples, phase, indices, area, header, black)
        warnings += [f"{path}: {doubt}"] if doubt else []
        if header and header.is_float:
            mosaic, levels = to_whole_numbers(mosaic, levels)
        mosaic = np.array(mosaic, np.uint16)
        if bad is not None:
            mosaic = replace_bad_pixels(mosaic, phase, bad)
        if not dng and (limits := raw.camera_white_level_per_channel):
            levels = lower_white(levels, limits)
        if found := _find_damage(mosaic, levels.black, levels.white):
            problem, possible = found
            if not (force or (possible and opened.whole)):
                raise RawError(f"{path}: {problem}, {_COPY_AGAIN}")
            warnings.append(f"{path}: {problem}: check that nothing is missing")
        elif lost := _lost_share(mosaic, float(levels.black.min())):
            warnings.append(
                f"{path}: {lost:.1%} of the frame is constant far below black: part of the file "
                "seems lost, copy it from the card again"
            )
        aspect = float(raw.sizes.pixel_aspect)
        as_shot = daylight = matrix = None
        if phase != MonoPhase.MONO:
            as_shot, matrix = multipliers(raw.camera_whitebalance), colour_matrix(raw, dng=dng)
            daylight = multipliers(raw.daylight_whitebalance)
            if dng and (by_white := wb_and_matrix(carried.image)):
                as_shot, matrix = by_white[0] if as_shot is None else as_shot, by_white[1]
        return RawPhoto(
            path=path,
            mosaic=mosaic,
            phase=phase,
            levels=levels,
            exif=read_exif_opened(path, opened),
            colour_matrix=matrix,
            as_shot_wb=as_shot,
            daylight_wb=daylight,
            orientation=_TIFF_ORIENTATION[raw.sizes.flip & 7],
            bits=int(levels.white.max()).bit_length(),
            crop=_crop(raw, mosaic.shape, dng, header),
            pixel_aspect=aspect if math.isfinite(aspect) and 0.1 < aspect < 10 else 1.0,
            carried=carried,
            stated_noise=NoiseProfile(*header.noise) if header and header.noise else None,
            warnings=tuple(warnings),
        )


def _read_header(
    path: Path, shape: tuple[int, int]
) -> tuple[Carried, bool, DngMosaic | None, list[float]]:
    """Read without LibRaw: the carried tags, whether it is a DNG, what one says, and Nikon's black.

    `shape` is that of LibRaw's samples.
    """
    try:
        with FileBytes(path) as data:
            dng = read_dng_mosaic(data, shape)
            return read_carried(data), is_dng(data), dng, nikon_black(data)
    except OSError as error:
        raise RawError(f"{path}: cannot be read: {os_reason(error)}") from None


def _read_floats(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    try:
        with FileBytes(path) as data:
            return read_float_samples(data, mosaic_directory(data, shape), shape)
    except (OSError, ValueError) as error:
        said = os_reason(error) if isinstance(error, OSError) else error
        raise RawError(f"{path}: cannot be read: {said}") from None


def _crop(
    raw: rawpy.RawPy, shape: tuple[int, ...], dng: bool, header: DngMosaic | None
) -> tuple[int, int, int, int] | None:
    sizes = raw.sizes
    top, left = sizes.crop_top_margin - sizes.top_margin, sizes.crop_left_margin - sizes.left_margin
    height, width = sizes.crop_height, sizes.crop_width
    if not dng:
        top, left, height, width = maker_crop(raw)
    elif header is not None:
        top, left, height, width = header.crop or (0, 0, *shape)
    if min(height, width) < MIN_SIDE or min(top, left) < 0:
        return None
    if top + height > shape[0] or left + width > shape[1] or (height, width) == shape:
        return None
    return top, left, height, width


def _find_damage(mosaic: Mosaic, black: Values, white: Values) -> tuple[str, bool] | None:
    """Return why a decoded mosaic may not be an image, and whether a sound file can look like it.

    Saturated areas, frames of pure noise (lens cap on) and a few bits per pixel are fine. Black
    borders and skies, and areas that saturate below white, look like damage but may be none.
    """
    low, high = float(black.min()), float(white.max())
    span = high - low
    value = int(mosaic[0, 0])
    if (mosaic == value).all():
        return f"holds no image (every pixel is {value})", value > low + _BURNT * span
    saturated = low + _SATURATED * span
    rows, end = _constant_tail(mosaic), int(mosaic[-1, -1])
    if end <= saturated and rows >= max(_MIN_TAIL_ROWS, _MAX_TAIL * mosaic.shape[0]):
        problem = f"seems to lack its last {rows} of {mosaic.shape[0]} rows (all pixels are {end})"
        return problem, end >= math.floor(low)
    lowest = max(0, math.ceil(low + _LOWEST * span))
    highest = math.floor(float(black.max()) + _HIGHEST * span)
    outside = (np.count_nonzero(mosaic < lowest) + np.count_nonzero(mosaic > highest)) / mosaic.size
    if outside > _MAX_OUTSIDE:
        return f"holds no image ({outside:.0%} of it is outside black and white)", False
    common = int(np.bincount(mosaic.ravel()[::_STEP]).argmax())
    equal = np.count_nonzero(mosaic == common) / mosaic.size
    if equal > _MAX_EQUAL and common < saturated:
        return f"holds no image ({equal:.1%} of the pixels are {common})", common >= math.floor(low)
    return None


def _lost_share(mosaic: Mosaic, black: float) -> float:
    """Return the share of blocks that have one value far below black."""
    if mosaic[::_BLOCK, ::_BLOCK].min() >= black / 2:
        return 0.0
    blocks = in_blocks(mosaic, _BLOCK)
    high = blocks.max((1, 3))
    return float(((high < black / 2) & (blocks.min((1, 3)) == high)).mean())


def _constant_tail(mosaic: Mosaic) -> int:
    """Count the rows at the end that hold nothing but the last pixel's value."""
    last = mosaic[-1, -1]
    if (mosaic[-1] != last).any():
        return 0
    return int((mosaic != last).any(axis=1)[::-1].argmax())

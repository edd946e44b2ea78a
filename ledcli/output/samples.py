"""The 16-bit samples of a DNG: of the mosaic, or demosaiced for a linear DNG."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import rawpy
from numpy.typing import NDArray

from ledcli.errors import OutputError
from ledcli.metadata.tiff import Directory, FieldType, serialise
from ledcli.output.tags import put_cfa_pattern, put_colour, put_image
from ledcli.raw.colour import shot_wb
from ledcli.raw.libraw import demosaic_algorithm, quiet
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import AnyPhase, pattern

WHITE = 65535
"""White level of the output in DN: all 16 bits."""
MIN_PEDESTAL, MAX_PEDESTAL = 1024, 16384
"""DN below black, so that noise around black keeps its mean."""
_NOISE_SAMPLES = 1 << 20
_NOISE_QUANTILE = 1e-4
_CHUNK = 1 << 18
"""Samples rounded at a time: they fit a core's cache."""
_DITHER_SEED = 20230817
_DITHER_SPARE = 1 << 16
"""Random numbers beyond a chunk's own: each chunk starts at another of them."""


def black_levels(
    photo: RawPhoto, x: NDArray[np.float32], headroom: float = 1.0
) -> NDArray[np.int64]:
    """Return the output's black levels: the source's, scaled so that white becomes 65,535.

    All are raised together if that leaves a pedestal of less than 1,024 DN, or less than the noise
    below black needs in `x` (H, W), normalised. The result (planes,) is in DN.
    """
    span = photo.white.astype(np.float64) - photo.black
    # An odd step reaches all four colours at any width; an X-Trans pattern also repeats after 3.
    step = max(1, x.size // _NOISE_SAMPLES) | 1
    if photo.cfa == "xtrans" and step > 1 and step % 3 == 0:
        step += 2
    deepest = max(0.0, -float(np.quantile(x.ravel()[::step], _NOISE_QUANTILE))) / headroom
    scaled = WHITE * float((photo.black / photo.white).min())
    # A value of -deepest lies black * (1 + deepest) = deepest * white below black.
    needed = 1.1 * deepest / (1 + 1.1 * deepest) * WHITE
    pedestal = max(scaled, MIN_PEDESTAL, min(needed, MAX_PEDESTAL))
    factor = (WHITE - pedestal) / span.max()
    black: NDArray[np.int64] = np.rint(WHITE - factor * span).astype(np.int64)
    return black


def quantise(
    x: NDArray[np.float32],
    phase: AnyPhase,
    black: NDArray[np.int64],
    *,
    headroom: float = 1.0,
    gains: NDArray[np.float64] | None = None,
) -> NDArray[np.uint16]:
    """Round normalised values to DN of the output.

    With headroom the steps are coarser. Then a dither, the same in every run, rounds up or down
    with a probability in proportion to the fraction, so that smooth skies do not band.

    Parameters
    ----------
    x : float32 array (H, W)
        Normalised; 0 is black.
    phase : Phase or XTransPhase
    black : int array (planes,)
        In DN.
    headroom : float
        The value of `x` that becomes 65,535 DN; 1 or more.
    gains : float array (planes,) or None
        Extra factors.

    Raises
    ------
    OutputError
        `x` has values that are not numbers.
    """
    height, width = x.shape
    cell = pattern(phase)
    period = len(cell)
    offset, scale = (np.empty((period, width), np.float32) for _ in range(2))
    factors = np.ones(len(black)) if gains is None else gains
    for (row, col), plane in np.ndenumerate(cell):
        offset[row, col::period] = black[plane]
        scale[row, col::period] = (WHITE - int(black[plane])) / headroom * factors[plane]
    rows = period * max(1, _CHUNK // (period * width))
    rng = np.random.default_rng(_DITHER_SEED)
    dither = rng.random(rows * width + _DITHER_SPARE, np.float32) if headroom > 1 else None
    mosaic = np.empty(x.shape, np.uint16)
    chunk = np.empty((rows, width), np.float32)
    for top in range(0, height, rows):
        part = x[top : top + rows]
        levels = chunk[: len(part)]
        for row in range(period):
            np.multiply(part[row::period], scale[row], out=levels[row::period])
            levels[row::period] += offset[row]
        if dither is None:
            levels += np.float32(0.5)
        else:
            start = int(rng.integers(_DITHER_SPARE))
            levels += dither[start : start + levels.size].reshape(levels.shape)
        np.clip(levels, 0, WHITE + 0.5, out=levels)
        if np.isnan(levels.min()):
            raise OutputError(
                "the denoised image has values that are not numbers: try --precision float32"
            )
        # The conversion truncates; the half or the dither that was added makes it round.
        mosaic[top : top + rows] = levels
    return mosaic


def demosaic(photo: RawPhoto, x: NDArray[np.float32], headroom: float = 1.0) -> NDArray[np.uint16]:
    """Demosaic with LibRaw's AHD for a linear DNG, without changing colours or clipping.

    The mosaic is white-balanced for LibRaw, which finds edges where the colours agree, and the
    balance is removed afterwards. Its gains are at most 1, so that nothing clips. The mosaic also
    gets a pedestal, which is removed too: with a pedestal in a linear DNG, LibRaw 0.22 renders it
    too dark, and darktable 4.2 and RawTherapee 5.9 in wrong colours.

    Parameters
    ----------
    photo : RawPhoto
        Gives all but the pixels.
    x : float32 array (H, W)
        Normalised; 0 is black.
    headroom : float
        The value of `x` that becomes 65,535 DN.

    Returns
    -------
    uint16 array (H, W, 3)
        Camera RGB, 0 black, 65,535 white; the whole mosaic, in the sensor's orientation.

    Raises
    ------
    OutputError
        `x` has values that are not numbers, or LibRaw fails.
    """
    pedestal = int(black_levels(photo, x, headroom).max())
    wb = shot_wb(photo)
    gains = wb / wb.max()
    colours = photo.colours
    black = np.full(len(colours), pedestal)
    mosaic = quantise(x, photo.phase, black, headroom=headroom, gains=gains[colours])
    rgb = postprocess(
        _bare_dng(photo, mosaic),
        {
            "user_wb": [1, 1, 1, 1],
            "user_black": 0,
            "user_sat": WHITE,
            "user_flip": 0,
            "output_color": rawpy.ColorSpace.raw,
            "gamma": (1, 1),
        },
        advice="do not use --linear",
    )
    for colour, gain in enumerate(gains):
        # A table of 65,536 entries is faster than floating point over the image.
        levels = (np.arange(WHITE + 1) - pedestal) / (WHITE - pedestal) / gain * WHITE
        table = np.clip(np.rint(levels), 0, WHITE).astype(np.uint16)
        rgb[..., colour] = table[rgb[..., colour]]
    return rgb


def postprocess(dng: bytes, options: Mapping[str, Any], advice: str) -> NDArray[np.uint16]:
    """Demosaic a DNG with LibRaw, 16 bits, at its own brightness; raises OutputError."""
    try:
        with quiet(), rawpy.imread(io.BytesIO(dng)) as raw:
            rgb: NDArray[Any] = raw.postprocess(
                demosaic_algorithm=demosaic_algorithm(raw),
                output_bps=16,
                no_auto_bright=True,
                # Otherwise LibRaw lowers white to the brightest pixel.
                adjust_maximum_thr=0.0,
                **options,
            )
    except rawpy.LibRawError as error:
        raise OutputError(f"LibRaw cannot develop the result ({error}): {advice}") from None
    return rgb.astype(np.uint16, copy=False)


def _bare_dng(photo: RawPhoto, mosaic: NDArray[np.uint16]) -> bytes:
    """Make a DNG of a mosaic (H, W) for LibRaw, with black at 0, so that the pedestal stays in."""
    root = Directory(strips=[mosaic.astype("<u2", copy=False).data])
    put_image(root, mosaic.shape, bits=16)
    put_cfa_pattern(root, photo.phase)
    root.set(50706, FieldType.BYTE, (1, 4, 0, 0))  # DNGVersion
    root.set(50717, FieldType.LONG, WHITE)  # WhiteLevel
    put_colour(root, photo)
    return serialise(root)

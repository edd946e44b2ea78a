"""The pixels of a DNG: samples of 16 bits, of the mosaic or demosaiced, and the preview.

File browsers show the preview and the thumbnail. They are rendered from the denoised mosaic: the
camera's own would show the noise.
"""

import functools
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import rawpy
from numpy.typing import NDArray
from PIL import Image

from ledcli.errors import OutputError
from ledcli.metadata.tiff import Directory, FieldType, serialise
from ledcli.output.tags import put_cfa_pattern, put_colour, put_image
from ledcli.raw.colour import srgb_from_camera, srgb_from_linear, white_balance_of
from ledcli.raw.libraw import demosaic_algorithm, is_xtrans
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import AnyPhase, Phase, offsets, pack, pattern
from ledcli.sensor.levels import Values

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
PREVIEW_SIDE, THUMBNAIL_SIDE = 1024, 256
"""Pixels on the long side."""
_QUALITY = 90
_LINEAR_STEPS = 1 << 14

Samples = NDArray[np.uint16]
Picture = NDArray[np.uint8]


def black_levels(photo: RawPhoto, x: Values, headroom: float = 1.0) -> NDArray[np.int64]:
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
    x: Values,
    phase: AnyPhase,
    black: NDArray[np.int64],
    *,
    headroom: float = 1.0,
    gains: NDArray[np.float64] | None = None,
) -> Samples:
    """Round normalised values to DN of the output.

    With headroom the steps are coarser. Then a dither, the same in every run, rounds up or down
    with a probability in proportion to the fraction, so that smooth skies do not band.

    In the mosaic `x` (H, W), 0 is black, and `headroom`, 1 or more, becomes 65,535 DN. Black (DN)
    and extra gains are (planes,). Raises OutputError when `x` has values that are not numbers.
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


def demosaic(photo: RawPhoto, x: Values, headroom: float = 1.0) -> Samples:
    """Demosaic with LibRaw's AHD for a linear DNG, without changing colours or clipping.

    The mosaic is white-balanced for LibRaw, which finds edges where the colours agree, and the
    balance is removed afterwards. Its gains are at most 1, so that nothing clips. The mosaic also
    gets a pedestal, which is removed too: with a pedestal in a linear DNG, LibRaw 0.22 renders it
    too dark, and darktable 4.2 and RawTherapee 5.9 in wrong colours.

    In the mosaic `x` (H, W), 0 is black, and `headroom` becomes 65,535 DN. Returns camera RGB
    (H, W, 3), 0 black, 65,535 white: the whole mosaic, in the sensor's orientation. Raises
    OutputError when `x` has values that are not numbers, or LibRaw fails.
    """
    pedestal = int(black_levels(photo, x, headroom).max())
    wb = white_balance_of(photo)
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


def postprocess(dng: bytes, options: Mapping[str, Any], advice: str) -> Samples:
    """Demosaic a DNG with LibRaw, 16 bits, at its own brightness; raises OutputError."""
    try:
        with rawpy.imread(io.BytesIO(dng)) as raw:
            xtrans = is_xtrans(raw)
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
    # Of a monochrome image there is one colour.
    colours = rgb if rgb.shape[2] == 3 else np.repeat(rgb, 3, axis=2)
    if xtrans:
        # At a corner LibRaw averages 2x2 pixels, which may all be green; one pixel inside, 3x3.
        colours[np.ix_((0, -1), (0, -1))] = colours[np.ix_((1, -2), (1, -2))]
    return colours.astype(np.uint16, copy=False)


def _bare_dng(photo: RawPhoto, mosaic: Samples) -> bytes:
    """Make a DNG of a mosaic (H, W) for LibRaw, with black at 0, so that the pedestal stays in."""
    root = Directory(strips=[mosaic.astype("<u2", copy=False).data])
    put_image(root, mosaic.shape, bits=16)
    put_cfa_pattern(root, photo.phase)
    root.set(50706, FieldType.BYTE, (1, 4, 0, 0))  # DNGVersion
    root.set(50717, FieldType.LONG, WHITE)  # WhiteLevel
    put_colour(root, photo)
    return serialise(root)


def preview_rgb(photo: RawPhoto, x: Values, long_side: int = PREVIEW_SIDE) -> Picture:
    """Render a small picture of a mosaic: the camera's crop, as-shot white balance, sRGB.

    Cells of 2x2 pixels (3x3 of an X-Trans) are averaged in whole blocks, then resized; nothing is
    demosaiced. Colours are LibRaw's; what clips in one colour becomes white. `x` (H, W) is
    normalised and clipped at 1. Returns (h, w, 3) in the sensor's orientation; a mosaic with fewer
    cells than `long_side` is not enlarged.
    """
    colours, size = _binned(photo, x, long_side)
    if colours.shape[:0:-1] != size:
        resized = (Image.fromarray(c).resize(size, Image.Resampling.BOX) for c in colours)
        colours = np.stack([np.asarray(colour) for colour in resized])
    wb = white_balance_of(photo)
    # Like LibRaw: the colour with the smallest gain clips at white, the others before.
    matrix = srgb_from_camera(photo).astype(np.float32)
    balanced = colours * (wb / wb.min()).astype(np.float32)[:, None, None]
    np.clip(balanced, 0, 1, out=balanced)
    linear = matrix @ balanced.reshape(3, -1)
    np.clip(linear, 0, 1, out=linear)
    linear *= _LINEAR_STEPS
    picture = np.empty((size[1], size[0], 3), np.uint8)
    for colour, plane in enumerate(linear.astype(np.uint16)):
        picture[..., colour] = np.take(_srgb_table(), plane).reshape(size[::-1])
    return picture


def thumbnail(picture: Picture) -> Picture:
    """Scale a picture (h, w, 3) down to fit; a smaller one is not enlarged."""
    height, width = picture.shape[:2]
    size = _fit(width, height, THUMBNAIL_SIDE)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def jpeg_bytes(picture: Picture) -> bytes:
    """Make a baseline JPEG, YCbCr 4:2:0."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=_QUALITY, subsampling="4:2:0")
    return file.getvalue()


def _binned(photo: RawPhoto, x: Values, long_side: int) -> tuple[Values, tuple[int, int]]:
    """Average cells in blocks; returns colours (3, h, w) and the (width, height) to resize to."""
    top, left, height, width = photo.crop or (0, 0, *x.shape)
    aspect = photo.pixel_aspect
    phase = photo.phase.shifted(top, left)
    if not isinstance(phase, Phase):
        shown = np.minimum(x[top : top + height, left : left + width], 1)
        colours = _binned_cells(shown, phase, photo.colours, long_side)
        if photo.monochrome:
            colours[1:] = colours[0]
        high, wide = height / phase.layout.side, width / phase.layout.side
        return colours, _fit(wide * max(1, aspect), high * max(1, 1 / aspect), long_side)
    rows, cols = height // 2, width // 2
    block = max(1, max(rows, cols) // long_side)
    rows, cols = rows // block, cols // block
    sums = np.empty((rows, 2, 2 * block * cols), np.float32)
    for number in range(rows):
        start = top + 2 * block * number
        band = np.minimum(x[start : start + 2 * block, left : left + 2 * block * cols], 1)
        np.add.reduce(band.reshape(block, 2, -1), axis=0, out=sums[number])
    colours = np.zeros((3, rows, cols), np.float32)
    for colour, (row, col) in zip(photo.colours, offsets(phase), strict=True):
        # Slice by slice: NumPy sums short inner axes ten times more slowly.
        for cell in range(block):
            colours[colour] += sums[:, row, col + 2 * cell :: 2 * block]
    colours *= np.float32(1 / block**2)
    colours[1] /= 2
    return colours, _fit(cols * max(1, aspect), rows * max(1, 1 / aspect), long_side)


def _binned_cells(
    shown: Values, phase: AnyPhase, plane_colours: list[int], long_side: int
) -> Values:
    """Average the cells of any mosaic (H, W) in blocks, cells cut by the border included."""
    # The first column of cells may lie outside the image.
    planes = pack(shown, phase)[:, :, phase.col // phase.layout.side :]
    block = max(1, max(planes.shape[1:]) // long_side)
    rows, cols = (n // block for n in planes.shape[1:])
    colours = np.zeros((3, rows, cols), np.float32)
    for colour, plane in zip(plane_colours, planes, strict=True):
        for cell in np.ndindex(block, block):
            here = plane[cell[0] :: block, cell[1] :: block][:rows, :cols]
            colours[colour] += here / np.float32(block**2 * plane_colours.count(colour))
    return colours


def _fit(width: float, height: float, long_side: int) -> tuple[int, int]:
    factor = min(1.0, long_side / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


@functools.cache
def _srgb_table() -> NDArray[np.uint8]:
    """Return the sRGB curve in 8 bits as a table (steps + 1,)."""
    linear = np.arange(_LINEAR_STEPS + 1) / _LINEAR_STEPS
    return np.rint(255 * srgb_from_linear(linear)).astype(np.uint8)

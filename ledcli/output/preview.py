"""The preview and the thumbnail in a DNG, which file browsers show.

They are rendered from the denoised mosaic: the camera's own would show the noise.
"""

import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ledcli.raw.colour import shot_wb, srgb_from_camera, srgb_from_linear
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import XTransPhase, offsets, pack

PREVIEW_SIDE, THUMBNAIL_SIDE = 1024, 256
"""Pixels on the long side."""
_QUALITY = 90
_LINEAR_STEPS = 1 << 14


def preview_rgb(
    photo: RawPhoto, x: NDArray[np.float32], long_side: int = PREVIEW_SIDE
) -> NDArray[np.uint8]:
    """Render a small picture of a mosaic: the camera's crop, as-shot white balance, sRGB.

    Cells of 2x2 pixels (3x3 of an X-Trans) are averaged in whole blocks, then resized; nothing is
    demosaiced. Colours are LibRaw's; what clips in one colour becomes white.

    Parameters
    ----------
    photo : RawPhoto
        Gives all but the pixels.
    x : float32 array (H, W)
        Normalised; clipped at 1, which is white.
    long_side : int
        Of the result, in pixels; a mosaic with fewer cells is not enlarged.

    Returns
    -------
    uint8 array (h, w, 3)
        In the sensor's orientation.
    """
    colours, size = _binned(photo, x, long_side)
    wb = shot_wb(photo)
    # Like LibRaw: the colour with the smallest gain clips at white, the others before.
    matrix = srgb_from_camera(photo).astype(np.float32)
    balanced = _resized(colours, size) * (wb / wb.min()).astype(np.float32)[:, None, None]
    np.clip(balanced, 0, 1, out=balanced)
    linear = matrix @ balanced.reshape(3, -1)
    np.clip(linear, 0, 1, out=linear)
    linear *= _LINEAR_STEPS
    picture = np.empty((size[1], size[0], 3), np.uint8)
    for colour, plane in enumerate(linear.astype(np.uint16)):
        picture[..., colour] = np.take(_srgb_table(), plane).reshape(size[::-1])
    return picture


def thumbnail(picture: NDArray[np.uint8], long_side: int = THUMBNAIL_SIDE) -> NDArray[np.uint8]:
    """Scale a picture (h, w, 3) down to fit; a smaller one is not enlarged."""
    height, width = picture.shape[:2]
    size = _fit(width, height, long_side)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def jpeg_bytes(picture: NDArray[np.uint8]) -> bytes:
    """Make a baseline JPEG, YCbCr 4:2:0."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=_QUALITY, subsampling="4:2:0")
    return file.getvalue()


def _binned(
    photo: RawPhoto, x: NDArray[np.float32], long_side: int
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Average cells in blocks; returns colours (3, h, w) and the (width, height) to resize to."""
    top, left, height, width = photo.crop or (0, 0, *x.shape)
    aspect = photo.pixel_aspect
    phase = photo.phase.shifted(top, left)
    if isinstance(phase, XTransPhase):
        shown = np.minimum(x[top : top + height, left : left + width], 1)
        colours = _binned_xtrans(shown, phase, photo.colours, long_side)
        high, wide = height / 3, width / 3
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


def _binned_xtrans(
    shown: NDArray[np.float32], phase: XTransPhase, plane_colours: list[int], long_side: int
) -> NDArray[np.float32]:
    """Average the cells of an X-Trans mosaic (H, W) in blocks, cells cut by the border included."""
    # The first column of cells may lie outside the image.
    planes = pack(shown, phase)[:, :, phase.col // 3 :]
    block = max(1, max(planes.shape[1:]) // long_side)
    rows, cols = (n // block for n in planes.shape[1:])
    colours = np.zeros((3, rows, cols), np.float32)
    for colour, plane in zip(plane_colours, planes, strict=True):
        for cell in np.ndindex(block, block):
            here = plane[cell[0] :: block, cell[1] :: block][:rows, :cols]
            colours[colour] += here / np.float32(block**2 * plane_colours.count(colour))
    return colours


def _resized(colours: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if colours.shape[:0:-1] == size:
        return colours
    planes = [Image.fromarray(plane).resize(size, Image.Resampling.BOX) for plane in colours]
    return np.stack([np.asarray(plane) for plane in planes])


def _fit(width: float, height: float, long_side: int) -> tuple[int, int]:
    factor = min(1.0, long_side / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


@functools.cache
def _srgb_table() -> NDArray[np.uint8]:
    """Return the sRGB curve in 8 bits as a table (steps + 1,)."""
    linear = np.arange(_LINEAR_STEPS + 1) / _LINEAR_STEPS
    return np.rint(255 * srgb_from_linear(linear)).astype(np.uint8)

"""The small pictures inside a DNG: what a photographer sees before a raw developer has opened it.

Rendered from the denoised mosaic itself; the camera's own would make the file look untouched.
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
    """Render a mosaic small: the maker's crop, its white balance, sRGB, not turned.

    The cells of 2x2 pixels (3x3 of an X-Trans) are averaged in whole blocks, then to the size; no
    demosaicing. Colours are
    LibRaw's (`srgb_from_camera`); what is clipped in one colour is clipped in all, to white.

    Parameters
    ----------
    photo : RawPhoto
        Gives everything but the pixels.
    x : float32 array (H, W)
        0 black; 1 is white, and so is everything above.
    long_side : int
        Of the result, in pixels; a mosaic of fewer cells is not enlarged.

    Returns
    -------
    uint8 array (h, w, 3)
    """
    colours, size = _binned(photo, x, long_side)
    wb = shot_wb(photo)
    # As LibRaw: the colour that needs the smallest gain is white at white, the others sooner.
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
    """Make a picture (h, w, 3) smaller; one that is small enough stays."""
    height, width = picture.shape[:2]
    size = _fitting(width, height, long_side)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def jpeg_bytes(picture: NDArray[np.uint8]) -> bytes:
    """Make a baseline JPEG, YCbCr with colour at half the resolution in both directions."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=_QUALITY, subsampling="4:2:0")
    return file.getvalue()


def _binned(
    photo: RawPhoto, x: NDArray[np.float32], long_side: int
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Average cells in blocks: colours (3, h, w), and the width and height to bring them to."""
    top, left, height, width = photo.crop or (0, 0, *x.shape)
    aspect = photo.pixel_aspect
    phase = photo.phase.shifted(top, left)
    if isinstance(phase, XTransPhase):
        shown = np.minimum(x[top : top + height, left : left + width], 1)
        colours = _binned_xtrans(shown, phase, photo.colours, long_side)
        high, wide = height / 3, width / 3
        return colours, _fitting(wide * max(1, aspect), high * max(1, 1 / aspect), long_side)
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
        # Slice by slice: NumPy adds up short inner axes ten times slower.
        for cell in range(block):
            colours[colour] += sums[:, row, col + 2 * cell :: 2 * block]
    colours *= np.float32(1 / block**2)
    colours[1] /= 2
    return colours, _fitting(cols * max(1, aspect), rows * max(1, 1 / aspect), long_side)


def _binned_xtrans(
    shown: NDArray[np.float32], phase: XTransPhase, of_plane: list[int], long_side: int
) -> NDArray[np.float32]:
    """Average the cells of an X-Trans (H, W), those that the border cuts as well, in blocks."""
    # A first column of cells may lie beyond the border altogether.
    planes = pack(shown, phase)[:, :, phase.col // 3 :]
    block = max(1, max(planes.shape[1:]) // long_side)
    rows, cols = (n // block for n in planes.shape[1:])
    colours = np.zeros((3, rows, cols), np.float32)
    for colour, plane in zip(of_plane, planes, strict=True):
        for cell in np.ndindex(block, block):
            here = plane[cell[0] :: block, cell[1] :: block][:rows, :cols]
            colours[colour] += here / np.float32(block**2 * of_plane.count(colour))
    return colours


def _resized(colours: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if colours.shape[:0:-1] == size:
        return colours
    planes = [Image.fromarray(plane).resize(size, Image.Resampling.BOX) for plane in colours]
    return np.stack([np.asarray(plane) for plane in planes])


def _fitting(width: float, height: float, long_side: int) -> tuple[int, int]:
    factor = min(1.0, long_side / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


@functools.cache
def _srgb_table() -> NDArray[np.uint8]:
    """Make a table (steps + 1,) of the sRGB curve in 8 bits."""
    linear = np.arange(_LINEAR_STEPS + 1) / _LINEAR_STEPS
    return np.rint(255 * srgb_from_linear(linear)).astype(np.uint8)

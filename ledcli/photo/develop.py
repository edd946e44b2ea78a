"""A mosaic as LibRaw develops it, pixel by pixel where the sensor has it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ledcli import __version__
from ledcli.errors import RawError
from ledcli.photo.dng import dng_bytes
from ledcli.photo.raw import RawPhoto
from ledcli.photo.render import render_rgb16

_TRANSPOSED = (5, 6, 7, 8)
_ROWS_MIRRORED, _COLUMNS_MIRRORED = (3, 4, 7, 8), (2, 3, 6, 7)
"""TIFF orientations: of the stored picture, before rows and columns change places."""


def developed(photo: RawPhoto, x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Develop a mosaic plainly, as `render_rgb16` does: the photo's white balance, sRGB.

    Parameters
    ----------
    photo : RawPhoto
        Gives the colours.
    x : float32 array (H, W)
        Its mosaic or a cleaner one, white at 1, times any ratio.

    Returns
    -------
    uint16 array (H, W, 3)
        In the sensor's orientation: a pixel of the picture for each of the mosaic.

    Raises
    ------
    RawError
        The photo's pixels are not square.
    OutputError
        LibRaw cannot develop it.
    """
    check_square(photo)
    plain = replace(photo, orientation=1, crop=None)
    return render_rgb16(dng_bytes(plain, x, software=f"led {__version__}", compression="none"))


def check_square(photo: RawPhoto) -> None:
    """Raise RawError where a photo's pixels are not square."""
    if photo.pixel_aspect != 1:
        raise RawError(
            f"{photo.path}: its pixels are not square, and a picture's are: leave it out, or use "
            "a model that makes DNGs"
        )


def upright(picture: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Turn a picture (H, W, 3) as its TIFF orientation, 1 to 8, says."""
    if orientation in _TRANSPOSED:
        picture = picture.transpose(1, 0, 2)
        # What mirrored the stored rows mirrors the shown columns.
        rows, cols = orientation in (7, 8), orientation in (6, 7)
    else:
        rows, cols = orientation in _ROWS_MIRRORED, orientation in _COLUMNS_MIRRORED
    return np.ascontiguousarray(picture[:: -1 if rows else 1, :: -1 if cols else 1])

"""A demosaiced picture in the camera's own colours, for programs that prefer one."""

import io
from typing import Any

import numpy as np
import rawpy
from numpy.typing import NDArray

from ledcli.errors import OutputError
from ledcli.photo.cfa import AnyPhase, layout, pattern
from ledcli.photo.colour import put_colour, shot_wb
from ledcli.photo.levels import WHITE, output_black, quantise
from ledcli.photo.libraw import demosaic_algorithm, quiet
from ledcli.photo.raw import RawPhoto
from ledcli.photo.tiff import Directory, Kind, serialise


def put_pattern(ifd: Directory, phase: AnyPhase) -> None:
    """Put which colour each pixel of a mosaic has; DNG numbers R, G, B as the planes' colours."""
    colours = np.array(layout(phase).colours)[pattern(phase)]
    ifd.integers(33421, Kind.SHORT, colours.shape)
    ifd.integers(33422, Kind.BYTE, colours.ravel().tolist())


def demosaic(photo: RawPhoto, x: NDArray[np.float32], headroom: float = 1.0) -> NDArray[np.uint16]:
    """Demosaic with LibRaw (AHD), and nothing else: no balance, no colour change, no clipping.

    LibRaw gets the mosaic balanced, as edges are found where the colours agree, and the balance
    is taken out afterwards. Its gains are at most 1, so that nothing is cut off below white.
    It also gets a pedestal. The result has none: with one in a demosaiced DNG, LibRaw shows it
    too dark and darktable and RawTherapee in false colours (LibRaw 0.22, darktable 4.2,
    RawTherapee 5.9).

    Parameters
    ----------
    photo : RawPhoto
        Gives everything but the pixels.
    x : float32 array (H, W)
        0 black.
    headroom : float
        The value of `x` that becomes 65,535 DN.

    Returns
    -------
    uint16 array (H, W, 3)
        Camera RGB, 0 black, 65,535 white; all of the mosaic, not turned.

    Raises
    ------
    OutputError
        `x` holds values that are not numbers, or LibRaw fails.
    """
    black = int(output_black(photo, x, headroom).max())
    wb = shot_wb(photo)
    gains = wb / wb.max()
    colours = photo.colours
    mosaic = quantise(
        x, photo.phase, np.full(len(colours), black), headroom=headroom, gains=gains[colours]
    )
    rgb = _by_libraw(_mosaic_alone(photo, mosaic))
    for colour, gain in enumerate(gains):
        plane = rgb[..., colour]
        # 65,536 entries instead of two passes in floating point over the picture.
        plane[...] = _without(black, gain)[plane]
    return rgb


def _without(black: int, gain: float) -> NDArray[np.uint16]:
    """Make a table of 65,536 DN that takes out a pedestal and a gain."""
    levels = (np.arange(WHITE + 1) - black) / (WHITE - black) / gain * WHITE
    return np.clip(np.rint(levels), 0, WHITE).astype(np.uint16)


def _by_libraw(dng: bytes) -> NDArray[np.uint16]:
    try:
        with quiet(), rawpy.imread(io.BytesIO(dng)) as raw:
            rgb: NDArray[Any] = raw.postprocess(
                demosaic_algorithm=demosaic_algorithm(raw),
                user_wb=[1, 1, 1, 1],
                user_black=0,
                user_sat=WHITE,
                user_flip=0,
                output_color=rawpy.ColorSpace.raw,
                output_bps=16,
                gamma=(1, 1),
                no_auto_bright=True,
                adjust_maximum_thr=0.0,
            )
    except rawpy.LibRawError as error:
        raise OutputError(
            f"LibRaw cannot demosaic the result ({error}): leave --linear out"
        ) from None
    return rgb.astype(np.uint16, copy=False)


def _mosaic_alone(photo: RawPhoto, mosaic: NDArray[np.uint16]) -> bytes:
    """Make a DNG of a mosaic (H, W) for LibRaw: black 0, so that the pedestal stays in."""
    height, width = mosaic.shape
    root = Directory(strips=[mosaic.astype("<u2", copy=False).data])
    for tag, kind, value in (
        (254, Kind.LONG, 0),
        (256, Kind.LONG, width),
        (257, Kind.LONG, height),
        (258, Kind.SHORT, 16),
        (259, Kind.SHORT, 1),
        (262, Kind.SHORT, 32803),
        (277, Kind.SHORT, 1),
        (278, Kind.LONG, height),
        (50717, Kind.LONG, WHITE),
    ):
        root.integers(tag, kind, value)
    put_pattern(root, photo.phase)
    root.integers(50706, Kind.BYTE, (1, 4, 0, 0))
    put_colour(root, photo)
    return serialise(root)

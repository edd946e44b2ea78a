"""Rendered photographs: sRGB pictures of 8 bits, and Radiance files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ledcli.errors import RawError, first_line
from ledcli.raw.reader import RawPhoto, read_raw

RENDERED_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"})
HDR_SUFFIX = ".hdr"
MIN_SIDE = 32
"""Pixels along a photograph's shorter side."""


def read_photograph(path: Path) -> RawPhoto | NDArray[Any]:
    """Read a raw, or a rendered photograph by its suffix; raises RawError."""
    rendered = path.suffix.lower() in RENDERED_SUFFIXES | {HDR_SUFFIX}
    return read_rendered(path) if rendered else read_raw(path)


def read_rendered(path: Path) -> NDArray[Any]:
    """Read a photograph (H, W, 3): uint8 sRGB, or of a Radiance file linear float32.

    More than 8 bits are reduced to 8. Raises RawError if it cannot be read, is smaller than 32
    pixels, or grey of more than 8 bits.
    """
    if path.suffix.lower() == HDR_SUFFIX:
        import imagecodecs

        try:
            return np.asarray(imagecodecs.rgbe_decode(path.read_bytes()), np.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise RawError(f"{path}: cannot be read as a photograph: {first_line(error)}") from None
    with _opened(path) as opened:
        return np.asarray(opened.convert("RGB"))


def check_rendered(path: Path) -> None:
    """Raise RawError, as `read_rendered`, for what a photograph's header tells."""
    with _opened(path):
        pass


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as opened:
            if min(opened.size) < MIN_SIDE:
                raise RawError(f"{path}: is smaller than {MIN_SIDE} pixels: name a larger one")
            if opened.mode[0] in "IF":
                # Pillow would clip values above 255.
                raise RawError(f"{path}: is grey of more than 8 bits: give it in colour")
            yield opened
    except UnidentifiedImageError:
        raise RawError(f"{path}: is not a readable photograph: remove it") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RawError(f"{path}: cannot be read as a photograph: {first_line(error)}") from None

"""Short frames made of clean photographs with the noise of a camera that is calibrated."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ledcli.errors import RawError
from ledcli.noise.cameras import CALIBRATED_WHITE, calibrated_cameras
from ledcli.noise.physics import NoiseParameters, add_noise
from ledcli.raw.colour import linear_from_srgb
from ledcli.sensor.layout import LAYOUTS
from ledcli.training.data.crops import pack_rgb
from ledcli.training.data.scenes import Linear

PLANE_MULTIPLE = 16
"""Photographs are cut to this multiple of cells, so that every network takes them whole."""
SMALLEST = 32
"""Pixels along a photograph's side."""
WHITE_BALANCE = (2.0, 1.0, 1.7)
"""Linear red and blue are divided by these: a daylight scene as a sensor sees it."""
_BALANCE = np.array(WHITE_BALANCE, np.float32)

Planes = NDArray[np.float32]


def clean_planes(path: Path, shrink: int = 1, cfa: str = "bayer") -> Planes:
    """Read a rendered photograph as a sensor would have seen it.

    Parameters
    ----------
    path : Path
        sRGB; what has more than 8 bits is taken at 8.
    shrink : int
        Means over so many pixels a side in linear light: they take away the photograph's own grain.
    cfa : str
        Of the sensor: ``bayer`` or ``xtrans``.

    Returns
    -------
    float32 array (4, h, w), or (9, h, w) of an X-Trans
        Planes of a mosaic (RGGB), linear, 0 to 1; h and w are multiples of 16.

    Raises
    ------
    RawError
        It cannot be read, or is no photograph to measure on.
    """
    with _opened(path) as opened:
        coded = np.asarray(opened.convert("RGB"))
    multiple = LAYOUTS[cfa].side * PLANE_MULTIPLE * shrink
    rows, cols = (n // multiple * multiple for n in coded.shape[:2])
    linear = linear_from_srgb(coded[:rows, :cols].astype(np.float32) / np.float32(255))
    if shrink > 1:
        blocks = linear.reshape(rows // shrink, shrink, cols // shrink, shrink, 3)
        linear = blocks.mean((1, 3))
    seen: Linear = (linear / _BALANCE).astype(np.float32)
    return pack_rgb(seen, cfa)


def check_photograph(path: Path) -> None:
    """Raise RawError where a file's header says that `clean_planes` cannot take it."""
    with _opened(path):
        pass


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as opened:
            if min(opened.size) < SMALLEST:
                raise RawError(f"{path}: is smaller than {SMALLEST} pixels: name a larger one")
            if opened.mode[0] in "IF":
                # Pillow would cut off what passes 255.
                raise RawError(f"{path}: is grey of more than 8 bits: give it in colour")
            yield opened
    except UnidentifiedImageError:
        raise RawError(f"{path}: is no photograph that can be read: take it out") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise RawError(f"{path}: cannot be read as a photograph: {first}") from None


def noise_of(camera: str, gain: float) -> NoiseParameters:
    """Return a calibrated camera's noise: its lines and mean lambda, no colour bias.

    Parameters
    ----------
    camera : str
        A name of `calibrated_cameras()`.
    gain : float
        System gain K, DN per electron.
    """
    return calibrated_cameras()[camera].sample(1, gain=gain, spread=False, colour_bias=False)


def short_frame(clean: Planes, noise: NoiseParameters, ratio: float, seed: int) -> Planes:
    """Photograph clean planes, too dark by the ratio.

    Parameters
    ----------
    clean : float32 array (planes, h, w)
        White at 1.
    noise : NoiseParameters
        Of one frame.
    ratio : float
    seed : int
        The same seed makes the same noise.

    Returns
    -------
    float32 array (planes, h, w)
        Normalised, not gained; clipped at the sensor's white, not below black.
    """
    dn = add_noise(
        torch.from_numpy(clean)[None] * (CALIBRATED_WHITE / ratio),
        noise,
        torch.Generator().manual_seed(seed),
    )
    short: Planes = (dn[0] / CALIBRATED_WHITE).clamp_max(1).numpy()
    return short


def seed_of(key: str) -> int:
    """Return a seed that follows from a text: the same on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")

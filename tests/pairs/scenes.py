"""Made-up scenes on a tripod: raws of one camera, light by exposure, noise by ISO."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from ledcli.raw.reader import read_raw
from tests.shoot import make_raw

SHAPE = (256, 320)
MARGIN = 16
"""Pixels around the frame, for a tripod that moves."""
WELL_EXPOSED = 1000.0
"""Exposure level (ISO x seconds) at which a scene's light is what it is."""
CAMERA = {"make": "SONY", "model": "ILCE-7SM2"}


def picture(seed, *, shape=SHAPE):
    """Boxes of light, 0.02 to 0.7 of white, with a margin around the frame."""
    rng = np.random.default_rng(seed)
    height, width = (side + 2 * MARGIN for side in shape)
    rows, cols = np.mgrid[:height, :width]
    light = 0.15 + 0.1 * cols / width
    for _ in range(60):
        row, col = rng.uniform(0, height), rng.uniform(0, width)
        tall, wide = rng.uniform(4, 60, 2)
        inside = (abs(rows - row) < tall / 2) & (abs(cols - col) < wide / 2)
        light[inside] = rng.uniform(0.02, 0.7)
    return light


def through(light, down=0, right=0):
    """What a camera sees of a picture, its tripod moved by whole pixels."""
    height, width = (side - 2 * MARGIN for side in light.shape)
    return light[MARGIN + down :, MARGIN + right :][:height, :width]


def shot(path: Path, light, iso, exposure_time, **how):
    """Write a raw of what the camera sees; returns the path."""
    level = iso * float(exposure_time) / WELL_EXPOSED
    how = {"gain": 0.2e-3 * iso, "read_noise": 2 + iso / 800, **CAMERA, **how}
    seed = how.pop("seed", int(iso) + round(1 / float(exposure_time)))
    make_raw(path, light=light * level, iso=iso, exposure_time=exposure_time, seed=seed, **how)
    return path


def pair_of(folder: Path, light, *, ratio=100, iso=100, moved=(0, 0), long=None, **short):
    """Write and read a short and a long frame of a picture."""
    time = Fraction(round(WELL_EXPOSED), iso * ratio)
    paths = (
        shot(folder / "short.ARW", through(light, *moved), iso, time, **short),
        shot(folder / "long.ARW", through(light), 100, Fraction(10), **(long or {})),
    )
    return tuple(read_raw(path) for path in paths)

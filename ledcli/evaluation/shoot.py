"""A made-up shoot: raws of a calibrated camera, with the truth that real raws lack."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ledcli.noise.cameras import calibrated
from ledcli.noise.physics import add_noise
from ledcli.photo.cfa import Phase, unpack
from ledcli.photo.dng import dng_bytes
from ledcli.photo.exif import Exif
from ledcli.photo.files import atomic_write
from ledcli.photo.raw import RawPhoto
from ledcli.training.crops import pack_rgb
from ledcli.training.scenes import Linear, make_scene

BLACK, WHITE = 512.0, 16383.0
"""Levels of the calibrated cameras' 14-bit DN (ELD's SonyA7S2)."""
WHITE_BALANCE = (2.0, 1.0, 1.7)
"""As-shot multipliers of red, green, blue: what the scene's red and blue were divided by."""
_BALANCE = np.array(WHITE_BALANCE, np.float32)
ISO, EXPOSURE_TIME = 6400.0, 1 / 100


@dataclass(frozen=True)
class Shot:
    """A short frame on disk and its truth: clean mosaic ``(H, W)`` times the ratio, 0 to 1."""

    path: Path
    photo: RawPhoto
    short: NDArray[np.float32]
    truth: NDArray[np.float32]


def make_shoot(
    folder: Path,
    count: int,
    *,
    camera: str = "SonyA7S2",
    gain: float = 3.0,
    ratio: float = 100.0,
    size: int = 1024,
    seed: int = 0,
) -> list[Shot]:
    """Write short frames of procedural scenes as DNGs.

    Parameters
    ----------
    folder : Path
        Where to; it must exist.
    count : int
        Frames; each scene differs.
    camera, gain : str, float
        A calibrated camera and its system gain, DN per electron.
    ratio : float
        How many times too dark the frames are.
    size : int
        Side of the mosaic in pixels, even.
    seed : int
        The same seed makes the same shoot.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    shots = []
    for number in range(1, count + 1):
        scene: Linear = (make_scene(size, rng) / _BALANCE).astype(np.float32)
        clean = torch.from_numpy(pack_rgb(scene))[None]
        noise = calibrated()[camera].sample(1, generator, gain=gain, colour_bias=False)
        dn = add_noise(clean * ((WHITE - BLACK) / ratio), noise, generator)[0].numpy()
        stored = np.clip(np.rint(unpack(dn, Phase.RGGB, (size, size)) + BLACK), 0, WHITE)
        short = ((stored - BLACK) / (WHITE - BLACK)).astype(np.float32)
        path = folder / f"short_{number}.dng"
        photo = _photo(path, stored.astype(np.uint16), camera)
        atomic_write(path, dng_bytes(photo, short, software="led demo"))
        truth = unpack(clean[0].numpy(), Phase.RGGB, (size, size))
        shots.append(Shot(path, photo, short, truth))
    return shots


def _photo(path: Path, mosaic: NDArray[np.uint16], camera: str) -> RawPhoto:
    return RawPhoto(
        path=path,
        mosaic=mosaic,
        phase=Phase.RGGB,
        black=np.full(4, BLACK, np.float32),
        white=np.full(4, WHITE, np.float32),
        exif=Exif(make="led", model=f"demo {camera}", iso=ISO, exposure_time=EXPOSURE_TIME),
        colour_matrix=None,
        as_shot_wb=np.array(WHITE_BALANCE),
        daylight_wb=None,
        orientation=1,
        bits=14,
        crop=None,
        pixel_aspect=1.0,
    )

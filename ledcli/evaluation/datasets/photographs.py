"""Clean photographs, made into short frames with the noise of calibrated cameras."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ledcli.errors import LedError, UsageError
from ledcli.evaluation.datasets.base import (
    EVERYTHING,
    Case,
    DatasetOptions,
    FramePair,
    Source,
    check_folder,
    natural_order,
    unique_names,
)
from ledcli.noise.blocks import Planes
from ledcli.noise.cameras import CALIBRATED_WHITE, calibrated_cameras
from ledcli.noise.physics import NoiseParameters, add_noise
from ledcli.raw.colour import linear_from_srgb
from ledcli.raw.decoder import decoders
from ledcli.raw.rendered import RENDERED_SUFFIXES, check_rendered, read_rendered
from ledcli.reporting import count
from ledcli.sensor.cfa import STANDARD_PHASE
from ledcli.sensor.layout import LAYOUTS
from ledcli.training.data.crops import pack_rgb
from ledcli.zoo.model_file import read_spec
from ledcli.zoo.store import find_model

PLANE_MULTIPLE = 16
"""Photographs are cut to this multiple of cells, so that every network takes them whole."""
GAINS: Mapping[str, tuple[float, ...]] = {"SonyA7S2": (0.75, 3.0)}
OTHER_GAINS = (2.5, 10.0)
"""System gain K, DN per electron: of a medium and a high ISO of each camera."""
RATIOS = (1.0, 20.0, 100.0, 300.0)
WHITE_BALANCE = (2.0, 1.0, 1.7)
"""Linear red and blue are divided by these: a daylight scene as a sensor sees it."""
_BALANCE = np.array(WHITE_BALANCE, np.float32)


def photographs(folder: Path, options: DatasetOptions = EVERYTHING) -> Source:
    """Make short frames of clean photographs with the noise of calibrated cameras.

    The photographs are in sRGB, also in subfolders. Cameras are names of `calibrated_cameras()`;
    ratios are by default 1, 20, 100 and 300. Raises UsageError if a camera is unknown, the models
    are for different kinds of sensors, or the folder has no photograph.
    """
    cfa = sensor_of(options.models)
    known = {name.lower(): name for name in calibrated_cameras()}
    unknown = [name for name in options.cameras if name.lower() not in known]
    if unknown:
        raise UsageError(
            f"--cameras {unknown[0]}: is not calibrated: choose from {', '.join(known.values())}"
        )
    asked = dict.fromkeys(known[name.lower()] for name in options.cameras)
    chosen = list(asked) or list(known.values())
    files, skipped = _photographs(folder)
    names = unique_names(
        [file.stem for file in files], [str(file.relative_to(folder)) for file in files]
    )
    cases = [
        Case(
            f"{name} {camera} K={gain:g} x{ratio:g}",
            f"{camera} K={gain:g}",
            None,
            ratio,
            partial(_synthetic, file, camera, gain, ratio, cfa),
        )
        for name, file in zip(names, files, strict=True)
        for camera in chosen
        for gain in tuple(dict.fromkeys(options.gains)) or GAINS.get(camera, OTHER_GAINS)
        for ratio in tuple(dict.fromkeys(options.ratios)) or RATIOS
    ]
    number = count(len(files), "photograph")
    seen = "" if cfa == "bayer" else f" as {LAYOUTS[cfa].title}"
    title = f"{folder.resolve().name}, {number}{seen}, noise of {', '.join(chosen)}"
    return Source(title, cases, skipped)


def sensor_of(models: Sequence[str]) -> str:
    """Return the CFA of models, or of the bundled default; raises UsageError if they differ."""
    names: Sequence[str | None] = list(models) or [None]
    kinds = {read_spec(find_model(name).path).cfa for name in names}
    if len(kinds) > 1:
        raise UsageError("some of the models are for X-Trans sensors: measure them apart")
    return kinds.pop()


def clean_planes(path: Path, shrink: int = 1, cfa: str = "bayer") -> Planes:
    """Read a rendered photograph as the sensor data it would have come from.

    The photograph is sRGB; more than 8 bits are reduced to 8. Blocks of `shrink` pixels a side are
    averaged in linear light, to remove its grain. Returns planes ``(4, h, w)`` of a mosaic (RGGB),
    or ``(9, h, w)`` of an X-Trans, linear, 0 to 1; h and w are multiples of 16. Raises
    LedError as `read_rendered`.
    """
    coded = decoders.run(read_rendered, path)
    multiple = LAYOUTS[cfa].side * PLANE_MULTIPLE * shrink
    rows, cols = (n // multiple * multiple for n in coded.shape[:2])
    linear = linear_from_srgb(coded[:rows, :cols].astype(np.float32) / np.float32(255))
    if shrink > 1:
        blocks = linear.reshape(rows // shrink, shrink, cols // shrink, shrink, 3)
        linear = blocks.mean((1, 3))
    return pack_rgb((linear / _BALANCE).astype(np.float32), cfa)


def noise_of(camera: str, gain: float) -> NoiseParameters:
    """Return a calibrated camera's mean noise at a gain K (DN per electron), no colour bias."""
    return calibrated_cameras()[camera].sample(1, gain=gain, spread=False, colour_bias=False)


def short_frame(clean: Planes, noise: NoiseParameters, ratio: float, seed: int) -> Planes:
    """Divide clean planes ``(planes, h, w)``, white at 1, by the ratio and add noise.

    Returns normalised planes, clipped at white and not below black. The same seed gives the same
    noise.
    """
    dn = add_noise(
        torch.from_numpy(clean)[None] * (CALIBRATED_WHITE / ratio),
        noise,
        torch.Generator().manual_seed(seed),
    )
    short: Planes = (dn[0] / CALIBRATED_WHITE).clamp_max(1).numpy()
    return short


def seed_of(key: str) -> int:
    """Return a seed computed from a text, the same on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")


def _photographs(folder: Path) -> tuple[list[Path], list[str]]:
    """Return a folder's photographs, and a line for each file that is not readable as one."""
    check_folder(folder)
    found = [
        file
        for file in sorted(folder.rglob("*"), key=natural_order)
        if file.suffix.lower() in RENDERED_SUFFIXES
        and not file.name.startswith(".")  # macOS writes such files beside photos
        and os.path.isfile(file)
    ]
    if not found:
        raise UsageError(f"{folder}: has no photograph (PNG, JPEG, TIFF, WebP): name another")
    files, skipped = [], []
    for file, error in zip(found, decoders.each(check_rendered, found), strict=True):
        if isinstance(error, LedError):
            skipped.append(str(error))
        else:
            files.append(file)
    return files, skipped


def _synthetic(file: Path, camera: str, gain: float, ratio: float, cfa: str) -> FramePair:
    clean = clean_planes(file, cfa=cfa)
    key = f"{file.name} {camera} K{gain:g} {ratio:g}"
    short = short_frame(clean, noise_of(camera, gain), ratio, seed_of(key))
    return FramePair(short, clean, STANDARD_PHASE[cfa], np.array(WHITE_BALANCE))

"""Source domains of adaptive domain learning: other cameras' shots, real and synthetic."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ledcli.errors import UsageError
from ledcli.noise.cameras import CALIBRATED_WHITE, calibrated_cameras, random_camera
from ledcli.pairs.list_file import read_list
from ledcli.reporting import SILENT, Reporter, distinct_name
from ledcli.sensor.layout import BAYER, LAYOUTS
from ledcli.sensor.symmetry import cells_lost
from ledcli.training.data.crops import SCENES, Crops, fill_crops
from ledcli.training.data.pair_files import load_pairs, read_headers
from ledcli.training.data.pairs import MAX_PIXELS, CameraPairs, TrainingPair
from ledcli.training.data.sampler import (
    MULTIPLE,
    Batch,
    PretrainRecipe,
    Sampler,
    short_frames,
    stack_noise,
)

NOMINAL_ISO = 400.0
"""ISO at which a synthetic camera's K is 1 DN per electron; K is proportional to ISO."""
CROP, CROPS = 128, 192
"""Side in plane pixels and number of the clean crops of synthetic cameras."""


class SourceBatch(NamedTuple):
    """A batch, with each crop's sensor and ISO; None is a sensor that nothing is known of."""

    batch: Batch
    sensors: list[str | None]
    isos: list[float]


class PairSource:
    """The pairs of a camera."""

    def __init__(self, camera: str, camera_pairs: CameraPairs) -> None:
        self.name, self.camera_pairs = camera, camera_pairs
        self.sensors: Sequence[str] = (camera,)
        """Names of the cameras that it has shots of."""
        self.side = camera_pairs.side // MULTIPLE * MULTIPLE
        """The largest crop that it has, in plane pixels."""

    def draw(
        self, rng: np.random.Generator, count: int, side: int, among: Sequence[TrainingPair] = ()
    ) -> SourceBatch:
        """Draw crops ``(count, 4, side, side)`` of all pairs, or of those given."""
        chosen = self.camera_pairs.choose(rng, count, among)
        batch = self.camera_pairs.crop(rng, chosen, side)
        return SourceBatch(batch, [self.sensors[0]] * count, [pair.iso for pair in chosen])


class SyntheticSource:
    """Calibrated and random cameras over crops ``(n, 4, S, S)`` as in a crop file.

    Ratios are uniform in their logarithm.
    """

    def __init__(self, name: str, crops: Crops, ratios: tuple[float, float]) -> None:
        recipe = PretrainRecipe(
            ratio_range=ratios, at_one=0.0, virtual=0, makers=False, generic=1.0
        )
        self.name = name
        self.sensors: Sequence[str] = tuple(calibrated_cameras())
        self.sampler = Sampler(recipe, crops, torch.device("cpu"))
        self.side = self.sampler.max_side

    def draw(self, rng: np.random.Generator, count: int, side: int) -> SourceBatch:
        """Draw clean crops and give them the noise of cameras, half of them calibrated ones."""
        sampler, calibrated = self.sampler.seeded(int(rng.integers(2**31))), calibrated_cameras()
        clean, ratio = sampler.scenes(count, side), sampler.ratios(count)
        known: list[str | None] = []
        for _ in range(count):
            known.append(None if rng.random() < 0.5 else str(rng.choice(self.sensors)))
        cameras = [calibrated[n] if n else random_camera(sampler.generator) for n in known]
        frames = [camera.sample(1, sampler.generator, colour_bias=False) for camera in cameras]
        batch = short_frames(clean, ratio, stack_noise(frames), sampler.generator)
        isos = (NOMINAL_ISO * batch.gain * CALIBRATED_WHITE).tolist()
        return SourceBatch(batch, known, isos)


SourceDomain = PairSource | SyntheticSource
"""A source domain of adaptive domain learning: batches of other cameras' shots."""


def find_sources(
    named: Sequence[Path], ratios: Sequence[float], seed: int = 0, report: Reporter = SILENT
) -> list[SourceDomain]:
    """Return the sources that the user named: lists of pairs, folders of clean photographs.

    Without any it is synthetic cameras over procedural scenes. No two have the same name. Raises
    LedError if a list or a folder cannot be used, or a list is not of a Bayer sensor.
    """
    span = ratios[0], ratios[-1]
    if not named:
        return [SyntheticSource("procedural scenes", _crops(None, seed, report), span)]
    sources: list[SourceDomain] = []
    for path in named:
        source: SourceDomain
        if os.path.isdir(path):
            source = SyntheticSource(path.resolve().name, _crops(path, seed, report), span)
        else:
            headers = read_headers(read_list(path), one_iso=True)
            loaded = load_pairs(headers, one_iso=True, max_pixels=MAX_PIXELS // (1 + len(named)))
            for warning in loaded.warnings:
                report.warn(warning)
            if (cfa := loaded.camera_pairs.cfa) != BAYER.name:
                raise UsageError(
                    f"{path}: is of an {LAYOUTS[cfa].title} sensor and your pairs are "
                    f"{BAYER.title}: name another with --source"
                )
            source = PairSource(loaded.camera, loaded.camera_pairs)
        source.name = distinct_name(source.name, {other.name for other in sources})
        sources.append(source)
    return sources


def _crops(folder: Path | None, seed: int, report: Reporter) -> Crops:
    """Make clean crops in memory."""
    side = CROP + cells_lost(BAYER.planes)
    crops = np.empty((CROPS, BAYER.planes, side, side), np.uint16)
    fill_crops(crops, folder, SCENES, seed, report.warn, report.warn)
    return crops

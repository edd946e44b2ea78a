"""Measuring models that go from raw to sRGB: pictures as large as the raw, against LibRaw's.

LibRaw develops the noisy frame and the results of the other models, and all are compared with
LibRaw's picture of the long frame, so that all sRGB figures of a run are comparable.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import PairError, UsageError
from ledcli.evaluation.datasets.base import Case, Frame, Source
from ledcli.evaluation.metrics import Picture, Result, compare, compare_pictures, corrected
from ledcli.evaluation.results import NOISY
from ledcli.inference.denoiser import Denoiser
from ledcli.noise.estimate import NoiseProfile
from ledcli.output.pixels import WHITE
from ledcli.output.render import develop_mosaic
from ledcli.raw.reader import RawPhoto, read_raw
from ledcli.sensor.cfa import unpack
from ledcli.sensor.layout import layout_of
from ledcli.zoo.selection import camera_noise

Crop = tuple[slice, slice]
"""Rows and columns."""


def picture_models(models: Sequence[tuple[str, Denoiser]]) -> list[str]:
    """Return the names of those models that go from raw to sRGB."""
    return [name for name, denoiser in models if denoiser.spec.makes_pictures]


def check_raws(source: Source, models: Sequence[tuple[str, Denoiser]]) -> None:
    """Raise UsageError if a model makes pictures and no frame of the source is a raw file."""
    names = picture_models(models)
    if names and source.cases and all(case.raws is None for case in source.cases):
        raise UsageError(
            f"{names[0]} makes pictures, which are measured against LibRaw's of raw files: "
            f"{source.name} has none, so name a list of raws with --pairs"
        )


def true_picture(case: Case) -> Picture:
    """Return LibRaw's picture of a case's long frame; raises PairError if it is not a raw."""
    if case.raws is None:
        raise PairError("has no raw files, which are needed to measure a model that makes pictures")
    long = read_raw(case.raws.long)
    return _developed(long, long.normalised())


def measure_pictures(
    case: Case,
    frame: Frame,
    models: Sequence[tuple[str, Denoiser]],
    estimate: NoiseProfile,
    truth: Picture,
) -> Iterator[Result]:
    """Yield the result of the noisy input times the ratio, then that of each model.

    Parameters
    ----------
    case, frame
        Of raw files.
    models : sequence of (str, Denoiser)
    estimate : NoiseProfile
        Of the short frame.
    truth : float32 array (H, W, 3)
        From `true_picture`.
    """
    assert case.raws is not None
    short = read_raw(case.raws.short)
    shape = (short.mosaic.shape[0], short.mosaic.shape[1])

    def compare_planes(name: str, planes: NDArray[np.float32]) -> Result:
        picture = _developed(short, unpack(planes, short.phase, shape))
        metrics = compare(np.clip(planes, 0, 1), frame.truth)
        matched = np.clip(corrected(planes, frame.truth), 0, 1)
        metrics |= compare(matched, frame.truth, "_corrected")
        return Result(name, metrics | compare_pictures(picture, truth), picture)

    yield compare_planes(NOISY, frame.short * np.float32(case.ratio))
    for name, denoiser in models:
        noise = camera_noise(denoiser.spec, frame.exif)
        if denoiser.spec.makes_pictures:
            picture = denoiser.develop(
                frame.short, case.ratio, phase=frame.phase, shape=shape, noise=noise
            )
            yield Result(name, compare_pictures(picture, truth), picture)
            continue
        planes = denoiser.denoise(
            frame.short, case.ratio, phase=frame.phase, noise=noise or estimate, exif=frame.exif
        )
        yield compare_planes(name, planes)


def in_picture(crop: Crop, planes: int) -> Crop:
    """Return the pixels of a picture that show a crop of so many planes."""
    side = layout_of(planes).side
    rows, cols = (slice(side * part.start, side * part.stop) for part in crop)
    return rows, cols


def _developed(photo: RawPhoto, mosaic: NDArray[np.float32]) -> Picture:
    picture: Picture = develop_mosaic(photo, mosaic).astype(np.float32) / np.float32(WHITE)
    return picture

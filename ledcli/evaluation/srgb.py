"""Measuring models that make pictures: by pictures as large as the raw, against LibRaw's.

What makes planes is developed by LibRaw, and so is the noisy frame: all are compared with LibRaw's
picture of the long frame, so that the figures in sRGB of one run mean the same.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import PairError, UsageError
from ledcli.evaluation.datasets.base import Case, Frame, Source
from ledcli.evaluation.metrics import corrected, psnr, ssim
from ledcli.evaluation.results import NOISY
from ledcli.inference.denoiser import Denoiser
from ledcli.noise.estimate import NoiseProfile
from ledcli.output.levels import WHITE
from ledcli.output.render import developed
from ledcli.raw.reader import RawPhoto, read_raw
from ledcli.sensor.cfa import unpack
from ledcli.sensor.layout import layout_of
from ledcli.zoo.selection import camera_noise

Planes = NDArray[np.float32]
Picture = NDArray[np.float32]
Place = tuple[slice, slice]


class Shown(NamedTuple):
    """What became of a frame: figures by `results.MEASURES`, and a picture ``(H, W, 3)``, sRGB."""

    name: str
    figures: dict[str, float]
    picture: Picture


def picture_makers(models: Sequence[tuple[str, Denoiser]]) -> list[str]:
    """Return the names of those models that make pictures."""
    return [name for name, denoiser in models if denoiser.spec.makes_pictures]


def check_raws(source: Source, models: Sequence[tuple[str, Denoiser]]) -> None:
    """Refuse a source without raws for models that make pictures; raises UsageError."""
    names = picture_makers(models)
    if names and source.cases and all(case.raws is None for case in source.cases):
        raise UsageError(
            f"{names[0]} makes pictures, which are measured against LibRaw's of raw files: "
            f"{source.name} has none, so name a list of raws with --pairs"
        )


def true_picture(case: Case) -> Picture:
    """Return LibRaw's picture of a case's long frame.

    Raises
    ------
    PairError
        It has no raws.
    RawError, OutputError
        As `read_raw` and `developed`.
    """
    if case.raws is None:
        raise PairError(
            "has no raw files, against whose pictures a model that makes pictures is measured"
        )
    long = read_raw(case.raws.long)
    return _developed(long, long.normalised())


def shown(
    case: Case,
    frame: Frame,
    models: Sequence[tuple[str, Denoiser]],
    blind: NoiseProfile,
    truth: Picture,
) -> Iterator[Shown]:
    """Yield the noisy input times the ratio, then what each model makes of it.

    Parameters
    ----------
    case, frame
        With raws.
    models : sequence of (str, Denoiser)
    blind : NoiseProfile
        The frame's, estimated.
    truth : float32 array (H, W, 3)
        Of `true_picture`.
    """
    assert case.raws is not None
    short = read_raw(case.raws.short)
    height, width = short.mosaic.shape

    def of_planes(name: str, planes: Planes) -> Shown:
        mosaic = unpack(planes, short.phase, (height, width))
        made = _developed(short, mosaic)
        return Shown(name, _of_planes(planes, frame) | _of_pictures(made, truth), made)

    yield of_planes(NOISY, frame.short * np.float32(case.ratio))
    for name, denoiser in models:
        own = camera_noise(denoiser.spec, frame.exif)
        if denoiser.spec.makes_pictures:
            made = denoiser.develop(
                frame.short, case.ratio, phase=frame.phase, shape=(height, width), noise=own
            )
            yield Shown(name, _of_pictures(made, truth), made)
            continue
        planes = denoiser.denoise(
            frame.short, case.ratio, phase=frame.phase, noise=own or blind, exif=frame.exif
        )
        yield of_planes(name, planes)


def enlarged(place: Place, planes: int) -> Place:
    """Return the pixels that a place in planes has in a picture."""
    side = layout_of(planes).side
    rows, cols = (slice(side * part.start, side * part.stop) for part in place)
    return rows, cols


def _developed(photo: RawPhoto, x: Planes) -> Picture:
    picture: Picture = developed(photo, x).astype(np.float32) / np.float32(WHITE)
    return picture


def _of_planes(planes: Planes, frame: Frame) -> dict[str, float]:
    found = {}
    for ending, result in (("", planes), ("_corrected", corrected(planes, frame.truth))):
        clipped = np.clip(result, 0, 1)
        found[f"psnr{ending}"] = psnr(clipped, frame.truth)
        found[f"ssim{ending}"] = ssim(clipped, frame.truth)
    return found


def _of_pictures(made: Picture, truth: Picture) -> dict[str, float]:
    colours, true_colours = (np.moveaxis(picture, 2, 0) for picture in (made, truth))
    return {"psnr_srgb": psnr(colours, true_colours), "ssim_srgb": ssim(colours, true_colours)}

"""Measuring: every frame of a data set through every model, as `led denoise` would process it.

Where a model goes from raw to sRGB, LibRaw develops the noisy frame and the results of the other
models, and all are compared with LibRaw's picture of the long frame, so that all sRGB figures of a
run are comparable.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.batch.settings import Engine
from ledcli.errors import (
    DeviceError,
    LedError,
    ModelError,
    PairError,
    UsageError,
    as_led_error,
    first_line,
)
from ledcli.evaluation.datasets.base import Case, FramePair, Source
from ledcli.evaluation.metrics import (
    Picture,
    compare,
    compare_pictures,
    corrected,
    most_detailed,
    render_planes,
)
from ledcli.evaluation.results import NOISY, Crop, Evaluation, FrameResult
from ledcli.inference.denoiser import Denoiser
from ledcli.noise.blocks import Planes
from ledcli.noise.photo_noise import estimate_photo_noise
from ledcli.output.pixels import WHITE
from ledcli.output.render import develop_mosaic
from ledcli.pairs.frames import read_pair
from ledcli.raw.reader import RawPhoto
from ledcli.reporting import SILENT, Reporter, distinct_name
from ledcli.sensor.cfa import unpack
from ledcli.sensor.layout import layout_of
from ledcli.zoo.selection import camera_noise
from ledcli.zoo.store import find_model

MAX_CROPS = 12


class Candidate(NamedTuple):
    """A model to measure, under a unique name."""

    name: str
    denoiser: Denoiser


@dataclass(frozen=True)
class MeasuredFrame:
    """One frame, or why it could not be measured."""

    case: Case | None
    """None for a line of a list that names no frame."""
    results: tuple[FrameResult, ...] = ()
    """The noisy input's first, then the models'."""
    crop: Crop | None = None
    error: LedError | None = None


def load_candidates(models: Sequence[str], engine: Engine | None = None) -> list[Candidate]:
    """Load the models to measure, named as for `zoo.store.find_model`.

    Raises ModelError if there is no such model, and UsageError if one is named twice.
    """
    found: dict[str, Denoiser] = {}
    seen = set()
    for name in models:
        model = find_model(name)
        key = (model.path.resolve(), model.csa_set)
        if key in seen:
            raise UsageError(f"{name}: is named twice: name each model once")
        seen.add(key)
        denoiser = Denoiser(model.path, model.csa_set, **(engine or Engine())._asdict())
        known = denoiser.name in [NOISY, *found]
        own = f"{denoiser.name} ({model.path.stem})" if known else denoiser.name
        found[distinct_name(own, found)] = denoiser
    return [Candidate(*pair) for pair in found.items()]


def check_candidates(source: Source, candidates: Sequence[Candidate]) -> None:
    """Raise UsageError if a model makes pictures and there are no raws to measure it on."""
    names = picture_models(candidates)
    if names and source.cases and all(case.raws is None for case in source.cases):
        raise UsageError(
            f"{names[0]} makes pictures, which are measured against LibRaw's of raw files: "
            f"{source.name} has none, so name a list of raws with --pairs"
        )


def collect(
    source: Source,
    candidates: Sequence[Candidate],
    measured: Iterable[MeasuredFrame],
    on_frame: Callable[[MeasuredFrame], None] = lambda frame: None,
) -> Evaluation:
    """Return the results of the frames of a source, as far as they were measured."""
    models = [candidate.name for candidate in candidates]
    frames: list[FrameResult] = []
    crops: list[Crop] = []
    skipped, left = list(source.skipped), len(source.cases)
    for each in measured:
        on_frame(each)
        left -= 1
        if each.error is not None:
            skipped.append(f"{each.case.name if each.case else ''}: {each.error}")
        frames += each.results
        if each.crop is not None:
            crops.append(each.crop)
            # The worst: where the first model improves least.
            crops.sort(key=lambda crop: crop.psnr[models[0]] - crop.psnr[NOISY])
            del crops[MAX_CROPS:]
    return Evaluation(source.name, [NOISY, *models], frames, crops, skipped, left)


def measure(
    case: Case, candidates: Sequence[Candidate], report: Reporter = SILENT, ensemble: bool = False
) -> MeasuredFrame:
    """Measure one frame; an error goes into the result."""
    try:
        frame = case.read()
        for warning in frame.warnings:
            report.warn(warning)
        return _measure(case, frame, candidates, ensemble)
    except DeviceError:
        raise  # the next ones would fail as well
    except (LedError, MemoryError) as error:
        file = case.raws.short if case.raws else case.name
        return MeasuredFrame(case, error=as_led_error(error, file))
    except Exception as error:  # of any library: one frame must not end a long run
        what = f"{type(error).__name__}: {first_line(error)}"
        return MeasuredFrame(case, error=LedError(f"cannot be measured: {what}"))


def _measure(
    case: Case, frame: FramePair, candidates: Sequence[Candidate], ensemble: bool
) -> MeasuredFrame:
    crop = most_detailed(frame.truth)
    raw, metric = None, "psnr"
    if picture_models(candidates):
        crop, metric = in_picture(crop, len(frame.truth)), "psnr_srgb"
        if case.raws is None:
            raise PairError(
                "has no raw files, which are needed to measure a model that makes pictures"
            )
        raw, long = read_pair(case.raws)
        if raw.monochrome:
            raise ModelError(
                "is monochrome, and a model that makes colour pictures was named: leave it out"
            )
        truth = _developed(long, long.normalised())
    else:
        truth = render_planes(frame.truth, frame.white_balance, frame.to_srgb)
    about = case.name, case.camera, case.iso, case.ratio
    results, pictures, psnr = [], {}, {}
    for name, metrics, rendered in _measure_all(case, frame, candidates, truth, raw, ensemble):
        results.append(FrameResult(name, *about, metrics))
        pictures[name], psnr[name] = _eight_bits(rendered[crop]), metrics[metric]
        del rendered  # before the next model needs its memory
    shown = Crop(*about, pictures, _eight_bits(truth[crop]), psnr)
    return MeasuredFrame(case, tuple(results), shown)


def _measure_all(
    case: Case,
    frame: FramePair,
    candidates: Sequence[Candidate],
    truth: Picture,
    raw: RawPhoto | None,
    ensemble: bool,
) -> Iterator[tuple[str, dict[str, float], Picture]]:
    """Yield name, metrics and picture of the noisy input times the ratio, then of each model.

    Planes are developed by LibRaw as those of `raw`, the short frame, if it is given.
    """
    estimate = frame.noise or estimate_photo_noise(frame.short)
    yield NOISY, *_compare_planes(frame.short * np.float32(case.ratio), frame, truth, raw)
    for name, denoiser in candidates:
        # As in `led denoise`: the model's own noise profile of the camera, else the estimate.
        noise = camera_noise(denoiser.spec, frame.exif)
        if denoiser.spec.makes_pictures and raw is not None:
            phase, shape = frame.phase, raw.mosaic.shape
            picture = denoiser.develop(
                frame.short, case.ratio, phase=phase, shape=shape, noise=noise
            )
            yield name, compare_pictures(picture, truth), picture
            continue
        planes = denoiser.denoise(
            frame.short,
            case.ratio,
            phase=frame.phase,
            noise=noise or estimate,
            ensemble=ensemble,
            exif=frame.exif,
        )
        yield name, *_compare_planes(planes, frame, truth, raw)
        del planes


def _compare_planes(
    planes: Planes, frame: FramePair, truth: Picture, raw: RawPhoto | None
) -> tuple[dict[str, float], Picture]:
    clipped, matched = np.clip(planes, 0, 1), np.clip(corrected(planes, frame.truth), 0, 1)
    metrics = compare(clipped, frame.truth) | compare(matched, frame.truth, "_corrected")
    if raw is not None:
        picture = _developed(raw, unpack(planes, raw.phase, raw.mosaic.shape))
    else:
        picture = render_planes(clipped, frame.white_balance, frame.to_srgb)
        rendered = render_planes(matched, frame.white_balance, frame.to_srgb)
        metrics |= compare_pictures(rendered, truth, "_srgb_corrected")
    return metrics | compare_pictures(picture, truth), picture


def in_picture(crop: tuple[slice, slice], planes: int) -> tuple[slice, slice]:
    """Return the pixels (rows, columns) of a picture that show a crop of so many planes."""
    side = layout_of(planes).side
    rows, cols = (slice(side * part.start, side * part.stop) for part in crop)
    return rows, cols


def _developed(photo: RawPhoto, mosaic: Planes) -> Picture:
    picture: Picture = develop_mosaic(photo, mosaic).astype(np.float32) / np.float32(WHITE)
    return picture


def picture_models(candidates: Sequence[Candidate]) -> list[str]:
    """Return the names of the models that make pictures."""
    return [name for name, denoiser in candidates if denoiser.spec.makes_pictures]


def _eight_bits(picture: Picture) -> NDArray[np.uint8]:
    return np.rint(picture * 255).astype(np.uint8)

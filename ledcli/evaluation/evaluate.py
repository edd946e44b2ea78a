"""Measuring: every frame of a data set through every model, as `led denoise` would process it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.batch.settings import Engine
from ledcli.errors import LedError, ModelError, UsageError
from ledcli.evaluation import srgb
from ledcli.evaluation.datasets import read_dataset
from ledcli.evaluation.datasets.base import Case, DatasetOptions, Frame, Source, free_name
from ledcli.evaluation.metrics import (
    Picture,
    Result,
    compare,
    compare_pictures,
    corrected,
    most_detailed,
    render_planes,
)
from ledcli.evaluation.results import NOISY, Crop, Evaluation, FrameResult
from ledcli.inference.denoiser import Denoiser
from ledcli.noise.estimate import NoiseProfile, estimate_noise
from ledcli.reporting import SILENT, Reporter
from ledcli.sensor.layout import LAYOUTS
from ledcli.zoo.selection import camera_noise
from ledcli.zoo.store import find_model

MAX_CROPS = 12

Planes = NDArray[np.float32]


class Candidate(NamedTuple):
    """A model to measure, under a unique name."""

    name: str
    denoiser: Denoiser


@dataclass(frozen=True)
class MeasuredFrame:
    """One frame, measured or not.

    Attributes
    ----------
    case : Case
    results : tuple of FrameResult
        The noisy input's first, then the models'; empty if the frame could not be measured.
    crop : Crop or None
    error : LedError or None
        Why it could not be measured.
    """

    case: Case
    results: tuple[FrameResult, ...] = ()
    crop: Crop | None = None
    error: LedError | None = None


def load_candidates(models: Sequence[str], engine: Engine | None = None) -> list[Candidate]:
    """Load the models to measure.

    Parameters
    ----------
    models : sequence of str
        As for `zoo.store.find_model`; empty takes the bundled default.
    engine : Engine, optional
        Default is chosen for this machine.

    Raises
    ------
    ModelError
        There is no such model.
    UsageError
        A model is named twice.
    """
    found: dict[str, Denoiser] = {}
    seen = set()
    names: Sequence[str | None] = list(models) or [None]
    for name in names:
        model = find_model(name)
        key = (model.path.resolve(), model.csa_set)
        if key in seen:
            raise UsageError(f"{name}: is named twice: name each model once")
        seen.add(key)
        denoiser = Denoiser(model.path, model.csa_set, **(engine or Engine())._asdict())
        known = denoiser.name in [NOISY, *found]
        own = f"{denoiser.name} ({model.path.stem})" if known else denoiser.name
        found[free_name(own, found)] = denoiser
    return [Candidate(*pair) for pair in found.items()]


class Measurement:
    """Measures a data set frame by frame, and collects the results.

    Parameters
    ----------
    source : Source
    candidates : sequence of Candidate

    Raises
    ------
    UsageError
        A model makes pictures, and the source has no raw files to measure it on.
    """

    def __init__(self, source: Source, candidates: Sequence[Candidate]) -> None:
        srgb.check_raws(source, candidates)
        self.source, self.candidates = source, candidates
        self._frames: list[FrameResult] = []
        self._crops: list[Crop] = []
        self._skipped = list(source.skipped)

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[MeasuredFrame]:
        """Measure the frames in order; a bad frame does not stop the others, `stop` does."""
        for case in self.source.cases:
            if stop():
                return
            try:
                measured = _measure(case, _read(case), self.candidates)
            except LedError as error:
                measured = MeasuredFrame(case, error=error)
            except MemoryError:
                problem = LedError("needs more memory than there is: close other programs")
                measured = MeasuredFrame(case, error=problem)
            if measured.error is not None:
                self._skipped.append(f"{case.name}: {measured.error}")
            self._frames += measured.results
            if measured.crop is not None:
                self._crops.append(measured.crop)
                self._crops.sort(key=self._improvement)
                del self._crops[MAX_CROPS:]
            yield measured

    def evaluation(self) -> Evaluation:
        """Return all that was measured so far, with the worst crops."""
        models = [NOISY, *(candidate.name for candidate in self.candidates)]
        return Evaluation(self.source.name, models, self._frames, self._crops, self._skipped)

    def _improvement(self, crop: Crop) -> float:
        return crop.psnr[self.candidates[0].name] - crop.psnr[NOISY]


def _read(case: Case) -> Frame:
    try:
        return case.read()
    except (LedError, MemoryError):
        raise
    except Exception as error:  # of any library: one frame must not end a long run
        first = (str(error).splitlines() or [""])[0]
        raise LedError(f"cannot be read: {type(error).__name__}: {first}") from error


def _measure(case: Case, frame: Frame, candidates: Sequence[Candidate]) -> MeasuredFrame:
    for name, denoiser in candidates:
        if denoiser.spec.planes != len(frame.short):
            kind = LAYOUTS[denoiser.spec.cfa].title
            raise ModelError(f"{name} is for {kind} sensors, and the frame is from another")
    crop = most_detailed(frame.truth)
    estimate = estimate_noise(frame.short)
    if srgb.picture_models(candidates):
        crop, metric = srgb.in_picture(crop, len(frame.truth)), "psnr_srgb"
        truth = srgb.true_picture(case)
        found = srgb.measure_pictures(case, frame, candidates, estimate, truth)
    else:
        metric = "psnr"
        truth = render_planes(frame.truth, frame.white_balance, frame.to_srgb)
        found = _measure_planes(case, frame, candidates, estimate, truth)
    results, pictures, psnr = [], {}, {}
    for name, metrics, rendered in found:
        results.append(FrameResult(name, case.name, case.camera, case.iso, case.ratio, metrics))
        pictures[name], psnr[name] = _eight_bits(rendered[crop]), metrics[metric]
        del rendered  # before the next model needs its memory
    true_crop = _eight_bits(truth[crop])
    return MeasuredFrame(
        case,
        tuple(results),
        Crop(case.name, case.camera, case.iso, case.ratio, pictures, true_crop, psnr),
    )


def _measure_planes(
    case: Case,
    frame: Frame,
    candidates: Sequence[Candidate],
    estimate: NoiseProfile,
    truth: Picture,
) -> Iterator[Result]:
    """Yield the result of the noisy input times the ratio, then that of each model."""
    noisy = frame.short * np.float32(case.ratio)
    yield _compare_planes(NOISY, noisy, frame, truth)
    del noisy
    for name, denoiser in candidates:
        # As in `led denoise`: the model's own noise profile of the camera, else the estimate.
        noise = camera_noise(denoiser.spec, frame.exif) or estimate
        planes = denoiser.denoise(
            frame.short, case.ratio, phase=frame.phase, noise=noise, exif=frame.exif
        )
        yield _compare_planes(name, planes, frame, truth)
        del planes


def _compare_planes(model: str, planes: Planes, frame: Frame, truth: Picture) -> Result:
    """Compare planes, and their rendering, with the truth, before and after the correction."""
    clipped = np.clip(planes, 0, 1)
    picture = render_planes(clipped, frame.white_balance, frame.to_srgb)
    metrics = compare(clipped, frame.truth) | compare_pictures(picture, truth)
    clipped = np.clip(corrected(planes, frame.truth), 0, 1)
    metrics |= compare(clipped, frame.truth, "_corrected")
    rendered = render_planes(clipped, frame.white_balance, frame.to_srgb)
    metrics |= compare_pictures(rendered, truth, "_srgb_corrected")
    return Result(model, metrics, picture)


def _eight_bits(picture: Picture) -> NDArray[np.uint8]:
    return np.rint(picture * 255).astype(np.uint8)


def plan_evaluation(
    places: Mapping[str, Path | None],
    options: DatasetOptions,
    *,
    engine: Engine = Engine(),  # noqa: B008  (immutable)
    report: Reporter = SILENT,
) -> Measurement:
    """Read the one dataset that is given (see `read_dataset`) and load ``options.models``."""
    source = read_dataset(places, options)
    candidates = load_candidates(options.models, engine)
    measurement = Measurement(source, candidates)
    if makers := srgb.picture_models(candidates):
        report.info(
            f"{', '.join(makers)} makes pictures straight from the raw: all sRGB figures are of "
            "full-size pictures, compared with LibRaw's"
        )
    return measurement

"""Measuring: every frame of a data set through every model, as `led denoise` would take it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import LedError, ModelError, UsageError
from ledcli.evaluation.datasets.base import Case, Frame, Source, free_name
from ledcli.evaluation.metrics import corrected, most_detailed, psnr, render_planes, ssim
from ledcli.evaluation.results import NOISY, Crop, Evaluation, FrameResult
from ledcli.evaluation.srgb import Shown, enlarged, picture_makers, shown, true_picture
from ledcli.inference.denoiser import Denoiser
from ledcli.noise.estimate import NoiseProfile, estimate_noise
from ledcli.zoo.model_file import read_spec
from ledcli.zoo.selection import SENSORS, camera_noise
from ledcli.zoo.store import find_model

MOST_CROPS = 12

Planes = NDArray[np.float32]
Picture = NDArray[np.float32]


class Entrant(NamedTuple):
    """A model that is measured, under the name that tells it from the others."""

    name: str
    denoiser: Denoiser


@dataclass(frozen=True)
class Measured:
    """One frame, measured or not.

    Attributes
    ----------
    case : Case
    results : tuple of FrameResult
        The noisy input's first, then the models'; empty where the frame could not be measured.
    crop : Crop or None
    error : LedError or None
        Why it could not be measured.
    """

    case: Case
    results: tuple[FrameResult, ...] = ()
    crop: Crop | None = None
    error: LedError | None = None


@dataclass
class Gathered:
    """Results as they come, of which an `Evaluation` is made."""

    source: Source
    models: Sequence[str]
    frames: list[FrameResult] = field(default_factory=list)
    crops: list[Crop] = field(default_factory=list)
    skipped: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.skipped = list(self.source.skipped)

    def add(self, measured: Measured) -> None:
        """Take one frame in; of the crops only the worst are kept."""
        if measured.error is not None:
            self.skipped.append(f"{measured.case.name}: {measured.error}")
            return
        self.frames += measured.results
        if measured.crop is not None:
            self.crops.append(measured.crop)
            self.crops.sort(key=self._gain)
            del self.crops[MOST_CROPS:]

    def evaluation(self) -> Evaluation:
        """Return all that was gathered."""
        models = [NOISY, *self.models]
        return Evaluation(self.source.name, models, self.frames, self.crops, self.skipped)

    def _gain(self, crop: Crop) -> float:
        return crop.psnr[self.models[0]] - crop.psnr[NOISY]


def entrants(
    models: Sequence[str],
    *,
    device: str = "auto",
    precision: str = "auto",
    tile: int | None = None,
) -> list[Entrant]:
    """Load the models to be measured.

    Parameters
    ----------
    models : sequence of str
        As `zoo.store.find_model` takes them; empty takes the bundled default.
    device, precision, tile
        As for `Denoiser`; None is the default tile.

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
        denoiser = Denoiser(
            model.path, model.csa_set, device=device, precision=precision, tile=tile
        )
        known = denoiser.name in [NOISY, *found]
        own = f"{denoiser.name} ({model.path.stem})" if known else denoiser.name
        found[free_name(own, found)] = denoiser
    return [Entrant(*pair) for pair in found.items()]


def sensor_of(models: Sequence[str]) -> str:
    """Return the kind of sensor that all models are for.

    Parameters
    ----------
    models : sequence of str
        As for `entrants`.

    Raises
    ------
    ModelError
        There is no such model.
    UsageError
        They are for several.
    """
    names: Sequence[str | None] = list(models) or [None]
    kinds = {read_spec(find_model(name).path).cfa for name in names}
    if len(kinds) > 1:
        raise UsageError("some of the models are for X-Trans sensors: measure them apart")
    return kinds.pop()


def measure(source: Source, models: Sequence[Entrant]) -> Iterator[Measured]:
    """Measure frame by frame; one that cannot be read costs itself alone.

    Parameters
    ----------
    source : Source
    models : sequence of Entrant

    Yields
    ------
    Measured
        In the order of the cases.
    """
    for case in source.cases:
        try:
            yield _measured(case, _read(case), models)
        except LedError as error:
            yield Measured(case, error=error)
        except MemoryError:
            problem = LedError("needs more memory than there is: close other programs")
            yield Measured(case, error=problem)


def _read(case: Case) -> Frame:
    try:
        return case.read()
    except (LedError, MemoryError):
        raise
    except Exception as error:  # of any library: it must not cost what was measured so far
        first = (str(error).splitlines() or [""])[0]
        raise LedError(f"cannot be read: {type(error).__name__}: {first}") from error


def figures(result: Planes, frame: Frame, truth: Picture) -> tuple[dict[str, float], Picture]:
    """Compare a result with the truth.

    Parameters
    ----------
    result : float32 array (4, h, w)
        Times the ratio; clipped to 0..1 here.
    frame : Frame
        Its truth and colours.
    truth : float32 array (h, w, 3)
        The truth's picture, sRGB.

    Returns
    -------
    dict of str to float
        By `results.MEASURES`.
    float32 array (h, w, 3)
        The result's picture, sRGB, not corrected.
    """
    found, shown = _compared(result, frame, truth)
    again, _ = _compared(corrected(result, frame.truth), frame, truth)
    return found | {f"{name}_corrected": value for name, value in again.items()}, shown


def _compared(result: Planes, frame: Frame, truth: Picture) -> tuple[dict[str, float], Picture]:
    """Compare a result as it is, by planes and by its picture; return that too."""
    planes = np.clip(result, 0, 1)
    rendered = render_planes(planes, frame.white_balance, frame.to_srgb)
    colours, true_colours = (np.moveaxis(each, 2, 0) for each in (rendered, truth))
    found = {
        "psnr": psnr(planes, frame.truth),
        "ssim": ssim(planes, frame.truth),
        "psnr_srgb": psnr(colours, true_colours),
        "ssim_srgb": ssim(colours, true_colours),
    }
    return found, rendered


def _measured(case: Case, frame: Frame, models: Sequence[Entrant]) -> Measured:
    for name, denoiser in models:
        if denoiser.spec.planes != len(frame.short):
            kind = SENSORS[denoiser.spec.cfa]
            raise ModelError(f"{name} is for {kind} sensors, and the frame is from another")
    place = most_detailed(frame.truth)
    blind = estimate_noise(frame.short)
    if picture_makers(models):
        truth = true_picture(case)
        place, compared = enlarged(place, len(frame.truth)), "psnr_srgb"
        found = shown(case, frame, models, blind, truth)
    else:
        truth, compared = render_planes(frame.truth, frame.white_balance, frame.to_srgb), "psnr"
        found = _results(case, frame, models, blind, truth)
    results, pictures, gained = [], {}, {}
    for name, by_measure, rendered in found:
        results.append(FrameResult(name, case.name, case.camera, case.iso, case.ratio, by_measure))
        pictures[name], gained[name] = _bytes(rendered[place]), by_measure[compared]
        del rendered  # before the next model takes its memory
    crop = Crop(
        case.name, case.camera, case.iso, case.ratio, pictures, _bytes(truth[place]), gained
    )
    return Measured(case, tuple(results), crop)


def _results(
    case: Case, frame: Frame, models: Sequence[Entrant], blind: NoiseProfile, truth: Picture
) -> Iterator[Shown]:
    """Yield the noisy input times the ratio, then what each model makes of it."""
    noisy = frame.short * np.float32(case.ratio)
    yield Shown(NOISY, *figures(noisy, frame, truth))
    del noisy
    for name, denoiser in models:
        # As `led denoise`: what the model's own lines say of the camera, else the blind estimate.
        noise = camera_noise(denoiser.spec, frame.exif) or blind
        planes = denoiser.denoise(
            frame.short, case.ratio, phase=frame.phase, noise=noise, exif=frame.exif
        )
        yield Shown(name, *figures(planes, frame, truth))
        del planes


def _bytes(rendered: Picture) -> NDArray[np.uint8]:
    return np.rint(rendered * 255).astype(np.uint8)

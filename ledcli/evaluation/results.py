"""An evaluation as CSV: a row for each frame and model."""

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ledcli.output.atomic import atomic_write

NOISY = "noisy"
"""The name under which the input itself, times the ratio, stands among the models."""
MEASURES = (
    "psnr",
    "ssim",
    "psnr_srgb",
    "ssim_srgb",
    "psnr_corrected",
    "ssim_corrected",
    "psnr_srgb_corrected",
    "ssim_srgb_corrected",
)
"""PSNR in dB and SSIM, on planes and on the sRGB picture, without and with the illuminance
correction."""

Key = Literal["ratio", "iso", "camera"]
KEYS: tuple[Key, ...] = ("ratio", "iso", "camera")
Value = float | str | None


@dataclass(frozen=True)
class FrameResult:
    """One short frame through one model.

    Attributes
    ----------
    model : str
        Name of the model, or `NOISY`.
    frame : str
        Short unique name of the frame.
    camera : str
        Make and model, or a calibrated camera's name; empty where unknown.
    iso : float or None
        None where unknown.
    ratio : float
    figures : mapping
        By `MEASURES`; one that could not be had is missing.
    """

    model: str
    frame: str
    camera: str
    iso: float | None
    ratio: float
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Crop:
    """The same place of one frame as every model shows it.

    Attributes
    ----------
    frame, camera, iso, ratio
        As in `FrameResult`.
    pictures : mapping of str to uint8 array (h, w, 3)
        sRGB, by model; the noisy one under `NOISY`.
    truth : uint8 array (h, w, 3)
        The long frame's.
    psnr : mapping of str to float
        Of the whole frame's planes, in dB, by model; of its picture where a model makes pictures.
    """

    frame: str
    camera: str
    iso: float | None
    ratio: float
    pictures: Mapping[str, NDArray[np.uint8]]
    truth: NDArray[np.uint8]
    psnr: Mapping[str, float]


@dataclass(frozen=True)
class Group:
    """Mean figures of one model over the frames that share a value.

    Attributes
    ----------
    model : str
    value : float, str or None
        The ratio, ISO or camera they share; None where it is unknown.
    frames : int
    figures : mapping
        Mean by measure, over the frames that have it.
    """

    model: str
    value: Value
    frames: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """All that was measured.

    Attributes
    ----------
    source : str
        What was measured on, in words.
    models : sequence of str
        `NOISY` first, then in the order given.
    frames : sequence of FrameResult
        Frame by frame, each with all models.
    crops : sequence of Crop
        Worst first: where the first model gains least over the noisy input.
    skipped : sequence of str
        A line for each frame that could not be measured: which, and why.
    """

    source: str
    models: Sequence[str]
    frames: Sequence[FrameResult]
    crops: Sequence[Crop]
    skipped: Sequence[str]

    def groups(self, key: Key) -> list[Group]:
        """Return mean figures by value of `key`, ascending, and in it by model.

        Unknown values come last.
        """
        found: dict[Value, dict[str, list[FrameResult]]] = defaultdict(lambda: defaultdict(list))
        for frame in self.frames:
            found[getattr(frame, key)][frame.model].append(frame)
        known = [value for value in found if value is not None]
        ordered: list[Value] = [*sorted(known, key=_sortable), *([None] if None in found else [])]
        return [
            _mean(model, value, found[value][model])
            for value in ordered
            for model in self.models
            if found[value][model]
        ]

    def means(self) -> list[Group]:
        """Return mean figures by model over all frames; `Group.value` is None."""
        by_model: dict[str, list[FrameResult]] = defaultdict(list)
        for frame in self.frames:
            by_model[frame.model].append(frame)
        return [_mean(model, None, by_model[model]) for model in self.models if by_model[model]]


def _mean(model: str, value: Value, frames: Sequence[FrameResult]) -> Group:
    by_measure = {
        name: [frame.figures[name] for frame in frames if name in frame.figures]
        for name in MEASURES
    }
    figures = {name: float(np.mean(values)) for name, values in by_measure.items() if values}
    return Group(model, value, len(frames), figures)


def _sortable(value: float | str) -> tuple[float, str]:
    return (0, value) if isinstance(value, str) else (value, "")


COLUMNS = ("frame", "camera", "iso", "ratio", "model", *MEASURES)


def write_csv(path: Path, evaluation: Evaluation) -> Path:
    """Write the figures, and return the file; an unknown cell is empty. Raises OutputError."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for frame in evaluation.frames:
        about = (frame.frame, frame.camera, frame.iso, frame.ratio, frame.model)
        writer.writerow([*about, *(frame.figures.get(name) for name in MEASURES)])
    # A file name may hold bytes that are no text.
    atomic_write(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return path

"""What an evaluation measured: PSNR and SSIM by frame, their means, and how they are written."""

import csv
import io
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import OutputError
from ledcli.output.atomic import atomic_write

NOISY = "noisy"
"""Stands among the models for the input itself, times the ratio."""
METRICS = (
    "psnr",
    "ssim",
    "psnr_srgb",
    "ssim_srgb",
    "psnr_corrected",
    "ssim_corrected",
    "psnr_srgb_corrected",
    "ssim_srgb_corrected",
)
"""PSNR in dB and SSIM, of planes and of the sRGB picture, without and with the illuminance
correction."""
UNKNOWN = "–"

Key = Literal["ratio", "iso", "camera"]
KEYS: tuple[Key, ...] = ("ratio", "iso", "camera")
Value = float | str | None


@dataclass(frozen=True)
class FrameResult:
    """Metrics of one short frame denoised by one model.

    Attributes
    ----------
    model
        Name of the model, or `NOISY`.
    frame
        Unique name.
    camera
        Make and model, or a calibrated camera's name; empty where unknown.
    metrics
        By `METRICS`; without those that the model does not have.
    """

    model: str
    frame: str
    camera: str
    iso: float | None
    ratio: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Crop:
    """The same crop of one frame from every model.

    Attributes
    ----------
    pictures : mapping of str to uint8 array (h, w, 3)
        sRGB, by model; the noisy input under `NOISY`.
    truth : uint8 array (h, w, 3)
        Of the long frame.
    psnr : mapping of str to float
        Of the whole frame, dB, by model; of pictures if one of the models makes pictures.
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
    """Mean metrics of one model over the frames that share a ratio, ISO or camera.

    Each metric is averaged over the frames that have it; the value is None where unknown.
    """

    model: str
    value: Value
    frames: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """All that was measured.

    Attributes
    ----------
    source : str
        Title of the data set.
    models : sequence of str
        `NOISY` first, then in the order given.
    frames : sequence of FrameResult
        Frame by frame, each with all models.
    crops : sequence of Crop
        Worst first: where the first model improves least on the noisy input.
    skipped : sequence of str
        A line for each frame that could not be measured: which, and why.
    """

    source: str
    models: Sequence[str]
    frames: Sequence[FrameResult]
    crops: Sequence[Crop]
    skipped: Sequence[str]

    def groups(self, key: Key) -> list[Group]:
        """Return mean metrics by value of `key`, ascending, unknown last, and in it by model."""
        found: dict[Value, list[FrameResult]] = defaultdict(list)
        for frame in self.frames:
            found[getattr(frame, key)].append(frame)

        def order(value: Value) -> tuple[bool, float, str]:
            if isinstance(value, str):
                return False, 0, value
            return value is None, value or 0, ""

        return [
            group
            for value in sorted(found, key=order)
            for group in replace(self, frames=found[value]).means(value)
        ]

    def by_value(self, key: Key) -> list[tuple[Value, dict[str, Group]]]:
        """Return the groups of each value of `key` by model, in the order of `groups`."""
        found: dict[Value, dict[str, Group]] = defaultdict(dict)
        for group in self.groups(key):
            found[group.value][group.model] = group
        return list(found.items())

    def by_camera_and_ratio(self) -> list[tuple[str, float, dict[str, Group]]]:
        """Return the groups of each camera and ratio by model, ascending."""
        found = []
        for camera in sorted({frame.camera for frame in self.frames}):
            own = [frame for frame in self.frames if frame.camera == camera]
            for ratio, groups in replace(self, frames=own).by_value("ratio"):
                found.append((camera, float(ratio or 0), groups))
        return found

    def means(self, value: Value = None) -> list[Group]:
        """Return mean metrics by model over all frames, as groups of the value given."""
        by_model: dict[str, list[FrameResult]] = defaultdict(list)
        for frame in self.frames:
            by_model[frame.model].append(frame)
        return [
            Group(model, value, len(by_model[model]), _mean_metrics(by_model[model]))
            for model in self.models
            if by_model[model]
        ]


def _mean_metrics(frames: Sequence[FrameResult]) -> dict[str, float]:
    by_measure = {
        name: [frame.metrics[name] for frame in frames if name in frame.metrics] for name in METRICS
    }
    return {name: float(np.mean(values)) for name, values in by_measure.items() if values}


def format_metric(metric: str, value: float | None) -> str:
    """Write a metric without its unit: PSNR to hundredths of a dB, SSIM to four digits."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:.2f}" if metric.startswith("psnr") else f"{value:.4f}"


def format_value(value: Value) -> str:
    """Write a ratio, an ISO or a camera's name; ``unknown`` for None and an empty name."""
    if value is None or value == "":
        return "unknown"
    return value if isinstance(value, str) else f"{value:.6g}"


def count(number: int, noun: str) -> str:
    """Write a number of things: ``1 frame``, ``3 frames``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def check_csv(csv: Path) -> None:
    """Raise OutputError if a CSV file cannot be written there."""
    if not os.path.isdir(csv.parent):
        raise OutputError(f"{csv}: the folder does not exist; create it first")
    if os.path.lexists(csv):
        raise OutputError(f"{csv}: already exists; choose another name with --csv")
    if not os.access(csv.parent, os.W_OK):
        raise OutputError(f"{csv}: the folder is not writable; choose another one with --csv")


def write_csv(path: Path, evaluation: Evaluation) -> Path:
    """Write a row for each frame and model; unknown cells are empty. Raises OutputError."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("frame", "camera", "iso", "ratio", "model", *METRICS))
    for frame in evaluation.frames:
        about = (frame.frame, frame.camera, frame.iso, frame.ratio, frame.model)
        writer.writerow([*about, *(frame.metrics.get(name) for name in METRICS)])
    # A file name may hold bytes that are not text.
    atomic_write(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return path

"""What an evaluation measured: PSNR and SSIM by frame, their means and curves, and the CSV file."""

import csv
import io
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import OutputError
from ledcli.output.atomic import atomic_write, check_new
from ledcli.reporting import count

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

CHART_WIDTH, CHART_HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 300, 50, 424, 12, 252
"""Size of a chart, and the edges of its axes."""
INSET = 8
"""Between an axis and the curves."""
LABEL_WIDTH = 34.0
"""Least distance between two labels under the axis."""

Key = Literal["ratio", "iso", "camera"]
KEYS: tuple[Key, ...] = ("ratio", "iso", "camera")
Value = float | str | None


@dataclass(frozen=True)
class FrameResult:
    """Metrics of one short frame denoised by one model."""

    model: str
    """Its name, or `NOISY`."""
    frame: str
    """Unique name."""
    camera: str
    """Make and model, or a calibrated camera's name; empty where unknown."""
    iso: float | None
    ratio: float
    metrics: Mapping[str, float]
    """By `METRICS`; without those that the model does not have."""


@dataclass(frozen=True)
class Crop:
    """The same crop of one frame from every model, in sRGB (h, w, 3)."""

    frame: str
    camera: str
    iso: float | None
    ratio: float
    pictures: Mapping[str, NDArray[np.uint8]]
    """By model; the noisy input under `NOISY`."""
    truth: NDArray[np.uint8]
    """Of the long frame."""
    psnr: Mapping[str, float]
    """Of the whole frame, dB, by model; of pictures if one of the models makes pictures."""


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
    """All that was measured."""

    source: str
    """Title of the data set."""
    models: Sequence[str]
    """`NOISY` first, then in the order given."""
    frames: Sequence[FrameResult]
    """Frame by frame, each with all models."""
    crops: Sequence[Crop]
    """Worst first: where the first model improves least on the noisy input."""
    skipped: Sequence[str]
    """A line for each frame that could not be measured: which, and why."""
    not_started: int = 0
    """Frames left when the run was stopped."""

    def by_value(self, key: Key) -> list[tuple[Value, dict[str, Group]]]:
        """Return mean metrics by value of `key`, ascending, unknown last, and in it by model."""
        found: dict[Value, list[FrameResult]] = defaultdict(list)
        for frame in self.frames:
            found[getattr(frame, key)].append(frame)
        known = sorted(value for value in found if value is not None)
        return [
            (value, {g.model: g for g in replace(self, frames=found[value]).means(value)})
            for value in [*known, *found.keys() & {None}]
        ]

    def groups(self, key: Key) -> list[Group]:
        """Return the groups of `by_value` in one list."""
        return [group for _, groups in self.by_value(key) for group in groups.values()]

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


def check_csv(csv: Path) -> None:
    """Raise OutputError if a CSV file cannot be written there."""
    if os.path.isdir(csv.parent) and not os.access(csv.parent, os.W_OK):
        raise OutputError(f"{csv}: the folder is not writable; choose another one with --csv")
    check_new(csv, "choose another name with --csv")


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


class Mark(NamedTuple):
    """A point of a curve: its position and its tooltip."""

    x: float
    y: float
    text: str

    @property
    def point(self) -> str:
        """The position in an SVG path."""
        return f"{self.x:.1f} {self.y:.1f}"


class Curves(NamedTuple):
    """What a chart shows: a line for each model, ticks (y, text) and labels (x, text)."""

    lines: list[list[Mark]]
    ticks: list[tuple[float, str]]
    labels: list[tuple[float, str]]


def place_curves(
    by_value: Sequence[tuple[Value, Mapping[str, Group]]], models: Sequence[str]
) -> Curves | None:
    """Place the curves of PSNR over a value, from `Evaluation.by_value`, on a logarithmic axis.

    Returns None where there are fewer than two values.
    """
    points: list[list[tuple[float, Group]]] = [[] for _ in models]
    for value, groups in by_value:
        if isinstance(value, int | float) and 0 < value < math.inf:
            for number, model in enumerate(models):
                group = groups.get(model)
                if group and math.isfinite(group.metrics.get("psnr", math.nan)):
                    points[number].append((float(value), group))
    values = sorted({value for line in points for value, _ in line})
    if len(values) < 2:
        return None
    ticks = _ticks([group.metrics["psnr"] for line in points for _, group in line])
    low, high = math.log(values[0]), math.log(values[-1])

    def x_of(value: float) -> float:
        width = RIGHT - LEFT - 2 * INSET
        return LEFT + INSET + width * (math.log(value) - low) / (high - low)

    def y_of(psnr: float) -> float:
        return BOTTOM - (psnr - ticks[0]) / (ticks[-1] - ticks[0]) * (BOTTOM - TOP)

    def mark(model: str, value: float, group: Group) -> Mark:
        psnr = group.metrics["psnr"]
        at = f"{format_value(value)}: {format_metric('psnr', psnr)}"
        text = f"{model} at {at} ({count(group.frames, 'frame')})"
        return Mark(x_of(value), y_of(psnr), text)

    labels = [values[0]]
    for value in values[1:-1]:
        if x_of(value) - x_of(labels[-1]) >= LABEL_WIDTH:
            labels.append(value)
    if len(labels) > 1 and x_of(values[-1]) - x_of(labels[-1]) < LABEL_WIDTH:
        labels.pop()
    digits = 0 if ticks[1] - ticks[0] >= 1 else 2
    lines = zip(models, points, strict=True)
    return Curves(
        [[mark(model, *point) for point in line] for model, line in lines],
        [(y_of(tick), f"{tick:.{digits}f}") for tick in ticks],
        [(x_of(value), format_value(value)) for value in [*labels, values[-1]]],
    )


def _ticks(values: Sequence[float]) -> list[float]:
    """Return round numbers, at most seven, from below the lowest value to above the highest."""
    low, high = min(values), max(values)
    span = max(high - low, 0.01)
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(power * m for m in (1, 2, 5, 10, 20) if span / (power * m) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * n for n in range(first, max(last, first + 1) + 1)]

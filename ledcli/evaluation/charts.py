"""Charts of the report: PSNR over ratio or ISO, placed on a logarithmic axis."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ledcli.evaluation.results import Group, Value, count, format_metric, format_value

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 300, 50, 424, 12, 252
"""Size of a chart, and the edges of its axes."""
INSET = 8
"""Between an axis and the curves."""
LABEL_WIDTH = 34.0
"""Least distance between two labels under the axis."""


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
    """What a chart shows.

    Attributes
    ----------
    lines : list of list of Mark
        Of each model.
    ticks : list of (y, text)
    labels : list of (x, text)
    """

    lines: list[list[Mark]]
    ticks: list[tuple[float, str]]
    labels: list[tuple[float, str]]


def place_curves(
    by_value: Sequence[tuple[Value, Mapping[str, Group]]], models: Sequence[str]
) -> Curves | None:
    """Place the curves of PSNR over a value on a chart with a logarithmic axis.

    Parameters
    ----------
    by_value : sequence of (value, groups by model)
        As `Evaluation.by_value` returns them, ascending.
    models : sequence of str

    Returns
    -------
    Curves or None
        None where there are fewer than two values.
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
    return Curves(
        [
            [mark(model, *point) for point in line]
            for model, line in zip(models, points, strict=True)
        ],
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

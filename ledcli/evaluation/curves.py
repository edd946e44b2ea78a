"""Curves of a mean figure over ratio or ISO, one for each model, as an SVG drawing."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledcli.evaluation.formatting import counted, figure, model_name, plain
from ledcli.evaluation.markup import Markup, element, join
from ledcli.evaluation.results import Group

WIDTH, HEIGHT = 440.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 16.0, 12.0, 48.0
COLOURS = 7
"""Colours in the style sheet for models; the noisy input's grey is number 0."""
_NEAREST = 34.0
"""Between two labels under the axis."""
_SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",  # disc
    "M-3.7-3.7h7.4v7.4h-7.4z",  # square
    "M0-5L4.7 3.6h-9.4z",  # triangle
    "M0-5.2L5.2 0L0 5.2L-5.2 0z",  # diamond
    "M0 5L4.7-3.6h-9.4z",  # triangle, point down
)


@dataclass(frozen=True)
class Point:
    """A mean figure: where on the axis, how high, over how many frames."""

    value: float
    figure: float
    frames: int


def points(groups: Sequence[Group], model: str, measure: str) -> list[Point]:
    """Return a model's points in ascending order; what has no place on a log axis has none."""
    return [
        Point(float(group.value), group.figures[measure], group.frames)
        for group in groups
        if group.model == model
        and isinstance(group.value, int | float)
        and 0 < group.value < math.inf
        and math.isfinite(group.figures.get(measure, math.nan))
    ]


def legend(models: Sequence[str]) -> Markup:
    """Return a list of the models, each with its line and its mark."""
    entries = []
    for number, model in enumerate(models):
        line = element("path", d="M0 7h30", class_=_line(number))
        key = element(
            "svg", line, _mark(number, 15, 7), viewBox="0 0 30 14", class_="key", aria_hidden="true"
        )
        entries.append(element("li", key, " ", model_name(model)))
    return element("ul", *entries, class_="legend")


def curves(
    title: str,
    axes: tuple[str, str],
    groups: Sequence[Group],
    models: Sequence[str],
    measure: str,
) -> Markup | None:
    """Draw a measure over ratio or ISO.

    Parameters
    ----------
    title : str
        What it shows, for those who do not see it.
    axes : (str, str)
        What stands at the horizontal axis, which is logarithmic, and at the vertical one.
    groups : sequence of Group
        By ratio or by ISO.
    models : sequence of str
        In the order of their colours.
    measure : str
        One of `MEASURES`.

    Returns
    -------
    Markup or None
        None if there are fewer than two values to draw a curve between.
    """
    series = {model: points(groups, model, measure) for model in models}
    values = sorted({point.value for found in series.values() for point in found})
    if len(values) < 2:
        return None
    ticks = _ticks([point.figure for found in series.values() for point in found])
    low, high = math.log(values[0]), math.log(values[-1])
    inner = WIDTH - LEFT - RIGHT - 16

    def across(value: float) -> float:
        return LEFT + 8 + inner * (math.log(value) - low) / (high - low)

    def up(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    drawn = []
    for number, (model, found) in enumerate(series.items()):
        places = [(across(p.value), up(p.figure)) for p in found]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        marks = []
        for point, (x, y) in zip(found, places, strict=True):
            said = f"{plain(point.value)}: {figure(measure, point.figure)}"
            words = f"{model} at {said} ({counted(point.frames, 'frame')})"
            marks.append(_mark(number, x, y, element("title", words)))
        if found:
            drawn.append(element("g", element("path", d=path, class_=_line(number)), *marks))
    return element(
        "svg",
        *_axes(axes, [(across(v), plain(v)) for v in _named(values, across)], ticks, up),
        *drawn,
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_label=title,
        class_="curves",
    )


def _axes(
    names: tuple[str, str],
    under: Sequence[tuple[float, str]],
    ticks: Sequence[float],
    up: Callable[[float], float],
) -> list[Markup]:
    floor, middle = HEIGHT - BOTTOM, (HEIGHT - BOTTOM + TOP) / 2
    digits = 0 if ticks[1] - ticks[0] >= 1 else 2
    found = []
    for tick in ticks:
        y = up(tick)
        found.append(element("path", d=f"M{LEFT:g} {y:.1f}H{WIDTH - RIGHT:g}", class_="grid"))
        found.append(
            element("text", f"{tick:.{digits}f}", x=LEFT - 7, y=y + 4.5, text_anchor="end")
        )
    for x, text in under:
        found.append(element("path", d=f"M{x:.1f} {floor:g}v5", class_="axis"))
        found.append(element("text", text, x=x, y=floor + 19, text_anchor="middle"))
    found.append(element("path", d=f"M{LEFT:g} {floor:g}H{WIDTH - RIGHT:g}", class_="axis"))
    found.append(
        element("text", names[0], x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 7, text_anchor="middle")
    )
    found.append(
        element(
            "text",
            names[1],
            transform=f"translate(14 {middle:g}) rotate(-90)",
            text_anchor="middle",
        )
    )
    return found


def _ticks(figures: Sequence[float]) -> list[float]:
    """Return round numbers, at most seven, from below the lowest figure to above the highest."""
    low, high = min(figures), max(figures)
    span = max(high - low, 0.01)
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(power * m for m in (1, 2, 5, 10, 20) if span / (power * m) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * n for n in range(first, max(last, first + 1) + 1)]


def _named(values: Sequence[float], across: Callable[[float], float]) -> list[float]:
    """Return the values that get a label: the ends, and between them what finds room."""
    chosen = [values[0]]
    for value in values[1:-1]:
        if across(value) - across(chosen[-1]) >= _NEAREST:
            chosen.append(value)
    if len(chosen) > 1 and across(values[-1]) - across(chosen[-1]) < _NEAREST:
        chosen.pop()
    return [*chosen, values[-1]]


def _line(number: int) -> str:
    dashed = " dashed" if number > COLOURS else ""
    return f"line {_colour(number)}{dashed}"


def _mark(number: int, x: float, y: float, *inside: Markup) -> Markup:
    return element(
        "path",
        join(*inside),
        d=_SHAPES[number % len(_SHAPES)],
        transform=f"translate({x:.1f} {y:.1f})",
        class_=f"mark {_colour(number)}",
    )


def _colour(number: int) -> str:
    return f"c{0 if number == 0 else (number - 1) % COLOURS + 1}"

"""The report's tables: means by model, and by camera and ratio with the gain over the input."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ledcli.evaluation.formatting import (
    NOTHING,
    UNITS,
    figure,
    gain,
    kind,
    model_name,
    name,
    over_noisy,
    plain,
)
from ledcli.evaluation.markup import Markup, element, join
from ledcli.evaluation.results import MEASURES, NOISY, Evaluation, Group, Key

_GROUPS = {
    "": "Planes",
    "srgb": "Rendered, sRGB",
    "corrected": "Planes, illuminance corrected",
    "srgb_corrected": "Rendered, illuminance corrected",
}
"""Headings over the measures, by what follows ``psnr_``."""
Figures = Mapping[str, Mapping[str, float]]
"""By model, then by measure."""


@dataclass(frozen=True)
class Cell:
    """Mean figures by model over the frames of one camera at one ratio."""

    camera: str
    ratio: float
    frames: int
    figures: Figures


def cells(evaluation: Evaluation) -> list[Cell]:
    """Return means for every camera and ratio that were measured, in ascending order."""
    found = []
    for camera in sorted({frame.camera for frame in evaluation.frames}):
        own = replace(evaluation, frames=[f for f in evaluation.frames if f.camera == camera])
        for ratio, groups in by_value(own, "ratio"):
            frames = max(group.frames for group in groups)
            figures = {group.model: group.figures for group in groups}
            found.append(Cell(camera, float(ratio or 0), frames, figures))
    return found


def by_value(evaluation: Evaluation, key: Key) -> list[tuple[str | float | None, list[Group]]]:
    """Return an evaluation's groups collected by the value that they share."""
    found: dict[str | float | None, list[Group]] = {}
    for group in evaluation.groups(key):
        found.setdefault(group.value, []).append(group)
    return list(found.items())


def means_table(evaluation: Evaluation) -> Markup:
    """Return the means over all frames: a row for each model, a column for each measure."""
    means = evaluation.means()
    measures = [m for m in MEASURES if any(m in group.figures for group in means)]
    variants = list(dict.fromkeys(m.partition("_")[2] for m in measures))
    columns = [m for variant in variants for m in measures if m.partition("_")[2] == variant]
    spans = [
        element(
            "th",
            _GROUPS[variant],
            scope="colgroup",
            colspan=str(sum(m.partition("_")[2] == variant for m in measures)),
        )
        for variant in variants
    ]
    best = {m: _best(m, {group.model: group.figures for group in means}) for m in columns}
    head = [
        element("tr", element("th", "Model", scope="col", rowspan="2"), *spans),
        element("tr", *(element("th", _heading(m), scope="col") for m in columns)),
    ]
    rows = [
        element(
            "tr",
            element("th", model_name(group.model), scope="row"),
            *(element("td", _marked(m, group, best[m])) for m in columns),
        )
        for group in means
    ]
    return _table("Means over all frames", head, rows)


def cells_table(evaluation: Evaluation, measure: str) -> Markup:
    """Return the means of one measure by camera and ratio, with the gain over the noisy input."""
    models = [m for m in evaluation.models if m != NOISY]
    unit = f" in {UNITS[kind(measure)]}" if UNITS[kind(measure)] else ""
    what = "rendered" if "srgb" in measure else "of the planes"
    title = f"{kind(measure).upper()} {what}{unit}, by camera and ratio"
    first = [element("th", text, scope="col") for text in ("Camera", "Ratio", "Frames")]
    columns = [element("th", model_name(m), scope="col") for m in (NOISY, *models)]
    rows, last = [], None
    for cell in cells(evaluation):
        best = _best(measure, cell.figures)
        noisy = cell.figures.get(NOISY, {})
        new, last = cell.camera != last, cell.camera
        rows.append(
            element(
                "tr",
                element("th", name(plain(cell.camera)), scope="row"),
                element("td", plain(cell.ratio)),
                element("td", str(cell.frames)),
                element("td", figure(measure, noisy.get(measure))),
                *(
                    element("td", _with_gain(measure, cell.figures.get(m, {}), noisy, m == best))
                    for m in models
                ),
                class_="first" if new else None,
            )
        )
    return _table(title, [element("tr", *first, *columns)], rows)


def groups_table(
    title: str, heading: str, evaluation: Evaluation, key: Key, measure: str
) -> Markup:
    """Return the means of one measure by the value of a key: what a curve shows."""
    columns = [element("th", model_name(m), scope="col") for m in evaluation.models]
    rows = []
    for value, groups in by_value(evaluation, key):
        figures = {group.model: group.figures for group in groups}
        best = _best(measure, figures)
        rows.append(
            element(
                "tr",
                element("th", plain(value), scope="row"),
                *(
                    element("td", _strong(figure(measure, _had(figures, m, measure)), m == best))
                    for m in evaluation.models
                ),
            )
        )
    head = element("tr", element("th", heading, scope="col"), *columns)
    return _table(title, [head], rows)


def _table(title: str, head: Sequence[Markup], rows: Sequence[Markup]) -> Markup:
    # It may be wider than a telephone: it scrolls in a box of its own, by keyboard too.
    table = element(
        "table",
        element("caption", title),
        element("thead", *head),
        element("tbody", *rows),
    )
    return element("div", table, class_="scroll", role="region", aria_label=title, tabindex="0")


def _heading(measure: str) -> str:
    unit = UNITS[kind(measure)]
    return kind(measure).upper() + (f", {unit}" if unit else "")


def _had(figures: Figures, model: str, measure: str) -> float | None:
    return figures.get(model, {}).get(measure)


def _best(measure: str, figures: Figures) -> str | None:
    """Return the model with the highest figure, the noisy input among them."""
    known = {m: f[measure] for m, f in figures.items() if math.isfinite(f.get(measure, math.nan))}
    return max(known, key=lambda model: known[model]) if len(known) > 1 else None


def _strong(text: str, best: bool) -> Markup:
    return element("strong", text) if best else join(text)


def _marked(measure: str, group: Group, best: str | None) -> Markup:
    return _strong(figure(measure, group.figures.get(measure)), group.model == best)


def _with_gain(
    measure: str, figures: Mapping[str, float], noisy: Mapping[str, float], best: bool
) -> Markup:
    if measure not in figures:
        return join(NOTHING)
    more = over_noisy(measure, figures, noisy)
    written = _strong(figure(measure, figures[measure]), best)
    if more is None:
        return written
    sign = "gain worse" if more < 0 else "gain"
    return join(written, " ", element("span", gain(measure, more), class_=sign))

"""The report of an evaluation as one self-contained HTML page.

This file computes metrics, rows and positions; the layout is in templates/.
"""

import base64
import hashlib
import io
import math
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from ledcli import __version__
from ledcli.errors import OutputError
from ledcli.evaluation import results
from ledcli.evaluation.results import (
    METRICS,
    NOISY,
    Evaluation,
    Group,
    Key,
    format_metric,
    format_value,
    place_curves,
)
from ledcli.output.atomic import atomic_write, check_new, explained, make_folder
from ledcli.reporting import count

PAGE, TITLE = "index.html", b"<title>led evaluate"
MAX_PICTURES = 9_000_000
"""Characters of all pictures together: above, they are stored as JPEG to keep the page mailable."""
_JPEG_QUALITIES = (95, 85)
COLOURS = 7
"""Colours of models in report.css, besides the grey of the noisy input."""
_VARIANTS = {
    "": "Planes",
    "srgb": "Rendered, sRGB",
    "corrected": "Planes, illuminance corrected",
    "srgb_corrected": "Rendered, illuminance corrected",
}
"""Headings over the metrics, by what follows ``psnr_``."""

K = TypeVar("K")
_Groups = Mapping[str, Group]
"""By model."""


class Cell(NamedTuple):
    """A value in a table, and its difference from that of the noisy input."""

    text: str
    best: bool = False
    difference: str = ""
    worse: bool = False


class Row(NamedTuple):
    """A row of a table; `model` is None where the heading is not a model."""

    cells: list[Cell]
    heading: str = ""
    model: str | None = None
    first: bool = False


class Table(NamedTuple):
    """A table: headings, then a column for each model; or headings under spanning ones."""

    title: str
    headings: Sequence[str]
    rows: list[Row]
    models: Sequence[str] = ()
    spans: Sequence[tuple[str, int]] = ()


def check_report(folder: Path) -> None:
    """Raise OutputError if a report cannot be written to a folder or would replace another page."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not os.path.isdir(nearest):
        raise OutputError(f"{nearest}: is a file, not a folder; choose another one with --report")
    try:
        check_new(nearest / PAGE, "", overwrite=True)
    except OutputError as error:
        why = "nothing can be written there: choose another folder with --report"
        raise OutputError(f"{folder}: {why}") from error
    page = folder / PAGE
    with explained(page):
        if os.path.isfile(page) and TITLE not in page.read_bytes():
            why = "is not a report of led and would be overwritten"
            raise OutputError(f"{page}: {why}: choose another folder with --report")


def write_report(folder: Path, evaluation: Evaluation, *, when: datetime | None = None) -> Path:
    """Write an evaluation as a page that opens without a network, and return its path.

    Tables, curves (SVG) and crops (``data:``) are in the one file, which can be mailed. Its script
    only adds the slider over the crops; without it they stand side by side. The folder is created
    if necessary; only its ``index.html`` is replaced. The date on the page, `when`, is by default
    today. Raises OutputError if it cannot be written.
    """
    # The truth is under None, as a model may have any name.
    shown = [{**crop.pictures, None: crop.truth} for crop in evaluation.crops]
    pictures, storage = encode_pictures(shown)
    page = render_page(
        ["evaluation/report"],
        evaluation=evaluation,
        models=list(evaluation.models),
        noisy=NOISY,
        chart_size=results,
        colours=COLOURS,
        count=count,
        format_metric=format_metric,
        format_value=format_value,
        signed=_signed,
        cards=_cards(evaluation),
        facts=_facts(evaluation, when or datetime.now()),
        means=_means_table(evaluation),
        by_camera_and_ratio=_cell_tables(evaluation),
        charts=[_chart(evaluation, "ratio"), _chart(evaluation, "iso")],
        crops=list(zip(evaluation.crops, pictures, strict=True)),
        storage=storage,
    )
    make_folder(folder)
    path = folder / PAGE
    atomic_write(path, page)
    return path


def render_page(names: Sequence[str], **values: object) -> bytes:
    """Render the template of the last of `names`, such as ``evaluation/report``, of that folder.

    Its style and script are those of all names. The page runs no other script.
    """
    folders = {name.partition("/")[0] for name in names}
    loader = PrefixLoader({folder: PackageLoader(f"ledcli.{folder}") for folder in folders})
    environment = Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    style, script = (
        "".join(loader.get_source(environment, name + suffix)[0] for name in names)
        for suffix in (".css", ".js")
    )
    page = environment.get_template(f"{names[-1]}.html.j2").render(
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        version=__version__,
        **values,
    )
    # A file name may hold bytes that are not text.
    return page.encode("utf-8", "backslashreplace")


def _over_noisy(groups: _Groups, model: str, metric: str) -> float | None:
    if model not in groups or NOISY not in groups:
        return None
    own, noisy = (groups[m].metrics.get(metric, math.nan) for m in (model, NOISY))
    return own - noisy if math.isfinite(own - noisy) else None


def _signed(metric: str, difference: float) -> str:
    return ("−" if difference < 0 else "+") + format_metric(metric, abs(difference))


def _cards(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Mean improvement of each model, and its least one by camera and ratio."""
    means = {group.model: group for group in evaluation.means()}
    cards = []
    for model in evaluation.models[1:]:
        metrics = means[model].metrics if model in means else {}
        if "psnr" not in metrics:
            continue
        mean = _over_noisy(means, model, "psnr")
        found = [
            (difference, camera, ratio)
            for camera, ratio, groups in evaluation.by_camera_and_ratio()
            if (difference := _over_noisy(groups, model, "psnr")) is not None
        ]
        least, camera, ratio = min(found, key=lambda one: one[0], default=(None, "", None))
        improvement = {"mean": mean, "least": least, "camera": camera, "ratio": ratio}
        cards.append({"model": model, "metrics": metrics, **improvement})
    return cards


def _facts(evaluation: Evaluation, when: datetime) -> dict[str, str]:
    frames = {frame.frame for frame in evaluation.frames}
    cameras = {frame.camera for frame in evaluation.frames}
    packages = (f"{package} {metadata.version(package)}" for package in ("torch", "numpy"))
    return {
        "Frames": f"{count(len(frames), 'frame')} of {count(len(cameras), 'camera')}",
        "Skipped": count(len(evaluation.skipped), "frame") if evaluation.skipped else "none",
        "Measured": f"{when.day} {when:%B %Y}",
        "With": ", ".join([f"led {__version__}", f"Python {platform.python_version()}", *packages]),
    }


def _cell(
    metric: str, groups: _Groups, model: str, *, best: bool = True, compare: bool = False
) -> Cell:
    """Make the cell of a model: bold if it is the best, with its difference from the input."""
    value = groups[model].metrics.get(metric) if model in groups else None
    known = {m: group.metrics.get(metric, math.nan) for m, group in groups.items()}
    known = {m: value for m, value in known.items() if math.isfinite(value)}
    best = best and len(known) > 1 and model == max(known, key=lambda m: known[m])
    difference = _over_noisy(groups, model, metric) if compare else None
    signed = "" if difference is None else _signed(metric, difference)
    return Cell(format_metric(metric, value), best, signed, (difference or 0) < 0)


def _means_table(evaluation: Evaluation) -> Table:
    groups = {group.model: group for group in evaluation.means()}
    metrics = [m for m in METRICS if any(m in group.metrics for group in groups.values())]
    by_variant: dict[str, list[str]] = {}
    for metric in metrics:
        by_variant.setdefault(metric.partition("_")[2], []).append(metric)
    columns = [metric for found in by_variant.values() for metric in found]
    return Table(
        "Means over all frames",
        ["Model", *("PSNR, dB" if m.startswith("psnr") else "SSIM" for m in columns)],
        [Row([_cell(m, groups, model) for m in columns], model=model) for model in groups],
        spans=[(_VARIANTS[variant], len(found)) for variant, found in by_variant.items()],
    )


def _cell_tables(evaluation: Evaluation) -> list[Table]:
    metrics = ["psnr", "ssim"]
    if any("psnr" not in frame.metrics for frame in evaluation.frames):
        metrics += ["psnr_srgb", "ssim_srgb"]  # a model that makes pictures has no planes
    metrics = [m for m in metrics if any(m in frame.metrics for frame in evaluation.frames)]
    tables = []
    for metric in metrics:
        rows: list[Row] = []
        for camera, ratio, groups in evaluation.by_camera_and_ratio():
            heading = format_value(camera)
            cells = [
                Cell(format_value(ratio)),
                Cell(str(max(group.frames for group in groups.values()))),
                _cell(metric, groups, NOISY, best=False),
                *(_cell(metric, groups, m, compare=True) for m in evaluation.models[1:]),
            ]
            rows.append(Row(cells, heading, first=not rows or rows[-1].heading != heading))
        what = "PSNR" if metric.startswith("psnr") else "SSIM"
        of = "rendered" if "srgb" in metric else "of the planes"
        title = f"{what} {of}{' in dB' if what == 'PSNR' else ''}, by camera and ratio"
        tables.append(Table(title, ("Camera", "Ratio", "Frames"), rows, evaluation.models))
    return tables


def _chart(evaluation: Evaluation, key: Key) -> dict[str, Any]:
    word, axis = "ratio", "Ratio, long over short exposure (log)"
    if key == "iso":
        word, axis = "ISO", "ISO of the short frame (log)"
    title = f"PSNR over {word}"
    by_value = evaluation.by_value(key)
    curves = place_curves(by_value, evaluation.models)
    known = [value for value, _ in by_value if value is not None]
    if curves is None and len(known) > 1:
        missing = "no PSNR is known"
    elif curves is None and known:
        missing = f"all frames have {word} {format_value(known[0])}"
    else:
        missing = "" if curves else f"the {word} of all frames is unknown"
    unknown = sum(g[NOISY].frames for value, g in by_value if value is None and NOISY in g)
    rows = [
        Row([_cell("psnr", groups, m) for m in evaluation.models], format_value(value))
        for value, groups in by_value
    ]
    return {
        "title": title,
        "missing": missing,
        "note": f"Without {count(unknown, 'frame')} of unknown ISO." if unknown and curves else "",
        "table": Table(title, [word[0].upper() + word[1:]], rows, evaluation.models),
        "x_label": axis,
        "y_label": "PSNR of the planes, dB",
        "curves": curves,
    }


def encode_pictures(
    pictures: Sequence[Mapping[K, NDArray[np.uint8]]], limit: int = MAX_PICTURES
) -> tuple[list[dict[K, str]], str]:
    """Encode pictures for a page, without loss unless that takes more than `limit` characters.

    Returns their ``data:`` addresses under the same keys, and a sentence that says how they are
    stored.
    """
    storage = "The pictures are stored without loss."
    for quality in (None, *_JPEG_QUALITIES):
        if quality is not None:
            storage = f"To keep this page small the pictures are JPEGs of quality {quality}."
        encoded = [
            {key: _data_address(picture, quality) for key, picture in each.items()}
            for each in pictures
        ]
        if sum(len(address) for found in encoded for address in found.values()) <= limit:
            break
    return encoded, storage


def _data_address(picture: NDArray[np.uint8], quality: int | None) -> str:
    kind: str = "png"
    how: dict[str, Any] = {"optimize": True}
    if quality is not None:
        kind, how = "jpeg", {"quality": quality, "subsampling": 0}
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(data, kind, **how)
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode('ascii')}"

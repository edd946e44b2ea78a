"""The report of an evaluation as one self-contained HTML page.

This file computes figures, rows and positions; the layout is in templates/.
"""

import base64
import hashlib
import io
import math
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from ledcli import __version__
from ledcli.evaluation import charts
from ledcli.evaluation.charts import place_curves
from ledcli.evaluation.results import (
    MEASURES,
    NOISY,
    Crop,
    Evaluation,
    Group,
    Key,
    count,
    format_figure,
    format_value,
)
from ledcli.output.atomic import atomic_write, make_folder

PAGE = "index.html"
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
"""Headings over the measures, by what follows ``psnr_``."""

_AXES = {
    "ratio": "Ratio, long over short exposure (log)",
    "iso": "ISO of the short frame (log)",
}

_LOADER = PackageLoader("ledcli.evaluation")
_ENVIRONMENT = Environment(
    loader=_LOADER,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_Groups = Mapping[str, Group]
"""By model."""


class Cell(NamedTuple):
    """A figure in a table, and its difference from that of the noisy input."""

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


def write_report(folder: Path, evaluation: Evaluation, *, when: datetime | None = None) -> Path:
    """Write an evaluation as a page that opens without a network, and return its path.

    Tables, curves (SVG) and crops (``data:``) are in the one file, which can be mailed. Its script
    only adds the slider over the crops; without it they stand side by side.

    Parameters
    ----------
    folder : Path
        Created if necessary. Only its ``index.html`` is replaced.
    evaluation : Evaluation
    when : datetime, optional
        Date on the page; default is today.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    style, _, _ = _LOADER.get_source(_ENVIRONMENT, "report.css")
    script, _, _ = _LOADER.get_source(_ENVIRONMENT, "report.js")
    crops, storage = encode_crops(evaluation.crops, evaluation.models)
    page = _ENVIRONMENT.get_template("report.html.j2").render(
        source=evaluation.source,
        models=evaluation.models,
        noisy=NOISY,
        chart_size=charts,
        colours=COLOURS,
        count=count,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        cards=_cards(evaluation),
        facts=_facts(evaluation, when or datetime.now()),
        measured=bool(evaluation.frames),
        means=_means_table(evaluation),
        by_camera_and_ratio=_cell_tables(evaluation),
        charts=[_chart(evaluation, "ratio"), _chart(evaluation, "iso")],
        crops=crops,
        storage=storage,
        skipped=evaluation.skipped,
    )
    make_folder(folder)
    path = folder / PAGE
    # A file name may hold bytes that are not text.
    atomic_write(path, page.encode("utf-8", "backslashreplace"))
    return path


def _over_noisy(groups: _Groups, model: str, measure: str) -> float | None:
    """Difference from the noisy input; None if unknown."""
    if model not in groups or NOISY not in groups:
        return None
    own, noisy = (groups[m].figures.get(measure, math.nan) for m in (model, NOISY))
    return own - noisy if math.isfinite(own - noisy) else None


def _signed(measure: str, difference: float) -> str:
    return ("−" if difference < 0 else "+") + format_figure(measure, abs(difference))


def _cards(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Mean improvement of each model, and its least one by camera and ratio."""
    means = {group.model: group for group in evaluation.means()}
    cards = []
    for model in evaluation.models[1:]:
        figures = means[model].figures if model in means else {}
        if "psnr" not in figures:
            continue
        mean = _over_noisy(means, model, "psnr")
        found = [
            (difference, camera, ratio)
            for camera, ratio, groups in evaluation.by_camera_and_ratio()
            if (difference := _over_noisy(groups, model, "psnr")) is not None
        ]
        least, camera, ratio = min(found, key=lambda one: one[0], default=(None, "", None))
        cards.append(
            {
                "model": model,
                "improvement": None if mean is None else _signed("psnr", mean),
                "psnr": format_figure("psnr", figures["psnr"]),
                "ssim": format_figure("ssim", figures["ssim"]) if "ssim" in figures else None,
                "least": None if least is None else _signed("psnr", least),
                "worse": least is not None and least < 0,
                "camera": camera,
                "ratio": format_value(ratio),
            }
        )
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


def _cell(measure: str, groups: _Groups, model: str) -> Cell:
    figure = groups[model].figures.get(measure) if model in groups else None
    known = {m: group.figures.get(measure, math.nan) for m, group in groups.items()}
    known = {m: value for m, value in known.items() if math.isfinite(value)}
    best = len(known) > 1 and model == max(known, key=lambda m: known[m])
    return Cell(format_figure(measure, figure), best)


def _cell_with_difference(measure: str, groups: _Groups, model: str) -> Cell:
    cell, difference = _cell(measure, groups, model), _over_noisy(groups, model, measure)
    if difference is None:
        return cell
    return cell._replace(difference=_signed(measure, difference), worse=difference < 0)


def _means_table(evaluation: Evaluation) -> Table:
    """Make a row for each model and a column for each measure."""
    groups = {group.model: group for group in evaluation.means()}
    measures = [m for m in MEASURES if any(m in group.figures for group in groups.values())]
    by_variant: dict[str, list[str]] = {}
    for measure in measures:
        by_variant.setdefault(measure.partition("_")[2], []).append(measure)
    columns = [measure for found in by_variant.values() for measure in found]
    return Table(
        "Means over all frames",
        ["Model", *("PSNR, dB" if m.startswith("psnr") else "SSIM" for m in columns)],
        [Row([_cell(m, groups, model) for m in columns], model=model) for model in groups],
        spans=[(_VARIANTS[variant], len(found)) for variant, found in by_variant.items()],
    )


def _cell_tables(evaluation: Evaluation) -> list[Table]:
    """Make a table for each measure, with a row for each camera and ratio."""
    measures = ["psnr", "ssim"]
    if any("psnr" not in frame.figures for frame in evaluation.frames):
        measures += ["psnr_srgb", "ssim_srgb"]  # a model that makes pictures has no planes
    measures = [m for m in measures if any(m in frame.figures for frame in evaluation.frames)]
    tables = []
    for measure in measures:
        rows: list[Row] = []
        for camera, ratio, groups in evaluation.by_camera_and_ratio():
            heading = format_value(camera)
            cells = [
                Cell(format_value(ratio)),
                Cell(str(max(group.frames for group in groups.values()))),
                _cell(measure, groups, NOISY)._replace(best=False),
                *(_cell_with_difference(measure, groups, m) for m in evaluation.models[1:]),
            ]
            rows.append(Row(cells, heading, first=not rows or rows[-1].heading != heading))
        what = "PSNR" if measure.startswith("psnr") else "SSIM"
        of = "rendered" if "srgb" in measure else "of the planes"
        title = f"{what} {of}{' in dB' if what == 'PSNR' else ''}, by camera and ratio"
        tables.append(Table(title, ("Camera", "Ratio", "Frames"), rows, evaluation.models))
    return tables


def _chart(evaluation: Evaluation, key: Key) -> dict[str, Any]:
    word = "ISO" if key == "iso" else "ratio"
    title = f"PSNR over {word}"
    by_value = evaluation.by_value(key)
    curves = place_curves(by_value, evaluation.models)
    known = [value for value, _ in by_value if value is not None]
    if curves is None and len(known) > 1:
        missing = "no figures"
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
        "x_label": _AXES[key],
        "y_label": "PSNR of the planes, dB",
        "curves": curves,
    }


def encode_crops(
    crops: Sequence[Crop], models: Sequence[str], limit: int = MAX_PICTURES
) -> tuple[list[dict[str, Any]], str]:
    """Encode crops for the page, without loss unless that takes more than `limit` characters.

    Returns the crops, each with its pictures in the order of the models and the truth last, and a
    sentence that says how they are stored.
    """
    encoded = [_crop(crop, models, None) for crop in crops]
    storage = "The pictures are stored without loss."
    for quality in _JPEG_QUALITIES:
        if sum(len(p["address"]) for crop in encoded for p in crop["pictures"]) <= limit:
            break
        encoded = [_crop(crop, models, quality) for crop in crops]
        storage = f"To keep this page small the pictures are JPEGs of quality {quality}."
    return encoded, storage


def _crop(crop: Crop, models: Sequence[str], quality: int | None) -> dict[str, Any]:
    pictures = []
    # Models are told apart by number in the page: one of them may be named "truth".
    for number, model in [*enumerate(models), (None, None)]:
        picture = crop.truth if model is None else crop.pictures.get(model)
        if picture is None:
            continue
        psnr = ""
        if model is not None and model in crop.psnr:
            psnr = f" {format_figure('psnr', crop.psnr[model])} dB"
            if model != NOISY and NOISY in crop.psnr:
                psnr += f" ({_signed('psnr', crop.psnr[model] - crop.psnr[NOISY])})"
        label = "truth" if model is None else "noisy input" if model == NOISY else model
        pictures.append(
            {
                "key": "truth" if number is None else str(number),
                "model": model,
                "label": label,
                "psnr": psnr,
                "address": _data_address(picture, quality),
            }
        )
    return {
        "frame": crop.frame,
        "camera": crop.camera,
        "iso": format_value(crop.iso),
        "ratio": format_value(crop.ratio),
        "height": crop.truth.shape[0],
        "width": crop.truth.shape[1],
        "pictures": pictures,
    }


def _data_address(picture: NDArray[np.uint8], quality: int | None) -> str:
    image, data = Image.fromarray(np.ascontiguousarray(picture)), io.BytesIO()
    if quality is None:
        image.save(data, "PNG", optimize=True)
    else:
        image.save(data, "JPEG", quality=quality, subsampling=0)
    kind = "png" if quality is None else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode('ascii')}"

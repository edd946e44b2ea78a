"""The report of an evaluation: one HTML page that needs nothing but itself."""

import base64
import hashlib
import platform
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata, resources
from pathlib import Path

from ledcli import __version__
from ledcli.evaluation.comparison import comparison
from ledcli.evaluation.curves import curves, legend
from ledcli.evaluation.formatting import counted, figure, gain, name, over_noisy, plain
from ledcli.evaluation.markup import Markup, element, join
from ledcli.evaluation.results import NOISY, Evaluation, Key
from ledcli.evaluation.tables import cells, cells_table, groups_table, means_table
from ledcli.output.atomic import atomic_write, make_folder

PAGE = "index.html"
_CURVES: tuple[tuple[Key, str, str], ...] = (
    ("ratio", "PSNR over ratio", "Ratio, long over short exposure (log)"),
    ("iso", "PSNR over ISO", "ISO of the short frame (log)"),
)
_HEIGHT = "PSNR of the planes, dB"


def write_report(folder: Path, evaluation: Evaluation, *, when: datetime | None = None) -> Path:
    """Write an evaluation as a page that opens without a network.

    Tables, curves (SVG) and crops (as ``data:``) are all in the one file, which can go by mail.
    Its script only adds the slider over the crops; without it they stand side by side.

    Parameters
    ----------
    folder : Path
        Made if it is not there. Only its ``index.html`` is replaced.
    evaluation : Evaluation
    when : datetime, optional
        Day on the page; today without it.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    OutputError
        Saying why it cannot be written and what to do.
    """
    page = _page(evaluation, when or datetime.now())
    make_folder(folder)
    path = folder / PAGE
    # A file name need not be text in any encoding.
    atomic_write(path, page.encode("utf-8", "backslashreplace"))
    return path


def _page(evaluation: Evaluation, when: datetime) -> str:
    title = f"led evaluate: {evaluation.source}"
    style, script = _data("report.css"), _data("report.js")
    main = [
        element(
            "h1",
            "How well the models denoise" if len(evaluation.models) > 2 else "How well it denoises",
        ),
        element("p", "Measured on ", name(evaluation.source), ".", class_="lead"),
        _summary(evaluation),
        _facts(evaluation, when),
    ]
    if evaluation.frames:
        main += [_tables(evaluation), _curves(evaluation)]
    else:
        main.append(element("p", "No frame was measured.", class_="warning"))
    if evaluation.crops:
        main.append(_crops(evaluation))
    if evaluation.skipped:
        main.append(_skipped(evaluation.skipped))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        # Nothing is fetched and no other script runs, whatever a file name says.
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    body = element("body", element("main", *main), element("script", Markup(script)))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _data(file: str) -> str:
    return resources.files(__package__).joinpath("page", file).read_text("utf-8")


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    allowed = {"default": "'none'", "img": "data:", "style": "'unsafe-inline'"}
    allowed["script"] = f"'sha256-{digest}'"
    return "; ".join(f"{what}-src {sources}" for what, sources in allowed.items())


def _summary(evaluation: Evaluation) -> Markup:
    """Return, for each model, its mean gain and its worst cell."""
    means = {group.model: group.figures for group in evaluation.means()}
    noisy, cards = means.get(NOISY), []
    for model in evaluation.models:
        if model == NOISY or "psnr" not in means.get(model, {}):
            continue
        figures, more = means[model], over_noisy("psnr", means[model], noisy)
        ssim = f", SSIM {figure('ssim', figures['ssim'])}" if "ssim" in figures else ""
        gained = [
            (lead, cell)
            for cell in cells(evaluation)
            if (lead := over_noisy("psnr", cell.figures.get(model, {}), cell.figures.get(NOISY)))
            is not None
        ]
        parts = [element("h2", name(model))]
        if more is not None:
            parts.append(element("p", f"{gain('psnr', more)} dB", class_="big"))
            parts.append(element("p", "over the noisy input, on the mean of all frames"))
        parts.append(element("p", f"PSNR {figure('psnr', figures['psnr'])} dB{ssim}"))
        if gained:
            least, cell = min(gained, key=lambda found: found[0])
            where = (name(cell.camera), ", ") if cell.camera else ()
            parts.append(
                element(
                    "p",
                    f"least: {gain('psnr', least)} dB (",
                    *where,
                    f"ratio {plain(cell.ratio)})",
                    class_="worse" if least < 0 else None,
                )
            )
        cards.append(element("section", *parts, class_="card"))
    return element("div", *cards, class_="cards")


def _facts(evaluation: Evaluation, when: datetime) -> Markup:
    frames = {frame.frame for frame in evaluation.frames}
    cameras = {frame.camera for frame in evaluation.frames}
    versions = f"led {__version__}, Python {platform.python_version()}, " + ", ".join(
        f"{package} {metadata.version(package)}" for package in ("torch", "numpy")
    )
    facts = {
        "Frames": f"{counted(len(frames), 'frame')} of {counted(len(cameras), 'camera')}",
        "Skipped": counted(len(evaluation.skipped), "frame") if evaluation.skipped else "none",
        "Measured": f"{when.day} {when:%B %Y}",
        "With": versions,
    }
    return element(
        "dl",
        *(element("div", element("dt", key), element("dd", text)) for key, text in facts.items()),
        class_="facts",
    )


def _tables(evaluation: Evaluation) -> Markup:
    explained = (
        "PSNR and SSIM against the truth (the long frame or the clean photo), of the four colour "
        "planes and of both as sRGB pictures. Illuminance corrected: the result is first brought "
        "to the truth's brightness by one factor per frame, as published figures of SID and ELD "
        "are given. The best of a column, and below of a row, is bold."
    )
    measures = ["psnr", "ssim"]
    if any("psnr" not in frame.figures for frame in evaluation.frames):
        measures += ["psnr_srgb", "ssim_srgb"]  # of a model that makes pictures and no planes
    by_cell = [
        cells_table(evaluation, measure)
        for measure in measures
        if any(measure in frame.figures for frame in evaluation.frames)
    ]
    return element(
        "section",
        element("h2", "Means"),
        element("p", explained),
        means_table(evaluation),
        element("h2", "By camera and ratio"),
        element("p", "Beside each figure stands the gain over the noisy input."),
        *by_cell,
    )


def _curves(evaluation: Evaluation) -> Markup:
    drawn = []
    for key, title, axis in _CURVES:
        groups = evaluation.groups(key)
        drawing = curves(title, (axis, _HEIGHT), groups, evaluation.models, "psnr")
        unknown = sum(g.frames for g in groups if g.value is None and g.model == NOISY)
        parts = [element("h3", title)]
        if drawing is None:
            parts.append(element("p", f"No curve: {_alone(evaluation, key)}."))
        else:
            parts.append(drawing)
            table = groups_table(title, "ISO" if key == "iso" else "Ratio", evaluation, key, "psnr")
            parts.append(element("details", element("summary", "Figures"), table))
        if unknown and drawing is not None:
            left = f"{counted(unknown, 'frame')} of unknown ISO left out."
            parts.append(element("p", left, class_="note"))
        drawn.append(element("section", *parts, class_="chart"))
    return element(
        "section",
        element("h2", "Curves"),
        element("p", "Means over all frames of that ratio or ISO, whatever the camera."),
        legend(evaluation.models),
        element("div", *drawn, class_="charts"),
    )


def _alone(evaluation: Evaluation, key: Key) -> str:
    """Say why there is nothing to draw a curve between."""
    word = "ISO" if key == "iso" else "ratio"
    known = {getattr(frame, key) for frame in evaluation.frames} - {None}
    if not known:
        return f"no frame's {word} is known"
    return f"all frames have {word} {plain(known.pop())}" if len(known) == 1 else "no figures"


def _crops(evaluation: Evaluation) -> Markup:
    first = next((model for model in evaluation.models if model != NOISY), None)
    by = join(" by ", name(first)) if first is not None else ""
    return element(
        "section",
        element("h2", "Crops, worst first"),
        element("p", "Worst is the smallest gain", by, ". PSNR is that of the whole frame."),
        comparison(evaluation.crops, evaluation.models),
        id="crops",
    )


def _skipped(lines: Sequence[str]) -> Markup:
    return element(
        "section",
        element("h2", f"Skipped: {counted(len(lines), 'frame')}"),
        element("ul", *(element("li", name(line)) for line in lines), class_="skipped"),
    )

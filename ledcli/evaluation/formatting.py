"""How the tables and the report write figures, names and conditions."""

import math
from collections.abc import Mapping

from ledcli.evaluation.markup import Markup, element
from ledcli.evaluation.results import NOISY, Value

NOTHING = "–"
"""In place of a figure that is missing."""
UNITS = {"psnr": "dB", "ssim": ""}


def kind(measure: str) -> str:
    """Return ``psnr`` or ``ssim``, of which a measure is a variant."""
    return measure.partition("_")[0]


def figure(measure: str, value: float | None) -> str:
    """Write a figure without its unit: PSNR by hundredths of a dB, SSIM to four digits."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.2f}" if kind(measure) == "psnr" else f"{value:.4f}"


def gain(measure: str, value: float) -> str:
    """Write a difference with its sign."""
    sign = "−" if value < 0 else "+"
    return sign + figure(measure, abs(value))


def over_noisy(
    measure: str, figures: Mapping[str, float], noisy: Mapping[str, float] | None
) -> float | None:
    """Return by how much figures are above those of the noisy input; None if one is missing."""
    if noisy is None or measure not in figures or measure not in noisy:
        return None
    difference = figures[measure] - noisy[measure]
    return difference if math.isfinite(difference) else None


def plain(value: Value) -> str:
    """Write a ratio, an ISO or a camera's name; unknown ones too."""
    if value is None or value == "":
        return "unknown"
    return value if isinstance(value, str) else f"{value:.6g}"


def conditions(camera: str, iso: float | None, ratio: float) -> Markup:
    """Return the line under a frame's name: camera, ISO and ratio."""
    known = name(camera) if camera else Markup("unknown camera")
    rest = f", ISO {plain(iso)}, ratio {plain(ratio)}"
    return Markup(known + rest)


def name(text: str) -> Markup:
    """Return a name from outside; its writing direction stays its own."""
    return element("bdi", text)


def model_name(model: str) -> Markup:
    """Return a model's name, and for `NOISY` what it means."""
    return Markup("noisy input") if model == NOISY else name(model)


def counted(count: int, noun: str) -> str:
    """Write how many there are of something: ``1 frame``, ``3 frames``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

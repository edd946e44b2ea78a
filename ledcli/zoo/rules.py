"""What each value of a model's header must be; the header comes from anywhere."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from ledcli.noise.lines import CameraLines

FORMAT = 1
"""Version of the header; a file with a later one needs a later `led`."""

PLANES_OF_CFA = {"bayer": 4, "xtrans": 9}
"""Planes into which a mosaic is packed, by colour filter array."""

INPUT_FORMS = ("gain", "stabilised")
"""What the network is given; see ledcli/nets/forms.py."""

OUTPUTS = ("planes", "adaptive", "srgb")
"""What the network's output means: clean planes, the adaptive residual layer's parts, or the planes
of a picture."""

MAX_RATIO = 1e6
"""No exposure is 20 stops short: a larger ratio is a mistake."""

NAME_RULE = "lower-case letters, digits, '.', '_' and '-'"
LONGEST_NAME = 64
_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{LONGEST_NAME - 1}}}")
# No dot: the name is part of a tensor's name, which is split at dots.
_BRANCH = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MAX_ARGUMENT = 65536


def is_name(text: str) -> bool:
    """Tell whether a text can be the name of a model."""
    return _NAME.fullmatch(text) is not None


def short(value: object) -> str:
    """Show a value in an error message, however long it is."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object, most: int = 1000) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most


def _is_argument(value: object, depth: int = 3) -> bool:
    if isinstance(value, list | tuple):
        return depth > 0 and len(value) <= 256 and all(_is_argument(v, depth - 1) for v in value)
    if isinstance(value, bool):
        return True
    return _is_text(value) or (_is_number(value) and abs(value) <= _MAX_ARGUMENT)  # type: ignore[arg-type]


def _are_arguments(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(k, str) and k.isidentifier() and _is_argument(v) for k, v in value.items()
    )


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(_is_text(v) for v in value)


def _are_branches(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and all(isinstance(v, str) and _BRANCH.fullmatch(v) for v in value)
        and len(set(value)) == len(value)
    )


def _is_ratio_range(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(_is_number(v) for v in value)
        and 0 < value[0] <= value[1] <= MAX_RATIO
    )


def _is_json_object(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _are_noise_lines(value: object) -> bool:
    """Check what the lines give at the ends of their ISOs; between them they are straight."""
    if value is None:
        return True
    if not isinstance(value, CameraLines):
        return False
    try:
        ends = [value.at(iso) for iso in (value.isos[0], value.isos[-1])]
    except OverflowError:
        return False
    return all(end is not None and all(0 < v <= 1 for v in end.line) for end in ends)


RULES: dict[str, tuple[Callable[[Any], object], str]] = {
    "name": (
        lambda v: isinstance(v, str) and is_name(v),
        f"a name of {NAME_RULE}",
    ),
    "architecture": (_is_text, "a name"),
    "arguments": (
        _are_arguments,
        f"an object of numbers up to {_MAX_ARGUMENT}, texts, truth values and lists of these",
    ),
    "cfa": (lambda v: isinstance(v, str) and v in PLANES_OF_CFA, " or ".join(PLANES_OF_CFA)),
    "planes": (_is_int, "a whole number"),
    "input_form": (lambda v: v in INPUT_FORMS, " or ".join(INPUT_FORMS)),
    "output": (lambda v: v in OUTPUTS, " or ".join(OUTPUTS)),
    "branches": (_are_branches, "a list of different names without dots"),
    "ratio_range": (_is_ratio_range, f"two numbers, 0 < low <= high <= {MAX_RATIO:g}"),
    "method": (_is_text, "a name"),
    "licence": (_is_text, "a text"),
    "source": (_is_text, "a text"),
    "modulation": (_are_texts, "a list of names of sensors"),
    "omnr": (lambda v: isinstance(v, bool), "true or false"),
    "cameras": (_are_texts, "a list of camera names"),
    "training": (_is_json_object, "a JSON object"),
    "noise_lines": (
        _are_noise_lines,
        "lines over ISO that give a gain and a variance above 0, up to 1",
    ),
    "format": (lambda v: v == FORMAT, f"{FORMAT}"),
}

"""What a model file says about itself: typed, and strict about what it accepts."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ledcli.errors import ModelError
from ledcli.noise.profile import CameraNoiseProfile

FORMAT = 2
"""Version of the header that is written; a file with a later one needs a later `led`."""

RENAMED = {"branches": "csa_sets", "noise_lines": "noise_profile"}
"""Keys of format 1 and what they are called since format 2."""

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
MAX_NAME_LENGTH = 64
_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{MAX_NAME_LENGTH - 1}}}")
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


def _are_csa_sets(value: object) -> bool:
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


def _is_noise_profile(value: object) -> bool:
    """Check what the lines give at the ends of their ISOs; between them they are straight."""
    if value is None:
        return True
    if not isinstance(value, CameraNoiseProfile):
        return False
    try:
        ends = [value.at(iso) for iso in (value.isos[0], value.isos[-1])]
    except OverflowError:
        return False
    return all(end is not None and all(0 < v <= 1 for v in end.profile) for end in ends)


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
    "csa_sets": (_are_csa_sets, "a list of different names without dots"),
    "ratio_range": (_is_ratio_range, f"two numbers, 0 < low <= high <= {MAX_RATIO:g}"),
    "method": (_is_text, "a name"),
    "licence": (_is_text, "a text"),
    "source": (_is_text, "a text"),
    "modulation": (_are_texts, "a list of names of sensors"),
    "omnr": (lambda v: isinstance(v, bool), "true or false"),
    "cameras": (_are_texts, "a list of camera names"),
    "training": (_is_json_object, "a JSON object"),
    "noise_profile": (
        _is_noise_profile,
        "lines over ISO that give a gain and a variance above 0, up to 1",
    ),
    "format": (lambda v: v == FORMAT, f"{FORMAT}"),
}


_OPTIONAL = ("output", "modulation", "omnr", "cameras", "training", "noise_profile")
"""Keys that a file may leave out. Defaults of other fields are for those who write files."""


@dataclass(frozen=True)
class ModelSpec:
    """The header of a model file.

    Parameters
    ----------
    name
        Name of the model: lower-case letters, digits, `.`, `_` and `-`.
    architecture
        A name of `ledcli.nets.registry`.
    arguments
        What the architecture is built with: numbers, texts, truth values, lists of these.
    input_form
        `gain` or `stabilised`.
    csa_sets
        Names of the CSA sets, the default first; empty for a plain network.
    ratio_range
        Lowest and highest ratio the model was trained for.
    method
        How it was made: `pretrain`, `led`, ...
    licence
        Licence of the weights, as an SPDX expression where there is one.
    source
        Who or what made the file.
    cfa
        `bayer` or `xtrans`.
    planes
        Planes of the mosaic: 4 for Bayer, 9 for X-Trans.
    output
        `planes`; or `adaptive`: an image, a residual, a mask (exposure diffusion); or `srgb`: the
        planes of a picture (nets/forms.py). The last two in the `gain` form only.
    modulation
        Names of the sensors by which a plain network is modulated; empty for none.
    omnr
        Whether the RepNR blocks have the OMNR branch, which fine-tuning adds.
    cameras
        Cameras that the model is for; empty when it is for any.
    training
        Data, iterations, seed, version: whatever says how to make it again. JSON values only.
    noise_profile
        The camera's own noise over ISO, in a model that is tuned to one camera.
    format
        Version of the header.

    Raises
    ------
    ModelError
        When a value has the wrong type or is out of its range.
    """

    name: str
    architecture: str
    arguments: dict[str, Any]
    input_form: str
    csa_sets: tuple[str, ...]
    ratio_range: tuple[float, float]
    method: str
    licence: str
    source: str
    cfa: str = "bayer"
    planes: int = 4
    output: str = "planes"
    modulation: tuple[str, ...] = ()
    omnr: bool = False
    cameras: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)
    noise_profile: CameraNoiseProfile | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        for key, (holds, expected) in RULES.items():
            if not holds(getattr(self, key)):
                raise ModelError(f"{key} must be {expected}, not {short(getattr(self, key))}")
        if self.planes != PLANES_OF_CFA[self.cfa]:
            raise ModelError(
                f"planes must be {PLANES_OF_CFA[self.cfa]} for {self.cfa}, not {self.planes}"
            )
        if self.output != "planes" and self.input_form != "gain":
            raise ModelError(f"output must be planes in the form {self.input_form}")
        if self.modulation and self.csa_sets:
            raise ModelError("modulation is for plain networks: csa_sets must be empty")
        if self.omnr and not self.csa_sets:
            raise ModelError("omnr needs at least one CSA set in csa_sets")
        if self.noise_profile is not None and self.noise_profile.planes != self.planes:
            raise ModelError(
                f"noise_profile must have {self.planes} planes for {self.cfa}, "
                f"not {self.noise_profile.planes}"
            )

    @property
    def makes_pictures(self) -> bool:
        """Whether the network makes sRGB pictures (SID) instead of raw planes."""
        return self.output == "srgb"

    def to_header(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        header = dataclasses.asdict(self)
        del header["noise_profile"]
        if self.output == "planes":
            del header["output"]  # a led that knows no other can read the file
        if not self.modulation:
            del header["modulation"]
        if self.noise_profile is not None:
            header["noise_profile"] = self.noise_profile.to_json()
        return header

    @classmethod
    def from_header(cls, header: object) -> ModelSpec:
        """Check JSON values and make the spec of them.

        Raises
        ------
        ModelError
            When a key is unknown or missing, or a value is not allowed.
        """
        if not isinstance(header, dict):
            raise ModelError("the description is not a JSON object")
        version = header.get("format")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ModelError(f"format must be a version number, not {short(version)}")
        if version > FORMAT:
            raise ModelError(f"it has format {version} and this led knows {FORMAT}: update led")
        if version == 1:
            header = _from_format_1(header)
        known = [f.name for f in dataclasses.fields(cls)]
        unknown = sorted(set(header) - set(known))
        if unknown:
            raise ModelError(f"unknown key {short(unknown[0])} in the description")
        missing = [name for name in known if name not in header and name not in _OPTIONAL]
        if missing:
            raise ModelError(f"no {missing[0]} in the description")
        values = dict(header)
        for key in ("csa_sets", "cameras", "modulation", "ratio_range"):  # JSON has no tuples
            if isinstance(values.get(key), list):
                values[key] = tuple(values[key])
        if values.get("noise_profile") is not None:
            values["noise_profile"] = _noise_profile(values["noise_profile"])
        return cls(**values)


def _from_format_1(header: dict[str, Any]) -> dict[str, Any]:
    new = sorted(set(header) & set(RENAMED.values()))
    if new:
        raise ModelError(f"unknown key {short(new[0])} in a description of format 1")
    renamed = {RENAMED.get(key, key): value for key, value in header.items()}
    return renamed | {"format": FORMAT}


def _noise_profile(value: object) -> CameraNoiseProfile:
    try:
        return CameraNoiseProfile.from_json(value)
    except (ValueError, OverflowError) as error:
        text = f"noise_profile must be lines over ISO, not {short(value)}: {error}"
        raise ModelError(text) from error

"""The description in a model file: typed, and strict about what it accepts."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from ledcli.errors import ModelError
from ledcli.noise.camera_profile import CameraNoiseProfile
from ledcli.sensor.layout import LAYOUTS

FORMAT = 2
"""Version of the header that is written; a file with a later one needs a later `led`."""

RENAMED = {"branches": "csa_sets", "noise_lines": "noise_profile"}
"""Keys of format 1 and what they are called since format 2."""

INPUT_FORMS = ("gain", "stabilised")
"""Forms of the network's input; see ledcli/nets/forms.py."""

OUTPUTS = ("planes", "adaptive", "srgb")
"""Forms of the network's output: clean planes, the parts of an adaptive residual layer (exposure
diffusion), or the planes of a picture."""

MAX_RATIO = 1e6
"""20 stops: a larger ratio is a mistake."""

NAME_RULE = "lower-case letters, digits, '.', '_' and '-'"
MAX_NAME_LENGTH = 64
_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{MAX_NAME_LENGTH - 1}}}")
# No dot: the name is part of a tensor's name, which is split at dots.
_CSA_SET = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MAX_ARGUMENT = 65536
_MAX_DEPTH = 20


def is_name(text: str) -> bool:
    """Return True if a text can be the name of a model."""
    return _NAME.fullmatch(text) is not None


def short(value: object) -> str:
    """Return a value for an error message, shortened to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_number(value: object) -> TypeGuard[float]:
    # Not math.isfinite, which raises OverflowError for whole numbers beyond a float's range.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def is_text(value: object, most: int = 1000) -> bool:
    """Return True for a text that is not empty and not too long."""
    return isinstance(value, str) and 0 < len(value) <= most


def _is_argument(value: object, depth: int = 3) -> bool:
    if isinstance(value, list | tuple):
        return depth > 0 and len(value) <= 256 and all(_is_argument(v, depth - 1) for v in value)
    if _is_number(value):
        return abs(value) <= _MAX_ARGUMENT
    return isinstance(value, bool) or is_text(value)


def _are_arguments(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(k, str) and k.isidentifier() and _is_argument(v) for k, v in value.items()
    )


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(is_text(v) for v in value)


def _are_csa_sets(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and all(isinstance(v, str) and _CSA_SET.fullmatch(v) for v in value)
        and len(set(value)) == len(value)
    )


def is_ratio_range(value: object) -> bool:
    """Return True for the lowest and the highest ratio of a model, as a tuple."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(_is_number(v) for v in value)
        and 0 < value[0] <= value[1] <= MAX_RATIO
    )


def _is_json_object(value: object) -> bool:
    if not isinstance(value, Mapping) or not _is_flat(value, _MAX_DEPTH):
        return False
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _is_flat(value: object, depth: int) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value
    if not isinstance(inner, Iterable) or isinstance(inner, str):
        return True
    return depth > 0 and all(_is_flat(each, depth - 1) for each in inner)


def _is_noise_profile(value: object) -> bool:
    """Check the noise at the lowest and the highest ISO; between them the lines are straight."""
    if not isinstance(value, CameraNoiseProfile):
        return value is None
    try:
        ends = [value.at(iso) for iso in (value.isos[0], value.isos[-1])]
    except OverflowError:
        return False
    return all(end is not None and all(0 < v <= 1 for v in end.profile) for end in ends)


RULES: dict[str, tuple[Callable[[Any], object], str]] = {
    "name": (lambda v: isinstance(v, str) and is_name(v), f"a name of {NAME_RULE}"),
    "architecture": (is_text, "a name"),
    "arguments": (
        _are_arguments,
        f"an object of numbers up to {_MAX_ARGUMENT}, texts, truth values and lists of these",
    ),
    "cfa": (lambda v: isinstance(v, str) and v in LAYOUTS, " or ".join(LAYOUTS)),
    "planes": (lambda v: type(v) is int, "a whole number"),
    "input_form": (lambda v: v in INPUT_FORMS, " or ".join(INPUT_FORMS)),
    "output": (lambda v: v in OUTPUTS, " or ".join(OUTPUTS)),
    "csa_sets": (_are_csa_sets, "a list of different names without dots"),
    "ratio_range": (is_ratio_range, f"two numbers, 0 < low <= high <= {MAX_RATIO:g}"),
    "method": (is_text, "a name"),
    "licence": (is_text, "a text"),
    "source": (is_text, "a text"),
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
"""Keys that a file may leave out; the other defaults are for those who write files."""


@dataclass(frozen=True)
class ModelSpec:
    """The description in the header of a model file; raises ModelError for a bad value."""

    name: str
    architecture: str
    """A name of `ledcli.nets.registry`."""
    arguments: dict[str, Any]
    """Of the architecture: numbers, texts, truth values, lists of these."""
    input_form: str
    csa_sets: tuple[str, ...]
    """Names of the CSA sets, the default first; empty for a plain network."""
    ratio_range: tuple[float, float]
    """Lowest and highest ratio that the model was trained for."""
    method: str
    """How it was made: `pretrain`, `led`, ..."""
    licence: str
    """Of the weights, as an SPDX expression where there is one."""
    source: str
    """Who or what made the file."""
    cfa: str = "bayer"
    planes: int = 4
    output: str = "planes"
    modulation: tuple[str, ...] = ()
    """Names of the sensors by which a plain network is modulated; empty for none."""
    omnr: bool = False
    """Whether the RepNR blocks have the OMNR branch, which fine-tuning adds."""
    cameras: tuple[str, ...] = ()
    """Cameras that the model is for; empty for any."""
    training: dict[str, Any] = field(default_factory=dict)
    """How to make the model again: data, iterations, seed, version. JSON values only."""
    noise_profile: CameraNoiseProfile | None = None
    """Of the camera that the model is tuned to."""
    format: int = FORMAT

    def __post_init__(self) -> None:
        for key, (holds, expected) in RULES.items():
            if not holds(getattr(self, key)):
                raise ModelError(f"{key} must be {expected}, not {short(getattr(self, key))}")
        if self.planes != LAYOUTS[self.cfa].planes:
            raise ModelError(
                f"planes must be {LAYOUTS[self.cfa].planes} for {self.cfa}, not {self.planes}"
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

    @property
    def refines(self) -> bool:
        """Whether more than one refinement step makes sense (exposure diffusion)."""
        return self.output == "adaptive"

    def to_header(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        header = dataclasses.asdict(self)
        del header["noise_profile"]
        if self.noise_profile is not None:
            header["noise_profile"] = self.noise_profile.to_json()
        return header

    @classmethod
    def from_header(cls, header: object) -> ModelSpec:
        """Make the spec from JSON values; raises ModelError for an unknown or missing key."""
        if not isinstance(header, dict):
            raise ModelError("the description is not a JSON object")
        version = header.get("format")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ModelError(f"format must be a version number, not {short(version)}")
        if version > FORMAT:
            raise ModelError(
                f"it has format {version}; this version of led reads up to {FORMAT}: update led"
            )
        if version == 1:
            if new := sorted(set(header) & set(RENAMED.values())):
                raise ModelError(f"unknown key {short(new[0])} in a description of format 1")
            renamed = {RENAMED.get(key, key): value for key, value in header.items()}
            header = renamed | {"format": FORMAT}
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
        if (profile := values.get("noise_profile")) is not None:
            try:
                values["noise_profile"] = CameraNoiseProfile.from_json(profile)
            except (ValueError, OverflowError) as error:
                text = f"noise_profile must be lines over ISO, not {short(profile)}: {error}"
                raise ModelError(text) from error
        return cls(**values)

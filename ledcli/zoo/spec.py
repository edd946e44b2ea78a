"""What a model file says about itself: typed, and strict about what it accepts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from ledcli.errors import ModelError
from ledcli.noise.lines import CameraLines
from ledcli.zoo.rules import FORMAT, PLANES_OF_CFA, RULES, short

_OPTIONAL = ("output", "modulation", "omnr", "cameras", "training", "noise_lines")
"""Keys that a file may leave out. Defaults of other fields are for those who write files."""


@dataclass(frozen=True)
class ModelSpec:
    """The header of a model file.

    Parameters
    ----------
    name
        Name of the model: lower-case letters, digits, `.`, `_` and `-`.
    architecture
        A name of `ledcli.nets.table`.
    arguments
        What the architecture is built with: numbers, texts, truth values, lists of these.
    input_form
        `gain` or `stabilised`.
    branches
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
        `planes`; or `adaptive`: an image, a residual and a mask (nets/adaptive.py); or `srgb`: the
        planes of a picture (nets/developed.py). The last two in the `gain` form only.
    modulation
        Names of the sensors by which a plain network is modulated; empty for none.
    omnr
        Whether the RepNR blocks have the OMNR branch, which fine-tuning adds.
    cameras
        Cameras that the model is for; empty when it is for any.
    training
        Data, iterations, seed, version: whatever says how to make it again. JSON values only.
    noise_lines
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
    branches: tuple[str, ...]
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
    noise_lines: CameraLines | None = None
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
        if self.modulation and self.branches:
            raise ModelError("modulation is for plain networks: branches must be empty")
        if self.omnr and not self.branches:
            raise ModelError("omnr needs at least one CSA set in branches")
        if self.noise_lines is not None and self.noise_lines.planes != self.planes:
            raise ModelError(
                f"noise_lines must have {self.planes} planes for {self.cfa}, "
                f"not {self.noise_lines.planes}"
            )

    def to_header(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        header = dataclasses.asdict(self)
        del header["noise_lines"]
        if self.output == "planes":
            del header["output"]  # a led that knows no other can read the file
        if not self.modulation:
            del header["modulation"]
        if self.noise_lines is not None:
            header["noise_lines"] = self.noise_lines.to_json()
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
        known = [f.name for f in dataclasses.fields(cls)]
        unknown = sorted(set(header) - set(known))
        if unknown:
            raise ModelError(f"unknown key {short(unknown[0])} in the description")
        missing = [name for name in known if name not in header and name not in _OPTIONAL]
        if missing:
            raise ModelError(f"no {missing[0]} in the description")
        values = dict(header)
        for key in ("branches", "cameras", "modulation", "ratio_range"):  # JSON has no tuples
            if isinstance(values.get(key), list):
                values[key] = tuple(values[key])
        if values.get("noise_lines") is not None:
            values["noise_lines"] = _noise_lines(values["noise_lines"])
        return cls(**values)


def _noise_lines(value: object) -> CameraLines:
    try:
        return CameraLines.from_json(value)
    except (ValueError, OverflowError) as error:
        text = f"noise_lines must be lines over ISO, not {short(value)}: {error}"
        raise ModelError(text) from error

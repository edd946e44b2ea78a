"""The types of a run: a job, its settings, and what became of a photo. No torch, no numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import EnumMeta, StrEnum
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from ledcli.batch.journal import Stamp
from ledcli.errors import LedError, UsageError
from ledcli.output.formats import DEFAULT_FORMAT, DEFAULT_PICTURE_FORMAT, FORMATS, find_formats

if TYPE_CHECKING:
    from ledcli.batch.darks import DarkFrames
    from ledcli.noise.estimate import NoiseProfile
    from ledcli.raw.exif import Exif
    from ledcli.zoo.store import ChosenModel

MAX_RATIO = 10_000.0
"""13 stops: a larger ratio is more likely a typing error than a photo."""
DEFAULT_NAME = "{stem}{ext}"
"""Of an output, as `--name` gives it."""
MAX_STEPS = 20
"""Refinement steps."""
MAX_DN = 65535.0
"""No sample is larger."""


class Compression(StrEnum):
    """How a DNG's samples are stored: lossless JPEG, or uncompressed."""

    LJPEG = "ljpeg"
    NONE = "none"


class Highlights(StrEnum):
    """What happens to highlights that the ratio pushes above white."""

    CLIP = "clip"
    KEEP = "keep"


class Quality(StrEnum):
    """The small network, the standard one, or its self-ensemble of four mirrored passes."""

    FAST = "fast"
    STANDARD = "standard"
    BEST = "best"


@dataclass(frozen=True)
class Job:
    """One photo: where it is and, by the format's name, where its results go.

    `root` is the output folder, whose ``.led`` holds the manifest and the lock.
    """

    source: Path
    outputs: Mapping[str, Path]
    root: Path


@dataclass(frozen=True)
class Settings:
    """What is done to every photo.

    Highlights, compression, quality and `linear` (a demosaiced DNG) are as in `led denoise`.
    """

    ratio: float | None = 1.0
    """Digital gain, unless an exposure is given; None infers it from each photo's histogram."""
    exposure: float | None = None
    """Exposure level (ISO x seconds) to bring every photo to."""
    strength: float = 1.0
    """0 leaves the input as it is (times the ratio), 1 denoises fully."""
    highlights: Highlights = Highlights.CLIP
    compression: Compression = Compression.LJPEG
    linear: bool = False
    again: bool = False
    """Denoise photos once more that led has denoised already."""
    quality: Quality = Quality.STANDARD
    steps: int | None = None
    """Refinement steps of an exposure-diffusion model; None is the model's default."""
    force_read: bool = False
    """Read frames that look damaged."""
    noise: tuple[float, float] | None = None
    """Gain in DN per electron and read noise in DN of every photo; None estimates them."""
    luma: float | None = None
    chroma: float | None = None
    """The strength for noise in brightness and in colour; None is `strength`."""
    dark: DarkFrames | None = None
    """Dark frames that photos of their camera and ISO are corrected by."""

    def __post_init__(self) -> None:
        """Convert values as the command line has them; raise UsageError for what it refuses."""
        for name, (kind, takes) in _KINDS.items():
            value = getattr(self, name)
            if value is not None or not takes.endswith(_NONE):
                object.__setattr__(self, name, converted(kind, value, name, takes))
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} must be from {low} to {high:g}, not {value:g}")
        if self.exposure is not None and not 0 < self.exposure < math.inf:
            raise UsageError(f"exposure must be above 0, not {self.exposure:g}")

    @property
    def strengths(self) -> tuple[float, float]:
        """The strength for noise in brightness and in colour, 0 to 1."""
        luma, chroma = (self.strength if s is None else s for s in (self.luma, self.chroma))
        return luma, chroma

    def processing(self) -> dict[str, object]:
        """Return what is done to a photo, for records.

        Quality, steps and noise are left out at their defaults: files written before these settings
        existed have no such entries, and are still up to date. Luma and chroma replace the strength
        where they differ.
        """
        ratio_from = "auto" if self.ratio is None else "given"
        if self.exposure is not None:
            ratio_from = "exposure"
        record: dict[str, object] = {"ratio_from": ratio_from}
        luma, chroma = self.strengths
        record |= {"strength": luma} if luma == chroma else {"luma": luma, "chroma": chroma}
        record["highlights"] = self.highlights
        if self.quality != Quality.STANDARD:
            record["quality"] = self.quality
        if self.steps is not None:
            record["steps"] = self.steps
        if self.noise is not None:
            record["given_noise"] = "{:g},{:g}".format(*self.noise)
        return record

    def made_with(
        self, format_name: str, model: ChosenModel | None, exif: Exif | None = None
    ) -> dict[str, object]:
        """Return all but the photo that decides an output: if it differs, so does the file.

        The photo's `exif` tells which of the dark frames are used.
        """
        record = self.processing()
        if self.dark and exif and (identity := self.dark.identity(exif)):
            record["dark"] = identity
        record["ratio"] = self.ratio if self.exposure is None else None
        record["exposure"] = self.exposure
        record |= FORMATS[format_name].options(self)
        if model:
            record |= {"model": model.sha256, "csa_set": model.csa_set}
        return record

    def check_for_pictures(self, model: str) -> None:
        """Raise UsageError for a setting that a model which makes pictures cannot honour."""
        unused = {
            "--linear is for DNGs": self.linear,
            "--highlights keep is for DNGs": self.highlights == Highlights.KEEP,
            "--strength, --luma or --chroma is for raw planes": min(self.strengths) < 1,
            "--quality best is for raw planes": self.quality == Quality.BEST,
            "--steps is for exposure diffusion": (self.steps or 1) > 1,
            "--noise is for raw planes": self.noise is not None,
        }
        for what, given in unused.items():
            if given:
                raise UsageError(
                    f"{what}, but {model} makes pictures straight from the raw; leave it out"
                )


Kind = TypeVar("Kind")


def converted(kind: Callable[[Any], Kind], value: object, name: str, takes: str = "") -> Kind:
    """Return a value as ``kind(value)``; UsageError says what it takes (an enum its values)."""
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        values = ", ".join(map(str, kind)) if isinstance(kind, EnumMeta) else takes
        raise UsageError(f"{name} takes {values}, not {value!r}") from None


def checked_noise(gain: float, read: float, given: object) -> tuple[float, float]:
    """Return `Settings.noise`; raises UsageError, which names what was `given`, if it is none."""
    if not (0 <= gain <= MAX_DN and 0 <= read <= MAX_DN and gain + read > 0):
        raise UsageError(
            "--noise takes gain (DN per electron) and read noise (DN), such as 4.2,8, or auto, "
            f"not {given}"
        )
    return gain, read


def _noise(given: Any) -> tuple[float, float]:  # noqa: ANN401
    gain, read = map(float, given if not isinstance(given, str) else ())
    return checked_noise(gain, read, given)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


_NONE = " or None"
_KINDS: Mapping[str, tuple[Callable[[Any], object], str]] = {
    **dict.fromkeys(("ratio", "exposure", "luma", "chroma"), (float, "a number" + _NONE)),
    "strength": (float, "a number"),
    "noise": (_noise, "two numbers" + _NONE),
    "steps": (index, "a whole number" + _NONE),
    "highlights": (Highlights, ""),
    "compression": (Compression, ""),
    "quality": (Quality, ""),
    **dict.fromkeys(("linear", "again", "force_read"), (_flag, "True or False")),
}
"""What settings are converted to, and what they take."""
_LIMITS = {
    "ratio": (1, MAX_RATIO),
    "steps": (1, MAX_STEPS),
    **dict.fromkeys(("strength", "luma", "chroma"), (0, 1)),
}


def choose_formats(
    asked: Sequence[str], settings: Settings, picture_model: str | None = None
) -> list[str]:
    """Return the output formats: those asked for, else DNG, or PNG for pictures.

    `picture_model` is the name of the model for all photos, if it makes pictures. Raises UsageError
    if it cannot write a format or honour a setting, or a setting has no DNG to apply to.
    """
    formats = find_formats(asked)
    if picture_model:
        if any(each.raw for each in formats):
            pictures = " or ".join(each.name for each in FORMATS.values() if not each.raw)
            raise UsageError(
                f"{picture_model} makes pictures straight from the raw, so it cannot write a DNG: "
                f"use --format {pictures}, or another --model"
            )
        settings.check_for_pictures(picture_model)
        return list(asked) or [DEFAULT_PICTURE_FORMAT]
    if formats and not any(each.raw for each in formats):
        if settings.linear:
            raise UsageError("--linear is for DNGs: add --format dng, or --no-linear")
        if settings.highlights == Highlights.KEEP:
            raise UsageError(
                "--highlights keep is for DNGs: add --format dng, or --highlights clip"
            )
    return list(asked) or [DEFAULT_FORMAT]


class Engine(NamedTuple):
    """What runs the network, as the user chose it; see `inference.network.ReadyNetwork`."""

    device: str = "auto"
    precision: str = "auto"
    tile: int | None = None
    backend: str = "auto"

    def check(self) -> None:
        """Raise UsageError for what this machine does not have; imports torch for that."""
        if (self.device, self.precision, self.tile) != Engine()[:3]:
            from ledcli.inference.denoiser import DenoiserCache

            DenoiserCache(*self)


@dataclass(frozen=True)
class DenoiseOptions:
    """A run of `led denoise`: which photos, where their results go, and how they are made.

    The meanings and defaults are those of the command's options.
    """

    paths: Sequence[str | Path]
    out: Path | None = None
    settings: Settings = field(default_factory=Settings)
    formats: Sequence[str] = ()
    model: str | Path | None = None
    name: str = DEFAULT_NAME
    recursive: bool = False
    shard: str | None = None
    engine: Engine = field(default_factory=Engine)
    overwrite: bool = False
    dry_run: bool = False
    watch: bool = False
    ray: str | None = None
    dark: Sequence[str | Path] = ()


class Status(StrEnum):
    """What became of a photo."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    PLANNED = "planned"
    """Would be denoised: the run is a dry one."""
    NOT_STARTED = "not started"
    """The run was stopped before it."""


@dataclass
class Result:
    """What became of one photo."""

    source: Path | None
    """None for an input that names no file."""
    outputs: list[Path] = field(default_factory=list)
    """The files that exist now: written, or up to date already; if planned, those to write."""
    error: LedError | None = None
    why: str = ""
    """Why it was skipped or is planned."""
    undone: Literal[Status.PLANNED, Status.NOT_STARTED] | None = None
    """Set if nothing was tried."""
    warnings: list[str] = field(default_factory=list)
    ratio: float | None = None
    headroom: float = 1.0
    """The brightest value in the DNG; white is 1."""
    model: ChosenModel | None = None
    noise: NoiseProfile | None = None
    noise_from: str | None = None
    """``given``, ``profile`` (the model has the camera's), ``blind`` (estimated), ``unused``."""
    noise_note: str = ""
    """What the camera did to the photo's noise."""
    dark_note: str = ""
    """What was corrected by dark frames."""
    tile_note: str = ""
    """What tiles change, for networks whose tiles differ from the whole frame."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By part of the work."""
    source_stamp: Stamp | None = None
    """Of the file before it was read."""
    suggestion: str = ""
    """What would save a long run much time."""

    @property
    def status(self) -> Status:
        """What became of the photo."""
        if self.error is not None:
            return Status.FAILED
        return self.undone or (Status.SKIPPED if self.why else Status.DONE)

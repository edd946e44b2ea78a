"""The words of a run: a job, its settings, what became of a photo. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from ledcli.errors import LedError
from ledcli.noise.estimate import NoiseProfile
from ledcli.zoo.selection import Choice

LARGEST_RATIO = 10_000.0
"""Thirteen stops: beyond, a typing error is likelier than a photo."""

Compression = Literal["ljpeg", "none"]
Highlights = Literal["clip", "keep"]
Quality = Literal["fast", "best"]


@dataclass(frozen=True)
class Job:
    """One photo: where it is and, by format, where its results go.

    Attributes
    ----------
    source : Path
    outputs : mapping of str to Path
        By format: ``dng``, ``png``, ``tiff``.
    root : Path
        The output folder, in whose ``.led`` the run keeps its manifest and its lock.
    """

    source: Path
    outputs: Mapping[str, Path]
    root: Path


@dataclass(frozen=True)
class Settings:
    """What is done to every photo.

    Attributes
    ----------
    ratio : float or None
        Digital gain, unless ``exposure`` is given; None infers it from each photo's histogram.
    exposure : float or None
        Exposure level (ISO x seconds) to bring every photo to.
    strength : float
        0 leaves the input as it is (times the ratio), 1 denoises fully.
    highlights : str
        ``clip`` cuts off what the ratio brings past white, ``keep`` keeps it above white in a DNG.
    compression : str
        Of a DNG: ``ljpeg`` (lossless JPEG) or ``none``.
    linear : bool
        A DNG is demosaiced.
    again : bool
        Photos that led wrote are denoised once more.
    quality : str
        ``best`` looks at every photo from four sides, ``fast`` once.
    steps : int or None
        Evaluations of the network, by exposure diffusion's model; None leaves them to it.
    """

    ratio: float | None = 1.0
    exposure: float | None = None
    strength: float = 1.0
    highlights: Highlights = "clip"
    compression: Compression = "ljpeg"
    linear: bool = False
    again: bool = False
    quality: Quality = "fast"
    steps: int | None = None

    @property
    def ratio_from(self) -> str:
        """Where a photo's ratio comes from: ``exposure``, ``auto`` or ``given``."""
        if self.exposure is not None:
            return "exposure"
        return "auto" if self.ratio is None else "given"

    def record(self, name: str) -> dict[str, object]:
        """Return what decides an output of a format: if it differs, so do the files."""
        record: dict[str, object] = {
            "ratio": self.ratio if self.exposure is None else None,
            "ratio_from": self.ratio_from,
            "exposure": self.exposure,
            "strength": self.strength,
            "highlights": self.highlights,
        }
        if self.quality != "fast":
            record["quality"] = self.quality
        if self.steps is not None:
            record["steps"] = self.steps
        if name == "dng":
            record |= {"compression": self.compression, "linear": self.linear}
        return record


class Status(StrEnum):
    """What became of a photo."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass
class Result:
    """What became of one photo. Times are in seconds.

    Attributes
    ----------
    outputs : list of Path
        The files that are there now: written, or found as they should be.
    error : LedError or None
        Why it failed.
    why : str
        Why it was skipped.
    headroom : float
        The brightest value in the DNG; white is 1.
    noise_from : str or None
        Where ``noise`` comes from: ``lines`` (the model's own, over ISO), ``blind`` (estimated
        from the photo), or ``unused`` by a model that makes pictures.
    about_tiles : str
        What tiles mean to it, where they are not the whole frame.
    """

    source: Path
    outputs: list[Path] = field(default_factory=list)
    error: LedError | None = None
    why: str = ""
    warnings: list[str] = field(default_factory=list)
    ratio: float | None = None
    headroom: float = 1.0
    choice: Choice | None = None
    noise: NoiseProfile | None = None
    noise_from: str | None = None
    about_tiles: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """Failed, skipped or done."""
        if self.error is not None:
            return Status.FAILED
        return Status.SKIPPED if self.why else Status.DONE


def made_with(settings: Settings, choice: Choice | None, name: str) -> dict[str, object]:
    """Return what decides an output of a format, apart from the photo."""
    record = settings.record(name)
    return {**record, "model": choice.sha256, "set": choice.branch} if choice else record

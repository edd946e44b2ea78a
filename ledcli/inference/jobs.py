"""The words of a run: a job, the settings, what became of a photo. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


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

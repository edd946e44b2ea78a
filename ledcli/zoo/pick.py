"""Which model denoises a photo when nobody names one. No torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ledcli.errors import ModelError
from ledcli.zoo.bundled import find_bundled, read_registry
from ledcli.zoo.modelfile import ModelSpec, read_spec
from ledcli.zoo.shelf import installed_models

RATIO_MARGIN = 2 ** (1 / 3)
"""A ratio range reaches a third of a stop beyond its ends, the step of a camera's dials."""


class Picked(NamedTuple):
    """A model for a photo, and why it is the one.

    Attributes
    ----------
    path, branch
        The file, and the CSA set of it (empty for a plain network).
    name : str
        As `led models list` has it.
    reason : str
        For people.
    warnings : tuple of str
        One for each installed model that was passed over because it is damaged.
    """

    path: Path
    branch: str
    name: str
    reason: str
    warnings: tuple[str, ...] = ()


class _Tuned(NamedTuple):
    date: datetime
    name: str
    path: Path
    spec: ModelSpec


def pick_model(
    camera: str | None, make: str | None, ratio: float, *, without: Collection[Path] = ()
) -> Picked:
    """Pick the model for a photo.

    The newest installed model that is tuned to the camera and covers the ratio; else the bundled
    CSA set of the camera's maker; else the bundled default.

    Parameters
    ----------
    camera, make : str or None
        `Exif.camera` and `Exif.make` of the photo.
    ratio : float
        Of the photo.
    without : collection of Path
        Installed models to pass over.

    Raises
    ------
    ModelError
        When the bundled models are missing or damaged.
    """
    warnings: list[str] = []
    tuned = [
        model
        for model in _tuned(warnings, without)
        if is_camera(camera, make, model.spec.cameras) and covers(model.spec.ratio_range, ratio)
    ]
    if tuned:
        newest = max(tuned)
        branches = newest.spec.branches
        reason = f"tuned to {camera} on {newest.date.date().isoformat()}"
        branch = branches[0] if branches else ""
        return Picked(newest.path, branch, newest.name, reason, tuple(warnings))
    registry = read_registry()
    name, reason = registry.default, "the bundled default"
    maker = (make or "").casefold().split()[:1]
    if maker and maker[0] in registry.names:
        # A registry of this led may stand beside an older file of models.
        path, branch = registry.names[maker[0]]
        if path.is_file() and branch in read_spec(path).branches:
            name, reason = maker[0], "the bundled set of the camera's maker"
    return Picked(*find_bundled(name), name, reason, tuple(warnings))


def is_camera(camera: str | None, make: str | None, names: Collection[str]) -> bool:
    """Tell whether a camera is one of those that a model names, however they are spelt.

    Upper and lower case, blanks and the make, left out or said twice, make no difference.

    Examples
    --------
    >>> is_camera("NIKON D850", "NIKON CORPORATION", ["Nikon Corporation  NIKON D850"])
    True
    """
    if not camera:
        return False
    maker = set((make or "").casefold().split())
    return _bare(camera, maker) in (_bare(name, maker) for name in names)


def covers(ratio_range: tuple[float, float], ratio: float) -> bool:
    """Tell whether a ratio lies in a model's range, or within a third of a stop of it."""
    lowest, highest = ratio_range
    return lowest / RATIO_MARGIN <= ratio <= highest * RATIO_MARGIN


def training_date(spec: ModelSpec, path: Path) -> datetime:
    """When a model was made: as it says itself, else when its file was written."""
    try:
        date = datetime.fromisoformat(spec.training["date"])
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _tuned(warnings: list[str], without: Collection[Path]) -> Iterator[_Tuned]:
    """Go through the installed models that are tuned to a camera."""
    for name, path in installed_models():
        if path in without:
            continue
        try:
            spec = read_spec(path)
            if spec.cameras:
                yield _Tuned(training_date(spec, path), name, path, spec)
        except FileNotFoundError:
            continue  # removed while we looked
        except ModelError as error:
            if path.is_symlink() or path.exists():
                warnings.append(f"an installed model is passed over: {error}")


def _bare(camera: str, maker: set[str]) -> list[str]:
    """Words of a camera's name without the make that it begins with."""
    words = camera.casefold().split()
    while len(words) > 1 and words[0] in maker:
        del words[0]
    return words

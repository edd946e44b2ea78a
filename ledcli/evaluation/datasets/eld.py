"""ELD's layout: ``CAMERA/scene-1/IMG_0001.ARW``, long and short frames by their numbers."""

import re
from collections.abc import Sequence
from pathlib import Path

from ledcli.errors import UsageError
from ledcli.evaluation.datasets.base import (
    Dataset,
    Source,
    folders_in,
    frames_in,
    source_of_pairs,
)
from ledcli.pairs.list_file import Pair

REFERENCES = (1, 6, 11, 16)
"""Numbers of a scene's long frames; each other frame belongs to the nearest."""


def eld(folder: Path, ratios: Sequence[float] = ()) -> Source:
    """Read a folder in ELD's layout: ``SonyA7S2/scene-1/IMG_0001.ARW`` and so on.

    Images 1, 6, 11 and 16 of a scene are its long frames; every other one is a short frame and
    belongs to the long frame with the nearest number. The tags give the ratio; only the ratios
    given are taken, or all (ELD's figures are of 100 and 200). The folder is of all cameras, or of
    one. Raises UsageError if it is not in ELD's layout.
    """
    cameras = [folder] if _scenes(folder) else folders_in(folder)
    pairs: dict[str, Pair] = {}
    skipped: list[str] = []
    for camera in cameras:
        for scene in _scenes(camera):
            images = _images(scene)
            for number in sorted(set(images) - set(REFERENCES)):
                nearest = min(REFERENCES, key=lambda one: abs(one - number))
                name = f"{camera.resolve().name}/{scene.name}/{images[number].stem}"
                if nearest in images:
                    pairs[name] = Pair(images[number], images[nearest])
                else:
                    skipped.append(f"{images[number]}: its long frame, image {nearest}, is missing")
    if not pairs and not skipped:
        raise UsageError(
            f"{folder}: is not in ELD's layout: name the folder that holds CAMERA/scene-1/IMG_0001"
        )
    title = f"ELD layout, {folder.resolve().name}"
    return source_of_pairs(
        title, list(pairs.values()), names=list(pairs), ratios=ratios, skipped=skipped
    )


ELD = Dataset("eld", lambda path, options: eld(path, options.ratios))


def _scenes(camera: Path) -> list[Path]:
    return [path for path in folders_in(camera) if re.fullmatch(r"scene-\d+", path.name)]


def _images(scene: Path) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for file in frames_in(scene):
        match = re.fullmatch(r"IMG_(\d+)", file.stem)
        if match:
            found[int(match[1])] = file
    return found

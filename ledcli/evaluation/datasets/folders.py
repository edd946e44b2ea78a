"""Folders of raws laid out as in SID (``Sony/short``, ``Sony/long`` and a list) and in ELD.

ELD's have ``CAMERA/scene-1/IMG_0001.ARW``: long and short frames by their numbers.
"""

import os
import re
from pathlib import Path

from ledcli.errors import PairError, UsageError
from ledcli.evaluation.datasets.base import (
    EVERYTHING,
    DatasetOptions,
    Source,
    folders_in,
    frames_in,
    source_of_pairs,
)
from ledcli.evaluation.datasets.packed import SUFFIXES
from ledcli.pairs.list_file import Find, Pair, read_list

TEST_SCENE, FIRST_SHOT = "1", "00"
"""The numbers of test scenes begin with 1 (0 is training, 2 validation); 00 is the first short
frame of a scene at an exposure, the one that published figures are of."""
LISTS = ("{}_test_list.txt", "{}_list.txt")
"""SID's own, and that of ELD's frames in SID's layout."""
REFERENCES = (1, 6, 11, 16)
"""Numbers of a scene's long frames; each other frame belongs to the nearest."""


def sid(folder: Path, options: DatasetOptions = EVERYTHING) -> Source:
    """Read a folder in SID's layout: ``Sony/short``, ``Sony/long`` and ``Sony_test_list.txt``.

    The folder is of one camera, with ``short`` and ``long`` in it, or the one above. Frames are
    raws, or packed as ``.npz`` or ``.npy`` under the raw's name. The default list is the test list
    or, where there is none, the test scenes by their numbers. Raises UsageError if the folder is
    not in SID's layout, and PairError if the list is wrong.
    """
    root = _camera(folder)
    title = f"SID layout, {root.resolve().name}"
    list_file = options.list_file
    if list_file is None:
        names = [name.format(root.resolve().name) for name in LISTS]
        lists = (path / name for name in names for path in (root, root.parent))
        list_file = next((path for path in lists if os.path.isfile(path)), None)
    skipped: list[str] = []
    if list_file is None:
        pairs = _tests(root, skipped)
    else:
        title += f", {list_file.name}"
        pairs = read_list(
            list_file,
            find=_files(root, list_file.parent),
            missing=lambda error: skipped.append(str(error)),
        )
    return source_of_pairs(title, pairs, ratios=options.ratios, by_name=True, skipped=skipped)


def _camera(folder: Path) -> Path:
    if _is_pair_folder(folder):
        return folder
    cameras = [path for path in folders_in(folder) if _is_pair_folder(path)]
    # Bayer models are for the Sony; the Fuji has an X-Trans sensor.
    sony = [path for path in cameras if path.name.lower() == "sony"]
    found = sony or cameras
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise UsageError(f"{folder}: holds several cameras ({names}): name the folder of one")
    raise UsageError(f"{folder}: is not in SID's layout: it has no folders 'short' and 'long'")


def _is_pair_folder(folder: Path) -> bool:
    return os.path.isdir(folder / "short") and os.path.isdir(folder / "long")


def _files(root: Path, beside_list: Path) -> Find:
    """Find a list's files, raw or packed, however much of the path it gives."""

    def find(name: str, beside: str) -> Path | None:
        bare = Path(name).name
        paths = [root / beside / bare, root.parent / name, root / name, beside_list / name]
        for path in filter(lambda one: one.name, paths):
            forms = [path, *(path.with_name(path.name + suffix) for suffix in SUFFIXES)]
            forms += [path.with_suffix(suffix) for suffix in SUFFIXES]
            for form in forms:
                if os.path.isfile(form):  # False for a name that is too long
                    return form
        return None

    return find


def _tests(root: Path, skipped: list[str]) -> list[Pair]:
    """Pair the test scenes by their numbers, as SID's own test code does."""
    # Of several, the first.
    files = reversed(frames_in(root / "long"))
    longs = {file.name.partition("_")[0]: file for file in files}
    pairs = []
    for file in frames_in(root / "short"):
        scene, _, rest = file.name.partition("_")
        if scene.startswith(TEST_SCENE) and rest.startswith(f"{FIRST_SHOT}_"):
            if scene in longs:
                pairs.append(Pair(file, longs[scene]))
            else:
                skipped.append(f"{file}: there is no long frame of scene {scene}")
    if not pairs and not skipped:
        raise PairError(
            f"{root}: has no frames of test scenes (short/1....._00_...) and no "
            f"{root.resolve().name}_test_list.txt: name a list with --list"
        )
    return pairs


def eld(folder: Path, options: DatasetOptions = EVERYTHING) -> Source:
    """Read a folder in ELD's layout: ``SonyA7S2/scene-1/IMG_0001.ARW`` and so on.

    Images 1, 6, 11 and 16 of a scene are its long frames; every other one is a short frame and
    belongs to the long frame with the nearest number. The tags give the ratio; ELD's figures are of
    100 and 200. The folder is of all cameras, or of one. Raises UsageError if it is not in ELD's
    layout.
    """
    cameras = [folder] if _scenes(folder) else folders_in(folder)
    pairs: dict[str, Pair] = {}
    skipped: list[str] = []
    for camera in cameras:
        for scene in _scenes(camera):
            numbered = ((re.fullmatch(r"IMG_(\d+)", f.stem), f) for f in frames_in(scene))
            images = {int(match[1]): file for match, file in numbered if match}
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
    names, found = list(pairs), list(pairs.values())
    return source_of_pairs(title, found, names=names, ratios=options.ratios, skipped=skipped)


def _scenes(camera: Path) -> list[Path]:
    return [path for path in folders_in(camera) if re.fullmatch(r"scene-\d+", path.name)]

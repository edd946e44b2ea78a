"""Files of data sets: which are frames, in which order, under which names."""

import os
import re
from pathlib import Path

from ledcli.errors import UsageError
from ledcli.evaluation.packed import SUFFIXES
from ledcli.photo.inputs import RAW_SUFFIXES


def frames_in(folder: Path) -> list[Path]:
    """Return the raws and packed frames of a folder; raises UsageError as `folders_in`."""
    kinds = RAW_SUFFIXES | set(SUFFIXES)
    return sorted(file for file in _entries(folder) if file.suffix.lower() in kinds)


def folders_in(folder: Path) -> list[Path]:
    """Return the folders of a folder; raises UsageError where there is none or none to read."""
    # A name that is too long is no error of os.path.
    return sorted((p for p in _entries(folder) if os.path.isdir(p)), key=natural_order)


def check_folder(folder: Path) -> None:
    """Raise UsageError where there is no such folder."""
    if not os.path.isdir(folder):
        raise UsageError(f"{folder}: there is no such folder: name the one that holds the frames")


def _entries(folder: Path) -> list[Path]:
    check_folder(folder)
    try:
        return list(folder.iterdir())
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(
            f"{folder}: cannot be read: {why}: change its permissions, or name another"
        ) from None


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Sort key by which scene-2 comes before scene-10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def frame_name(file: Path) -> str:
    """Return the name without what raws and packed frames end in: ``10003_00_0.04s``."""
    name = file.name
    for suffixes in (SUFFIXES, RAW_SUFFIXES):
        suffix = Path(name).suffix
        if suffix.lower() in suffixes:
            name = name[: -len(suffix)]
    return name

"""Data sets that can be measured on: SID, ELD, lists of pairs, clean photographs."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from ledcli.errors import RawError, UsageError
from ledcli.evaluation.datasets.base import (
    Case,
    Frame,
    Source,
    check_folder,
    frame_name,
    natural_order,
    source_of_pairs,
    unique_names,
)
from ledcli.evaluation.datasets.eld import eld
from ledcli.evaluation.datasets.photographs import (
    WHITE_BALANCE,
    check_photograph,
    clean_planes,
    noise_of,
    seed_of,
    short_frame,
)
from ledcli.evaluation.datasets.sid import sid
from ledcli.evaluation.results import count
from ledcli.noise.cameras import calibrated_cameras
from ledcli.pairs.list_file import read_list
from ledcli.sensor.cfa import STANDARD_PHASE
from ledcli.training.data.crops import RENDERED_SUFFIXES
from ledcli.zoo.selection import SENSORS

__all__ = ["eld", "listed", "photographs", "sid"]

GAINS: Mapping[str, tuple[float, ...]] = {"SonyA7S2": (0.75, 3.0)}
OTHER_GAINS = (2.5, 10.0)
"""System gain K, DN per electron: a middling and a high ISO of each camera."""
RATIOS = (1.0, 20.0, 100.0, 300.0)

Wanted = TypeVar("Wanted", str, float)


def listed(list_file: Path, ratios: Sequence[float] = ()) -> Source:
    """Read a list of pairs, as `led pairs scan` writes it, or one of SID, ELD, LED or DarkRAW.

    Parameters
    ----------
    list_file : Path
    ratios : sequence of float
        Only these; empty takes all.

    Raises
    ------
    PairError
        The list is wrong.
    """
    skipped: list[str] = []
    pairs = read_list(list_file, missing=lambda error: skipped.append(str(error)))
    short = [frame_name(pair.short) for pair in pairs]
    both = [f"{_place(pair.short)} {_place(pair.long)}" for pair in pairs]
    named = list(zip(unique_names(short, both), pairs, strict=True))
    return source_of_pairs(f"pairs of {list_file.name}", named, ratios=ratios, skipped=skipped)


def photographs(
    folder: Path,
    cameras: Sequence[str] = (),
    gains: Sequence[float] = (),
    ratios: Sequence[float] = (),
    *,
    cfa: str = "bayer",
) -> Source:
    """Make short frames of clean photographs with the noise of calibrated cameras.

    Parameters
    ----------
    folder : Path
        Of photographs in sRGB, searched with its subfolders.
    cameras : sequence of str
        Names of `calibrated_cameras()`; empty takes all.
    gains : sequence of float
        System gains K, DN per electron; empty takes two of each camera.
    ratios : sequence of float
        Empty takes 1, 20, 100, 300.
    cfa : str
        Of the sensor: ``bayer`` or ``xtrans``.

    Raises
    ------
    UsageError
        A camera is not known, or the folder holds no photograph.
    """
    known = {name.lower(): name for name in calibrated_cameras()}
    unknown = [name for name in cameras if name.lower() not in known]
    if unknown:
        raise UsageError(
            f"no calibrated camera is called '{unknown[0]}': there are {', '.join(known.values())}"
        )
    chosen = _each(known[name.lower()] for name in cameras) or list(known.values())
    files, skipped = _photographs(folder)
    names = unique_names(
        [file.stem for file in files], [str(file.relative_to(folder)) for file in files]
    )
    cases = [
        Case(
            f"{name} {camera} K={gain:g} x{ratio:g}",
            f"{camera} K={gain:g}",
            None,
            ratio,
            partial(_synthetic, file, camera, gain, ratio, cfa),
        )
        for name, file in zip(names, files, strict=True)
        for camera in chosen
        for gain in _each(gains) or GAINS.get(camera, OTHER_GAINS)
        for ratio in _each(ratios) or RATIOS
    ]
    number = count(len(files), "photograph")
    seen = "" if cfa == "bayer" else f" as {SENSORS[cfa]}"
    title = f"{folder.resolve().name}, {number}{seen}, noise of {', '.join(chosen)}"
    return Source(title, cases, skipped)


def _photographs(folder: Path) -> tuple[list[Path], list[str]]:
    """Return a folder's photographs, and a line for each that cannot be one."""
    check_folder(folder)
    found = [
        file
        for file in sorted(folder.rglob("*"), key=natural_order)
        if file.suffix.lower() in RENDERED_SUFFIXES
        and not file.name.startswith(".")  # a Mac leaves such files beside photos
        and file.is_file()
    ]
    if not found:
        raise UsageError(f"{folder}: holds no photograph (PNG, JPEG, TIFF, WebP): name another")
    files, skipped = [], []
    for file in found:
        try:
            check_photograph(file)
        except RawError as error:
            skipped.append(str(error))
        else:
            files.append(file)
    return files, skipped


def _synthetic(file: Path, camera: str, gain: float, ratio: float, cfa: str) -> Frame:
    clean = clean_planes(file, cfa=cfa)
    key = f"{file.name} {camera} K{gain:g} {ratio:g}"
    short = short_frame(clean, noise_of(camera, gain), ratio, seed_of(key))
    return Frame(short, clean, STANDARD_PHASE[cfa], np.array(WHITE_BALANCE))


def _each(values: Iterable[Wanted]) -> list[Wanted]:
    """Return each value once, in the order given."""
    return list(dict.fromkeys(values))


def _place(file: Path) -> str:
    return f"{file.parent.name}/{frame_name(file)}"

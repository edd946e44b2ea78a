"""What can be measured: frames that are known by their headers and not yet read."""

import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.batch.inputs import RAW_SUFFIXES
from ledcli.errors import LedError, PairError, UsageError
from ledcli.evaluation.datasets.packed import SUFFIXES, is_packed, read_packed
from ledcli.pairs.frames import ratio_of
from ledcli.pairs.list_file import Pair
from ledcli.raw.colour import shot_wb, srgb_from_camera
from ledcli.raw.exif import Exif, read_exif
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import AnyPhase, Phase


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


SAME_RATIO = 1.05
"""Factor within which a ratio is one that was asked for."""
LARGEST_NAMED_RATIO = 300.0
"""SID caps the ratio of its names: 0.033 s to 10 s is meant as 300."""
_SECONDS = re.compile(r"_(\d+(?:\.\d+)?)s(?=\.|$)")
"""SID: ``10003_00_0.04s.ARW``; LED names ELD's frames so by their exposure level."""

Planes = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """A short frame and its truth, in memory.

    Attributes
    ----------
    short, truth : float32 arrays (planes, h, w)
        Normalised: the short frame not gained, the truth within 0 to 1.
    phase : Phase or XTransPhase
        Of the mosaic; RGGB where the file does not say.
    white_balance : array (3,)
        For pictures; green is 1.
    to_srgb : array (3, 3) or None
        From white-balanced camera colours to linear sRGB.
    exif : Exif
        Of the short frame.
    """

    short: Planes
    truth: Planes
    phase: AnyPhase = Phase.RGGB
    white_balance: NDArray[np.float64] = field(default_factory=lambda: np.ones(3))
    to_srgb: NDArray[np.float64] | None = None
    exif: Exif = field(default_factory=Exif)


class Case(NamedTuple):
    """A frame to be measured.

    Attributes
    ----------
    name : str
        Short and unique in its source.
    camera : str
        Empty where unknown.
    iso : float or None
    ratio : float
    read : callable
        Returns the `Frame`; raises LedError.
    raws : Pair or None
        The raw files that it is read from; None where there are none.
    """

    name: str
    camera: str
    iso: float | None
    ratio: float
    read: Callable[[], Frame]
    raws: Pair | None = None


class Source(NamedTuple):
    """A data set.

    Attributes
    ----------
    name : str
        In words.
    cases : list of Case
    skipped : list of str
        A line for each frame that cannot be measured: which, and why.
    """

    name: str
    cases: list[Case]
    skipped: list[str]


def source_of_pairs(
    name: str,
    pairs: Sequence[tuple[str, Pair]],
    *,
    ratios: Sequence[float] = (),
    by_name: bool = False,
    skipped: Sequence[str] = (),
) -> Source:
    """Make a source of pairs of files.

    Parameters
    ----------
    name : str
    pairs : sequence of (str, Pair)
        With the name of each frame.
    ratios : sequence of float
        Take the pairs of these only; empty takes all.
    by_name : bool
        The exposure times in the names make the ratio, as in SID, and not the tags.
    skipped : sequence of str
        What is known not to be measurable.
    """
    cases, lost = [], list(skipped)
    for frame, pair in pairs:
        try:
            case = _case(frame, pair, by_name=by_name)
        except LedError as error:
            lost.append(str(error))
            continue
        if not ratios or any(max(case.ratio / r, r / case.ratio) <= SAME_RATIO for r in ratios):
            cases.append(case)
    return Source(name, cases, lost)


def unique_names(names: Sequence[str], longer: Sequence[str]) -> list[str]:
    """Return each name, or where several are alike what is longer; if those are, a number too."""
    count = Counter(names)
    taken: dict[str, None] = {}
    for name, long in zip(names, longer, strict=True):
        taken[free_name(name if count[name] == 1 else long, taken)] = None
    return list(taken)


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name, with a number behind it where it is taken: ``name (2)``."""
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return name if name not in taken else next(n for n in numbered if n not in taken)


def named_ratio(short: Path, long: Path) -> float | None:
    """Return the ratio of the exposures in the names, 300 at most; None where they say nothing."""
    found = [_SECONDS.search(path.name) for path in (short, long)]
    if found[0] is None or found[1] is None:
        return None
    seconds = [float(match[1]) for match in found if match]
    if not min(seconds) > 0 or seconds[1] < seconds[0]:
        return None
    return float(f"{min(seconds[1] / seconds[0], LARGEST_NAMED_RATIO):.6g}")


def _case(name: str, pair: Pair, *, by_name: bool) -> Case:
    named = named_ratio(pair.short, pair.long)
    if is_packed(pair.short):
        ratio = pair.ratio or named
        if ratio is None:
            raise PairError(
                f"{pair.short}: a packed frame has no tags, so the pair's ratio is unknown: add "
                "it to the pair's line in the list as a third column"
            )
        # They lie in CAMERA/short.
        camera = pair.short.absolute().parent.parent.name
        return Case(name, camera, pair.iso, ratio, partial(_read_packed, pair))
    short = read_exif(pair.short)
    ratio = pair.ratio or (named if by_name else None)
    if ratio is None:
        ratio = ratio_of(short, read_exif(pair.long), (pair.short, pair.long))
    iso = short.iso or pair.iso
    return Case(name, short.camera or "", iso, ratio, partial(_read_raws, pair), pair)


def _read_raws(pair: Pair) -> Frame:
    short, long = read_raw(pair.short), read_raw(pair.long)
    if short.mosaic.shape != long.mosaic.shape or short.phase != long.phase:
        raise _unlike(pair)
    truth = long.planes()
    np.clip(truth, 0, 1, out=truth)
    colours = (shot_wb(long), srgb_from_camera(long))
    return Frame(short.planes(), truth, short.phase, *colours, short.exif)


def _read_packed(pair: Pair) -> Frame:
    short, long = read_packed(pair.short), read_packed(pair.long)
    if short.planes.shape != long.planes.shape:
        raise _unlike(pair)
    truth = np.clip(long.planes, 0, 1)
    balance = np.ones(3) if long.white_balance is None else long.white_balance
    return Frame(short.planes, truth, white_balance=balance, to_srgb=long.to_srgb)


def _unlike(pair: Pair) -> PairError:
    return PairError(
        f"{pair.short}: is not of the size or the CFA phase of {pair.long}: they are no pair"
    )

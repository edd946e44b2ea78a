"""What can be measured: frames known by their headers, read one by one; pairs of files."""

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import LedError, PairError, UsageError, os_reason
from ledcli.evaluation.datasets.packed import SUFFIXES, read_packed
from ledcli.noise.blocks import Planes
from ledcli.noise.photo_noise import PhotoNoise
from ledcli.pairs.frames import check_ratios, is_wanted, ratio_of, read_pair
from ledcli.pairs.list_file import Pair, read_list
from ledcli.raw.colour import srgb_from_camera, white_balance_of
from ledcli.raw.decoder import decoders
from ledcli.raw.exif import Exif, read_exif
from ledcli.raw.inputs import RAW_SUFFIXES
from ledcli.reporting import distinct_name
from ledcli.sensor.cfa import AnyPhase, Phase

MAX_NAMED_RATIO = 300.0
"""SID caps the ratio of its names: 0.033 s and 10 s count as 300."""
_SECONDS = re.compile(r"_(\d+(?:\.\d+)?)s(?=\.|$)")
"""SID: ``10003_00_0.04s.ARW``; LED names ELD's frames so, by their exposure level."""


@dataclass(frozen=True)
class FramePair:
    """A short frame and its truth, in memory: normalised planes (planes, h, w)."""

    short: Planes
    """Without the ratio."""
    truth: Planes
    """Within 0 to 1."""
    phase: AnyPhase = Phase.RGGB
    """Of the mosaic; RGGB where the file does not have it."""
    white_balance: NDArray[np.float64] = field(default_factory=lambda: np.ones(3))
    """For rendering (3,); green is 1."""
    to_srgb: NDArray[np.float64] | None = None
    """From white-balanced camera colours to linear sRGB (3, 3)."""
    exif: Exif = field(default_factory=Exif)
    """Of the short frame."""
    noise: PhotoNoise | None = None
    """A raw's own estimate, of the short frame."""
    warnings: tuple[str, ...] = ()
    """What may be wrong with the files."""


class Case(NamedTuple):
    """A frame to measure."""

    name: str
    """Unique in its source."""
    camera: str
    """Empty where unknown."""
    iso: float | None
    ratio: float
    read: Callable[[], FramePair]
    """Raises LedError."""
    raws: Pair | None = None
    """The files it is read from, if they are raws."""


class Source(NamedTuple):
    """A data set: its title, frames, and a line for each frame that cannot be measured."""

    name: str
    cases: list[Case]
    skipped: list[str]


@dataclass(frozen=True)
class DatasetOptions:
    """What to take of a data set."""

    ratios: Sequence[float] = ()
    """Only these; empty takes all."""
    list_file: Path | None = None
    """SID's list of pairs."""
    cameras: Sequence[str] = ()
    """Calibrated cameras whose noise photographs get; empty takes all."""
    gains: Sequence[float] = ()
    """System gains K of that noise, DN per electron; empty takes two of each camera."""
    models: Sequence[str] = ()
    """The models to measure: photographs are made for their kind of sensor."""

    def __post_init__(self) -> None:
        """Raise UsageError for an impossible ratio or gain."""
        check_ratios(self.ratios)
        for gain in self.gains:
            if not 0 < gain < math.inf:
                raise UsageError(f"--gains takes numbers above 0, such as 3, not {gain:g}")


EVERYTHING = DatasetOptions()


class Dataset(NamedTuple):
    """A kind of data set: an entry of `DATASETS`."""

    read: Callable[[Path, DatasetOptions], Source]
    """Lists the frames of a folder or file; raises LedError."""
    options: tuple[str, ...] = ()
    """Attributes of `DatasetOptions` that only this data set has."""


def source_of_pairs(
    name: str,
    pairs: Sequence[Pair],
    *,
    names: Sequence[str] | None = None,
    ratios: Sequence[float] = (),
    by_name: bool = False,
    skipped: Sequence[str] = (),
) -> Source:
    """Make a source of pairs of files, only of the ratios given, or all.

    `names` are unique names of the frames, by default those of the short files. With `by_name` the
    exposure times in the names give the ratio, as in SID, not the tags. `skipped` are lines for
    frames that are known not to be measurable.
    """

    def with_folder(file: Path) -> str:
        return f"{file.parent.name}/{frame_name(file)}"

    if names is None:
        names = unique_names(
            [frame_name(pair.short) for pair in pairs],
            [f"{with_folder(pair.short)} {with_folder(pair.long)}" for pair in pairs],
        )
    cases, failed = [], list(skipped)
    for frame, pair in zip(names, pairs, strict=True):
        try:
            case = _case(frame, pair, by_name=by_name)
        except LedError as error:
            failed.append(str(error))
            continue
        if is_wanted(case.ratio, ratios):
            cases.append(case)
    return Source(name, cases, failed)


def listed(list_file: Path, options: DatasetOptions = EVERYTHING) -> Source:
    """Read a list of pairs, as `led pairs scan` writes it, or one of SID, ELD, LED or DarkRAW.

    Raises PairError if the list is wrong.
    """
    skipped: list[str] = []
    pairs = read_list(list_file, missing=lambda error: skipped.append(str(error)))
    name = f"pairs of {list_file.name}"
    return source_of_pairs(name, pairs, ratios=options.ratios, skipped=skipped)


def unique_names(names: Sequence[str], longer: Sequence[str]) -> list[str]:
    """Make names unique: duplicates take the longer name, and a number if that is taken too."""
    count = Counter(names)
    taken: dict[str, None] = {}
    for name, long in zip(names, longer, strict=True):
        taken[distinct_name(name if count[name] == 1 else long, taken)] = None
    return list(taken)


def frames_in(folder: Path) -> list[Path]:
    """Return the raws and packed frames of a folder; raises UsageError if it cannot be read."""
    kinds = RAW_SUFFIXES | set(SUFFIXES)
    return sorted(file for file in _entries(folder) if file.suffix.lower() in kinds)


def folders_in(folder: Path) -> list[Path]:
    """Return the folders of a folder; raises UsageError if it cannot be read."""
    # os.path, unlike Path, returns False for a name that is too long.
    return sorted((p for p in _entries(folder) if os.path.isdir(p)), key=natural_order)


def check_folder(folder: Path) -> None:
    """Raise UsageError if there is no such folder."""
    if not os.path.isdir(folder):
        raise UsageError(f"{folder}: there is no such folder: name the folder of the frames")


def _entries(folder: Path) -> list[Path]:
    check_folder(folder)
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be read: {os_reason(error)}: change its permissions, or name another"
        ) from None


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts scene-2 before scene-10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def frame_name(file: Path) -> str:
    """Return the name without the suffixes of raws and packed frames: ``10003_00_0.04s``."""
    name = file.name
    for suffixes in (SUFFIXES, RAW_SUFFIXES):
        suffix = Path(name).suffix
        if suffix.lower() in suffixes:
            name = name[: -len(suffix)]
    return name


def named_ratio(short: Path, long: Path) -> float | None:
    """Return the ratio of the exposure times in the names, at most 300; None without them."""
    found = (_SECONDS.search(path.name) for path in (short, long))
    seconds = [float(match[1]) for match in found if match]
    if len(seconds) < 2 or not 0 < seconds[0] <= seconds[1]:
        return None
    return float(f"{min(seconds[1] / seconds[0], MAX_NAMED_RATIO):.6g}")


def _case(name: str, pair: Pair, *, by_name: bool) -> Case:
    named = named_ratio(pair.short, pair.long)
    if pair.short.suffix.lower() in SUFFIXES:
        ratio = pair.ratio or named
        if ratio is None:
            raise PairError(
                f"{pair.short}: a packed frame has no tags, so the pair's ratio is unknown: add "
                "it to the pair's line in the list as a third column"
            )
        # Packed frames are in CAMERA/short.
        camera = pair.short.absolute().parent.parent.name
        return Case(name, camera, pair.iso, ratio, partial(_read_packed, pair))
    short = decoders.run(read_exif, pair.short)
    ratio = pair.ratio or (named if by_name else None)
    if ratio is None:
        long = decoders.run(read_exif, pair.long)
        ratio = ratio_of(short, long, (pair.short, pair.long))
    iso = short.iso or pair.iso
    return Case(name, short.camera or "", iso, ratio, partial(_read_raws, pair), pair)


def _read_raws(pair: Pair) -> FramePair:
    short, long = read_pair(pair)
    if short.mosaic.shape != long.mosaic.shape or short.phase != long.phase:
        raise _mismatch(pair)
    planes, truth = short.planes(), long.planes()
    np.clip(truth, 0, 1, out=truth)
    colours = (white_balance_of(long), srgb_from_camera(long))
    noise, warnings = short.estimate_noise(planes), short.warnings + long.warnings
    return FramePair(planes, truth, short.phase, *colours, short.exif, noise, warnings)


def _read_packed(pair: Pair) -> FramePair:
    short, long = read_packed(pair.short), read_packed(pair.long)
    if short.planes.shape != long.planes.shape:
        raise _mismatch(pair)
    truth = np.clip(long.planes, 0, 1)
    balance = np.ones(3) if long.white_balance is None else long.white_balance
    return FramePair(short.planes, truth, white_balance=balance, to_srgb=long.to_srgb)


def _mismatch(pair: Pair) -> PairError:
    return PairError(
        f"{pair.short}: differs in size or CFA phase from {pair.long}: they are not a pair"
    )

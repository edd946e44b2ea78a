"""The pairs' files: read, checked, and handed on as shots of one camera."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import MetadataError, PairError
from ledcli.pairs.checks import check_pair
from ledcli.pairs.foundfile import DarkFrame
from ledcli.pairs.listfile import Pair
from ledcli.pairs.ratios import ratio_of
from ledcli.photo.cfa import pack
from ledcli.photo.exif import read_exif
from ledcli.photo.raw import RawPhoto, read_raw
from ledcli.training.fewshot import FewShot, Shot, few_shot

LOW_ISO, HIGH_ISO = 500.0, 3200.0
"""LED's rule: for each ratio a pair at most at the low ISO and one at least at the high one."""
SAME_RATIO = 1.05
"""Factor within which a ratio is one that was asked for."""


@dataclass
class LoadedPairs:
    """The pairs of a list, in memory.

    Attributes
    ----------
    camera : str
        As EXIF names it.
    shots : FewShot
    records : list of dict
        For the model file: hashes of the files, ratio, ISO.
    darks : int
        Dark frames that were used.
    warnings : list of str
        What was left out, and where LED's rule does not hold.
    """

    camera: str
    shots: FewShot
    records: list[dict[str, Any]]
    darks: int = 0
    warnings: list[str] = field(default_factory=list)


def load_pairs(
    pairs: Sequence[Pair],
    darks: Sequence[DarkFrame] = (),
    *,
    ratios: Sequence[float] = (),
    keep: bool = False,
    one_iso: bool = False,
    seed: int = 0,
    step: Callable[[Path], None] = lambda _: None,
) -> LoadedPairs:
    """Read pairs of one camera, check them, and measure its noise on them.

    Parameters
    ----------
    pairs : sequence of Pair
    darks : sequence of DarkFrame
        Lens-cap frames; those of the camera correct its dark shading.
    ratios : sequence of float
        Take the pairs of these only; empty takes all.
    keep : bool
        Shifted pairs are kept.
    one_iso : bool
        Pairs of one ISO only will do.
    seed : int
        Of the choice of held crops.
    step : callable
        Told of every pair that has been read.

    Raises
    ------
    PairError
        No pair is left, or the pairs are of several cameras or of one ISO only.
    RawError, MetadataError
        A frame cannot be read, or lacks its ISO.
    """
    reader = _Reader(ratios, keep, step)
    by_iso: dict[float, list[Path]] = {}
    for dark in _of_camera(darks, pairs[0].short):
        by_iso.setdefault(dark.iso, []).append(dark.file)
    shots = few_shot(
        reader.shots(pairs),
        {iso: map(_dark_planes, paths) for iso, paths in by_iso.items()},
        seed=seed,
    )
    if len(reader.isos) < 2 and not one_iso:
        (iso,) = reader.isos
        other = f"at most {LOW_ISO:g}" if iso > LOW_ISO else f"{HIGH_ISO:g} or more"
        raise PairError(
            f"all pairs have ISO {iso:g}, and noise over ISO needs two: shoot a pair at ISO "
            f"{other} for each ratio, or tune for this ISO alone with --force"
        )
    dark_count = sum(map(len, by_iso.values()))
    loaded = LoadedPairs(reader.camera, shots, reader.records, dark_count, reader.left_out)
    loaded.warnings += _against_the_rule(reader.records)
    return loaded


class _Reader:
    """Reads pair after pair and remembers what must agree between them."""

    def __init__(self, ratios: Sequence[float], keep: bool, step: Callable[[Path], None]) -> None:
        self.ratios, self.keep, self.step = ratios, keep, step
        self.camera = ""
        self.records: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self._first: Path | None = None

    @property
    def isos(self) -> set[float]:
        return {record["iso"] for record in self.records}

    def shots(self, pairs: Sequence[Pair]) -> Iterator[Shot]:
        for pair in pairs:
            shot = self._shot(pair)
            self.step(pair.short)
            if shot is not None:
                yield shot
        if not self.records:
            why = f" ({self.left_out[0]})" if self.left_out else ""
            raise PairError(f"no pair is left to tune with{why}: see 'led pairs check'")

    def _shot(self, pair: Pair) -> Shot | None:
        short, long = read_raw(pair.short), read_raw(pair.long)
        self._same_camera(pair.short, short)
        ratio = pair.ratio or ratio_of(short.exif, long.exif, (pair.short, pair.long))
        if self.ratios and not any(_same(ratio, wanted) for wanted in self.ratios):
            return None
        problems = check_pair(short, long, ratio).against(keep_shifted=self.keep)
        if problems:
            self.left_out.append(f"{pair.short}: left out: {'; '.join(problems)}")
            return None
        iso, long_iso = _iso(short), _iso(long)
        hashes = {"short": _sha256(pair.short), "long": _sha256(pair.long)}
        self.records.append(hashes | {"ratio": ratio, "iso": iso})
        return Shot(_planes(short), _planes(long), ratio, iso, long_iso, str(pair.short))

    def _same_camera(self, path: Path, photo: RawPhoto) -> None:
        camera = photo.exif.camera
        if camera is None:
            raise MetadataError(f"{path}: does not say its camera, which the model is tuned to")
        if self._first is None:
            self.camera, self._first = camera, path
        elif camera.casefold() != self.camera.casefold():
            raise PairError(
                f"{path} is of {camera} and {self._first} of {self.camera}: a model is tuned to "
                "one camera, make a list for each"
            )


def _same(ratio: float, wanted: float) -> bool:
    return max(ratio / wanted, wanted / ratio) <= SAME_RATIO


def _iso(photo: RawPhoto) -> float:
    if photo.exif.iso is None:
        raise MetadataError(f"{photo.path}: has no usable ISO tag, which the noise depends on")
    return photo.exif.iso


def _planes(photo: RawPhoto) -> NDArray[np.float32]:
    return pack(photo.normalised(), photo.phase)


def _of_camera(darks: Sequence[DarkFrame], short: Path) -> list[DarkFrame]:
    """Return the dark frames of the camera of a frame."""
    camera = (read_exif(short).camera or "").casefold()
    return [dark for dark in darks if (dark.camera or "").casefold() == camera]


def _dark_planes(path: Path) -> NDArray[np.float32]:
    return _planes(read_raw(path))


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _against_the_rule(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Say for which ratios LED's rule does not hold."""
    isos: dict[float, list[float]] = {}
    for record in records:
        isos.setdefault(record["ratio"], []).append(record["iso"])
    for ratio, found in sorted(isos.items()):
        if min(found) > LOW_ISO or max(found) < HIGH_ISO:
            yield (
                f"ratio {ratio:g} has pairs at ISO {', '.join(f'{i:g}' for i in sorted(found))}: "
                f"best are one at ISO {LOW_ISO:g} or less and one at {HIGH_ISO:g} or more"
            )

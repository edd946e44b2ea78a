"""The frames of a shoot: headers, exposure ratios, and decoded photos, read in parallel."""

import math
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from ledcli.errors import LedError, MetadataError, PairError, UsageError, as_led_error
from ledcli.metadata.xmp import read_note
from ledcli.pairs.list_file import Pair
from ledcli.pairs.similarity import Signature, frame_features, is_dark
from ledcli.raw.decoder import decoders
from ledcli.raw.exif import Exif, missing_tags, read_exif
from ledcli.raw.reader import RawPhoto, read_raw

CACHE_BYTES = 512 << 20
"""Decoded mosaics kept for the checks: a shoot of four frames of any camera."""

ROUND_RATIOS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Ratios that people mean, within a decade; those of SID, ELD and LED are among them."""
THIRD_STOP_RATIOS = (1.25, 1.6, 3.2, 6.4)
"""The others that third-stop shutter speeds come to."""
NOMINAL_TOLERANCE = 0.045
"""Error of nominal shutter speeds, as a share: 1/125 s is 1/128 s, and a ratio of 300 at ISO 100
(10 s, 1/30 s) is 312.5 at ISO 3200 (10 s at ISO 100, 1/1000 s)."""
SAME_RATIO = 1.05
"""Factor within which two ratios count as the same."""
MIN_LONG_RATIO = 1 / 1.05
"""Below this ratio the short and the long frame are swapped."""

Input = TypeVar("Input")
Key = TypeVar("Key")


@dataclass(frozen=True)
class Frame:
    """A raw file and its header."""

    file: Path
    exif: Exif

    @property
    def level(self) -> float:
        """Exposure level; 0 where unknown."""
        return self.exif.exposure_level or 0.0

    @property
    def iso(self) -> float:
        """ISO; 0 where unknown."""
        return self.exif.iso or 0.0

    @property
    def seconds(self) -> float:
        """Exposure time; 0 where unknown."""
        return self.exif.exposure_time or 0.0

    @property
    def camera(self) -> tuple[str, str]:
        """Camera, and the body's serial number where the header has it."""
        return (self.exif.camera or "").casefold(), self.exif.serial or ""

    @property
    def setting(self) -> tuple[object, ...]:
        """What frames of a pair have in common: camera, aperture and focal length."""
        aperture, focal = self.exif.aperture, self.exif.focal_length
        return (*self.camera, aperture and round(aperture, 1), focal and round(focal))

    @property
    def timestamp(self) -> float:
        """When it was shot, in seconds of the camera's clock; NaN where unknown."""
        try:
            time = datetime.strptime(self.exif.datetime or "", "%Y:%m:%d %H:%M:%S")
        except ValueError:
            return math.nan
        return (time - datetime.min).total_seconds()


@dataclass(frozen=True)
class FrameSummary:
    """What a decoded frame shows."""

    shape: tuple[int, ...]  # of the mosaic, (H, W)
    signature: Signature
    dark: bool  # taken with the lens cap on
    denoised: bool = False  # written by led


class PhotoCache:
    """Decoded photos; the latest are kept as long as they fit."""

    def __init__(self, warn: Callable[[str], None], *, force: bool = False) -> None:
        self._warn, self._warned = warn, set[str]()
        self._read = partial(read_raw, force=force)
        self._kept: OrderedDict[Path, RawPhoto] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path) -> RawPhoto:
        """Return a photo, decoding it if necessary; raises LedError as `decoders.run`."""
        photo = self._kept.get(path) or decoders.run(self._read, path)
        with self._lock:
            for warning in photo.warnings:
                if warning not in self._warned:
                    self._warn(warning)
            self._warned.update(photo.warnings)
            self._kept[path] = photo
            self._kept.move_to_end(path)
            while sum(kept.mosaic.nbytes for kept in self._kept.values()) > CACHE_BYTES:
                self._kept.popitem(last=False)
        return photo


def nominal_ratio(ratio: float) -> float:
    """Snap a ratio above 0 to the round one within 4.5 %, else the third-stop one.

    Where neither is near, the ratio is rounded to three digits.

    Examples
    --------
    >>> [nominal_ratio(ratio) for ratio in (98.7, 101.6, 128.0, 312.5, 322.5, 4.6875)]
    [100.0, 100.0, 125.0, 300.0, 320.0, 4.69]
    """
    decade = math.floor(math.log10(ratio))
    for values in (ROUND_RATIOS, THIRD_STOP_RATIOS):
        nominal = [value * 10.0**power for power in (decade, decade + 1) for value in values]
        nearest = min(nominal, key=lambda value: abs(math.log(value / ratio)))
        if abs(ratio / nearest - 1) <= NOMINAL_TOLERANCE:
            return float(f"{nearest:.6g}")
    return float(f"{ratio:.3g}")


def ratio_of(short: Exif, long: Exif, paths: tuple[Path, Path]) -> float:
    """Return a pair's nominal ratio: the long exposure level over the short one, by EXIF.

    Raises MetadataError if a frame has no usable ISO or exposure time, and PairError if the long
    frame is exposed less than the short one; `paths` are named in the message.
    """
    levels = []
    for exif, path in zip((short, long), paths, strict=True):
        if exif.exposure_level is None:
            raise MetadataError(
                f"{path}: {missing_tags(exif)}, so the pair's ratio is unknown: add it to the "
                "pair's line in the list as a third column"
            )
        levels.append(exif.exposure_level)
    ratio = levels[1] / levels[0]
    if ratio < MIN_LONG_RATIO:
        raise PairError(
            f"{paths[1]}: is exposed less than {paths[0]}: a pair is SHORT LONG, in that order"
        )
    return nominal_ratio(ratio)


def check_ratios(ratios: Sequence[float]) -> None:
    """Raise UsageError for an impossible ratio."""
    for ratio in ratios:
        if not 1 <= ratio < math.inf:
            raise UsageError(f"--ratios takes numbers from 1, such as 100,300, not {ratio:g}")


def is_wanted(ratio: float, ratios: Sequence[float]) -> bool:
    """Return True if a ratio is one of those that were asked for, or none was."""
    return not ratios or any(max(ratio / r, r / ratio) <= SAME_RATIO for r in ratios)


def read_frame(file: Path, *, force: bool = False) -> Frame:
    """Read the header of a raw; raises RawError if the file is not a readable raw."""
    frame = Frame(file, read_exif(file))
    if frame.exif.exposure_level is None:
        # Decoding tells a raw without tags from a file that is not a raw.
        read_raw(file, force=force)
    return frame


def read_pair(pair: Pair, *, force: bool = False) -> tuple[RawPhoto, RawPhoto]:
    """Decode the frames of a pair, both at once; raises LedError as `read_raw`."""
    photos = list(decoders.each(partial(read_raw, force=force), (pair.short, pair.long)))
    for photo in photos:
        if isinstance(photo, LedError):
            raise photo
    short, long = cast(list[RawPhoto], photos)
    return short, long


def summarise(frames: Iterable[Frame], photos: PhotoCache) -> Generator[FrameSummary | LedError]:
    """Decode frames and reduce each to what it shows, in their order."""

    def summary(frame: Frame) -> FrameSummary | LedError:
        file = frame.file
        try:
            photo = photos.read(file)
            denoised = file.suffix.lower() == ".dng" and decoders.run(read_note, file) is not None
            features = frame_features(photo)
        except (LedError, MemoryError) as error:
            return as_led_error(error, file)
        return FrameSummary(photo.mosaic.shape, features.signature, is_dark(features), denoised)

    yield from decoders.in_parallel(summary, frames)


def grouped(items: Sequence[Input], key: Callable[[Input], Key]) -> dict[Key, list[Input]]:
    """Collect items by key, in their order."""
    groups: dict[Key, list[Input]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups

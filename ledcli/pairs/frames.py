"""The frames of a shoot: what their headers say, and what they show, read in parallel."""

import os
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from ledcli.errors import LedError
from ledcli.metadata.xmp import read_note
from ledcli.pairs.signature import Signature, is_dark, view_of
from ledcli.raw.exif import Exif, read_exif
from ledcli.raw.reader import RawPhoto, read_raw

HEADER_THREADS = 8
"""Headers wait for the disk more than for the processor."""
DECODING_THREADS = min(4, os.cpu_count() or 1)
"""Each holds a photo several times over: 45 megapixels take 1 GB."""
CHECKING_THREADS = min(2, os.cpu_count() or 1)
"""Each holds two photos and their spectra."""
CACHE_BYTES = 512 << 20
"""Decoded mosaics that are kept for the checks: a shoot of four frames of any camera."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = TypeVar("Key")


class Bar(Protocol):
    """What shows how far the work is."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Count `steps` as done."""


Watch = Callable[[int, str, str], AbstractContextManager[Bar]]
"""Makes a bar of so many steps, a label, and what a step is: `Output.progress`."""


@dataclass(frozen=True)
class Frame:
    """A raw and what its header says.

    Attributes
    ----------
    file : Path
    exif : Exif
    """

    file: Path
    exif: Exif

    @property
    def level(self) -> float:
        """Exposure level; 0 where the header does not say."""
        return self.exif.exposure_level or 0.0

    @property
    def iso(self) -> float:
        """ISO; 0 where the header does not say."""
        return self.exif.iso or 0.0

    @property
    def seconds(self) -> float:
        """Exposure time; 0 where the header does not say."""
        return self.exif.exposure_time or 0.0

    @property
    def camera(self) -> tuple[str, str]:
        """Camera, and the body's serial number where the header has it."""
        return (self.exif.camera or "").casefold(), self.exif.serial or ""

    @property
    def setting(self) -> tuple[object, ...]:
        """What frames of a pair have in common: camera, aperture and focal length."""
        aperture, focal = self.exif.aperture, self.exif.focal_length
        return (
            *self.camera,
            aperture and round(aperture, 1),
            focal and round(focal),
        )

    def gap(self, other: "Frame") -> float:
        """Seconds between the two shots; infinite where a header has no date."""
        times = [_taken(frame.exif.datetime) for frame in (self, other)]
        if times[0] is None or times[1] is None:
            return float("inf")
        return abs((times[0] - times[1]).total_seconds())


@dataclass(frozen=True)
class Look:
    """What a frame shows.

    Attributes
    ----------
    shape : (H, W)
        Of the mosaic.
    signature : Signature
    dark : bool
        Taken with the lens cap on.
    made_by_led : bool
        Denoised already.
    """

    shape: tuple[int, ...]
    signature: Signature
    dark: bool
    made_by_led: bool = False


class Photos:
    """Decoded photos; the latest are kept as long as they fit."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit, self._bytes = limit, 0
        self._kept: OrderedDict[Path, RawPhoto] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path) -> RawPhoto:
        """Return a photo, decoded now or before; raises RawError as `read_raw`."""
        with self._lock:
            if path in self._kept:
                self._kept.move_to_end(path)
                return self._kept[path]
        photo = read_raw(path)
        with self._lock:
            if path not in self._kept:
                self._kept[path] = photo
                self._bytes += photo.mosaic.nbytes
            while self._bytes > self._limit:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= dropped.mosaic.nbytes
        return photo


def read_frames(files: Iterable[Path]) -> Generator[Frame | LedError]:
    """Read the headers of raws, in their order; an error where the file is no readable raw."""
    yield from in_parallel(_read_frame, files, HEADER_THREADS)


def look_at(frames: Iterable[Frame], photos: Photos) -> Generator[Look | LedError]:
    """Decode frames and reduce each to what it shows, in their order."""

    def look(frame: Frame) -> Look | LedError:
        try:
            photo = photos.read(frame.file)
        except LedError as error:
            return error
        view = view_of(photo)
        denoised = frame.file.suffix.lower() == ".dng" and read_note(frame.file) is not None
        return Look(photo.mosaic.shape, view.signature, is_dark(view), denoised)

    yield from in_parallel(look, frames, DECODING_THREADS)


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[Result]:
    """Do the work on every item, in threads; results come in the items' order.

    What has not begun when the caller stops listening is not begun any more.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


def grouped(items: Sequence[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Sort items into groups of one key, in their order."""
    groups: dict[Key, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _read_frame(file: Path) -> Frame | LedError:
    try:
        frame = Frame(file, read_exif(file))
        if frame.exif.exposure_level is None:
            # No tags, or no raw at all: those are two different things to tell the user.
            read_raw(file)
    except LedError as error:
        return error
    return frame


def _taken(date: str | None) -> datetime | None:
    try:
        return datetime.strptime(date or "", "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None

"""The dark frames of a run: which fit a photo, and what they show. No torch."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ledcli.errors import LedError, NoRawsError, UsageError
from ledcli.metadata.xmp import read_note
from ledcli.raw.decoder import decoders
from ledcli.raw.exif import Exif, read_exif
from ledcli.raw.inputs import IN_SUBFOLDERS, FoundRaw, find_raws
from ledcli.reporting import SILENT, Reporter

if TYPE_CHECKING:
    from ledcli.noise.dark import DarkMeasurement, DarkPattern

MAX_DARK_TIME, SHORT_S = 8.0, 1.0
"""Longest exposure of a dark frame, as a multiple of its photo's: the sensor's glow shows in longer
ones. Up to `SHORT_S` seconds it does not."""
UNFIT = "{}: denoised without dark frames: {}"
ALSO_OF_EXIF = ("exposure_time", "serial")
"""EXIF fields that the manifest keeps in runs with dark frames, beside make, model and ISO."""


def exif_in(photo: Mapping[str, Any]) -> Exif:
    """Return the EXIF fields in a manifest's record; KeyError or ValueError if it is damaged."""
    found = {key: photo[key] for key in ("make", "model", "iso")}
    found |= {key: photo.get(key) for key in ALSO_OF_EXIF}
    for key, value in found.items():
        kinds = (int, float) if key in ("iso", "exposure_time") else (str,)
        if value is not None and not isinstance(value, kinds):
            raise ValueError(f"{key} is {value!r}")
    return Exif(**found)


class DarkFrame(NamedTuple):
    """A dark frame by its header."""

    file: Path
    exif: Exif
    stamp: tuple[int, int]
    """Size and modification time, by which the file is recognised."""


@dataclass(frozen=True)
class DarkFrames:
    """The dark frames that a user gave; `measured` adds what they show."""

    frames: tuple[DarkFrame, ...]
    patterns: Mapping[DarkFrame, DarkPattern] = field(default_factory=dict, compare=False)
    """By frame; the frames of one camera, ISO, exposure time and size share one."""

    @classmethod
    def find(cls, paths: Sequence[str | Path]) -> Self | None:
        """Find the frames in files, folders and patterns; None without any.

        Raises UsageError for what does not exist or has no camera or ISO, RawError for what cannot
        be read.
        """
        try:
            files = [raw.file for raw in find_raws([str(path) for path in paths])] if paths else []
        except UsageError as error:
            why = str(error)
            if isinstance(error, NoRawsError):
                why = f"{why.removesuffix(IN_SUBFOLDERS)}; subfolders are not searched"
            raise UsageError(f"--dark {why}") from None
        frames = []
        for file, exif in zip(files, decoders.each(read_exif, files), strict=True):
            if isinstance(exif, LedError):
                raise exif
            if exif.iso is None or exif.camera is None:
                from ledcli.raw.reader import read_raw

                decoders.run(read_raw, file)  # it may be no raw, or truncated
                raise UsageError(
                    f"{file}: names no camera or ISO, so the photos that it fits are unknown: "
                    "leave it out of --dark"
                )
            if read_note(file):
                raise UsageError(f"{file}: is denoised by led: give --dark the camera's raw")
            state = os.stat(file)
            frames.append(DarkFrame(file, exif, (state.st_size, state.st_mtime_ns)))
        return cls(tuple(frames)) if frames else None

    @property
    def raws(self) -> list[FoundRaw]:
        """The frames as raws, which no output may replace."""
        return [FoundRaw(frame.file, Path(), Path()) for frame in self.frames]

    def without(
        self, raws: Sequence[FoundRaw], report: Reporter, *, force: bool, more: bool = False
    ) -> list[FoundRaw]:
        """Return the raws that are no dark frames, and report how many are.

        If all are, raises as `measured`, since photos may be among them; else UsageError, unless
        there are or may come `more` inputs.
        """
        own = {os.path.realpath(frame.file) for frame in self.frames}
        left = [raw for raw in raws if os.path.realpath(raw.file) not in own]
        if raws and not left:
            self.measured(force=force)
            if not more:
                raise UsageError("all inputs are among --dark: name photos to denoise as well")
        if count := len(raws) - len(left):
            inputs = "1 input is" if count == 1 else f"{count} inputs are"
            report.info(f"{inputs} among --dark, so not denoised")
        return left

    def measured(self, report: Reporter = SILENT, *, force: bool = False) -> Self:
        """Read the frames and find out what they show.

        Raises UsageError for one that is no dark frame, RawError for one that cannot be read.
        """
        patterns = self.patterns or _measure(self.frames, force)
        isos = Counter(frame.exif.iso for frame in self.frames)
        report.info(f"dark frames: {', '.join(f'{n} at ISO {iso:g}' for iso, n in isos.items())}")
        return replace(self, patterns=patterns)

    def of(self, exif: Exif) -> tuple[list[DarkFrame], str]:
        """Return the frames of a photo's camera and ISO that are nearest in exposure time.

        If there are none, the other value says why.
        """
        same = [frame for frame in self.frames if _same_body(frame.exif, exif)]
        if not same:
            return [], f"none is of the {exif.camera or 'unknown camera'}"
        at_iso = [frame for frame in same if frame.exif.iso == exif.iso]
        if not at_iso:
            isos = ", ".join(f"{iso:g}" for iso in sorted({f.exif.iso or 0 for f in same}))
            own = "no ISO" if exif.iso is None else f"ISO {exif.iso:g}"
            return [], f"it has {own}, they have {isos}"
        time = exif.exposure_time
        longest = math.inf if time is None else max(MAX_DARK_TIME * time, SHORT_S)
        usable = [f for f in at_iso if (f.exif.exposure_time or 0) <= longest]
        if not usable:
            return [], f"those of its ISO are exposed more than {MAX_DARK_TIME:g} times longer"

        def apart(frame: DarkFrame) -> float:
            own = frame.exif.exposure_time
            return abs(math.log(own / time)) if own and time else 0.0

        nearest = min(map(apart, usable))
        return [frame for frame in usable if apart(frame) == nearest], ""

    def patterns_for(self, exif: Exif) -> tuple[list[DarkPattern], str]:
        """Return what the frames `of` a photo show, by size."""
        frames, why = self.of(exif)
        found = {id(self.patterns[frame]): self.patterns[frame] for frame in frames}
        return list(found.values()), why

    def identity(self, exif: Exif) -> str | None:
        """Return a hash of the frames that are used for a photo; None without any."""
        stamps = sorted(frame.stamp for frame in self.of(exif)[0])
        return hashlib.sha256(repr(stamps).encode()).hexdigest()[:16] if stamps else None


def _same_body(one: Exif, other: Exif) -> bool:
    same = (one.camera or "").casefold() == (other.camera or "").casefold()
    return same and (not one.serial or not other.serial or one.serial == other.serial)


def _measure(frames: tuple[DarkFrame, ...], force: bool) -> Mapping[DarkFrame, DarkPattern]:
    from ledcli.noise.dark import CUT_OFF, DarkMeasurement
    from ledcli.raw.reader import read_raw

    groups: dict[object, list[DarkFrame]] = defaultdict(list)
    for frame in frames:
        exif = frame.exif
        groups[exif.camera, exif.serial, exif.iso, exif.exposure_time].append(frame)
    patterns: dict[DarkFrame, DarkPattern] = {}
    for group in groups.values():
        measured: dict[object, DarkMeasurement] = {}
        members: dict[object, list[DarkFrame]] = defaultdict(list)
        photos = decoders.each(partial(read_raw, force=force), [frame.file for frame in group])
        for frame, photo in zip(group, photos, strict=True):
            if isinstance(photo, LedError):
                raise photo
            how = photo.phase, photo.mosaic.shape
            members[how].append(frame)
            measured.setdefault(how, DarkMeasurement(*how, 1 / photo.span))
            if why := measured[how].add(photo.planes()):
                retry = "" if why == CUT_OFF else "shoot one with the lens cap on, or "
                raise UsageError(
                    f"{frame.file}: not a usable dark frame: {why}; {retry}leave it out of --dark"
                )
        for each, measurement in measured.items():
            patterns |= dict.fromkeys(members[each], measurement.result())
    return patterns

"""`led pairs scan`: find the pairs of short and long frames in a folder of raws."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ledcli.batch.inputs import find_raws
from ledcli.errors import LedError
from ledcli.pairs.exposure import missing_tags
from ledcli.pairs.frames import (
    CHECKING_THREADS,
    Frame,
    Look,
    Photos,
    Watch,
    grouped,
    in_parallel,
    look_at,
    read_frames,
)
from ledcli.pairs.match import (
    NOTHING_LONGER,
    Found,
    LeftOut,
    any_pair,
    best_long,
    candidates,
    explain,
    reason_of,
)
from ledcli.pairs.result import DarkFrame
from ledcli.pairs.rule import RatioRule, rules_of


@dataclass(frozen=True)
class Scan:
    """All that a scan found.

    Attributes
    ----------
    frames : tuple of Frame
        Every raw whose header could be read.
    pairs : tuple of Found
        In the order of the short frames' names.
    dropped : tuple of Found
        Pairs that something speaks against.
    left_out : tuple of LeftOut
    darks : tuple of DarkFrame
    rules : tuple of RatioRule
        One for each body and ratio, those included of which no pair is good.
    """

    frames: tuple[Frame, ...]
    pairs: tuple[Found, ...]
    dropped: tuple[Found, ...]
    left_out: tuple[LeftOut, ...]
    darks: tuple[DarkFrame, ...]
    rules: tuple[RatioRule, ...]


def scan(folder: Path, watch: Watch, *, keep_shifted: bool = False) -> Scan:
    """Find the pairs in a folder and its subfolders.

    Hidden folders and those named ``denoised`` are left alone.

    Parameters
    ----------
    folder : Path
    watch : callable
        Makes a progress bar: `Output.progress`.
    keep_shifted : bool
        Keep pairs whose frames are shifted.

    Returns
    -------
    Scan

    Raises
    ------
    UsageError
        There is no such folder, or no raw in it.
    """
    files = [raw.file for raw in find_raws([str(folder)], recursive=True)]
    left: dict[Path, LeftOut] = {}
    frames = _headers(files, watch, left)
    usable = [frame for frame in frames if frame.file not in left]
    looks = _looks(usable, watch, left, photos := Photos())
    darks = [frame for frame, look in looks.items() if look.dark]
    light = [frame for frame, look in looks.items() if not (look.dark or look.made_by_led)]
    found = _matches(light, looks, watch, photos, left, keep_shifted)
    pairs = _kept(found, keep_shifted)
    explain(light, found, pairs, left, keep_shifted=keep_shifted)
    paired = {frame.file for pair in pairs for frame in (pair.short, pair.long)}
    # A frame that serves as a long one is no short one that failed.
    dropped = [
        pair
        for pair in found
        if pair.check.against(keep_shifted=keep_shifted) and pair.short.file not in paired
    ]
    return Scan(
        frames=tuple(frames),
        pairs=tuple(pairs),
        dropped=tuple(dropped),
        left_out=tuple(left[file] for file in files if file in left and file not in paired),
        darks=tuple(_dark(frame) for frame in darks),
        rules=tuple(rules_of(pairs, dropped, frames)),
    )


def _dark(frame: Frame) -> DarkFrame:
    exif = frame.exif
    return DarkFrame(frame.file, frame.iso, exif.exposure_time, exif.camera, exif.serial)


def _headers(files: Sequence[Path], watch: Watch, left: dict[Path, LeftOut]) -> list[Frame]:
    frames = []
    with (
        watch(len(files), "reading headers", "files") as bar,
        closing(read_frames(files)) as results,
    ):
        for file, result in zip(files, results, strict=True):
            bar.advance(note=file.name)
            if isinstance(result, LedError):
                left[file] = LeftOut(file, reason_of(file, result), failed=True)
                continue
            frames.append(result)
            if result.exif.exposure_level is None:
                left[file] = LeftOut(file, missing_tags(result.exif))
    return frames


def _looks(
    frames: Sequence[Frame], watch: Watch, left: dict[Path, LeftOut], photos: Photos
) -> dict[Frame, Look]:
    """Decode the frames of those cameras that have two frames to make a pair of."""
    by_setting = grouped(frames, lambda frame: frame.setting)
    hopeful = {group[0].camera for group in by_setting.values() if any_pair(group)}
    wanted = [frame for frame in frames if frame.camera in hopeful]
    for frame in frames:
        if frame.camera not in hopeful:
            left[frame.file] = LeftOut(frame.file, NOTHING_LONGER)
    looks = {}
    with (
        watch(len(wanted), "looking at frames", "frames") as bar,
        closing(look_at(wanted, photos)) as results,
    ):
        for frame, look in zip(wanted, results, strict=True):
            bar.advance(note=frame.file.name)
            if isinstance(look, LedError):
                left[frame.file] = LeftOut(frame.file, reason_of(frame.file, look), failed=True)
                continue
            looks[frame] = look
            if look.made_by_led:
                left[frame.file] = LeftOut(frame.file, "was denoised by led: give the camera's raw")
    return looks


def _matches(
    frames: Sequence[Frame],
    looks: dict[Frame, Look],
    watch: Watch,
    photos: Photos,
    left: dict[Path, LeftOut],
    keep_shifted: bool,
) -> list[Found]:
    """Check each short frame with the long ones that may be its own."""
    by_setting = grouped(frames, lambda frame: frame.setting)
    jobs: list[tuple[Frame, list[Frame]]] = []
    for short in frames:
        choices = [long for long, _ in candidates(short, by_setting[short.setting], looks)]
        if choices:
            jobs.append((short, choices))
    # Shorts of one long frame follow each other, so that it is decoded once.
    jobs.sort(key=lambda job: (str(job[1][0].file), str(job[0].file)))

    def check(job: tuple[Frame, list[Frame]]) -> Found | LedError | None:
        return best_long(*job, photos, keep_shifted=keep_shifted)

    found = []
    with (
        watch(len(jobs), "checking pairs", "pairs") as bar,
        closing(in_parallel(check, jobs, CHECKING_THREADS)) as results,
    ):
        for (short, _), result in zip(jobs, results, strict=True):
            bar.advance(note=short.file.name)
            if isinstance(result, LedError):
                left[short.file] = LeftOut(short.file, reason_of(short.file, result), failed=True)
            elif result is not None:
                found.append(result)
    return sorted(found, key=lambda pair: str(pair.short.file))


def _kept(found: Sequence[Found], keep_shifted: bool) -> list[Found]:
    """Good pairs; what serves as a long frame is no short one besides."""
    good = [pair for pair in found if not pair.check.against(keep_shifted=keep_shifted)]
    times_long = Counter(pair.long for pair in good)
    return [pair for pair in good if not times_long[pair.short]]

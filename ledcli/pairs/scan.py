"""`led pairs scan`: find the pairs of short and long frames in a folder of raws."""

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TypeVar

from ledcli.batch.inputs import find_raws
from ledcli.errors import LedError
from ledcli.pairs.checks import SAME_SCENE, CheckedPair, check_pair
from ledcli.pairs.frames import (
    CHECKING_THREADS,
    Frame,
    FrameSummary,
    PhotoCache,
    grouped,
    in_parallel,
    missing_tags,
    ratio_of,
    read_frames,
    summarise,
)
from ledcli.pairs.list_file import Pair
from ledcli.pairs.result import DarkFrame, Scan, UnpairedFrame
from ledcli.pairs.rule import rules_of
from ledcli.reporting import SILENT, ProgressBar, Reporter

MIN_RATIO = 1.5
"""Below, the long frame is hardly cleaner than the short one."""
MAX_RATIO = 10_000.0
"""As for `led denoise`."""
MIN_SIMILARITY = 0.1
"""Of a candidate for a short frame's long one."""
MIN_DEVIATIONS = 3.5
"""The same in standard deviations of the similarity of unrelated frames."""
SIMILAR_LEVEL = 2.0
"""Of long frames within this factor of the most exposed one, the nearest in time is taken."""
MAX_CANDIDATES = 3
NO_OTHER_EXPOSURE = (
    f"has no frame beside it of the same camera, aperture and focal length that is {MIN_RATIO:g} "
    "times more or less exposed"
)

Item = TypeVar("Item")
Result = TypeVar("Result")


def scan(folder: Path, *, keep_shifted: bool = False, report: Reporter = SILENT) -> Scan:
    """Find the pairs in a folder and its subfolders, but hidden ones and those named ``denoised``.

    Parameters
    ----------
    folder : Path
    keep_shifted : bool
        Keep pairs whose frames are shifted.
    report : Reporter
        Receives the progress.

    Raises
    ------
    UsageError
        There is no such folder, or no raw in it.
    """
    files = [raw.file for raw in find_raws([str(folder)], recursive=True)]
    unpaired: dict[Path, UnpairedFrame] = {}
    photos = PhotoCache()
    frames = _read_headers(files, report, unpaired)
    usable = [frame for frame in frames if frame.file not in unpaired]
    summaries = _summaries(usable, report, unpaired, photos)
    bright = [frame for frame, shown in summaries.items() if not (shown.dark or shown.denoised)]
    checked = _check_candidates(bright, summaries, report, photos, unpaired, keep_shifted)
    good = [pair for pair in checked if not pair.check.problems_if(keep_shifted=keep_shifted)]
    longs = {pair.long for pair in good}
    pairs = [pair for pair in good if pair.short not in longs]
    _explain(bright, checked, pairs, unpaired, keep_shifted)
    paired = {frame.file for pair in pairs for frame in pair[:2]}
    # The long frame of a good pair is not a short one that failed.
    dropped = [
        pair
        for pair in checked
        if pair.check.problems_if(keep_shifted=keep_shifted) and pair.short.file not in paired
    ]
    return Scan(
        frames=tuple(frames),
        pairs=tuple(pairs),
        dropped=tuple(dropped),
        unpaired=tuple(unpaired[f] for f in files if f in unpaired and f not in paired),
        darks=tuple(_dark_frame(frame) for frame, shown in summaries.items() if shown.dark),
        rules=tuple(rules_of(pairs, dropped, frames)),
    )


def check_listed(pairs: Sequence[Pair]) -> Generator[CheckedPair | LedError]:
    """Check the pairs of a list, in its order; an error where one cannot be read or measured."""
    photos = PhotoCache()

    def check(pair: Pair) -> CheckedPair | LedError:
        try:
            short, long = photos.read(pair.short), photos.read(pair.long)
            ratio = pair.ratio or ratio_of(short.exif, long.exif, (pair.short, pair.long))
            frames = Frame(pair.short, short.exif), Frame(pair.long, long.exif)
            return CheckedPair(*frames, check_pair(short, long, ratio))
        except LedError as error:
            return error

    yield from in_parallel(check, pairs, CHECKING_THREADS)


def _with_progress(
    items: Sequence[Item],
    file_of: Callable[[Item], Path],
    results: Generator[Result | LedError],
    bar: AbstractContextManager[ProgressBar],
    unpaired: dict[Path, UnpairedFrame],
) -> Iterator[tuple[Item, Result]]:
    """Yield items with their results, advance the bar, and note the files that fail."""
    with bar as progress, closing(results):
        for item, result in zip(items, results, strict=True):
            file = file_of(item)
            progress.advance(note=file.name)
            if isinstance(result, LedError):
                reason = str(result).removeprefix(f"{file}: ")
                unpaired[file] = UnpairedFrame(file, reason, unreadable=True)
            else:
                yield item, result


def _read_headers(
    files: Sequence[Path], report: Reporter, unpaired: dict[Path, UnpairedFrame]
) -> list[Frame]:
    frames = []
    bar = report.progress(len(files), "reading headers", "files")
    for file, frame in _with_progress(files, lambda f: f, read_frames(files), bar, unpaired):
        frames.append(frame)
        if frame.exif.exposure_level is None:
            unpaired[file] = UnpairedFrame(file, missing_tags(frame.exif))
    return frames


def _summaries(
    frames: Sequence[Frame],
    report: Reporter,
    unpaired: dict[Path, UnpairedFrame],
    photos: PhotoCache,
) -> dict[Frame, FrameSummary]:
    """Decode the frames of those cameras that have two frames to make a pair of."""
    by_setting = grouped(frames, lambda frame: frame.setting)
    cameras = {group[0].camera for group in by_setting.values() if _any_pair(group)}
    wanted = [frame for frame in frames if frame.camera in cameras]
    for frame in frames:
        if frame.camera not in cameras:
            unpaired[frame.file] = UnpairedFrame(frame.file, NO_OTHER_EXPOSURE)
    summaries = {}
    bar, results = (
        report.progress(len(wanted), "reading frames", "frames"),
        summarise(wanted, photos),
    )
    for frame, summary in _with_progress(wanted, lambda f: f.file, results, bar, unpaired):
        summaries[frame] = summary
        if summary.denoised:
            reason = "was denoised by led: give the camera's raw"
            unpaired[frame.file] = UnpairedFrame(frame.file, reason)
    return summaries


def _check_candidates(
    frames: Sequence[Frame],
    summaries: dict[Frame, FrameSummary],
    report: Reporter,
    photos: PhotoCache,
    unpaired: dict[Path, UnpairedFrame],
    keep_shifted: bool,
) -> list[CheckedPair]:
    """Check each short frame with the long ones that may belong to it."""
    by_setting = grouped(frames, lambda frame: frame.setting)
    jobs = [(short, _candidates(short, by_setting[short.setting], summaries)) for short in frames]
    jobs = [job for job in jobs if job[1]]
    # The shorts of one long frame follow each other, so that it is decoded once.
    jobs.sort(key=lambda job: (str(job[1][0].file), str(job[0].file)))

    def check(job: tuple[Frame, list[Frame]]) -> CheckedPair | LedError | None:
        return _best_pair(*job, photos, keep_shifted)

    bar = report.progress(len(jobs), "checking pairs", "pairs")
    results = in_parallel(check, jobs, CHECKING_THREADS)
    found = _with_progress(jobs, lambda job: job[0].file, results, bar, unpaired)
    checked = [pair for _, pair in found if pair is not None]
    return sorted(checked, key=lambda pair: str(pair.short.file))


def _could_be_pair(short: Frame, long: Frame) -> bool:
    return short.level > 0 and MIN_RATIO <= long.level / short.level <= MAX_RATIO


def _any_pair(frames: Iterable[Frame]) -> bool:
    """Whether the exposures of a group allow any pair."""
    levels = sorted(frame.level for frame in frames if frame.level > 0)
    for level in levels:
        longer = bisect_left(levels, level * MIN_RATIO)
        if longer < len(levels) and levels[longer] <= level * MAX_RATIO:
            return True
    return False


def _candidates(
    short: Frame, frames: Iterable[Frame], summaries: dict[Frame, FrameSummary]
) -> list[Frame]:
    """Return a few frames of the same setting that may be a short frame's long one, best first.

    The most exposed is best; of those about as much exposed, the nearest in time.
    """
    own = summaries[short]
    least = max(MIN_SIMILARITY, MIN_DEVIATIONS / max(own.signature.vector.size, 1) ** 0.5)
    similar = []
    for frame in frames:
        if _could_be_pair(short, frame) and summaries[frame].shape == own.shape:
            similarity = own.signature.similarity(summaries[frame].signature)
            if similarity >= least:
                similar.append((frame, similarity))
    certain = [entry for entry in similar if entry[1] >= SAME_SCENE]
    highest = max((frame.level for frame, _ in certain), default=0.0)

    def order(entry: tuple[Frame, float]) -> tuple[bool, float, float]:
        frame, similarity = entry
        less = frame.level * SIMILAR_LEVEL < highest
        return less, -frame.level if less else short.seconds_from(frame), -similarity

    if certain:
        ordered = sorted(certain, key=order)
    else:
        ordered = sorted(similar, key=lambda entry: -entry[1])
    return [frame for frame, _ in ordered[:MAX_CANDIDATES]]


def _best_pair(
    short: Frame, longs: Iterable[Frame], photos: PhotoCache, keep_shifted: bool
) -> CheckedPair | LedError | None:
    """Return the first good pair with a short frame; without one, the first of the same scene."""
    first: CheckedPair | None = None
    for long in longs:
        ratio = ratio_of(short.exif, long.exif, (short.file, long.file))
        try:
            check = check_pair(photos.read(short.file), photos.read(long.file), ratio)
        except LedError as error:
            return error
        if not check.same_scene:
            continue
        pair = CheckedPair(short, long, check)
        if not check.problems_if(keep_shifted=keep_shifted):
            return pair
        first = first or pair
    return first


def _explain(
    frames: Sequence[Frame],
    checked: Iterable[CheckedPair],
    pairs: Iterable[CheckedPair],
    unpaired: dict[Path, UnpairedFrame],
    keep_shifted: bool,
) -> None:
    """Add a reason for every frame that is in no pair and has none yet."""
    paired = {frame for pair in pairs for frame in pair[:2]}
    for pair in checked:
        problems = ", ".join(pair.check.problems_if(keep_shifted=keep_shifted))
        for frame, role, other in (
            (pair.short, "long", pair.long),
            (pair.long, "short", pair.short),
        ):
            if problems and frame not in paired:
                reason = f"with its {role} frame {other.file.name}: {problems}"
                unpaired.setdefault(frame.file, UnpairedFrame(frame.file, reason))
    by_setting = grouped(frames, lambda frame: frame.setting)
    for frame in frames:
        if frame not in paired:
            others = by_setting[frame.setting]
            reason = NO_OTHER_EXPOSURE
            if any(_could_be_pair(frame, one) or _could_be_pair(one, frame) for one in others):
                reason = "no frame of another exposure shows its scene"
            unpaired.setdefault(frame.file, UnpairedFrame(frame.file, reason))


def _dark_frame(frame: Frame) -> DarkFrame:
    exif = frame.exif
    return DarkFrame(frame.file, frame.iso, exif.exposure_time, exif.camera, exif.serial)

"""`led pairs scan`: find the pairs of short and long frames in a folder of raws.

Which long frames may belong to a short frame is seen by exposure, size and what they show. Frames
are sorted by exposure level, so that the long frames which fit a short one are a slice, and blocks
of signatures are compared as matrix products: 10,000 frames take seconds.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ledcli.batch.settings import MAX_RATIO
from ledcli.errors import LedError, as_led_error
from ledcli.pairs.checks import SAME_SCENE, CheckedPair, check_pair
from ledcli.pairs.frames import (
    Frame,
    FrameSummary,
    PhotoCache,
    grouped,
    ratio_of,
    read_frame,
    summarise,
)
from ledcli.pairs.list_file import Pair
from ledcli.pairs.result import ListedDark, Scan, UnpairedFrame
from ledcli.pairs.rule import rules_of
from ledcli.raw.decoder import decoders
from ledcli.raw.exif import missing_tags
from ledcli.raw.inputs import find_raws
from ledcli.reporting import SILENT, Reporter

MIN_RATIO = 1.5
"""Below, the long frame is hardly cleaner than the short one."""
MIN_SIMILARITY = 0.1
"""Of a candidate for a short frame's long one."""
MIN_DEVIATIONS = 3.5
"""The same in standard deviations of the similarity of unrelated frames."""
SIMILAR_LEVEL = 2.0
"""Of long frames within this factor of the most exposed one, the nearest in time is taken."""
MAX_CANDIDATES = 3
BLOCK = 256
"""Short frames whose similarities to all others are in memory: 10 MB for 10,000 frames."""
CHECKING_THREADS = min(2, os.cpu_count() or 1)
"""Each holds two photos and their spectra."""
NO_OTHER_EXPOSURE = (
    f"has no frame beside it of the same camera, aperture and focal length that is {MIN_RATIO:g} "
    "times more or less exposed"
)

Item = TypeVar("Item")
Result = TypeVar("Result")


def scan(
    folder: Path, *, keep_shifted: bool = False, force_read: bool = False, report: Reporter = SILENT
) -> Scan:
    """Find the pairs in a folder and its subfolders, but hidden ones and those named ``denoised``.

    Pairs whose frames are shifted are kept if `keep_shifted`; frames that look damaged are read if
    `force_read`. Raises UsageError if there is no such folder, or no raw in it.
    """
    problems: list[LedError] = []
    found = find_raws([str(folder)], recursive=True, problem=problems.append, note=report.warn)
    pairs = _Scanner(keep_shifted, force_read, report).scan([raw.file for raw in found])
    return replace(pairs, problems=tuple(problems))


def check_listed(
    pairs: Sequence[Pair], *, force_read: bool = False, report: Reporter = SILENT
) -> Generator[CheckedPair | LedError]:
    """Check the pairs of a list, in its order; an error where one cannot be read or measured."""
    photos = PhotoCache(report.warn, force=force_read)

    def check(pair: Pair) -> CheckedPair | LedError:
        try:
            short, long = photos.read(pair.short), photos.read(pair.long)
            ratio = pair.ratio or ratio_of(short.exif, long.exif, (pair.short, pair.long))
            frames = Frame(pair.short, short.exif), Frame(pair.long, long.exif)
            return CheckedPair(*frames, check_pair(short, long, ratio))
        except (LedError, MemoryError) as error:
            return as_led_error(error, pair.short)

    yield from decoders.in_parallel(check, pairs, CHECKING_THREADS)


class _Scanner:
    """Finds the pairs among files, and collects why the others are in none."""

    def __init__(self, keep_shifted: bool, force_read: bool, report: Reporter) -> None:
        self._keep_shifted, self._report = keep_shifted, report
        self._read_frame = partial(read_frame, force=force_read)
        self._unpaired: dict[Path, UnpairedFrame] = {}
        self._short_of: dict[Frame, Frame] = {}  # of each candidate for a long frame
        self._photos = PhotoCache(report.warn, force=force_read)

    def scan(self, files: Sequence[Path]) -> Scan:
        frames = self._read_headers(files)
        usable = [frame for frame in frames if frame.file not in self._unpaired]
        summaries = self._summaries(usable)
        bright = [frame for frame, shown in summaries.items() if not (shown.dark or shown.denoised)]
        checked = self._check_candidates(bright, summaries)
        good = [pair for pair in checked if not self._problems(pair)]
        longs = {pair.long for pair in good}
        pairs = [pair for pair in good if pair.short not in longs]
        self._explain(bright, checked, pairs)
        paired = {frame.file for pair in pairs for frame in pair[:2]}
        # The long frame of a good pair is not a short one that failed.
        dropped = [p for p in checked if self._problems(p) and p.short.file not in paired]
        unpaired = (self._unpaired[f] for f in files if f in self._unpaired and f not in paired)
        return Scan(
            frames=tuple(frames),
            pairs=tuple(pairs),
            dropped=tuple(dropped),
            unpaired=tuple(unpaired),
            darks=tuple(map(ListedDark.of, (f for f, shown in summaries.items() if shown.dark))),
            rules=tuple(rules_of(pairs, dropped, frames)),
        )

    def _problems(self, pair: CheckedPair) -> tuple[str, ...]:
        return pair.check.problems_if(keep_shifted=self._keep_shifted)

    def _with_progress(
        self,
        label: str,
        unit: str,
        items: Mapping[Path, Item],
        results: Generator[Result | LedError],
    ) -> Iterator[tuple[Item, Result]]:
        """Yield items, by file, with their results; show progress, and note files that fail."""
        with self._report.progress(len(items), label, unit) as bar, closing(results):
            for (file, item), result in zip(items.items(), results, strict=True):
                bar.advance(note=file.name)
                if isinstance(result, LedError):
                    reason = str(result).removeprefix(f"{file}: ")
                    self._unpaired[file] = UnpairedFrame(file, reason, unreadable=True)
                else:
                    yield item, result

    def _read_headers(self, files: Sequence[Path]) -> list[Frame]:
        frames = []
        by_file, results = {file: file for file in files}, decoders.each(self._read_frame, files)
        for file, frame in self._with_progress("reading headers", "files", by_file, results):
            frames.append(frame)
            if frame.exif.exposure_level is None:
                self._unpaired[file] = UnpairedFrame(file, missing_tags(frame.exif))
        return frames

    def _summaries(self, frames: Sequence[Frame]) -> dict[Frame, FrameSummary]:
        """Decode the frames of those cameras that have two frames to make a pair of."""
        cameras = {frame.camera for frame in with_other_exposure(frames)}
        wanted = {frame.file: frame for frame in frames if frame.camera in cameras}
        for frame in frames:
            if frame.camera not in cameras:
                self._unpaired[frame.file] = UnpairedFrame(frame.file, NO_OTHER_EXPOSURE)
        summaries = {}
        results = summarise(wanted.values(), self._photos)
        for frame, summary in self._with_progress("reading frames", "frames", wanted, results):
            summaries[frame] = summary
            if summary.denoised:
                reason = "was denoised by led: give the camera's raw"
                self._unpaired[frame.file] = UnpairedFrame(frame.file, reason)
        return summaries

    def _check_candidates(
        self, frames: Sequence[Frame], summaries: dict[Frame, FrameSummary]
    ) -> list[CheckedPair]:
        jobs = []
        with self._report.progress(len(frames), "comparing frames", "frames") as bar:
            for short, longs in candidates(frames, summaries):
                bar.advance(note=short.file.name)
                if longs:
                    jobs.append((short, longs))
                    self._short_of |= dict.fromkeys(longs, short)
        # The shorts of one long frame follow each other, so that it is decoded once.
        jobs.sort(key=lambda job: (str(job[1][0].file), str(job[0].file)))
        results = decoders.in_parallel(lambda job: self._best_pair(*job), jobs, CHECKING_THREADS)
        by_short = {short.file: short for short, _ in jobs}
        found = self._with_progress("checking pairs", "pairs", by_short, results)
        checked = [pair for _, pair in found if pair is not None]
        return sorted(checked, key=lambda pair: str(pair.short.file))

    def _best_pair(self, short: Frame, longs: Iterable[Frame]) -> CheckedPair | LedError | None:
        """Return the first good pair with a short frame; else the first of the same scene."""
        first: CheckedPair | None = None
        for long in longs:
            ratio = ratio_of(short.exif, long.exif, (short.file, long.file))
            try:
                photos = self._photos.read(short.file), self._photos.read(long.file)
                check = check_pair(*photos, ratio)
            except (LedError, MemoryError) as error:
                return as_led_error(error, short.file)
            if not check.same_scene:
                continue
            pair = CheckedPair(short, long, check)
            if not self._problems(pair):
                return pair
            first = first or pair
        return first

    def _explain(
        self, frames: Sequence[Frame], checked: Iterable[CheckedPair], pairs: Iterable[CheckedPair]
    ) -> None:
        """Add a reason for every frame that is in no pair and has none yet."""
        long_of = {pair.short: pair.long for pair in pairs}
        paired = {*long_of, *long_of.values()}
        for pair in checked:
            problems = ", ".join(self._problems(pair))
            roles = ((pair.short, "long", pair.long), (pair.long, "short", pair.short))
            for frame, role, other in roles:
                if problems and frame not in paired:
                    reason = f"with its {role} frame {other.file.name}: {problems}"
                    self._unpaired.setdefault(frame.file, UnpairedFrame(frame.file, reason))
        with_other = with_other_exposure(frames)
        for frame in frames:
            if frame not in paired:
                reason = NO_OTHER_EXPOSURE
                if frame in with_other:
                    reason = "no frame of another exposure shows its scene"
                if long := long_of.get(short := self._short_of.get(frame, frame)):
                    reason = f"{short.file.name} is paired with {long.file.name} already"
                self._unpaired.setdefault(frame.file, UnpairedFrame(frame.file, reason))


def with_other_exposure(frames: Sequence[Frame]) -> set[Frame]:
    """Return the frames that have one of their setting to be the other half of a pair."""
    found = set()
    for group in grouped(frames, lambda frame: frame.setting).values():
        levels = sorted(frame.level for frame in group)
        for frame in group:
            fitting = _longer(levels, frame.level), _shorter(levels, frame.level)
            if any(part.start < part.stop for part in fitting):
                found.add(frame)
    return found


def candidates(
    frames: Sequence[Frame], summaries: Mapping[Frame, FrameSummary]
) -> Iterator[tuple[Frame, list[Frame]]]:
    """Yield every frame with the few frames that may be its long one, best first.

    These have its setting and size and show its scene. The most exposed is best; of those about as
    much exposed, the nearest in time.
    """

    def kind(frame: Frame) -> tuple[object, ...]:
        summary = summaries[frame]
        return frame.setting, summary.shape, summary.signature.vector.size

    for group in grouped(frames, kind).values():
        yield from _Group(group, summaries).candidates()


class _Group:
    """Frames of one setting and size, by exposure level, as arrays ``(frames,)``."""

    def __init__(self, frames: Sequence[Frame], summaries: Mapping[Frame, FrameSummary]) -> None:
        order = sorted(range(len(frames)), key=lambda place: frames[place].level)
        self.frames = [frames[place] for place in order]
        self.place = np.array(order)
        self.levels = [frame.level for frame in self.frames]
        self.level = np.array(self.levels)
        self.time = np.array([frame.timestamp for frame in self.frames])
        self.vectors = np.stack([summaries[frame].signature.vector for frame in self.frames])
        deviation = max(self.vectors.shape[1], 1) ** -0.5
        self.min_similarity = max(MIN_SIMILARITY, MIN_DEVIATIONS * deviation)
        self.same_scene = max(SAME_SCENE, self.min_similarity)

    def candidates(self) -> Iterator[tuple[Frame, list[Frame]]]:
        """Yield every frame with its candidates."""
        for start in range(0, len(self.frames), BLOCK):
            block = range(start, min(start + BLOCK, len(self.frames)))
            fitting = [_longer(self.levels, self.levels[number]) for number in block]
            first, last = fitting[0].start, fitting[-1].stop
            similarity = self.vectors[start : block.stop] @ self.vectors[first:last].T
            for number, fits, row in zip(block, fitting, similarity, strict=True):
                similar = row[fits.start - first : fits.stop - first]
                chosen = self._best(self.time[number], similar, fits)
                yield self.frames[number], [self.frames[one] for one in chosen]

    def _best(self, time: float, similarity: NDArray[np.float32], fits: slice) -> NDArray[np.intp]:
        """Choose the best of a slice of the frames, for a short frame of that time."""
        certain = np.flatnonzero(similarity >= self.same_scene)
        found = certain if certain.size else np.flatnonzero(similarity >= self.min_similarity)
        unlike, found = -similarity[found], found + fits.start
        keys = [unlike, self.place[found]]
        if certain.size:
            level = self.level[found]
            less = level * SIMILAR_LEVEL < level[-1]
            apart = np.nan_to_num(np.abs(self.time[found] - time), nan=np.inf)
            keys = [less, np.where(less, -level, apart), *keys]
        return found[np.lexsort(keys[::-1])[:MAX_CANDIDATES]]


def _longer(levels: Sequence[float], level: float) -> slice:
    """Return which of the ascending exposure levels a long frame of a short one may have."""
    first = bisect_left(levels, MIN_RATIO, key=lambda other: other / level)
    return slice(first, bisect_right(levels, MAX_RATIO, key=lambda other: other / level))


def _shorter(levels: Sequence[float], level: float) -> slice:
    """Return which of the ascending exposure levels a short frame of a long one may have."""
    first = bisect_left(levels, -MAX_RATIO, key=lambda other: -level / other)
    return slice(first, bisect_right(levels, -MIN_RATIO, key=lambda other: -level / other))

"""Why a frame is in no pair: one reason for each, in a photographer's words."""

from bisect import bisect_left
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ledcli.errors import LedError
from ledcli.pairs.checks import SAME_SCENE, PairCheck, check_pair
from ledcli.pairs.exposure import ratio_of
from ledcli.pairs.frames import CHECKING_THREADS, Frame, Look, Photos, grouped, in_parallel
from ledcli.pairs.list_file import Pair

LEAST_RATIO = 1.5
"""Below, the long frame is hardly cleaner than the short one."""
LARGEST_RATIO = 10_000.0
"""As `led denoise` takes it."""
CANDIDATE = 0.1
"""Least similarity of a candidate."""
CHANCE = 3.5
"""The same in standard deviations of the similarity of unrelated frames."""
ALIKE_LEVEL = 2.0
"""Longs within this factor of the most exposed one serve as well; the nearest in time is taken."""
TRIES = 3


@dataclass(frozen=True)
class Found:
    """A short frame, a long one that may be its own, and what the checks say.

    Attributes
    ----------
    short, long : Frame
    check : PairCheck
    """

    short: Frame
    long: Frame
    check: PairCheck

    @property
    def same_scene(self) -> bool:
        """Whether the two show the same scene, whatever else is wrong."""
        return self.check.measured


def could_be_pair(short: Frame, long: Frame) -> bool:
    """Whether two headers allow a pair; the settings are the caller's to compare."""
    return short.level > 0 and LEAST_RATIO <= long.level / short.level <= LARGEST_RATIO


def any_pair(frames: Sequence[Frame]) -> bool:
    """Whether the headers of a group allow any pair."""
    levels = sorted(frame.level for frame in frames if frame.level > 0)
    for level in levels:
        longer = bisect_left(levels, level * LEAST_RATIO)
        if longer < len(levels) and levels[longer] <= level * LARGEST_RATIO:
            return True
    return False


def candidates(
    short: Frame, frames: Sequence[Frame], looks: dict[Frame, Look]
) -> list[tuple[Frame, float]]:
    """Return the frames that may be a short frame's long one, the likeliest first.

    Parameters
    ----------
    short : Frame
    frames : sequence of Frame
        Of the same setting.
    looks : dict
        What each of them shows.

    Returns
    -------
    list of (Frame, similarity)
        At most `TRIES`. The most exposed first, of those about as much exposed the nearest in
        time.
    """
    mine = looks[short]
    least = max(CANDIDATE, CHANCE / max(mine.signature.vector.size, 1) ** 0.5)
    alike = []
    for frame in frames:
        if could_be_pair(short, frame) and looks[frame].shape == mine.shape:
            similarity = mine.signature.similarity(looks[frame].signature)
            if similarity >= least:
                alike.append((frame, similarity))
    # What is surely the scene goes before what only may be it.
    sure = [entry for entry in alike if entry[1] >= SAME_SCENE]
    if not sure:
        return sorted(alike, key=lambda entry: -entry[1])[:TRIES]
    most = max(frame.level for frame, _ in sure)

    def order(entry: tuple[Frame, float]) -> tuple[bool, float, float]:
        frame, similarity = entry
        less = frame.level * ALIKE_LEVEL < most
        return less, -frame.level if less else short.gap(frame), -similarity

    return sorted(sure, key=order)[:TRIES]


def best_long(
    short: Frame, choices: Sequence[Frame], photos: Photos, *, keep_shifted: bool
) -> Found | LedError | None:
    """Check a short frame with its candidates, and return the first good pair.

    Returns
    -------
    Found, LedError or None
        Without a good pair the first of the same scene, with its problems; without that None. An
        error where a frame cannot be read any more.
    """
    first: Found | None = None
    for long in choices:
        ratio = ratio_of(short.exif, long.exif, (short.file, long.file))
        try:
            check = check_pair(photos.read(short.file), photos.read(long.file), ratio)
        except LedError as error:
            return error
        found = Found(short, long, check)
        if not found.same_scene:
            continue
        if not check.against(keep_shifted=keep_shifted):
            return found
        first = first or found
    return first


def check_listed(pairs: Sequence[Pair]) -> Generator[Found | LedError]:
    """Check the pairs of a list, in its order; an error where one cannot be read or measured."""
    photos = Photos()

    def check(pair: Pair) -> Found | LedError:
        try:
            short, long = photos.read(pair.short), photos.read(pair.long)
            ratio = pair.ratio or ratio_of(short.exif, long.exif, (pair.short, pair.long))
            frames = Frame(pair.short, short.exif), Frame(pair.long, long.exif)
            return Found(*frames, check_pair(short, long, ratio))
        except LedError as error:
            return error

    yield from in_parallel(check, pairs, CHECKING_THREADS)


NOTHING_LONGER = (
    f"has no frame beside it of the same camera, aperture and focal length that is {LEAST_RATIO:g} "
    "times more or less exposed"
)


class LeftOut(NamedTuple):
    """A frame that is in no pair.

    Attributes
    ----------
    file : Path
    reason : str
        The end of a sentence about the file.
    failed : bool
        Whether the file could not be read at all.
    """

    file: Path
    reason: str
    failed: bool = False


def explain(
    frames: Sequence[Frame],
    found: Sequence[Found],
    pairs: Sequence[Found],
    left: dict[Path, LeftOut],
    *,
    keep_shifted: bool,
) -> None:
    """Give the reason for every frame that is in no pair.

    Parameters
    ----------
    frames : sequence of Frame
        All that were looked at and show something.
    found, pairs : sequence of Found
        Short and long frames of one scene; those of them that are good.
    left : dict
        The reasons so far; the new ones are added.
    keep_shifted : bool
        A shift is no reason.
    """
    paired = {frame for pair in pairs for frame in (pair.short, pair.long)}
    by_setting = grouped(frames, lambda frame: frame.setting)
    for pair in found:
        problems = ", ".join(pair.check.against(keep_shifted=keep_shifted))
        if not problems:
            continue
        for frame, role, other in (
            (pair.short, "long", pair.long),
            (pair.long, "short", pair.short),
        ):
            if frame not in paired:
                reason = f"with its {role} frame {other.file.name}: {problems}"
                left.setdefault(frame.file, LeftOut(frame.file, reason))
    for frame in frames:
        if frame in paired:
            continue
        others = by_setting[frame.setting]
        reason = NOTHING_LONGER
        if any(could_be_pair(frame, other) or could_be_pair(other, frame) for other in others):
            reason = "no frame that is more or less exposed shows its scene"
        left.setdefault(frame.file, LeftOut(frame.file, reason))


def reason_of(file: Path, error: LedError) -> str:
    """Return an error's text without the file's name, which stands before it anyway."""
    return str(error).removeprefix(f"{file}: ")

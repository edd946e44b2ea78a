"""Which long frames may belong to a short frame, by exposure, size and what they show.

Frames are sorted by exposure level, so that the long frames which fit a short one are a slice, and
blocks of signatures are compared as matrix products: 10,000 frames take seconds.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ledcli.pairs.checks import SAME_SCENE
from ledcli.pairs.frames import Frame, FrameSummary, grouped

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
BLOCK = 256
"""Short frames whose similarities to all others are in memory: 10 MB for 10,000 frames."""


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

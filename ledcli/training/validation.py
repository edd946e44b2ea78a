"""The dynamic validation set of adaptive domain learning, and its queue of the best.

The paper compares the PSNR of a set drawn anew in every step with the mean of the best ones so
far (Eq. 2). Between pairs of different ratios PSNR differs by many dB, so that what was drawn
would decide: here it is taken relative to that of the same windows when adaptive learning began.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ledcli.training.fewshot import FewShot, TrainingPair

FIRST_SHARE, LAST_SHARE = 0.2, 0.5
"""Of the target's pairs that validate a step, at the beginning and at the end."""
FEW = 10
"""Pairs below which those that validate are chosen by how different their gains are."""
WINDOWS = 4
"""Places of a pair that validate."""


class Window(NamedTuple):
    """A place of a pair that validates."""

    frame: TrainingPair
    row: int
    col: int


class DynamicValidation:
    """Draws what validates a step, and says whether the step is good enough.

    Parameters
    ----------
    shots : FewShot
        The target's pairs.
    side : int
        Of a window, plane pixels.
    best : int
        M: how many of the best are remembered.
    psnr : callable
        PSNR of a window in dB, by the network as it is now: the first in the queue.
    seed : int
        Of the windows' places.
    """

    def __init__(
        self, shots: FewShot, side: int, best: int, psnr: Callable[[Window], float], seed: int
    ) -> None:
        self.shots, self.most = shots, best
        self.best = [0.0]
        rng = np.random.default_rng([seed, 2])
        self.windows: list[list[tuple[Window, float]]] = []
        for frame in shots.frames:
            rows, cols = (rng.integers(n - side + 1, size=WINDOWS).tolist() for n in frame.trained)
            places = [Window(frame, *place) for place in zip(rows, cols, strict=True)]
            self.windows.append([(window, psnr(window)) for window in places])

    def draw(self, rng: np.random.Generator, way: float) -> list[int]:
        """Draw the pairs that validate a step, by number.

        Parameters
        ----------
        rng : numpy.random.Generator
        way : float
            0 at the beginning of the sources' part, 1 at its end.
        """
        count = len(self.shots.frames)
        size = max(1, round(count * (FIRST_SHARE + (LAST_SHARE - FIRST_SHARE) * way)))
        if count >= FEW:
            return [int(i) for i in rng.choice(count, size, replace=False)]
        gains = [math.log(self.shots.line(frame.iso).gain) for frame in self.shots.frames]
        chosen = [int(rng.integers(count))]
        while len(chosen) < size:
            left = [i for i in rng.permutation(count).tolist() if i not in chosen]
            chosen.append(max(left, key=lambda i: min(abs(gains[i] - gains[j]) for j in chosen)))
        return chosen

    def accepts(
        self, chosen: list[int], rng: np.random.Generator, psnr: Callable[[Window], float]
    ) -> bool:
        """Compare the network with the mean of the best (Eq. 2); remember it if it is better."""
        drawn = [self.windows[i][rng.integers(WINDOWS)] for i in chosen]
        value = sum(psnr(window) - at_start for window, at_start in drawn) / len(drawn)
        if value <= sum(self.best) / len(self.best):
            return False
        self.best = sorted([*self.best, value])[-self.most :]
        return True

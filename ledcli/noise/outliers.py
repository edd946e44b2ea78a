"""Outliers: samples that no light can have made, such as hot and dead pixels.

A lens spreads the light of the smallest star, and the shadow of the smallest speck, over the
photosites around it, whatever their colour. A sample far from its surroundings whose neighbours
show nothing of that is a defect or a tail of the read noise, at any brightness. Far below black it
is one in any case; a little below black it is only raised, so that the mean stays.
"""

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ledcli.noise.blocks import Planes
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.physics import electron_scale, stabilise, unstabilise
from ledcli.sensor.cfa import AnyPhase, first_pixel, pattern, unpack

CANDIDATE, FAR = 3.5, 5.0
"""Standard deviations of noise: by how much an outlier exceeds three of its four neighbours in the
plane, and the median of the plane around it."""
TAIL, RAISED, CANDIDATE_DARK = 2.2, 1.8, 1.8
"""Standard deviations of the read noise, which counts as 0.8 electrons at least. A lone sample more
than `TAIL` below black is raised to `RAISED` below it: no star is dark, and the tails of the read
noise would stay as dark spots. `CANDIDATE_DARK` is the `CANDIDATE` of such samples."""
BRIGHT, DARK = 2.0, 0.15
"""Share of its neighbours' light that an outlier has: at least or at most. Texture differs less."""
STAR_SHARE, STAR_ERROR, STAR_MAX = 0.3, 2.5, 2.5
"""What the neighbours of the sharpest star show, as a share of its own height (full width at half
maximum: one pixel); less the error of that, in standard deviations. With more than `STAR_MAX` a
sample is no outlier at any height."""
QUIET = 2.0
"""Standard deviations of noise that the neighbours of an outlier have at most: more is texture."""
SIDE, CORNER = 1.0, 0.3
"""Weights of a pixel's neighbours in the mosaic, by the light of a star that reaches them."""
FLAT = 2.0
"""Standard deviations of noise by which the nearest samples may differ from those further away."""
TEXTURE = 1.2
"""Standard deviations of noise over the median of its size, 1.48, less what that is off by."""
REACH = 2
"""Plane pixels on each side of a sample that are its surroundings."""
BAND, CHUNK = 32, 1 << 15
"""Plane rows searched, and candidates judged, at a time: the rows stay in the cache."""

Positions = NDArray[np.intp]
Index = tuple[Positions, Positions, Positions]
"""Plane, row and column of samples."""

_NEIGHBOURS = [step for step in itertools.product((-1, 0, 1), repeat=2) if any(step)]
_WEIGHTS = torch.tensor([SIDE if 0 in step else CORNER for step in _NEIGHBOURS])
_SQUARE = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1].reshape(2, -1)
_NEAREST = [n for n, d in enumerate(d for d in np.abs(_SQUARE).max(0) if d) if d == 1]


def remove_outliers(planes: Planes, noise: NoiseProfile, phase: AnyPhase) -> Planes:
    """Replace outliers by what the samples of their plane around them show.

    Takes normalised planes ``(planes, h, w)``, not multiplied by a ratio, their noise profile and
    the phase of their mosaic. Returns a new array if there are outliers, else the given one.
    """
    frame = _Frame(planes, noise, phase)
    candidates = np.argwhere(unpack(_candidates(planes, noise), phase, frame.shape))
    repaired = planes
    for start in range(0, len(candidates), CHUNK):
        index, values = frame.outliers(*candidates[start : start + CHUNK].T)
        if len(values):
            repaired = planes.copy() if repaired is planes else repaired
            repaired[index] = values
    return repaired


def _candidates(planes: Planes, noise: NoiseProfile) -> NDArray[np.bool_]:
    """Return which samples ``(planes, h, w)`` differ from at least three of their neighbours.

    Light and noise alone are compared here, which is fast; the transform takes part later.
    """
    found = np.empty(planes.shape, np.bool_)
    gain, variance = (CANDIDATE**2 * value for value in noise)
    share, tail = (CANDIDATE_DARK / CANDIDATE) ** 2, -TAIL * math.sqrt(noise.read_variance)
    rows = planes.shape[1]
    parts = torch.empty(4, BAND, planes.shape[2])
    for plane, start in itertools.product(range(len(planes)), range(0, rows, BAND)):
        end = min(start + BAND, rows)
        first, last = max(start - 1, 0), min(end + 1, rows)
        x = torch.from_numpy(planes[plane, first:last])[None]
        x = F.pad(x, (1, 1, int(first == start), int(last == end)), mode="reflect")[0]
        above, below, left, right = x[:-2, 1:-1], x[2:, 1:-1], x[1:-1, :-2], x[1:-1, 2:]
        x = x[1:-1, 1:-1]
        one, two, three, four = parts[:, : end - start]
        # The second lowest and the second highest of the four.
        torch.minimum(above, below, out=one)
        torch.maximum(one, torch.minimum(left, right, out=two), out=one)
        torch.maximum(above, below, out=two)
        torch.minimum(two, torch.maximum(left, right, out=three), out=two)
        torch.minimum(one, two, out=three)
        torch.maximum(one, two, out=four)
        over, high = torch.sub(x, four, out=one), four.clamp_min_(0)
        hot = over > torch.mul(high, BRIGHT - 1, out=two)
        hot &= over.square_() > high.mul_(gain).add_(variance)
        under, low = torch.sub(three, x, out=one), three.clamp_min_(0)
        dead = under > torch.mul(low, 1 - DARK, out=two)
        under, limit = under.square_(), low.mul_(gain).add_(variance)
        dead &= (under > limit) | ((x < tail) & (under > limit.mul(share)))
        torch.logical_or(hot, dead, out=torch.from_numpy(found[plane, start:end]))
    return found


class _Frame:
    """The stabilised samples of a frame, by their place in its mosaic."""

    def __init__(self, planes: Planes, noise: NoiseProfile, phase: AnyPhase) -> None:
        self._planes = planes
        gain, variance = torch.tensor(noise.gain), torch.tensor(noise.read_variance)
        self._gain, self._t0 = electron_scale(gain, variance)
        self._read_noise = (self._t0 - 3 / 8).sqrt()
        self._pattern, self._side = pattern(phase), phase.layout.side
        self._top, self._left = first_pixel(phase)
        _, rows, cols = planes.shape
        self.shape = (self._side * rows - self._top, self._side * cols - self._left)

    def outliers(self, y: Positions, x: Positions) -> tuple[Index, Planes]:
        """Return which of the candidates ``(n,)`` are outliers, and what to replace them by."""
        value, square = self._around(y, x)
        level = square.median(1).values
        height = value - level
        # In electrons, since the transform stretches the noise below black.
        electrons, black = (unstabilise(s, self._t0) for s in (value, level.clamp_max(0)))
        depth = (black - electrons) / self._read_noise
        possible = ((height.abs() > FAR) | (depth > TAIL)).numpy()
        y, x = y[possible], x[possible]
        value, square, level, height, depth, black = (
            part[possible] for part in (value, square, level, height, depth, black)
        )
        # Where there is texture, samples differ by more than noise.
        spread = (square - level[:, None]).abs().median(1).values.mul_(TEXTURE).clamp_min_(1)
        near = square[:, _NEAREST].median(1).values
        s = torch.where((near - level).abs() > FLAT, near, level)
        raised = black - RAISED * spread * self._read_noise
        tail, replaced = depth > TAIL * spread, value < level.clamp_max(0) - FAR * spread
        far = ~replaced & (height.abs() > FAR * spread.square())
        replaced[far] = self._alone(y[far.numpy()], x[far.numpy()], height[far], spread[far])
        light = torch.where(replaced, unstabilise(s, self._t0), raised) * self._gain
        found = (tail | replaced).numpy()
        return self._index(y[found], x[found]), light.numpy()[found]

    def _alone(self, y: Positions, x: Positions, height: Tensor, spread: Tensor) -> Tensor:
        """Return whether the neighbours of samples ``(n,)`` show nothing of their height."""
        star = STAR_SHARE * height.abs() / spread - STAR_ERROR
        shown, size = self._shown(y, x)
        alone = shown * height.sign() < star.clamp_max_(STAR_MAX) * spread
        return alone & (size < QUIET * spread)

    def _shown(self, y: Positions, x: Positions) -> tuple[Tensor, Tensor]:
        """Return by how much pixels' neighbours exceed their level: weighted sum, mean square root.

        Both in standard deviations of noise, ``(n,)``.
        """
        total, weight, squares, count = torch.zeros(4, len(y))
        for (down, right), share in zip(_NEIGHBOURS, _WEIGHTS, strict=True):
            row, col = y + down, x + right
            inside = (row >= 0) & (row < self.shape[0]) & (col >= 0) & (col < self.shape[1])
            row, col = row.clip(0, self.shape[0] - 1), col.clip(0, self.shape[1] - 1)
            value, square = self._around(row, col)
            excess = (value - square.median(1).values) * torch.from_numpy(inside)
            total += share * excess
            squares += excess.square()
            weight += share.square() * torch.from_numpy(inside)
            count += torch.from_numpy(inside)
        return total / weight.sqrt(), (squares / count).sqrt()

    def _around(self, y: Positions, x: Positions) -> tuple[Tensor, Tensor]:
        """Return samples ``(n,)`` and those of their plane around them ``(n, 24)``, mirrored."""
        plane, row, col = self._index(y, x)
        rows, cols = (
            last - np.abs(last - np.abs(at[:, None] + step))
            for at, step, last in (
                (row, _SQUARE[0], self._planes.shape[1] - 1),
                (col, _SQUARE[1], self._planes.shape[2] - 1),
            )
        )
        square = self._planes[plane[:, None], rows, cols]
        s = stabilise(torch.from_numpy(square) / self._gain, self._t0)
        middle = len(_SQUARE[0]) // 2
        return s[:, middle], torch.cat((s[:, :middle], s[:, middle + 1 :]), 1)

    def _index(self, y: Positions, x: Positions) -> Index:
        period = len(self._pattern)
        plane = self._pattern[y % period, x % period]
        return plane, (y + self._top) // self._side, (x + self._left) // self._side

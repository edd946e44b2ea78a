"""The blind estimate: gain and read variance of a photo from the photo itself.

Where a photo is smooth, neighbours differ by noise only. A mask that ignores slopes leaves the
noise; its variance over small blocks without structure lies on the line
``gain * x + read_variance``. Texture only adds, so the line is fitted from below. Whether a block
has structure is decided by the other planes: they see the same texture but have noise of their
own, so the choice does not favour blocks whose noise is low by chance.

Where all of a photo is grainy, no block is free of structure. Structure has about the same contrast
in all colours, so its variance goes with the square of the brightness of a plane, that of noise
with the brightness: what the bright planes of a place have too much of is not noise.

Only the greens of an X-Trans are used: its red and blue samples swap positions from cell to cell,
which on a slope looks like noise.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.noise.blocks import (
    BLOCK,
    MIN_VARIANCE,
    Blocks,
    Floats,
    Planes,
    measure,
    variance_clipped_at_black,
)

BLOCK_ERROR = (2 * (70 / 36) ** 2 / BLOCK**2) ** 0.5
"""Standard deviation of a block's noise variance over its mean, for white Gaussian noise: 70/36 is
the sum of squares of the autocorrelation of [1 -2 1]."""
BLOCKS_PER_BIN, MAX_BINS = 240, 60
MIN_QUIET, MIN_QUIET_SHARE, MAX_QUIET_SHARE = 6, 0.005, 0.9
"""Blocks of a bin that tell its noise: at least so many, and this share; at most this share, since
the rest holds its edges."""
QUIET_STEP = 1.4
"""Factor by which the number of blocks grows while more of them are as quiet."""
QUIET_EXCESS = 1.3
"""Standard errors by which more blocks may be noisier than fewer and still count as quiet."""
ROUNDS = 2
"""The second round weighs each plane's structure by the noise that the first found."""
STATED_ERROR, MAX_CONTRADICTION = 0.3, 1.0
"""Relative error of the noise that a file states, and the logarithm of its variance over what is
measured from which it is ignored."""
DARK_ERROR = 0.01
"""Relative error of the read variance that dark frames show."""
FIT_ROUNDS = 30
TEXTURE_LEVELS, TEXTURE_ERROR = 2, 0.3
"""Brightnesses of places, each with a contrast of its own, and relative error of its equality in
all colours."""
TEXTURE_DOUBT, TEXTURE_POWER = 4.0, 0.75
"""Standard errors below which a contrast is chance if all blocks are as quiet as the quietest; it
falls with this power of their share. Photos whose quietest blocks are few have texture in those as
well."""
MIN_NOISE = 0.5
"""Share of the variance of the quietest blocks that is not taken for texture."""
MIN_COLOUR = 1.2
"""Mean brightness of the brightest plane over that of the darkest below which colours tell nothing:
on an X-Trans, whose greens alone are measured, or without colour."""
TRUSTED_EXCESS, DOUBTED_EXCESS = 1.0, 0.67
"""Standard errors by which a point may lie above the line, and by how many more it loses three
quarters of its weight."""


class NoiseProfile(NamedTuple):
    """The noise variance over the signal, ``gain * x + read_variance``, for white - black = 1.

    ``gain`` times (white - black) is the system gain K in DN per electron.
    """

    gain: float
    read_variance: float

    def variance(self, signal: Floats) -> Floats:
        """Return the noise variance at a signal; above 0, so that it can be divided by."""
        variance: Floats = self.gain * signal.clip(min=0) + self.read_variance
        return np.maximum(variance, MIN_VARIANCE)

    def agrees(self, signal: Floats, variance: float) -> bool:
        """Return whether a variance measured at a signal is near this profile's."""
        return bool(abs(np.log(self.variance(signal) / variance)) < MAX_CONTRADICTION)


def estimate_noise(planes: Planes) -> NoiseProfile:
    """Estimate the noise profile of one photo.

    Parameters
    ----------
    planes : float32 ``(4, h, w)``, or ``(9, h, w)`` of an X-Trans
        Normalised planes of the whole photo (white - black = 1), not multiplied by a ratio, not
        clipped below 0.

    Returns
    -------
    NoiseProfile
        Without row noise: the mask cancels what a row has in common.
    """
    chosen, blocks = measure(planes)
    if (read_variance := variance_clipped_at_black(chosen, blocks)) is not None:
        return NoiseProfile(0.0, read_variance)
    return fit_profile(blocks)


def fit_profile(
    blocks: Blocks, stated: NoiseProfile | None = None, read_variance: float | None = None
) -> NoiseProfile:
    """Fit a profile to measured blocks; one of almost no noise if fewer than two are usable.

    What a file states of its noise counts as three more measurements, unless those of the blocks
    contradict it. A read variance that dark frames show is taken as it is.
    """
    profile = NoiseProfile(0.0, 1.0)
    for _ in range(ROUNDS):
        quiet = quiet_points(blocks, profile)
        if not quiet:
            # All clipped: nothing to denoise.
            return stated or NoiseProfile(0.0, read_variance or MIN_VARIANCE)
        points, squares = _points_by_plane(blocks, [chosen for _, chosen in quiet])
        share = sum(len(chosen) for _, chosen in quiet) / float(blocks.usable.sum())
        doubt = TEXTURE_DOUBT * share**TEXTURE_POWER
        if read_variance is not None:
            at_black = [[0.0], [read_variance], [DARK_ERROR * read_variance]]
            points = np.concatenate([points, at_black], 1)
            squares = np.concatenate([squares, np.zeros((1, squares.shape[1]))])
        profile = without_texture(points, squares, doubt)
        if stated is not None:
            mean, variance, _ = np.median([point for point, _ in quiet], 0)
            if stated.agrees(mean, variance):
                levels = np.array([0, mean, points[0].max()])
                at = stated.variance(levels)
                points = np.concatenate([points, [levels, at, STATED_ERROR * at]], 1)
                squares = np.concatenate([squares, np.zeros((3, squares.shape[1]))])
                profile = without_texture(points, squares, doubt)
    return profile._replace(read_variance=max(profile.read_variance, MIN_VARIANCE))


def _points_by_plane(blocks: Blocks, quiet: list[NDArray[np.int64]]) -> tuple[Floats, Floats]:
    """Measure the quietest blocks of each brightness plane by plane.

    Returns mean, variance and its error ``(3, points)``, and the mean square of the brightness in
    the column of a point's level ``(points, levels)``, by the brightness of its place in all
    planes; without columns if the planes have too little colour.
    """
    planes, size = blocks.mean.shape
    chosen = np.concatenate(quiet)
    plane, place = np.divmod(chosen, size)
    part = np.repeat(np.arange(len(quiet)), [len(some) for some in quiet]) * planes + plane
    own = blocks.neighbours.take(chosen).clip(0)
    measured = (
        blocks.mean.take(chosen),
        np.maximum(blocks.noise.take(chosen), MIN_VARIANCE),
        own**2,
        blocks.neighbours.mean(0)[place],
    )
    counts = np.bincount(part)
    there = counts > 0
    counts = counts[there]
    mean, variance, square, light = (
        np.bincount(part, values)[there] / counts for values in measured
    )
    order = np.argsort(light)
    share = np.empty_like(light)
    share[order] = (np.cumsum(counts[order]) - counts[order] / 2) / counts.sum()
    level = (share * TEXTURE_LEVELS).astype(int)
    squares = np.where(level[:, None] == np.arange(TEXTURE_LEVELS), square[:, None], 0)
    of_planes = blocks.mean.mean(1)
    if of_planes.max() < MIN_COLOUR * of_planes.min():
        squares = squares[:, :0]
    return np.stack([mean, variance, variance * BLOCK_ERROR / counts**0.5]), squares


def without_texture(points: Floats, squares: Floats, doubt: float) -> NoiseProfile:
    """Fit a profile with texture taken out, but no more of it than may be."""
    mean, variance, error = points
    with_texture = fit_from_below(mean, variance, error)
    if not squares.shape[1]:
        return with_texture
    profile = fit_from_below(mean, variance, error, squares, doubt)
    left = float((profile.variance(mean) / with_texture.variance(mean)).mean())
    share = min(1.0, (1 - MIN_NOISE) / max(1 - left, 1e-9))
    gain, read_variance = (
        before + share * (after - before)
        for before, after in zip(with_texture, profile, strict=True)
    )
    return NoiseProfile(gain, read_variance)


def quiet_points(blocks: Blocks, profile: NoiseProfile) -> "QuietPoints":
    """Measure the noise of the quietest blocks at each brightness; with the blocks, as indices."""
    usable = np.flatnonzero(blocks.usable)
    if len(usable) < 2:
        return []
    # Sorted by their own mean, the darkest and brightest would be so by their noise.
    order = usable[np.argsort(blocks.neighbours.take(usable))]
    structure = structure_in_other_planes(blocks, profile)
    bins = np.array_split(order, int(np.clip(len(usable) // BLOCKS_PER_BIN, 2, MAX_BINS)))
    return [quiet_point(blocks, part, structure, profile) for part in bins]


def structure_in_other_planes(blocks: Blocks, profile: NoiseProfile) -> Floats:
    """Structure over noise in the other planes, or in its own if no other plane is usable."""
    relative = np.where(blocks.usable, blocks.structure / profile.variance(blocks.mean), 0)
    count = blocks.usable.sum(0)
    others: Floats = (relative.sum(0) - relative) / np.maximum(count - 1, 1)
    return np.where(count > 1, others, relative)


class QuietPoint(NamedTuple):
    """Mean, noise variance and its standard error of the quietest blocks of a part."""

    mean: float
    variance: float
    error: float


QuietPoints = list[tuple[QuietPoint, NDArray[np.int64]]]


def quiet_point(
    blocks: Blocks, part: NDArray[np.int64], structure: Floats, profile: NoiseProfile
) -> tuple[QuietPoint, NDArray[np.int64]]:
    """Measure the noise of a part of the blocks on the quietest of them, by the other planes.

    The number of blocks grows until their variance exceeds that of fewer by more than its error: a
    smooth photo is measured by almost all of its blocks, a textured one by its few smooth ones.
    Returns the point and the blocks chosen.
    """
    part = part[np.argsort(structure.take(part))]
    mean, noise = blocks.mean.take(part), blocks.noise.take(part)
    first = min(max(MIN_QUIET, MIN_QUIET_SHARE * len(noise)), len(noise))
    most = max(first, MAX_QUIET_SHARE * len(noise))
    steps = int(np.log(most / first) / np.log(QUIET_STEP)) + 1
    counts = np.unique((first * QUIET_STEP ** np.arange(steps)).astype(int))
    means = np.cumsum(mean)[counts - 1] / counts
    variances = np.maximum(np.cumsum(noise)[counts - 1] / counts, MIN_VARIANCE)
    errors = BLOCK_ERROR / counts**0.5
    relative = variances / profile.variance(means)
    highest = np.minimum.accumulate(relative * (1 + QUIET_EXCESS * errors))
    louder = np.flatnonzero(relative[1:] > highest[:-1])
    last = louder[0] if len(louder) else len(counts) - 1
    variance = float(variances[last])
    point = QuietPoint(float(means[last]), variance, variance * float(errors[last]))
    return point, part[: counts[last]]


def fit_from_below(
    mean: Floats, variance: Floats, error: Floats, squares: Floats | None = None, doubt: float = 0.0
) -> NoiseProfile:
    """Fit a profile to points; those far above it count little.

    Texture adds an unknown multiple of each column of `squares` ``(points, levels)``, 0 unless that
    exceeds `doubt` standard errors.
    """
    squares = np.zeros((len(mean), 0)) if squares is None else squares
    relative = np.maximum(error, MIN_VARIANCE) / np.maximum(variance, MIN_VARIANCE)
    line = np.stack([mean, np.ones_like(mean)], 1)
    trust, texture = np.ones_like(mean), np.zeros_like(mean)
    weight = 1 / (relative * np.maximum(variance, MIN_VARIANCE)) ** 2
    profile = NoiseProfile(0.0, 0.0)
    for _ in range(FIT_ROUNDS):
        profile = NoiseProfile(*fit_nonnegative_line(mean, variance - texture, weight * trust))
        # Weighted by the fitted variance, not the measured one: low outliers gain nothing.
        expected = profile.variance(mean) + texture
        off = np.hypot(expected * relative, TEXTURE_ERROR * texture)
        # Texture raises a point; noise raises and lowers it by about its error.
        excess = ((variance - expected) / off - TRUSTED_EXCESS).clip(min=0) / DOUBTED_EXCESS
        trust, weight = 1 / (1 + excess**2) ** 2, 1 / off**2
        if squares.shape[1]:
            texture = squares @ _contrasts(line, variance, squares, weight * trust, doubt)
    return profile


def _contrasts(
    line: Floats, variance: Floats, squares: Floats, weight: Floats, doubt: float
) -> Floats:
    """Fit line and texture together by least squares; return the contrasts as far as sure."""
    weighted = weight[:, None] * squares
    total = np.maximum((weighted * squares).sum(0), 1e-300)
    along = weighted.T @ line / total[:, None]
    rest = line - squares @ along
    covariance = np.linalg.pinv((weight[:, None] * rest).T @ rest, 1e-9)
    fitted = line @ (covariance @ (rest.T @ (weight * variance)))
    contrast = weighted.T @ (variance - fitted) / total
    error = np.sqrt(1 / total + np.einsum("ni,ij,nj->n", along, covariance, along))
    # The non-negative garrotte (Breiman 1995): nearly all of what is clear, nothing of chance.
    clear = np.maximum(contrast, doubt * error)
    return clear - (doubt * error) ** 2 / clear


def fit_nonnegative_line(x: Floats, y: Floats, weight: Floats) -> tuple[float, float]:
    """Fit ``y = slope * x + intercept`` by weighted least squares with both at least 0."""
    total = weight.sum()
    x_mean, y_mean = (weight * x).sum() / total, (weight * y).sum() / total
    spread = (weight * (x - x_mean) ** 2).sum()
    slope = (weight * (x - x_mean) * (y - y_mean)).sum() / spread if spread > 0 else 0.0
    if slope <= 0:
        return 0.0, max(y_mean, 0.0)
    if y_mean - slope * x_mean < 0:
        return max(float((weight * x * y).sum() / (weight * x**2).sum()), 0.0), 0.0
    return float(slope), float(y_mean - slope * x_mean)

"""After the network: bias correction, green equilibration, checkerboard removal.

The three corrections take `clean`, the denoised planes ``(planes, h, w)`` times `ratio`, change it
in place and return it. `noise` is the photo's before denoising: differences much larger than its
standard deviation are detail.
"""

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ledcli.nets.forms import local_mean, window_sums
from ledcli.noise.estimate import NoiseProfile
from ledcli.sensor.cfa import AnyPhase, MonoPhase, Phase, offsets
from ledcli.sensor.layout import layout_of

BLOCK = 16
"""Side in plane pixels of the blocks that sums are taken over first."""


def _deviation(level: Tensor, noise: NoiseProfile) -> Tensor:
    """Return the noise's standard deviation at a level; both with white at 1, without the ratio."""
    return (level.clamp_min(0) * noise.gain + noise.read_variance).sqrt_()


def _block_sums(planes: Tensor, side: int) -> Tensor:
    """Sum ``(..., h, w)`` over square blocks; nothing lies beyond the border."""
    rows, cols = (-n % side for n in planes.shape[-2:])
    padded = F.pad(planes, (0, cols, 0, rows)) if rows or cols else planes
    # Down the columns first: they lie beside each other in memory.
    return padded.unflatten(-2, (-1, side)).sum(-2).unflatten(-1, (-1, side)).sum(-1)


# Bias correction

BIAS_BAND = 16
"""Plane rows processed at a time, a multiple of the block: they fit the cache."""
BIAS_WINDOW = 2.25
"""Standard deviation of the Gaussian window in blocks: it covers 16,000 plane pixels."""
BIAS_OUTLIER = 6.0
"""Standard deviations of noise beyond which a difference is a hot pixel, not a bias."""
BIAS_SATURATED = 0.9
"""Noise near white is clipped, so its mean is not 0: such pixels are left out. Judged by the
denoised level, since a choice by the noisy one would itself favour low noise."""


def correct_bias(
    noisy: Tensor, clean: Tensor, ratio: float, noise: NoiseProfile, saturated: Tensor | None = None
) -> Tensor:
    """Give the denoised planes the local means of the noisy ones.

    A network in the stabilised domain estimates a mean of roots, whose square is less than the
    mean, and a wrong noise estimate shifts its black: deep shadows would darken, and take on a
    tint where the planes differ. The noise has mean 0, so the mean of a wide area of the noisy
    photo is accurate. The difference is added back as far as it exceeds the noise of such a mean.

    `noisy` are the normalised planes ``(planes, h, w)``, not multiplied by the ratio. `saturated`
    is `BIAS_SATURATED` in what was done to these planes, ``(1, h, w)``; by default nothing was.
    """
    if saturated is None:
        saturated = torch.tensor(BIAS_SATURATED).expand(1, *noisy.shape[1:])
    bands = [slice(top, top + BIAS_BAND) for top in range(0, noisy.shape[1], BIAS_BAND)]
    sums = [
        _bias_sums(noisy[:, band], clean[:, band] / ratio, noise, saturated[:, band])
        for band in bands
    ]
    blocks = _BiasSums(*(torch.cat(parts, 1) for parts in zip(*sums, strict=True)))
    mean = blocks.bias.sum((1, 2)) / blocks.weight.sum((1, 2)).clamp_min(1)
    local = blocks._replace(bias=blocks.bias - blocks.weight * mean[:, None, None])
    correction = (mean[:, None, None] + _local_bias(local)) * ratio
    # Linear from the middle of one block to that of the next.
    height, width = clean.shape[1:]
    size = [correction.shape[1], correction.shape[2] * BLOCK]
    lines = F.interpolate(correction[None], size, mode="bilinear", align_corners=False)[0]
    lines = F.pad(lines[None, ..., :width], (0, 0, 1, 1), mode="replicate")[0]
    shares = (torch.arange(BLOCK) + 0.5).div_(BLOCK)[:, None]
    for number, top in enumerate(range(-BLOCK // 2, height, BLOCK)):
        rows = slice(max(top, 0), min(top + BLOCK, height))
        above, below = lines[:, number, None], lines[:, number + 1, None]
        clean[:, rows] += torch.lerp(above, below, shares[rows.start - top : rows.stop - top])
    return clean


class _BiasSums(NamedTuple):
    """Sums over blocks, each ``(planes, h / 16, w / 16)``."""

    weight: Tensor
    bias: Tensor
    variance: Tensor


def _bias_sums(noisy: Tensor, level: Tensor, noise: NoiseProfile, saturated: Tensor) -> _BiasSums:
    variance = level.clamp_min(0).mul_(noise.gain).add_(noise.read_variance)
    limit = variance.sqrt().mul_(BIAS_OUTLIER)
    bias = torch.minimum(torch.maximum(noisy - level, -limit), limit)
    usable = level < saturated
    if usable.all():
        weight = _block_sums(level.new_ones(1, *level.shape[1:]), BLOCK).expand(len(level), -1, -1)
    else:
        bias, variance = bias.mul_(usable), variance.mul_(usable)
        weight = _block_sums(usable.float(), BLOCK)
    return _BiasSums(weight, _block_sums(bias, BLOCK), _block_sums(variance, BLOCK))


def _local_bias(blocks: _BiasSums) -> Tensor:
    """Mean bias in a Gaussian window around each block, shrunk by the noise in it."""
    weight = _blurred(blocks.weight, 1).clamp_min(1e-6)
    mean = _blurred(blocks.bias, 1) / weight
    # The variance of a weighted mean takes the squares of the weights.
    variance = _blurred(blocks.variance, 2) / weight.square()
    return mean * (1 - variance / mean.square().clamp_min(1e-30)).clamp_min(0)


def _blurred(sums: Tensor, power: int) -> Tensor:
    """Convolve with a Gaussian whose taps are raised to a power; beyond the border lies 0."""
    radius = int(4 * BIAS_WINDOW)
    distance = torch.arange(-radius, radius + 1, dtype=sums.dtype)
    taps = (-distance.square() / (2 * BIAS_WINDOW**2)).exp() ** power
    rows = F.conv2d(sums[:, None], taps[None, None, :, None], padding=(radius, 0))
    return F.conv2d(rows, taps[None, None, None, :], padding=(0, radius))[:, 0]


# Green equilibration

GREEN_WINDOW = 3
"""Side in plane pixels of the mean that is taken twice: a smooth window of five. Of 3, 5, 7 and 11
it gained most on the quality benchmark, 0.1 dB on the mean of its cells."""
GREEN_MAX_DIFFERENCE = 1.0
"""Standard deviations of the photo's noise; a larger difference is detail."""
GREEN_BAND = 64
"""Plane rows processed at a time."""
R, G1, B, G2 = range(4)


def equilibrate_greens(clean: Tensor, ratio: float, noise: NoiseProfile, phase: AnyPhase) -> Tensor:
    """Remove the difference between planes that see the same light in smooth areas.

    These are the two greens of a Bayer photo. Denoised, each keeps a little low-frequency noise of
    its own, and demosaicing shows the difference as a maze. A green pixel is compared with the mean
    of its four diagonal neighbours of the other green, so that slopes cancel. Half of what remains
    after averaging is taken from each plane. Other planes are left as they are. The `phase` of the
    mosaic tells where the greens lie.

    All planes of a monochrome sensor see the same light: the other diagonal is treated alike, and
    then the means of the two diagonals, which have the same centre.
    """
    if not isinstance(phase, Phase | MonoPhase):
        return clean
    positions = offsets(phase if isinstance(phase, Phase) else Phase.RGGB)
    steps: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((G1,), (G2,))]
    if isinstance(phase, MonoPhase):
        steps += [((R,), (B,)), ((R, B), (G1, G2))]
    rows, reach = clean.shape[1], GREEN_WINDOW
    for first, second in steps:
        shift = None
        if len(first) == 1:
            near, far = positions[first[0]], positions[second[0]]
            shift = (int(far[0] > near[0]), int(far[1] > near[1]))
        halves = torch.empty_like(clean[0])
        for top in range(0, rows, GREEN_BAND):
            # The windows of a band reach into its neighbours.
            start, end = max(top - reach, 0), min(top + GREEN_BAND, rows)
            band = clean[:, start : end + reach]
            one, other = (band[list(planes)].mean(0) for planes in (first, second))
            part = _smooth_difference(one, other, shift, ratio, noise) / 2
            halves[top:end] = part[top - start : end - start]
        for plane in first:
            clean[plane] -= halves
        for plane in second:
            clean[plane] += halves
    return clean


def _smooth_difference(
    one: Tensor, other: Tensor, shift: tuple[int, int] | None, ratio: float, noise: NoiseProfile
) -> Tensor:
    """Average the difference of two planes (h, w) where it is no detail.

    The other plane is first averaged around the pixels of the one if a shift, (rows, columns), says
    on which side its first sample lies.
    """
    level = (one + other).div_(2 * ratio)
    if shift is not None:
        above, left = shift
        padded = F.pad(other[None], (left, 1 - left, above, 1 - above), mode="replicate")
        other = window_sums(window_sums(padded[0], 2, 0), 2, 1).div_(4)
    difference = one - other
    limit = _deviation(level, noise).mul_(GREEN_MAX_DIFFERENCE * ratio)
    # Detail counts as no difference: where little is smooth, little is known and little is done.
    mean = difference.mul_(difference.abs().le_(limit))
    for _ in range(2):
        mean = local_mean(mean, GREEN_WINDOW)
    return mean


# Checkerboard removal

CHECKERBOARD_MIN_RATIO = 4.0
"""Below, the pattern is a thousandth of the level at most: nothing is done."""
CHECKERBOARD_MAX_RESPONSE = 0.15
"""Standard deviations of the photo's noise; a larger response is detail."""
CHECKERBOARD_BAND = 32
"""Plane rows processed at a time, a multiple of the block."""
_SMOOTH, _SHARP = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8, torch.tensor([-1.0, 3.0, -3.0, 1.0]) / 8
_MASKS = torch.stack(
    [torch.outer(*each) for each in itertools.product((_SMOOTH, _SHARP), repeat=2)]
).unsqueeze(1)
"""The level around a cell of 2 by 2 pixels, and the responses to columns, rows and a checkerboard
of amplitude one. An even side treats the pixels of a cell alike: masks centred on one of them
reject bright samples there as detail, count them beside it, and so see a pattern in any noise."""


def remove_checkerboard(clean: Tensor, ratio: float, noise: NoiseProfile) -> Tensor:
    """Remove the period-2 patterns left by transposed convolutions in smooth areas.

    A network that halves and doubles its planes treats even and odd pixels differently. In deep
    noise this leaves faint columns, rows or a checkerboard, which the noise hides from the loss
    but not from the eye. The amplitudes of the three patterns are averaged over 3 by 3 blocks and
    subtracted. The masks do not respond to slopes.

    The red and blue samples of an X-Trans are displaced from cell to cell like a checkerboard, so
    that a slope has one: it is left in these planes.
    """
    if ratio < CHECKERBOARD_MIN_RATIO:
        return clean
    rows, band = clean.shape[1], CHECKERBOARD_BAND
    tops = range(0, rows, band)
    sums = [_checkerboard_sums(clean, top, min(top + band, rows), ratio, noise) for top in tops]
    total, count = (torch.cat(parts, -2) for parts in zip(*sums, strict=True))
    around = [F.avg_pool2d(part, 3, 1, 1) for part in (total, count)]
    by_column, by_row, checkerboard = (around[0] / around[1].clamp_min(1e-6)).unbind(1)
    straight = layout_of(len(clean)).regular
    checkerboard[[plane for plane in range(len(clean)) if plane not in straight]] = 0
    patterns = torch.stack(
        [
            by_column * right + by_row * down + checkerboard * (right * down)
            for down, right in itertools.product((1, -1), repeat=2)
        ],
        -1,
    )
    # Those of the two rows of a cell, (planes, blocks, 2, w), repeat down the block.
    cells = patterns.unflatten(-1, (2, 1, 2)).transpose(2, 3)
    wide = cells.expand(-1, -1, -1, -1, BLOCK // 2, -1).flatten(3)[..., : clean.shape[2]]
    for number, row in itertools.product(range(wide.shape[1]), range(2)):
        pixels = clean[:, BLOCK * number + row : BLOCK * (number + 1) : 2]
        pixels -= wide[:, number, row, None]
    return clean


def _checkerboard_sums(
    clean: Tensor, top: int, bottom: int, ratio: float, noise: NoiseProfile
) -> tuple[Tensor, Tensor]:
    """Sum the amplitudes of smooth cells of 2 by 2 pixels over the blocks of a band; count them.

    Both ``(planes, 3, blocks, blocks)``.
    """
    rows = clean.shape[1]
    first, last = max(top - 1, 0), min(bottom + 1, rows)
    # The cells at the frame's end may have one row or column.
    padding = (1, 1 + clean.shape[2] % 2, int(first == top), int(last == bottom) + bottom % 2)
    band = F.pad(clean[:, None, first:last], padding, mode="replicate")
    level, amplitude = F.conv2d(band, _MASKS, stride=2).split((1, 3), 1)
    limit = _deviation(level / ratio, noise).mul_(CHECKERBOARD_MAX_RESPONSE * ratio)
    counts = amplitude.abs().le_(limit)
    # At the frame's border the masks see repeated pixels.
    counts[..., [0, -1]] = 0
    if first == top:
        counts[..., 0, :] = 0
    if last == bottom:
        counts[..., -1, :] = 0
    return _block_sums(amplitude.mul_(counts), BLOCK // 2), _block_sums(counts, BLOCK // 2)

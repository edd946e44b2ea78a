"""The grid: what every second pixel differs by in smooth areas is the network's doing.

A network that halves and doubles its planes treats even and odd pixels apart. In deep noise that
leaves a faint pattern of period two on smooth areas, rows, columns or a chequer, which the noise
hides from the loss but not from the eye. It is measured as the response to the three patterns,
averaged over wide blocks, and taken out. Slopes do not answer to the masks, and detail, which
answers by more than a little of the noise, does not count.

The red and blue samples of an X-Trans lie to and fro from cell to cell, in a chequer, so that on a
slope they answer to it rightly: of them it is left.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ledcli.noise.estimate import NoiseProfile
from ledcli.sensor.layout import layout_of

LEAST_RATIO = 4.0
"""Below, the pattern is a ten thousandth of the level: nothing is done."""
LARGEST_RESPONSE = 0.15
"""Standard deviations of the photo's noise: a response that is larger is detail."""
BLOCK = 16
"""Plane pixels a side over which responses are averaged first; three blocks then count together."""
BAND = 128
"""Plane rows that are worked on at a time, a multiple of the block."""
_SMOOTH, _SHARP = torch.tensor([1.0, 2.0, 1.0]) / 4, torch.tensor([-1.0, 2.0, -1.0]) / 4
_MASKS = torch.stack(
    [torch.outer(_SMOOTH, _SHARP), torch.outer(_SHARP, _SMOOTH), torch.outer(_SHARP, _SHARP)]
)
"""Responses to columns, rows and a chequer of amplitude one."""


def without_grid(clean: Tensor, ratio: float, noise: NoiseProfile) -> Tensor:
    """Take patterns of period two out of smooth areas, in place.

    Parameters
    ----------
    clean : Tensor ``(planes, h, w)``
        Denoised planes times the ratio.
    ratio : float
        Their gain.
    noise : NoiseProfile
        The photo's noise before denoising.

    Returns
    -------
    Tensor ``(planes, h, w)``
        The same tensor.
    """
    if ratio < LEAST_RATIO:
        return clean
    rows = clean.shape[1]
    bands = range(0, rows, BAND)
    sums = [_sums(clean, top, min(top + BAND, rows), ratio, noise) for top in bands]
    total, count = (torch.cat(parts, -2) for parts in zip(*sums, strict=True))
    around = [F.avg_pool2d(part, 3, 1, 1) for part in (total, count)]
    by_column, by_row, chequer = (around[0] / around[1].clamp_min(1e-6)).unbind(1)
    straight = layout_of(len(clean)).regular
    chequer[[plane for plane in range(len(clean)) if plane not in straight]] = 0
    for top in bands:
        here = slice(top // BLOCK, (top + BAND) // BLOCK)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            odd = (by_column * (-1) ** j + by_row * (-1) ** i + chequer * (-1) ** (i + j))[:, here]
            wide = odd.repeat_interleave(BLOCK // 2, 1).repeat_interleave(BLOCK // 2, 2)
            pixels = clean[:, top + i : top + BAND : 2, j::2]
            pixels -= wide[:, : pixels.shape[1], : pixels.shape[2]]
    return clean


def _sums(
    clean: Tensor, top: int, bottom: int, ratio: float, noise: NoiseProfile
) -> tuple[Tensor, Tensor]:
    """Average over the blocks of a band the amplitudes that count, and the share that counts.

    Both ``(planes, 3, blocks, blocks)``. Every second pixel of every second row is asked, where all
    three patterns are at their top.
    """
    rows = clean.shape[1]
    first, last = max(top - 1, 0), min(bottom + 1, rows)
    padding = (1, 1, int(first == top), int(last == bottom))
    band = F.pad(clean[:, None, first:last], padding, mode="replicate")
    amplitude = F.conv2d(band, _MASKS[:, None], stride=2)
    level = clean[:, None, top:bottom:2, ::2].clamp_min(0).div_(ratio)
    limit = (level * noise.gain + noise.read_variance).sqrt_().mul_(LARGEST_RESPONSE * ratio)
    counts = (amplitude.abs() <= limit).float()
    # At the frame's border a mask sees what is not there.
    counts[..., 0] = 0
    if first == top:
        counts[..., 0, :] = 0
    if clean.shape[2] % 2:
        counts[..., -1] = 0
    if last == bottom and bottom % 2:
        counts[..., -1, :] = 0
    amplitude.mul_(counts)
    side = BLOCK // 2
    padded = (0, -amplitude.shape[3] % side, 0, -amplitude.shape[2] % side)
    total, count = (F.avg_pool2d(F.pad(part, padded), side) for part in (amplitude, counts))
    return total, count

"""What a frame shows, in a few thousand numbers: light in bins, and whether two show the same.

Bins of 16 pixels and more average the noise away: at ratio 300 a short frame, drowned in noise
pixel by pixel, shows its scene. Each bin is measured twice, over the even and over the odd rows of
cells: what the two halves have in common is light, what they have not is noise.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.pairs.registration import register
from ledcli.raw.reader import RawPhoto

BINS = 64
"""Along the longer side."""
LEAST_BIN = 8
"""Cells along a side of a bin."""
CLIPPED = 0.98
"""Of white, from which a pixel is clipped in any case."""
LIKELY_CLIPPED = 0.85
"""A sensor that fills up before its white level does so above this."""
FEWEST_BINS = 32
"""With fewer, two frames look alike by chance."""
DARK_LEVEL = 2.0
"""In standard deviations of a pixel's noise: a lens-cap frame is not brighter."""
CLEAR_STRUCTURE = 0.5
"""Correlation of the two halves from which nobody would think of a lens cap."""
_MAD = 1.4826
"""Standard deviation over median absolute deviation, of Gaussian values."""


class Bins(NamedTuple):
    """Light of a frame.

    Attributes
    ----------
    halves : float32 array (2, planes, rows, columns)
        Means over the even and the odd rows of cells of each bin, by plane, white - black = 1.
    clipped : float32 array (rows, columns)
        Share of each bin's pixels that are clipped.
    """

    halves: NDArray[np.float32]
    clipped: NDArray[np.float32]

    @property
    def luminance(self) -> NDArray[np.float32]:
        """Mean over halves and planes (rows, columns)."""
        return self.halves.mean((0, 1))


class Signature(NamedTuple):
    """What a frame shows whatever its exposure.

    Attributes
    ----------
    vector : float32 array (bins,)
        Fine structure of the bins, of length 1; shading, banding and brightness are out of it.
    reliability : float
        Share of the vector's variance that is light; 0 is all noise.
    """

    vector: NDArray[np.float32]
    reliability: float

    def similarity(self, other: "Signature") -> float:
        """Correlation of two signatures, -1 to 1; noise lowers it."""
        if self.vector.shape != other.vector.shape:
            return 0.0
        return float(self.vector @ other.vector)


@dataclass(frozen=True)
class View:
    """A frame as the checks look at it.

    Attributes
    ----------
    planes : float32 array (planes, h, w)
        Normalised.
    even : float32 array (planes, h, w)
        The same without hot and dead pixels.
    bins : Bins
    signature : Signature
    """

    planes: NDArray[np.float32]
    even: NDArray[np.float32]
    bins: Bins
    signature: Signature

    @property
    def cells(self) -> NDArray[np.float32]:
        """Mean of the planes (h, w): the mosaic binned by cells."""
        return self.even.mean(0)


def view_of(photo: RawPhoto) -> View:
    """Reduce a photo to what the checks need."""
    planes = photo.planes()
    even = despiked(planes)
    bins = bins_of(planes, even)
    return View(planes, even, bins, signature_of(bins))


def despiked(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clip every sample to what its two neighbours on each side span: hot pixels go, edges stay.

    Along the row only, so that rows stay independent of each other.
    """
    even = np.empty_like(planes)
    width = planes.shape[2]
    for plane, result in zip(planes, even, strict=True):
        framed = np.pad(plane, ((0, 0), (2, 2)), mode="reflect")
        around = [framed[:, at : at + width] for at in (0, 1, 3, 4)]
        low, high = around[0].copy(), around[0].copy()
        for neighbour in around[1:]:
            np.minimum(low, neighbour, out=low)
            np.maximum(high, neighbour, out=high)
        np.clip(plane, low, high, out=result)
    return even


def bins_of(planes: NDArray[np.float32], even: NDArray[np.float32]) -> Bins:
    """Average planes (n, h, w) in bins: light of the despiked ones, clipping of the full ones."""
    count, height, width = planes.shape
    side = max(LEAST_BIN, -(-max(height, width) // BINS))
    side += side % 2
    rows, cols = height // side, width // side
    whole = np.s_[:, : rows * side, : cols * side]
    halves = even[whole].reshape(count, rows, side // 2, 2, cols, side).mean((2, 5), np.float32)
    clipped = planes[whole] >= clipping_level(planes)
    return Bins(
        np.ascontiguousarray(halves.transpose(2, 0, 1, 3)),
        clipped.reshape(count, rows, side, cols, side).mean((0, 2, 4), np.float32),
    )


def clipping_level(planes: NDArray[np.float32]) -> float:
    """Value from which the pixels of a frame are clipped: near white, or where the sensor fills up.

    Many sensors fill up some percent below the white level of the file. The brightest pixel of a
    frame with clipped parts is there; where it is not clipped, hardly a pixel but itself counts.

    Parameters
    ----------
    planes : float32 array (planes, h, w)
        Normalised, of a whole frame: a crop may have no clipped part to tell from.

    Returns
    -------
    float
        Pixels of this value and above are clipped. 0.98 (white - black = 1) where nothing below
        is seen to be.

    Examples
    --------
    >>> planes = np.full((4, 8, 8), 0.2, np.float32)
    >>> clipping_level(planes)
    0.98
    >>> planes[:, 2:4] = 0.93
    >>> round(clipping_level(planes), 3)
    0.925
    """
    top = float(planes.max())
    return min(CLIPPED, 0.995 * top) if top > LIKELY_CLIPPED else CLIPPED


def signature_of(bins: Bins) -> Signature:
    """Make a frame's signature.

    Rows and columns are centred: vignetting, gradients and banding go. A local mean is taken off:
    skies are above the ground in most photographs. Lamps are squeezed: one must not be all.
    """
    light = bins.halves.mean(1)
    fine = _centred(light - _local_mean(light))
    both = fine.mean(0)
    scale = 3 * _MAD * float(np.median(np.abs(both)))
    if both.size < FEWEST_BINS or not scale > 0:
        return Signature(np.zeros(both.size, np.float32), 0.0)
    fine = _centred(np.tanh(fine / scale))
    first, second = fine[0].ravel(), fine[1].ravel()
    vector = (first + second) / 2
    norm = float(np.linalg.norm(vector))
    both_norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not norm > 0 or not both_norms > 0:
        return Signature(np.zeros(both.size, np.float32), 0.0)
    halves_agree = float(first @ second) / both_norms
    # Spearman and Brown: two halves together say more than each.
    reliability = max(2 * halves_agree / (1 + halves_agree), 0.0) if halves_agree > -1 else 0.0
    return Signature((vector / norm).astype(np.float32), reliability)


def is_dark(view: View) -> bool:
    """Whether a frame was taken with the lens cap on: no brighter than black, and no picture."""
    if view.signature.reliability > CLEAR_STRUCTURE:
        return False
    steps = np.diff(view.planes[:, ::2, :], axis=2)[:, :, ::2]
    noise = _MAD * float(np.median(np.abs(steps))) / 2**0.5
    # A DN is the least that noise can be told from: the smallest step there is.
    if float(np.median(view.bins.luminance)) > DARK_LEVEL * max(noise, 1 / 4095):
        return False
    # Fine detail of a scene is in both halves of the rows, noise and hot pixels in one.
    cells = view.cells
    rows = cells.shape[0] // 2 * 2
    return register(cells[0:rows:2], cells[1:rows:2]) is None


def _centred(light: NDArray[Any]) -> NDArray[Any]:
    rows, cols = light.mean(-1, keepdims=True), light.mean(-2, keepdims=True)
    return light - rows - cols + light.mean((-2, -1), keepdims=True)


def _local_mean(light: NDArray[Any]) -> NDArray[Any]:
    """Mean of each bin and its eight neighbours."""
    height, width = light.shape[-2:]
    framed = np.pad(light, ((0, 0), (1, 1), (1, 1)), mode="edge")
    total = np.zeros_like(light)
    for row in range(3):
        for col in range(3):
            total += framed[:, row : row + height, col : col + width]
    return total / 9

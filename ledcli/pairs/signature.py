"""What a frame shows, in a few thousand numbers: binned light and a signature of the scene.

Bins of 16 pixels and more average the noise away: at ratio 300 a short frame, drowned in noise
pixel by pixel, still shows its scene. Each bin is measured twice, over the even and over the odd
rows of cells: what the two halves have in common is light, the rest is noise.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.pairs.registration import register
from ledcli.raw.reader import RawPhoto

BINS = 64
"""Bins along the longer side."""
MIN_BIN = 8
"""Smallest side of a bin, cells."""
CLIPPED = 0.98
"""Share of white from which a pixel always counts as clipped."""
LIKELY_CLIPPED = 0.85
"""Share of white above which a sensor may saturate before its white level."""
MIN_BINS = 32
"""With fewer bins, two frames look alike by chance."""
DARK_LEVEL = 2.0
"""Maximum brightness of a lens-cap frame, standard deviations of a pixel's noise."""
CLEAR_STRUCTURE = 0.5
"""Reliability of a signature that rules out a lens cap."""
STD_PER_MAD = 1.4826
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
    """What a frame shows, whatever its exposure.

    Attributes
    ----------
    vector : float32 array (bins,)
        Fine structure of the bins, of length 1; without shading, banding and brightness.
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
class FrameFeatures:
    """What the checks need of a frame.

    Attributes
    ----------
    planes : float32 array (planes, h, w)
        Normalised.
    cells : float32 array (h, w)
        Mean of the planes without hot and dead pixels: the mosaic binned by cells.
    bins : Bins
    signature : Signature
    """

    planes: NDArray[np.float32]
    cells: NDArray[np.float32]
    bins: Bins
    signature: Signature


def frame_features(photo: RawPhoto) -> FrameFeatures:
    """Reduce a photo to what the checks need."""
    planes = photo.planes()
    despiked = _without_hot_pixels(planes)
    bins = _binned(planes, despiked)
    return FrameFeatures(planes, despiked.mean(0), bins, _signature(bins))


def clipping_level(planes: NDArray[np.float32]) -> float:
    """Value from which the pixels of a frame are clipped: near white, or where the sensor fills up.

    Many sensors saturate some percent below the white level of the file. The brightest pixel of a
    frame with clipped parts is there; in a frame without, hardly another pixel reaches it.

    Parameters
    ----------
    planes : float32 array (planes, h, w)
        Normalised, of a whole frame: a crop may have no clipped part to tell from.

    Returns
    -------
    float
        Pixels of this value and above are clipped. 0.98 (white - black = 1) unless the frame
        saturates below that.

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


def is_dark(frame: FrameFeatures) -> bool:
    """Return True for a lens-cap frame: no brighter than black, and no picture in it."""
    if frame.signature.reliability > CLEAR_STRUCTURE:
        return False
    steps = np.diff(frame.planes[:, ::2, :], axis=2)[:, :, ::2]
    noise = STD_PER_MAD * float(np.median(np.abs(steps))) / 2**0.5
    # One DN of 12 bits is the smallest noise that can be measured.
    if float(np.median(frame.bins.luminance)) > DARK_LEVEL * max(noise, 1 / 4095):
        return False
    # Fine detail of a scene is in both halves of the rows, noise and hot pixels in one.
    rows = frame.cells.shape[0] // 2 * 2
    return register(frame.cells[0:rows:2], frame.cells[1:rows:2]) is None


def _without_hot_pixels(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clip every sample to the range of its two neighbours on each side: edges stay.

    Along the row only, so that rows stay independent of each other.
    """
    despiked = np.empty_like(planes)
    width = planes.shape[2]
    for plane, result in zip(planes, despiked, strict=True):
        padded = np.pad(plane, ((0, 0), (2, 2)), mode="reflect")
        around = [padded[:, at : at + width] for at in (0, 1, 3, 4)]
        low, high = around[0].copy(), around[0].copy()
        for neighbour in around[1:]:
            np.minimum(low, neighbour, out=low)
            np.maximum(high, neighbour, out=high)
        np.clip(plane, low, high, out=result)
    return despiked


def _binned(planes: NDArray[np.float32], despiked: NDArray[np.float32]) -> Bins:
    """Average planes (n, h, w) in bins: light of the despiked ones, clipping of the full ones."""
    count, height, width = planes.shape
    side = max(MIN_BIN, -(-max(height, width) // BINS))
    side += side % 2
    rows, cols = height // side, width // side
    whole = np.s_[:, : rows * side, : cols * side]
    halves = despiked[whole].reshape(count, rows, side // 2, 2, cols, side)
    clipped = planes[whole] >= clipping_level(planes)
    return Bins(
        np.ascontiguousarray(halves.mean((2, 5), np.float32).transpose(2, 0, 1, 3)),
        clipped.reshape(count, rows, side, cols, side).mean((0, 2, 4), np.float32),
    )


def _signature(bins: Bins) -> Signature:
    """Make a frame's signature.

    Centring rows and columns removes vignetting, gradients and banding; subtracting a local mean
    removes the large shapes that most photographs share (sky above ground); tanh keeps a lamp
    from being all of it.
    """
    light = bins.halves.mean(1)
    fine = _centred(light - _local_mean(light))
    both = fine.mean(0)
    scale = 3 * STD_PER_MAD * float(np.median(np.abs(both)))
    if both.size < MIN_BINS or not scale > 0:
        return Signature(np.zeros(both.size, np.float32), 0.0)
    fine = _centred(np.tanh(fine / scale))
    first, second = fine[0].ravel(), fine[1].ravel()
    vector = (first + second) / 2
    norm = float(np.linalg.norm(vector))
    both_norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not norm > 0 or not both_norms > 0:
        return Signature(np.zeros(both.size, np.float32), 0.0)
    correlation = float(first @ second) / both_norms
    # The Spearman-Brown formula: both halves together are more reliable than one.
    reliability = max(2 * correlation / (1 + correlation), 0.0) if correlation > -1 else 0.0
    return Signature((vector / norm).astype(np.float32), reliability)


def _centred(light: NDArray[Any]) -> NDArray[Any]:
    rows, cols = light.mean(-1, keepdims=True), light.mean(-2, keepdims=True)
    return light - rows - cols + light.mean((-2, -1), keepdims=True)


def _local_mean(light: NDArray[Any]) -> NDArray[Any]:
    """Mean of each bin and its eight neighbours."""
    height, width = light.shape[-2:]
    padded = np.pad(light, ((0, 0), (1, 1), (1, 1)), mode="edge")
    total = np.zeros_like(light)
    for row in range(3):
        for col in range(3):
            total += padded[:, row : row + height, col : col + width]
    return total / 9

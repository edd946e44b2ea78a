"""PSNR, SSIM, the illuminance correction, and planes rendered as sRGB pictures."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ledcli.raw.colour import srgb_from_linear
from ledcli.sensor.layout import layout_of

Floats = NDArray[np.floating[Any]]
Picture = NDArray[np.float32]
"""sRGB, 0 to 1, ``(h, w, 3)``."""

SSIM_WINDOW = 7
_C1, _C2 = 0.01**2, 0.03**2
"""SSIM's constants at range 1."""
_BLOCK = (64, 256)
"""Rows and columns of SSIM windows worked on at once: a dozen arrays of them fit in a core's
second-level cache; larger and smaller blocks were slower."""
CROP_SIDE = 160
"""Side of a crop in the report, plane pixels."""
CROP_STEP = 8
"""Plane pixels between the positions tried for a crop."""
_STRIP = 16
"""Rows rendered at once: they fit in cache."""


def psnr(result: Floats, truth: Floats) -> float:
    """Return the PSNR in dB of arrays of one shape; the result is clipped to 0..1."""
    # By plane or row: a whole frame's differences take as much memory as the frame.
    errors = [
        np.mean((np.clip(a, 0, 1) - b) ** 2, dtype=np.float64)
        for a, b in zip(result, truth, strict=True)
    ]
    return float(-10 * np.log10(max(float(np.mean(errors)), 1e-20)))


def ssim(result: Floats, truth: Floats) -> float:
    """Return the mean SSIM (Wang et al. 2004, equation 13) of planes of range 1.

    Uniform window of 7 x 7 inside the planes only, unbiased covariance: the default of
    scikit-image, and of most published figures of raw denoisers. Both are ``(C, h, w)``, white at
    1, at least 7 x 7; the result is clipped to 0..1.
    """
    return float(np.mean([_ssim(a, b) for a, b in zip(result, truth, strict=True)]))


def _ssim(a: Floats, b: Floats) -> float:
    """Mean over the windows of a plane ``(h, w)``, block by block to stay in cache."""
    margin = SSIM_WINDOW - 1
    rows, cols = (n - margin for n in a.shape)
    total = 0.0
    for top in range(0, rows, _BLOCK[0]):
        for left in range(0, cols, _BLOCK[1]):
            block = np.s_[top : top + _BLOCK[0] + margin, left : left + _BLOCK[1] + margin]
            x, y = np.clip(a[block], 0, 1).astype(np.float64), b[block].astype(np.float64)
            total += float(_index(x, y).sum())
    return total / (rows * cols)


def _index(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    count = SSIM_WINDOW**2
    sum_x, sum_y = _window_sum(x), _window_sum(y)
    # Means times the count, (co)variances times count * (count - 1); of the variances the sum.
    product, squares = sum_x * sum_y, sum_x * sum_x + sum_y * sum_y
    covariance = count * _window_sum(x * y) - product
    variances = count * _window_sum(x * x + y * y) - squares
    c1, c2 = _C1 * count**2, _C2 * count * (count - 1)
    above = (2 * product + c1) * (2 * covariance + c2)
    index: NDArray[np.float64] = above / ((squares + c1) * (variances + c2))
    return index


def _window_sum(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the 7 x 7 windows of a block ``(h, w)``, as ``(h - 6, w - 6)``."""
    return _sums_of_seven(_sums_of_seven(block).T).T


def _sums_of_seven(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add seven consecutive rows, as 4 + 2 + 1 rows: four additions."""
    two = rows[:-1] + rows[1:]
    four = two[:-2] + two[2:]
    seven: NDArray[np.float64] = four[:-3] + two[4:-1] + rows[6:]
    return seven


def compare(result: Floats, truth: Floats, ending: str = "") -> dict[str, float]:
    """Return PSNR and SSIM of planes ``(C, h, w)``, named ``psnr`` and ``ssim`` plus an ending."""
    return {f"psnr{ending}": psnr(result, truth), f"ssim{ending}": ssim(result, truth)}


def compare_pictures(result: Picture, truth: Picture, ending: str = "_srgb") -> dict[str, float]:
    """Return PSNR and SSIM of pictures ``(h, w, 3)``, named like those of `compare`."""
    return compare(np.moveaxis(result, 2, 0), np.moveaxis(truth, 2, 0), ending)


def illuminance_scale(result: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the factor that brings a result nearest to the truth (illuminance correction).

    Lamps flicker and shutters are inexact, so the light of the long frame is not exactly the
    short one's times the ratio. ELD and LED measure after one least-squares factor per frame:
    ``sum(x * y) / sum(x * x)`` over the result x ``(C, h, w)``, clipped to 0..1, and the truth y,
    where y is below white. It is 1 for a black result, or a truth that is all white.
    """
    product = energy = 0.0
    width = result.shape[-1]
    # By row, to stay in cache.
    for x, y in zip(result.reshape(-1, width), truth.reshape(-1, width), strict=True):
        unclipped = np.where(y < 1, np.clip(x, 0, 1), 0).astype(np.float64)
        product += float(unclipped @ y)
        energy += float(unclipped @ unclipped)
    return product / energy if energy > 0 else 1.0


def corrected(result: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the result, clipped to 0..1, times its `illuminance_scale`; not clipped after."""
    return np.clip(result, 0, 1) * np.float32(illuminance_scale(result, truth))


def most_detailed(planes: NDArray[np.float32], side: int = CROP_SIDE) -> tuple[slice, slice]:
    """Find the square with the most detail: the largest sum of squared differences of the green.

    Returns rows and columns of planes ``(4, h, w)``, or ``(9, h, w)`` of an X-Trans. `side` is
    in plane pixels; a smaller frame is taken whole.
    """
    layout = layout_of(len(planes))
    green = planes[[n for n in layout.regular if layout.colours[n] == 1]].mean(0)
    energy = np.zeros(green.shape)
    energy[1:] += np.diff(green, axis=0) ** 2
    energy[:, 1:] += np.diff(green, axis=1) ** 2
    rows, cols = (min(side, n) for n in green.shape)
    total = np.pad(energy.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    below, above = total[rows::CROP_STEP], total[:-rows:CROP_STEP]
    sums = below[:, cols::CROP_STEP] - above[:, cols::CROP_STEP]
    sums -= below[:, :-cols:CROP_STEP] - above[:, :-cols:CROP_STEP]
    row, col = (CROP_STEP * int(n) for n in np.unravel_index(sums.argmax(), sums.shape))
    return slice(row, row + rows), slice(col, col + cols)


def render_planes(
    planes: NDArray[np.float32], white_balance: ArrayLike, to_srgb: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Render planes as sRGB ``(h, w, 3)``, 0 to 1, without demosaicing: a pixel is a mosaic's cell.

    The planes are ``(4, h, w)``, or ``(9, h, w)`` of an X-Trans, white at 1; each colour is the
    mean of its planes. The white balance (3,) multiplies R, G, B; green is 1. `to_srgb` (3, 3) is
    from white-balanced camera colours to linear sRGB, by default the identity.
    """
    balance = np.asarray(white_balance, np.float32)
    matrix = None if to_srgb is None else np.asarray(to_srgb, np.float32)
    colours = np.empty((3, *planes.shape[1:]), np.float32)
    for top in range(0, planes.shape[1], _STRIP):
        rows = np.s_[:, top : top + _STRIP]
        colours[rows] = srgb_from_linear(_linear(planes[rows], balance, matrix))
    return np.moveaxis(colours, 0, 2)


def _linear(
    planes: NDArray[np.float32], balance: NDArray[np.float32], matrix: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    colours = layout_of(len(planes)).colours
    rgb = np.zeros((3, *planes.shape[1:]), np.float32)
    for colour, plane in zip(colours, planes, strict=True):
        rgb[colour] += plane * (balance[colour] / np.float32(colours.count(colour)))
    # Clipped first: a colour above white would tint it.
    np.clip(rgb, 0, 1, out=rgb)
    return rgb if matrix is None else np.clip(np.tensordot(matrix, rgb, 1), 0, 1)

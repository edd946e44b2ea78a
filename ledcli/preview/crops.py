"""Crops of a photo: which parts tell most about its noise, and cutting the photo down to them.

Those are fine detail, a shadow, and a highlight. Light is averaged over cells of 4 x 4 samples of
all planes, which takes most of the noise, and cells over blocks of 4 x 4. What the cells of a block
differ by, less the noise that is left, is detail. Crops begin at blocks.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from ledcli.batch.settings import Result
from ledcli.noise.blocks import Planes, in_blocks
from ledcli.noise.camera_profile import NoiseAtIso
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.photo_noise import PhotoNoise
from ledcli.output.gain_maps import IMAGE_LIST, MOSAIC_LIST, apply_gain_maps
from ledcli.output.render import DenoisedPhoto
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import first_pixel, pack

STEP = 16
"""Plane pixels. Crops begin at multiples of this, so that networks halve their planes, corrections
count their blocks, and the colours of an X-Trans alternate as in the whole frame."""
DETAIL, SHADOW, HIGHLIGHT = KINDS = ("detail", "shadow", "highlight")
PIXELS = 320
"""Side of a crop in pixels of the mosaic, about."""
SHARE = 5
"""A crop's side is at most this part of the frame's: then three of them always find room."""
CELL, CELLS = 4, STEP // 4
"""Samples along a cell, and cells along a block."""
GAMMA = 2.2
"""Of the tones in which light is compared, as the eye sees them; black is 0, white 1."""
MIN_LIGHT = 0.004
"""Share of white at which tones are no longer told apart."""
MAX_BLOCK_DETAIL = 0.1
"""Standard deviation of the tones of a block that counts at most: one edge is no detail."""
CLIPPED, MAX_CLIPPED = 0.98, 0.02
"""Share of white from which a cell is clipped, and share of clipped cells in a highlight."""
BLACK = 0.06
"""Tone up to which a shadow is black."""
DARK, MAX_SHADOW = 0.25, 0.35
"""Share of all blocks that are shadows, and their tone at most where the photo has such blocks."""
DARKEST = 1e-3
"""Weight of darkness itself in the choice of a shadow, beside its detail."""

Picture = NDArray[np.uint8]
AnyNoise = NoiseProfile | NoiseAtIso | PhotoNoise


class Area(NamedTuple):
    """A rectangle of plane pixels; bottom and right are exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def rows(self) -> slice:
        """Its rows of a plane."""
        return slice(self.top, self.bottom)

    @property
    def cols(self) -> slice:
        """Its columns of a plane."""
        return slice(self.left, self.right)

    def of(self, planes: Planes) -> Planes:
        """Return this part of planes ``(n, h, w)``; a copy."""
        return planes[:, self.rows, self.cols].copy()

    def grown(self, margin: int, shape: tuple[int, ...]) -> Self:
        """Return it with a margin, a multiple of `STEP`, as far as a frame ``(h, w)`` goes."""
        margin = -(-margin // STEP) * STEP
        return type(self)(
            max(self.top - margin, 0),
            max(self.left - margin, 0),
            min(self.bottom + margin, shape[0]),
            min(self.right + margin, shape[1]),
        )

    def within(self, other: "Area") -> Self:
        """Return its place in the planes of an area around it."""
        return type(self)(
            self.top - other.top,
            self.left - other.left,
            self.bottom - other.top,
            self.right - other.left,
        )


class Crop(NamedTuple):
    """A part of a photo and what it shows: ``detail``, ``shadow`` or ``highlight``."""

    kind: str
    area: Area


@dataclass
class Tiles:
    """One crop of a photo as pictures, uint8 ``(H, W, 3)``: sRGB, upright, all of one size."""

    crop: Crop
    noisy: Picture
    variants: dict[int, Picture] = field(default_factory=dict)
    """By the variant's number; without those that failed."""


@dataclass
class PreviewedPhoto:
    """The crops of one photo; `result` has what `led denoise` would say of it, or its error."""

    result: Result
    tiles: list[Tiles] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    """Why there is no picture, by the variant's number."""


class _Candidates(NamedTuple):
    """Of each position of a crop, in blocks ``(rows, cols)``."""

    tone: Planes
    detail: Planes
    shadow: Planes
    """Detail of the blocks that are dark but not black."""
    clipped: Planes


def choose_crops(
    planes: Planes, noise: NoiseProfile, ratio: float, shown: Area, side: int
) -> list[Crop]:
    """Choose three parts of a photo that do not overlap; fewer of a tiny one.

    Parameters
    ----------
    planes : float32 ``(n, h, w)``
        Normalised, not multiplied by the ratio, without outliers.
    noise : NoiseProfile
    ratio : float
        Digital gain: highlights are those of the result.
    shown : Area
        Of the planes; crops lie in it, away from its border where it is large.
    side : int
        Plane pixels; less where the photo is small.
    """
    blocks = [-(-shown.top // STEP), -(-shown.left // STEP)]
    ends = [shown.bottom // STEP, shown.right // STEP]
    for axis in range(2):
        margin = min(2, (ends[axis] - blocks[axis]) // 8)
        blocks[axis], ends[axis] = blocks[axis] + margin, ends[axis] - margin
    sizes = [end - start for start, end in zip(blocks, ends, strict=True)]
    if min(sizes) < 1:
        return [Crop(DETAIL, shown)]
    count = max(1, min(side // STEP, max(sizes) // SHARE, min(sizes)))
    top, left = (STEP * block for block in blocks)
    inner = Area(top, left, STEP * ends[0], STEP * ends[1])
    found = _candidates(planes[:, inner.rows, inner.cols], noise, ratio, count)
    free = np.ones(found.tone.shape, np.bool_)
    chosen: dict[str, Crop] = {}
    # Highlights are rare and detail is not: it comes last.
    for kind in (HIGHLIGHT, SHADOW, DETAIL):
        if not free.any():
            break
        score = np.where(free, _score(kind, found, free), -np.inf)
        row, col = np.unravel_index(int(score.argmax()), score.shape)
        first, start = top + STEP * int(row), left + STEP * int(col)
        area = Area(first, start, first + STEP * count, start + STEP * count)
        chosen[kind] = Crop(kind, area)
        free[max(row - count + 1, 0) : row + count, max(col - count + 1, 0) : col + count] = False
    return [chosen[kind] for kind in KINDS if kind in chosen]


def _score(kind: str, found: _Candidates, free: NDArray[np.bool_]) -> Planes:
    if kind == DETAIL:
        return found.detail - found.clipped
    if kind == HIGHLIGHT:
        # Beyond that share of clipped cells any other crop is better.
        return found.tone - np.where(found.clipped > MAX_CLIPPED, 1 + found.clipped, 0)
    # Without any structure in the dark, the darkest.
    return found.shadow - DARKEST * found.tone


def _candidates(planes: Planes, noise: NoiseProfile, ratio: float, count: int) -> _Candidates:
    cells = np.stack([_means(plane, CELL) for plane in planes])
    light = cells.mean(0)
    brightest = cells.max(0)
    clipped = (brightest >= CLIPPED) | (brightest * ratio >= CLIPPED)
    variance = np.maximum(light, 0) * noise.gain + noise.read_variance
    left = variance / (CELL * CELL * len(planes))
    mean = _means(light, CELLS)
    within = light - mean.repeat(CELLS, 0).repeat(CELLS, 1)
    # The mean of n cells takes its share of their differences.
    share = 1 - 1 / CELLS**2
    excess = _means(within**2 - share * left, CELLS)
    slope = ratio / GAMMA * np.clip(mean * ratio, MIN_LIGHT, 1) ** (1 / GAMMA - 1)
    detail = np.clip(excess * slope**2, 0, MAX_BLOCK_DETAIL**2)
    tone = np.clip(mean * ratio, 0, 1) ** (1 / GAMMA)
    dark = (tone >= BLACK) & (tone <= np.quantile(tone, DARK))
    if (deep := dark & (tone <= MAX_SHADOW)).any():
        dark = deep
    share_clipped = _means(clipped.astype(np.float32), CELLS)
    found = (tone, detail, detail * dark, share_clipped)
    tone, detail, shadow, share_clipped = (_box_means(each, count) for each in found)
    return _Candidates(tone, np.sqrt(detail), np.sqrt(shadow), share_clipped)


def _means(plane: Planes, side: int) -> Planes:
    """Average ``(h, w)`` over squares."""
    # Down the columns first: they lie beside each other in memory.
    means: Planes = in_blocks(plane, side).mean(1).mean(2)
    return means


def _box_means(blocks: Planes, count: int) -> Planes:
    """Average ``(h, w)`` over squares of blocks, at every position."""
    windows = np.lib.stride_tricks.sliding_window_view(blocks, (count, count))
    means: Planes = windows.mean((2, 3), dtype=np.float32)
    return means


def mosaic_area(photo: RawPhoto, area: Area) -> Area:
    """Return the pixels of a photo's mosaic whose samples an area of its planes has."""
    side, (top, left) = photo.phase.layout.side, first_pixel(photo.phase)
    height, width = photo.mosaic.shape
    return Area(
        max(side * area.top - top, 0),
        max(side * area.left - left, 0),
        min(side * area.bottom - top, height),
        min(side * area.right - left, width),
    )


def shown_area(photo: RawPhoto, shape: tuple[int, ...]) -> Area:
    """Return the plane pixels, of ``(h, w)``, that lie in the maker's crop."""
    if photo.crop is None:
        return Area(0, 0, shape[0], shape[1])
    side, (top, left) = photo.phase.layout.side, first_pixel(photo.phase)
    first, start, height, width = photo.crop
    return Area(
        -(-(first + top) // side),
        -(-(start + left) // side),
        (first + top + height) // side,
        (start + left + width) // side,
    )


def cut(photo: RawPhoto, area: Area, shown: Area) -> RawPhoto:
    """Return a photo of an area, whose picture will be that of `shown` in it.

    The levels stay those of the whole mosaic: its samples are not for reading.
    """
    pixels = mosaic_area(photo, area)
    inner = mosaic_area(photo, shown).within(pixels)
    crop = (inner.top, inner.left, inner.bottom - inner.top, inner.right - inner.left)
    return replace(
        photo,
        mosaic=photo.mosaic[pixels.rows, pixels.cols],
        phase=photo.phase.shifted(pixels.top, pixels.left),
        crop=crop,
        carried=replace(photo.carried, raw={}),
    )


def noise_of_part(noise: AnyNoise, frame: tuple[int, int], area: Area) -> AnyNoise:
    """Return the noise of a part of a frame ``(h, w)``, with the black and gain of its place."""
    if isinstance(noise, NoiseProfile):
        return noise
    return noise.part(frame, area.rows, area.cols)


def gains_of(photo: RawPhoto) -> Planes | None:
    """Return a DNG's gain maps over the planes ``(n, h, w)``; None if it has none."""
    if not photo.carried.raw.keys() & {MOSAIC_LIST, IMAGE_LIST}:
        return None
    ones = np.ones(photo.mosaic.shape, np.float32)
    return cast(Planes, pack(apply_gain_maps(ones, photo.phase, photo.carried), photo.phase))


def develop(photo: RawPhoto, planes: Planes, around: Area, shown: Area) -> Picture:
    """Render denoised planes ``(n, h, w)`` of an area as `shown` in it: sRGB, 8 bits, upright.

    Returns uint8 ``(H, W, 3)``. The planes are times the ratio, and their gain maps applied.
    """
    picture = DenoisedPhoto(cut(photo, around, shown), planes=planes).picture
    return ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)

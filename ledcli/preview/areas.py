"""Parts of a frame: rectangles of plane pixels, and cutting a photo down to one."""

from dataclasses import replace
from typing import NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.photo_noise import PhotoNoise
from ledcli.noise.profile import NoiseAtIso
from ledcli.output.gain_maps import IMAGE_LIST, MOSAIC_LIST, apply_gain_maps
from ledcli.output.render import DenoisedPhoto
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import first_pixel, pack

STEP = 16
"""Plane pixels. Parts begin at multiples of this, so that networks halve their planes, corrections
count their blocks, and the colours of an X-Trans alternate as in the whole frame."""

Planes = NDArray[np.float32]
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

    def overlaps(self, other: "Area") -> bool:
        """Return True if a pixel is in both."""
        apart = self.bottom <= other.top or other.bottom <= self.top
        return not (apart or self.right <= other.left or other.right <= self.left)


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
    pixels, inner = (
        mosaic_area(photo, area),
        mosaic_area(photo, shown).within(mosaic_area(photo, area)),
    )
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

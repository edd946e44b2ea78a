"""The made-up cameras whose raws the suite sends through `led denoise`."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.shoot import make_raw, scene

EVEN, ODD = (208, 264), (211, 267)
"""RawTherapee opens nothing much smaller than 200 x 200."""
AREAS: tuple[tuple[int, int, int, int] | None, ...] = (
    None,
    (5, 3, 208, 262),
    (1, 4, 210, 263),
    (2, 7, 208, 266),
)
"""Of the odd frame: odd and even margins at the top and at the left, odd and even sizes."""
BLACKS: tuple[Sequence[float], ...] = ((512, 512, 512, 512), (500, 514, 506, 531))
SHOWN = (6, 8, 190, 240)
"""Top, left, height and width of the maker's crop, from the active area's first pixel."""

_LONG = 4


@dataclass(frozen=True)
class Camera:
    """One made-up camera, and how it is held.

    Attributes
    ----------
    name : str
        The file's, with its ending.
    phase : str
        Of the sensor's first pixel.
    shape : (H, W)
        Of the sensor.
    area : (top, left, bottom, right) or None
        The active area.
    black : four numbers
        In DN, for R, G1, B, G2.
    bits, orientation : int
    crop : (top, left, height, width) or None
        From the active area's first pixel.
    how : dict
        More for `make_raw`.
    """

    name: str
    phase: str
    shape: tuple[int, int] = EVEN
    area: tuple[int, int, int, int] | None = None
    black: Sequence[float] = BLACKS[0]
    bits: int = 14
    orientation: int = 1
    crop: tuple[int, int, int, int] | None = None
    how: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def white(self) -> int:
        """White level in DN."""
        return 2**self.bits - 1

    @property
    def active(self) -> tuple[slice, slice]:
        """The active area of a sensor's frame."""
        top, left, bottom, right = self.area or (0, 0, *self.shape)
        return slice(top, bottom), slice(left, right)

    def colours(self) -> NDArray[np.int64]:
        """Colour of each pixel of the active area: 0 to 3 for R, G1, B, G2."""
        red = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}[self.phase]
        rows, cols = np.mgrid[: self.shape[0], : self.shape[1]]
        # Counted from a red pixel: R G1 in its row, G2 B in the next.
        cell = np.array([[0, 1], [3, 2]])[(rows - red[0]) % 2, (cols - red[1]) % 2]
        return cell[self.active]

    def make(self, folder: Path) -> NDArray[np.uint16]:
        """Write a raw without tags of the shot, `tagtable` adds them; return the active area."""
        return self._write(folder)[self.active]

    def make_trimmed(self, folder: Path, mosaic: NDArray[np.uint16]) -> None:
        """Write the same raw without its margins, from its active area."""
        phase = "".join("RGBG"[colour] for colour in self.colours()[:2, :2].ravel())
        trimmed = dataclasses.replace(self, phase=phase, area=None, shape=mosaic.shape)
        trimmed._write(folder, mosaic=mosaic)

    def _write(self, folder: Path, **more_how: Any) -> NDArray[np.uint16]:
        more = list(self.how.get("more_tags", ()))
        if self.crop:
            top, left, height, width = self.crop
            more += [(50719, _LONG, 2, (left, top)), (50720, _LONG, 2, (width, height))]
        seed = sum(map(ord, self.name))
        light = scene(self.shape, seed)
        light[40:60, 50:80] = 1.5  # a lamp, above white
        return make_raw(
            folder / self.name,
            light=light,
            phase=self.phase,
            bits=self.bits,
            black=self.black,
            active_area=self.area,
            orientation=self.orientation,
            iso=None,
            exposure_time=None,
            aperture=None,
            focal_length=None,
            datetime=None,
            seed=seed,
            **self.how | {"more_tags": more} | more_how,
        )


def _every() -> Iterator[Camera]:
    orientations = itertools.cycle((6, 1, 8, 3, 5, 2, 7, 4))
    depths = itertools.cycle((14, 12, 16, 10, 13))
    for phase, area, black in itertools.product(("RGGB", "GRBG", "GBRG", "BGGR"), AREAS, BLACKS):
        number = 4 * AREAS.index(area) + BLACKS.index(black)
        bits = next(depths)
        yield Camera(
            f"{phase}{number:02d}.dng",
            phase,
            EVEN if area is None and black is BLACKS[0] else ODD,
            area,
            tuple(level // 8 for level in black) if bits < 12 else black,
            bits,
            next(orientations),
            SHOWN if number % 8 == 4 else None,
        )
    # Files as makers name them and write them: other endings, the other byte order.
    yield Camera("maker.ARW", "GRBG", ODD, AREAS[1], orientation=8)
    yield Camera("maker.NEF", "RGGB", ODD, AREAS[2], BLACKS[1], orientation=6)
    yield Camera("motorola.dng", "GBRG", ODD, AREAS[3], how={"byteorder": ">"})


CAMERAS = tuple(_every())
FEW = tuple(camera for camera in CAMERAS if camera.name[4:] == "05.dng")
"""One of each phase, all with odd margins and a black of its own for each colour."""

"""Made-up cameras that write true CR2, NEF and ARW files, and what must come of reading them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.makers import canon, nikon, sony

AREA = (256, 320)
"""What sees light, in pixels."""
Made = tuple[bytes, NDArray[np.uint16]]
"""A file, and the samples (H, W) of the whole sensor that it must decode to."""
BALANCE = (2.0, 1.0, 1.5)
"""As-shot multipliers of all."""


@dataclass(frozen=True)
class Camera:
    """One camera, RGGB, with the white balance `BALANCE`.

    Attributes
    ----------
    name : str
        Of the file.
    model : str
    bits : int
    black : four float
        Of the sensor in DN, for R, G1, B, G2.
    white : (lowest, highest)
        The white level, in DN. Where the file has none it is LibRaw's, from a table of cameras.
    write : function
        Makes samples of the sensor a file; takes `iso` and `time` too.
    margin : (top, left)
        Rows and columns of the sensor that are masked.
    crop : (top, left, height, width) or None
    """

    name: str
    model: str
    bits: int
    black: Sequence[float]
    white: tuple[float, float]
    write: Callable[..., Made]
    margin: tuple[int, int] = (0, 0)
    crop: tuple[int, int, int, int] | None = None

    def __str__(self) -> str:
        return self.name

    def shoot(
        self,
        folder: Path,
        light: NDArray[np.float64],
        *,
        iso: int = 800,
        time: Fraction = Fraction(1, 60),
        noise: float = 1.0,
        seed: int = 0,
        name: str = "",
    ) -> tuple[Path, NDArray[np.uint16]]:
        """Write a shot of light (H, W), 0 black, 1 white; return its path and all its samples.

        `noise` is the gain in DN per electron at 14 bits, and read noise is three times that.
        """
        rng = np.random.default_rng(seed)
        step = noise / (1 << (14 - self.bits))
        cell = np.array([[self.black[0], self.black[1]], [self.black[3], self.black[2]]])
        top, left = self.margin
        whole = np.pad(light, ((top, 0), (left, 0)))
        black = np.tile(cell, (whole.shape[0] // 2, whole.shape[1] // 2))
        electrons = rng.poisson(whole * (self.white[0] - cell.max()) / step)
        samples = black + electrons * step + rng.normal(0, 3 * step, whole.shape)
        mosaic = np.clip(np.rint(samples), 0, (1 << self.bits) - 1).astype(np.uint16)
        data, decoded = self.write(mosaic, iso=iso, time=time)
        path = folder / (name or self.name)
        path.write_bytes(data)
        return path, decoded


def _canon(
    name: str,
    model: str,
    black: tuple[float, float, float, float],
    sensor: tuple[int, int, int, int],
    slices: Sequence[int],
    *,
    bits: int,
    white: int,
    components: int = 2,
    crop: tuple[int, int, int, int] | None = None,
) -> Camera:
    """Return a Canon; `sensor` is height, width, and the first row and column that see light."""
    height, width, top, left = sensor
    down, right, high, wide = crop or (0, 0, height - top, width - left)
    borders = (left + right, top + down, left + right + wide - 1, top + down + high - 1)
    stated = [round(black[index]) for index in (0, 1, 3, 2)]

    def write(mosaic: NDArray[np.uint16], **shot: Any) -> Made:
        data = canon.cr2(
            mosaic,
            borders=borders,
            balance=(2000, 1000, 1000, 1500),
            blacks=stated,
            white=white,
            slices=slices,
            bits=bits,
            components=components,
            model=model,
            **shot,
        )
        return data, mosaic

    return Camera(name, model, bits, black, (white, white), write, (top, left), crop)


def _nikon(
    name: str,
    model: str,
    kind: str,
    bits: int,
    split: int = 0,
    black: tuple[int, int, int, int] | None = None,
) -> Camera:
    def write(mosaic: NDArray[np.uint16], **shot: Any) -> Made:
        coded = nikon.encode(mosaic, kind, bits=bits, split=split, order=">")
        more = {"balance": (Fraction(2), Fraction(3, 2)), "black": black, "model": model}
        return nikon.nef(coded, order=">", **more, **shot), coded.decoded

    # The tag is for 14 bits whatever the file has.
    scaled = [level / (1 << (14 - bits)) for level in black or (0, 0, 0, 0)]
    top = (1 << bits) - 1
    return Camera(name, model, bits, [scaled[i] for i in (0, 1, 3, 2)], (0.9 * top, top), write)


def _sony(name: str, model: str, compressed: bool) -> Camera:
    crop = (8, 12, 240, 296)

    def write(mosaic: NDArray[np.uint16], **shot: Any) -> Made:
        stream, decoded = sony.arw2(mosaic) if compressed else (mosaic.tobytes(), mosaic)
        more = {"image_size": crop[2:]} if compressed else {"crop": crop}
        more |= {"balance": (2048, 1024, 1024, 1536), "linear": 15360, "model": model}
        return sony.arw(stream, mosaic.shape, compressed=compressed, **more, **shot), decoded

    return Camera(name, model, 14, (512,) * 4, (15360, 15360), write, crop=crop)


CAMERAS = (
    _canon(
        "sliced.CR2", "Canon EOS-1Ds Mark III", (1023, 1025, 1024, 1022), (276, 368, 20, 48),
        (2, 120, 128), bits=14, white=15000,
    ),
    _canon(
        "four.CR2", "Canon EOS 350D DIGITAL", (255, 257, 256, 254), (276, 368, 20, 48),
        (0, 0, 368), bits=12, white=3700, components=4,
    ),
    _nikon("lossless14.NEF", "NIKON D7100", "F0", 14, black=(400, 402, 401, 403)),
    _nikon("lossless12.NEF", "NIKON D7200", "F0", 12, black=(400, 402, 401, 403)),
    _nikon("lossy12.NEF", "NIKON D70", "D\x10", 12),
    _nikon("split14.NEF", "NIKON D300", "D\x20", 14, split=100),
    _nikon("split12.NEF", "NIKON D90", "D\x20", 12, split=101),
    _nikon("quarter14.NEF", "NIKON D850", "D\x40", 14),
    _sony("raw14.ARW", "ILCE-7M3", compressed=False),
    _sony("arw2.ARW", "SLT-A55V", compressed=True),
)  # fmt: skip
MASKED = _canon(
    "masked.CR2", "Canon EOS 350D DIGITAL", (255.75, 256.5, 255.25, 256.0), (1456, 2224, 6, 48),
    (1, 1112, 1112), bits=12, white=3700, crop=(5, 8, 1440, 2160),
)  # fmt: skip
"""A sensor whose size LibRaw knows, so that it measures black in the masked columns."""

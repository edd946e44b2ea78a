"""Small raws of a made-up camera, written with tifffile and not with ledcli's own writer."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import ArrayLike, NDArray

MAKE, MODEL = "Led", "Testcam One"
COLOUR_MATRIX = ((0.8, -0.2, -0.1), (-0.4, 1.2, 0.2), (-0.1, 0.2, 0.7))
NEUTRAL = (0.5, 1.0, 0.625)
"""Camera RGB of white: white balance 2, 1, 1.6."""
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real files, where the machine has them; tests that need them skip without."""

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SRATIONAL = 1, 2, 3, 4, 5, 10
BLACK_REPEAT, BLACK_LEVEL, DELTA_H, DELTA_V, WHITE_LEVEL = 50713, 50714, 50715, 50716, 50717
MASKED_AREAS = 50830
_ORIGIN_OF = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}
MONO = "monochrome"
XTRANS = ("GGRGGB", "GGBGGR", "BRGRBG", "GGBGGR", "GGRGGB", "RBGBRG")
"""The X-Trans pattern as it is printed everywhere, from one of its corners."""


def scene(shape: tuple[int, int], seed: int = 0) -> NDArray[np.float64]:
    """Smooth patches of light, 0.02 to 0.6 of white: a clean normalised mosaic (H, W)."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    light = 0.05 + 0.25 * cols / shape[1] + 0.1 * rows / shape[0]
    for _ in range(6):
        row, col = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        radius = rng.uniform(5, min(shape) / 3)
        light[(rows - row) ** 2 + (cols - col) ** 2 < radius**2] = rng.uniform(0.02, 0.6)
    return light


def colours_of(phase: str | tuple[int, int]) -> NDArray[np.int64]:
    """Number each pixel's colour as `black` counts them, from a sensor's first pixel.

    Parameters
    ----------
    phase : str or (row, column)
        Of a Bayer sensor; or the place in `XTRANS` where an X-Trans begins.

    Returns
    -------
    int array (2, 2) or (6, 6)
        0 to 3 for R, G1, B, G2; of an X-Trans 0 to 2 for R, G, B.
    """
    if phase == MONO:
        return np.zeros((1, 1), int)
    if isinstance(phase, str):
        row, col = _ORIGIN_OF[phase]
        return np.roll([[0, 1], [3, 2]], (row, col), (0, 1))
    cell = np.array([["RGB".index(letter) for letter in line] for line in XTRANS])
    return np.roll(cell, (-phase[0], -phase[1]), (0, 1))


def make_raw(
    path: Path,
    *,
    shape: tuple[int, int] = (128, 160),
    phase: str | tuple[int, int] = "RGGB",
    light: NDArray[Any] | None = None,
    mosaic: NDArray[np.uint16] | None = None,
    iso: int | None = 800,
    exposure_time: Fraction | float | None = Fraction(1, 60),
    bits: int = 14,
    black: float | Sequence[float] = 512,
    white: int | None = None,
    gain: float = 1.0,
    read_noise: float = 2.0,
    make: str | None = MAKE,
    model: str | None = MODEL,
    aperture: float | None = 2.8,
    focal_length: float | None = 50,
    datetime: str | None = "2024:05:06 07:08:09",
    orientation: int = 1,
    neutral: Sequence[float] | None = NEUTRAL,
    colour_matrix: Sequence[Sequence[float]] | None = COLOUR_MATRIX,
    active_area: tuple[int, int, int, int] | None = None,
    more_tags: Sequence[tuple[int, int, int, Any]] = (),
    byteorder: str = "<",
    seed: int = 0,
) -> NDArray[np.uint16]:
    """Write a raw of 16-bit samples and return the mosaic it holds.

    Parameters
    ----------
    path : Path
        The suffix is free; the content is a DNG of one directory.
    shape : (H, W)
        Of the mosaic that is made when neither `light` nor `mosaic` says otherwise.
    phase : str or (row, column)
        Of the first pixel: RGGB, BGGR, GRBG or GBRG, or where in `XTRANS` it lies; MONO for a
        sensor without colours, whose black is one number.
    light : array (H, W) or None
        What falls on the sensor, 0 black, 1 white, noise free; noise is added.
    mosaic : uint16 array (H, W) or None
        The samples themselves, in DN; goes before `light`.
    iso, exposure_time, make, model, aperture, focal_length, datetime : or None
        None leaves the tag out.
    bits : int
        White is 2**bits - 1 unless `white` says otherwise.
    black : float, four or three
        In DN, fractions too; four are for R, G1, B, G2, three for R, G, B of an X-Trans.
    gain, read_noise : float
        DN per electron, and DN; 0 and 0 make no noise but rounding.
    active_area : (top, left, bottom, right) or None
        Of the samples; the phase stays that of the first sample of all.
    more_tags : (code, type, count, value)
        They take the place of others with the same code; a count of 0 leaves a tag out.
    byteorder : str
        ``<`` as Intel has it, ``>`` as Motorola.
    seed : int

    Returns
    -------
    uint16 array (H, W)
    """
    white = 2**bits - 1 if white is None else white
    cell = colours_of(phase)
    period = len(cell)
    blacks = np.broadcast_to(np.asarray(black, np.float64), cell.max() + 1)
    if mosaic is None:
        light = scene(shape, seed) if light is None else np.asarray(light, np.float64)
        rng = np.random.default_rng(seed + 1)
        signal = np.empty(light.shape)
        for r, c in sorted(np.ndindex(cell.shape), key=lambda place: cell[place]):
            low = blacks[cell[r, c]]
            dn = light[r::period, c::period] * (white - low)
            if gain:
                dn = rng.poisson(np.maximum(dn, 0) / gain) * gain
            signal[r::period, c::period] = low + dn + rng.normal(0, read_noise, dn.shape)
        mosaic = np.clip(np.rint(signal), 0, white).astype(np.uint16)
    if active_area:
        # BLACKLEVEL counts from the active area, the pattern from it as well.
        cell = np.roll(cell, (-active_area[0], -active_area[1]), (0, 1))
    colours = np.array([0, 1, 2, 1])[cell]
    tags: list[tuple[int, int, int, Any]] = [
        (33421, _SHORT, 2, cell.shape),
        (33422, _BYTE, cell.size, colours.astype(np.uint8).tobytes()),
        (50706, _BYTE, 4, bytes((1, 4, 0, 0))),
        (BLACK_REPEAT, _SHORT, 2, cell.shape),
        numbers_tag(BLACK_LEVEL, blacks[cell]),
        (WHITE_LEVEL, _LONG, 1, white),
    ]
    for code, text in ((271, make), (272, model), (36867, datetime)):
        if text is not None:
            tags.append((code, _ASCII, len(text) + 1, text))
    for code, value in ((33434, exposure_time), (33437, aperture), (37386, focal_length)):
        if value is not None:
            tags.append((code, _RATIONAL, 1, _pair(value)))
    if iso is not None:
        tags.append((34855, _SHORT, 1, iso))
    if phase == MONO:
        neutral = colour_matrix = None
        tags = [tag for tag in tags if tag[0] not in (33421, 33422)]
    if colour_matrix is not None:
        flat = [part for line in colour_matrix for value in line for part in _pair(value)]
        tags += [(50721, _SRATIONAL, 9, tuple(flat)), (50778, _SHORT, 1, 21)]
    if neutral is not None:
        flat = [part for value in neutral for part in _pair(value)]
        tags.append((50728, _RATIONAL, 3, tuple(flat)))
    if active_area:
        tags.append((50829, _LONG, 4, active_area))
    tags.append((274, _SHORT, 1, orientation))
    by_code = {tag[0]: tag for tag in (*tags, *more_tags)}
    tifffile.imwrite(
        path,
        mosaic,
        photometric="minisblack" if phase == MONO else "cfa",
        metadata=None,
        byteorder=byteorder,
        extratags=[(*tag, True) for tag in by_code.values() if tag[2]],
    )
    if phase == MONO:
        # Tifffile writes LinearRaw only with three samples per pixel.
        grey, linear = (struct.pack(byteorder + "HHIH", 262, 3, 1, code) for code in (1, 34892))
        path.write_bytes(path.read_bytes().replace(grey, linear, 1))
    return mosaic


def numbers_tag(code: int, values: ArrayLike) -> tuple[int, int, int, Any]:
    """Make a tag of whole numbers, or of fractions if the values have any."""
    numbers = np.ravel(values).tolist()
    if all(value == int(value) >= 0 for value in numbers):
        return code, _LONG, len(numbers), tuple(map(int, numbers))
    flat = [part for value in numbers for part in _pair(value)]
    signed = min(numbers) < 0 or code in (DELTA_H, DELTA_V)
    return code, _SRATIONAL if signed else _RATIONAL, len(numbers), tuple(flat)


def make_dark(path: Path, *, shape: tuple[int, int] = (128, 160), **how: Any) -> NDArray[np.uint16]:
    """Write a lens-cap frame: noise about black and nothing else."""
    return make_raw(path, light=np.zeros(shape), **how)


def make_constant(path: Path, value: int = 0, **how: Any) -> None:
    """Write a raw in which every sample is the same."""
    shape = how.pop("shape", (128, 160))
    make_raw(path, mosaic=np.full(shape, value, np.uint16), **how)


def make_zero_tail(path: Path, rows: int, value: int = 0, **how: Any) -> None:
    """Write a raw whose last rows are all one value, as decoders leave a file cut short."""
    mosaic = make_raw(path, **how)
    mosaic[-rows:] = value
    make_raw(path, mosaic=mosaic, **how)


def truncate(path: Path, keep: float) -> None:
    """Cut a file off, keeping that share of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def _pair(value: Fraction | float) -> tuple[int, int]:
    fraction = Fraction(value).limit_denominator(1_000_000)
    return fraction.numerator, fraction.denominator

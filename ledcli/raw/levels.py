"""Black and white levels of a raw, with the fractions that LibRaw cuts off.

A DNG's levels are those of its tags, a maker's raw has LibRaw's. Masked pixels, which no light
reaches, show what black was in this very shot.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rawpy
from numpy.typing import NDArray

from ledcli.errors import RawError
from ledcli.metadata.dng_mosaic import Area, DngMosaic, mosaic_directory
from ledcli.metadata.tiff import Bytes, Directory
from ledcli.sensor.cfa import AnyPhase, Phase, colour_pattern, pattern
from ledcli.sensor.levels import BlackPattern, Levels, Values

MAX_WHITE = 65535
"""DN."""
_MIN_MASKED = 64
"""Masked pixels of a plane that suffice to measure its black."""
_OUTLIER = 6.0
"""Standard deviations from the median: a masked pixel further away is hot or dead."""
_STANDARD_ERRORS = 3.0
"""What differs by less is the same black."""
_CUT_OFF = 2.0
"""DN; LibRaw's black is less than this from what it is in maker notes."""
_FEW, _MANY = 1 / 4096, 1 / 128
"""Largest change of a stated black by masked pixels, as a share of white - black: where their
halves disagree, and where they agree. What is larger is stray light."""
_EDGE = 2
"""Columns that LibRaw leaves out beside the image: some light reaches them."""
_EXIF_IFD, _MAKER_NOTES, _BITS = 34665, 37500, 258
_NIKON = b"Nikon\0\2"
_NIKON_START = 10
"""Name, version and two spare bytes; then a TIFF of their own."""
_NIKON_BLACK, _NIKON_BITS = 0x3D, 14
"""The tag's levels are for 14 bits, even in a file of 12."""

Samples = NDArray[Any]


def read_levels(
    path: Path,
    raw: rawpy.RawPy,
    samples: Samples,
    phase: AnyPhase,
    indices: Sequence[int],
    area: Area,
    dng: DngMosaic | None,
    stated: Sequence[float] = (),
) -> tuple[Levels, str]:
    """Return the levels of the active area of an opened raw, and a doubt about them or "".

    `samples` (H, W) are all that are stored: LibRaw's, or those of a floating-point DNG. The active
    `area` lies in them; `phase` is that of its first pixel. `indices` are LibRaw's colour index of
    each plane, `dng` what a DNG says of its mosaic, `stated` the black of R, G1, G2, B in DN, where
    a maker's notes have it more exactly than LibRaw.

    Raises RawError if the number of a DNG's levels does not fit its layout, or white is not above
    black.
    """
    black = np.array([raw.black_level_per_channel[index] for index in indices], np.float32)
    is_float, doubt = dng is not None and dng.is_float, ""
    white = np.full(len(black), 1 if is_float else raw.white_level, np.float32)
    levels = Levels(black, white)
    if dng is not None:
        levels, doubt = _of_dng(path, samples, phase, area, dng, levels)
    elif isinstance(phase, Phase) and len(stated) == len(black):
        exact = np.array(stated, np.float32)[[0, 1, 3, 2]]
        levels = Levels(exact, white) if np.abs(exact - black).max() < _CUT_OFF else levels
    elif isinstance(phase, Phase):
        levels = Levels(measured_black(samples, phase, area, black), white)
    low, high = levels.black.max(), levels.white.min()
    if not low < high <= (math.inf if is_float else MAX_WHITE):
        raise RawError(
            f"{path}: has a white level ({high:g}) that is not above its black level ({low:g}): "
            "the file is damaged or its camera unknown"
        )
    return levels, doubt


def nikon_black(data: Bytes) -> list[float]:
    """Read the black level that a NEF's maker notes state (tag BlackLevel): of R, G1, G2, B.

    In DN of the file's own bits; empty for other files and for older cameras, whose black is 0.
    """
    notes = Directory.first(data).child(_EXIF_IFD).stored(_MAKER_NOTES) or b""
    bits = mosaic_directory(data).integers(_BITS)
    if not notes.startswith(_NIKON) or len(bits) != 1 or bits[0] > _NIKON_BITS:
        return []
    levels = Directory.first(notes[_NIKON_START:]).integers(_NIKON_BLACK)
    return [level / (1 << (_NIKON_BITS - bits[0])) for level in levels] if len(levels) == 4 else []


def lower_white(levels: Levels, limits: Iterable[float]) -> Levels:
    """Return levels with the lowest of a camera's linearity limits as the white of all colours.

    They are in a maker's own file, and LibRaw's table is where samples end. Older Canons state the
    largest number of 14 bits, which no sample reaches; then the table's white stays. There is one
    limit for all colours, so that highlights stay neutral.
    """
    limit, white = min(limits), levels.white[0]
    if not white / 2 <= limit < white or limit <= levels.black.max():
        return levels
    return replace(levels, white=np.full_like(levels.white, limit))


def measured_black(image: Samples, phase: Phase, area: Area, black: Values) -> Values:
    """Return the black of a maker's raw with the fractions that LibRaw cut off.

    LibRaw takes the mean of some makers' masked columns as black, and cuts it to a whole number.
    If the columns beside the image have a mean that becomes LibRaw's black in all colours when it
    is cut, it is the black; otherwise LibRaw has its black from elsewhere.

    `image` (H, W) is all stored samples: the image is in the `area` and has the `phase`. `black`
    (4,) is LibRaw's, in plane order.
    """
    top, left, bottom, right = area
    width = image.shape[1]
    columns = np.r_[0 : max(left - _EDGE, 0), min(right + _EDGE, width) : width]
    lines = [image[top + row : bottom : 2][:, columns].mean(0) for row in range(2)]
    cell = pattern(phase)
    # LibRaw's list of cameras says where the masked columns begin, but rawpy does not expose it.
    for start in range(left - 2 * _EDGE):
        for used in ((columns >= start) & (columns < left), columns >= start):
            means = np.empty(4)
            for (row, col), plane in np.ndenumerate(cell):
                means[plane] = lines[row][used & ((columns - left) % 2 == col)].mean()
            if np.array_equal(np.floor(means + 1e-9), black):
                bands = [(top, start, bottom, left - _EDGE)]
                if used[-1] and right + _EDGE < width:
                    bands.append((top, right + _EDGE, bottom, width))
                found = _masked_means(image, phase, area, bands)
                return black if found is None else found[0].astype(np.float32)
    return black


def _of_dng(
    path: Path, image: Samples, phase: AnyPhase, area: Area, dng: DngMosaic, libraw: Levels
) -> tuple[Levels, str]:
    """Return the levels of a DNG's tags, black as its masked pixels show it; see `read_levels`.

    `libraw` are LibRaw's, which also looks for them in the other directories.
    """
    top, left, bottom, right = area
    missing = dng.delta_v or dng.delta_h or dng.masked is not None
    stated = dng.black or ([0.0] if missing else [])
    cell = libraw.black[pattern(phase)]
    if stated:
        cell = _cell(path, "BlackLevel", stated, dng.black_repeat, phase)
    rows = _deltas(path, "BlackLevelDeltaV", dng.delta_v, bottom - top)
    columns = _deltas(path, "BlackLevelDeltaH", dng.delta_h, right - left)
    white = libraw.white
    if dng.white:
        whites = _cell(path, "WhiteLevel", dng.white, [], phase)
        white = Levels.of_pattern(BlackPattern(whites, 0 * rows, 0 * columns), white, phase).black
    levels = Levels.of_pattern(BlackPattern(cell, rows, columns), white, phase)
    masked = dng.masked or []
    found = _masked_means(image, phase, area, masked) if levels.pattern is None else None
    if found is None:
        return levels, ""
    means, errors = found
    moved = replace(levels, black=means.astype(np.float32))
    change, span = np.abs(means - levels.black), float((levels.white - levels.black).min())
    if not dng.black:
        return moved, ""
    if (change <= _STANDARD_ERRORS * errors).all():
        return levels, ""
    if change.max() <= _FEW * span:
        return moved, ""
    halves = [_masked_means(image, phase, area, _halves(masked, way)) for way in range(4)]
    changes = [np.abs(half[0] - means).max() for half in halves if half is not None]
    if change.max() <= _MANY * span and max(changes, default=0.0) <= change.max() / 4:
        return moved, ""
    low, high = (f"{level.mean():.5g}" for level in (levels.black, means))
    return levels, f"masked pixels put black at {high} DN, the file at {low}: {low} is used"


def _halves(masked: Iterable[Area], way: int) -> list[Area]:
    """Return the upper, lower, left or right half of each area."""
    halves = []
    for top, left, bottom, right in masked:
        row, column = (top + bottom) // 2, (left + right) // 2
        upper, lower = (top, left, row, right), (row, left, bottom, right)
        edges = (top, left, bottom, column), (top, column, bottom, right)
        halves.append((upper, lower, *edges)[way])
    return halves


def _cell(
    path: Path, name: str, values: Sequence[float], repeat: Sequence[int], phase: AnyPhase
) -> Values:
    """Arrange a DNG's levels (h, w) as they repeat from the active area's first pixel."""
    found, period = np.array(values, np.float32), phase.layout.period
    if not np.ptp(found):
        return found[:1].reshape(1, 1)
    if len(repeat) == 2 and min(repeat) > 0 and math.prod(repeat) == found.size:
        return found.reshape(repeat)
    if not repeat and found.size == period**2:
        return found.reshape(period, period)
    if not repeat and found.size == 3:
        return found[colour_pattern(phase)]
    layout = " x ".join(map(str, repeat)) or f"{phase.layout.title} colours"
    level = "white" if name == "WhiteLevel" else "black"
    raise _does_not_fit(path, f"{found.size} values of {name} for {layout}", level)


def _deltas(path: Path, name: str, values: Sequence[float], count: int) -> Values:
    """Return what is added to black in each of the active area's rows or columns."""
    if not any(values):
        return np.zeros(count, np.float32)
    if len(values) != count:
        raise _does_not_fit(path, f"{len(values)} values of {name} for {count} lines")
    return np.array(values, np.float32)


def _does_not_fit(path: Path, what: str, level: str = "black") -> RawError:
    return RawError(
        f"{path}: has {what}, so its {level} is unclear: convert the camera's raw anew with Adobe "
        "DNG Converter"
    )


def _masked_means(
    image: Samples, phase: AnyPhase, area: Area, masked: Iterable[Area]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return mean and standard error (planes,) of masked pixels in DN, outliers left out.

    None if there are too few of them, they are in the image, or they hold nothing.
    """
    cell = pattern(phase)
    samples: list[list[Samples]] = [[] for _ in range(phase.layout.planes)]
    for top, left, bottom, right in masked:
        if top < area[2] and area[0] < bottom and left < area[3] and area[1] < right:
            continue
        part = image[top:bottom, left:right]
        here = np.roll(cell, (area[0] - top, area[1] - left), (0, 1))
        for (row, col), plane in np.ndenumerate(here):
            samples[plane].append(part[row :: len(cell), col :: len(cell)].ravel())
    found = []
    for parts in samples:
        dn = np.concatenate(parts) if parts else np.empty(0)
        if dn.size < _MIN_MASKED or 2 * np.count_nonzero(dn) < dn.size:
            return None
        distance = np.abs(dn - np.median(dn))
        spread = max(1.4826 * float(np.median(distance)), 0.5)
        dn = dn[distance <= _OUTLIER * spread]
        found.append((dn.mean(dtype=np.float64), dn.std(dtype=np.float64) / dn.size**0.5))
    means, errors = np.array(found).T
    if (np.abs(means - means.mean()) <= _STANDARD_ERRORS * errors).all():
        # One black for all colours, which more pixels tell more exactly.
        means[:] = means.mean()
    return means, errors

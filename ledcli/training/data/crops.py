"""The crop file: clean planes of photographs and procedural scenes, packed once for training.

A ``.npy`` file of uint16 ``(crops, 4, S, S)``, read through a memory map; X-Trans crops have nine
planes, which start with an even cell. Values are the square root of the linear signal times 65,535,
so that dark parts keep their steps.
"""

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ledcli.errors import LedError, TrainingError, as_led_error
from ledcli.noise.blocks import Planes, measure_blocks
from ledcli.output.atomic import explained, move_part, part_file, remove_abandoned_part_files
from ledcli.raw.colour import linear_from_srgb
from ledcli.raw.decoder import decoders
from ledcli.raw.inputs import RAW_SUFFIXES
from ledcli.raw.reader import RawPhoto
from ledcli.raw.rendered import HDR_SUFFIX, RENDERED_SUFFIXES, read_photograph
from ledcli.sensor.cfa import STANDARD_PHASE, colour_pattern, pack
from ledcli.sensor.layout import LAYOUTS, Layout, layout_of
from ledcli.sensor.symmetry import cells_lost, even_start
from ledcli.training.data.scenes import Linear, make_scene

CROP = 256
"""Side of an augmented crop, in plane pixels."""
FULL_SCALE = 65535
SCENES = 0.25
"""Share of procedural scenes."""
NOISE_WINDOW = 130
"""Side of the window in a crop's middle whose noise is measured, plane pixels."""
NOISE_QUANTILE = 0.05
"""Quantile of the blocks' noise that counts as the crop's: what is above may be texture."""
MIN_MEAN = 0.02
"""Blocks that are darker, in the square root of the signal over 2, are not measured."""

Crops = NDArray[np.uint16]
"""As in a crop file, ``(n, planes, S, S)``."""
Report = Callable[[str], None]
Problem = Callable[[LedError], None]


def pack_crops(
    folder: Path | None,
    out: Path,
    *,
    megabytes: float,
    scenes: float = SCENES,
    side: int = CROP,
    cfa: str = "bayer",
    seed: int = 0,
    report: Report = lambda _: None,
    problem: Problem | None = None,
) -> int:
    """Write a crop file and return how many crops it holds; the same seed gives the same file.

    ``folder`` is searched with its subfolders for photographs: rendered ones (sRGB, taken back to
    linear), Radiance ``.hdr`` and raws (used as they are). ``scenes`` is the share of procedural
    scenes, 0 to 1; without a folder there is nothing else. The file has ``megabytes`` of 10^6 bytes
    and appears when it is complete. A crop has ``side`` plane pixels a side and
    those that augmenting cuts off. ``report`` receives a message for each photograph that is
    skipped, such as a raw of another kind of sensor than ``cfa``, and what may be wrong with the
    others; ``problem`` receives why one cannot be read; by default `report` does. Raises
    TrainingError if the folder holds no usable photograph, or the size is too small for one crop;
    OutputError if the file cannot be written.
    """
    planes = LAYOUTS[cfa].planes
    side += cells_lost(planes)
    total = int(megabytes * 1e6 / (2 * planes * side * side))
    if total < 1:
        raise TrainingError(f"{megabytes} MB hold no crop of {side} pixels: choose a larger size")
    remove_abandoned_part_files(out.parent)
    with part_file(out.parent) as part:
        with explained(out):
            shape = total, planes, side, side
            crops = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint16, shape=shape)
            _reserve(part, crops)
        broken = problem or (lambda error: report(str(error)))
        fill_crops(crops, folder, scenes, seed, report, broken)
        with explained(out):
            crops.flush()
        del crops  # Windows renames no file that is mapped
        move_part(part, out)
    return total


def _reserve(path: Path, crops: Crops) -> None:
    """Take the blocks of a new file: to write to its map on a full disk kills the process."""
    with open(path, "r+b") as file:
        start = file.seek(0, os.SEEK_END) - crops.nbytes
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), start, crops.nbytes)
            return
        file.seek(start)
        for crop in crops:
            file.write(bytes(crop.nbytes))


def fill_crops(
    crops: Crops, folder: Path | None, scenes: float, seed: int, report: Report, problem: Problem
) -> None:
    """Fill crops ``(n, planes, S, S)`` in place with what `pack_crops` packs, and raise as it."""
    total, kind = len(crops), _Kind(layout_of(crops.shape[1]), crops.shape[-1])
    rng = np.random.default_rng(seed)
    photos: Iterator[Planes] = iter(())
    if folder:
        from_photos = total - round(total * scenes)
        photos = _photo_crops(folder, from_photos, kind, rng, report, problem)
    filled = 0
    # Photographs and scenes are mixed, so that any part of the crops is like the whole.
    order = rng.permutation(total)
    for filled, planes in enumerate(photos, start=1):
        crops[order[filled - 1]] = encode(planes)
    for number in order[filled:]:
        crops[number] = encode(pack_rgb(make_scene(kind.pixels, rng), kind.layout.name))


def load_crops(path: Path, cfa: str = "bayer") -> Crops:
    """Open a crop file as a memory map ``(crops, planes, S, S)``; raises TrainingError."""
    try:
        crops = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path} is not a crop file: make one with --photos") from error
    planes = {layout.planes: kind for kind, layout in LAYOUTS.items()}
    found = planes.get(crops.shape[1]) if crops.ndim == 4 and len(crops) else None
    if crops.dtype != np.uint16 or found is None:
        raise TrainingError(f"{path} is not a crop file: make one with --photos")
    if found != cfa:
        raise TrainingError(f"{path} holds crops for {found}, not {cfa}: name another with --crops")
    return crops


def crop_noise(crops: Crops) -> NDArray[np.float32]:
    """Measure the noise that photographs bring into training.

    Returns ``(n,)`` for crops ``(n, planes, S, S)``: the standard deviation of the noise in the
    square root of the signal (white is 1), where the crop is smoothest.
    """
    side = min(NOISE_WINDOW, crops.shape[-1])
    start = (crops.shape[-1] - side) // 2
    middle = slice(start, start + side)
    found = []
    for crop in crops:
        # Half the scale, so that white does not count as saturated.
        blocks = measure_blocks(crop[:, middle, middle].astype(np.float32) / (2 * FULL_SCALE))
        noise = blocks.noise[blocks.mean > MIN_MEAN]
        found.append(2 * float(np.quantile(noise, NOISE_QUANTILE)) ** 0.5 if noise.size else 0.0)
    return np.array(found, np.float32)


def encode(planes: Planes) -> NDArray[np.uint16]:
    """Encode linear planes, 0 to 1, as uint16."""
    return np.rint(np.sqrt(np.clip(planes, 0, 1)) * FULL_SCALE).astype(np.uint16)


def pack_rgb(rgb: Linear, cfa: str = "bayer") -> Planes:
    """Sample a mosaic from a linear image ``(H, W, 3)``, and pack it.

    Its sides are multiples of a cell's. Returns float32 planes ``(4, H/2, W/2)``, or
    ``(9, H/3, W/3)`` for X-Trans.
    """
    phase = STANDARD_PHASE[cfa]
    cell = colour_pattern(phase)
    mosaic = rgb[..., 1].copy()
    period = len(cell)
    for (row, col), colour in np.ndenumerate(cell):
        mosaic[row::period, col::period] = rgb[row::period, col::period, colour]
    return pack(mosaic, phase)


class _Kind(NamedTuple):
    """What crops are made for: a kind of sensor, and their side in plane pixels."""

    layout: Layout
    side: int

    @property
    def pixels(self) -> int:
        """Side in pixels of a photograph."""
        return self.layout.side * self.side


def _photo_crops(
    folder: Path,
    count: int,
    kind: _Kind,
    rng: np.random.Generator,
    report: Report,
    problem: Problem,
) -> Iterator[Planes]:
    """Yield ``count`` crops, an equal share from each photograph."""
    suffixes = RENDERED_SUFFIXES | {HDR_SUFFIX} | RAW_SUFFIXES
    found = folder.rglob("*") if os.path.isdir(folder) else ()
    paths = sorted(p for p in found if p.suffix.lower() in suffixes and os.path.isfile(p))
    given, failed = 0, 0
    photos = decoders.each(read_photograph, paths)
    for left, path, photo in zip(range(len(paths), 0, -1), paths, photos, strict=True):
        share = -(-(count - given) // left)
        try:
            if isinstance(photo, LedError):
                raise photo
            if isinstance(photo, RawPhoto):
                crops = list(_raw_crops(photo, share, kind, rng))
                for warning in photo.warnings:
                    report(warning)
            else:
                crops = list(_rgb_crops(photo, share, kind, rng))
        except (LedError, MemoryError, ValueError) as error:
            failed += 1
            if isinstance(error, ValueError):
                report(f"{path}: skipped: {error}")
            else:
                problem(as_led_error(error, path))
            continue
        given += len(crops)
        yield from crops
    if count and failed == len(paths):
        raise TrainingError(f"{folder} holds no photograph that can be read: give another folder")


def _rgb_crops(
    rgb: NDArray[Any], count: int, kind: _Kind, rng: np.random.Generator
) -> Iterator[Planes]:
    hdr = rgb.dtype == np.float32
    if not hdr:
        rgb = linear_from_srgb(rgb.astype(np.float32) / np.float32(255))
    smallest = kind.pixels / min(rgb.shape[:2])
    if smallest > 1:
        raise ValueError(f"it is smaller than {kind.pixels} pixels")
    for _ in range(count):
        scale = 1.0
        if not hdr:
            # Shrinking in linear light averages away the photograph's own noise and JPEG blocks.
            scale = max(smallest, float(np.exp(rng.uniform(np.log(0.3), 0))))
            if scale > 0.85:
                scale = max(smallest, 1.0) if rng.random() < 0.5 else max(smallest, 0.7)
        crop = _shrunk_crop(rgb, scale, kind.pixels, rng)
        if hdr:
            white = float(np.quantile(crop, rng.uniform(0.9, 0.999)))
            crop = np.clip(crop / max(white, 1e-6), 0, 1)
        # Desaturated a little, towards camera colours: they are less saturated than sRGB's.
        share = np.float32(rng.uniform(0, 0.35))
        mixed = (1 - share) * crop + share * crop.mean(-1, keepdims=True)
        yield pack_rgb(mixed, kind.layout.name)


def _raw_crops(
    photo: RawPhoto, count: int, kind: _Kind, rng: np.random.Generator
) -> Iterator[Planes]:
    side = kind.side
    sensor = "monochrome" if photo.monochrome else photo.cfa
    if sensor != kind.layout.name:
        raise ValueError(f"its sensor is {sensor}, not {kind.layout.name}")
    planes = photo.planes()
    _, rows, cols = planes.shape
    if min(rows, cols) < side:
        raise ValueError(f"it is smaller than {kind.pixels} pixels")
    for _ in range(count):
        top, left = (int(rng.integers(0, n - side + 1)) for n in (rows, cols))
        top, left = even_start(len(planes), top, left)
        yield planes[:, top : top + side, left : left + side]


def _shrunk_crop(rgb: Linear, scale: float, side: int, rng: np.random.Generator) -> Linear:
    window = min(round(side / scale), *rgb.shape[:2])
    top, left = (int(rng.integers(0, n - window + 1)) for n in rgb.shape[:2])
    crop = rgb[top : top + window, left : left + window]
    if window == side:
        return crop
    bands = [
        np.asarray(Image.fromarray(crop[..., c]).resize((side, side), Image.Resampling.BOX))
        for c in range(3)
    ]
    return np.stack(bands, -1)

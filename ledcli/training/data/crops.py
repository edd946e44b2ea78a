"""The crop file: clean planes of photographs and procedural scenes, packed once for training.

A ``.npy`` file of uint16 ``(crops, 4, S, S)`` that is read through a memory map; of an X-Trans it
has nine planes, which begin with an even cell, and so says what it is. Values are the square root
of the linear signal times 65,535, so that the dark keeps its steps.
"""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ledcli.batch.inputs import RAW_SUFFIXES
from ledcli.errors import LedError, TrainingError
from ledcli.raw.colour import linear_from_srgb
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import STANDARD_PHASE, colour_pattern, pack
from ledcli.sensor.layout import LAYOUTS
from ledcli.sensor.symmetry import cells_lost, even_start
from ledcli.training.data.scenes import Linear, make_scene

RENDERED_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"})
HDR_SUFFIX = ".hdr"
CROP = 256
"""Side of an augmented crop, in plane pixels."""
FULL_SCALE = 65535

Planes = NDArray[np.float32]
Report = Callable[[str], None]


def pack_crops(
    folder: Path | None,
    out: Path,
    *,
    megabytes: float,
    scenes: float = 0.25,
    side: int = CROP,
    cfa: str = "bayer",
    seed: int = 0,
    report: Report = lambda _: None,
) -> int:
    """Write a crop file and return how many crops it holds.

    Parameters
    ----------
    folder : Path or None
        Photographs, searched with its subfolders: rendered ones (sRGB, taken back to linear),
        Radiance ``.hdr`` and raws (taken as they are). None: procedural scenes only.
    out : Path
        The file to write; it appears when it is complete.
    megabytes : float
        Its size, in 10^6 bytes.
    scenes : float
        Share of procedural scenes, 0 to 1, when there is a folder.
    side : int
        Side of a crop in plane pixels; X-Trans crops are larger by what augmenting cuts off.
    cfa : str
        Kind of sensor; raws of another kind are skipped.
    seed : int
        The same seed and folder give the same file.
    report : callable
        Receives a message for each photograph that cannot be read.

    Raises
    ------
    TrainingError
        The folder holds no usable photograph, or the size is too small for one crop.
    """
    kind = _Kind(cfa, side + cells_lost(LAYOUTS[cfa].planes))
    side = kind.side
    total = int(megabytes * 1e6 / (2 * kind.planes * side * side))
    if total < 1:
        raise TrainingError(f"{megabytes} MB hold no crop of {side} pixels: choose a larger size")
    rng = np.random.default_rng(seed)
    from_photos = 0 if folder is None else total - round(total * scenes)
    temporary = out.with_name(f".{out.name}.part")
    crops = np.lib.format.open_memmap(
        temporary, mode="w+", dtype=np.uint16, shape=(total, kind.planes, side, side)
    )
    try:
        photos = _photo_crops(folder, from_photos, kind, rng, report) if folder else iter(())
        filled = 0
        # Photographs and scenes are mixed, so that any part of the file is like the whole.
        order = rng.permutation(total)
        for filled, planes in enumerate(photos, start=1):
            crops[order[filled - 1]] = encode(planes)
        for number in order[filled:]:
            crops[number] = encode(pack_rgb(make_scene(kind.pixels, rng), cfa))
        crops.flush()
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return total


def load_crops(path: Path, cfa: str = "bayer") -> NDArray[np.uint16]:
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


def encode(planes: Planes) -> NDArray[np.uint16]:
    """Code linear planes in 0..1 as uint16."""
    return np.rint(np.sqrt(np.clip(planes, 0, 1)) * FULL_SCALE).astype(np.uint16)


def pack_rgb(rgb: Linear, cfa: str = "bayer") -> Planes:
    """Sample a mosaic from a linear image, and pack it.

    Parameters
    ----------
    rgb : float32 ``(H, W, 3)``
        Sides are multiples of a cell's.
    cfa : str
        Of ``LAYOUTS``.

    Returns
    -------
    float32 ``(4, H/2, W/2)``, or ``(9, H/3, W/3)`` of an X-Trans
    """
    phase = STANDARD_PHASE[cfa]
    cell = colour_pattern(phase)
    mosaic = rgb[..., 1].copy()
    period = len(cell)
    for (row, col), colour in np.ndenumerate(cell):
        mosaic[row::period, col::period] = rgb[row::period, col::period, colour]
    planes: Planes = pack(mosaic, phase)
    return planes


class _Kind(NamedTuple):
    """What crops are made for: a kind of sensor, and their side in plane pixels."""

    cfa: str
    side: int

    @property
    def planes(self) -> int:
        return LAYOUTS[self.cfa].planes

    @property
    def pixels(self) -> int:
        """Side in pixels of a photograph."""
        return LAYOUTS[self.cfa].side * self.side


def _photo_crops(
    folder: Path, count: int, kind: _Kind, rng: np.random.Generator, report: Report
) -> Iterator[Planes]:
    """Yield ``count`` crops, as many from each photograph as its size allows a fair share of."""
    suffixes = RENDERED_SUFFIXES | {HDR_SUFFIX} | RAW_SUFFIXES
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    readers = [(path, _reader(path)) for path in paths]
    given, failed = 0, 0
    for place, (path, reader) in enumerate(readers):
        share = -(-(count - given) // (len(readers) - place))
        try:
            crops = list(reader(path, share, kind, rng))
        except (LedError, OSError, ValueError, RuntimeError) as error:
            report(f"{path} skipped: {error}")
            failed += 1
            continue
        given += len(crops)
        yield from crops
    if count and failed == len(readers):
        raise TrainingError(f"{folder} holds no photograph that can be read: give another folder")


_Reader = Callable[[Path, int, _Kind, np.random.Generator], Iterator[Planes]]


def _reader(path: Path) -> _Reader:
    suffix = path.suffix.lower()
    return _rendered if suffix in RENDERED_SUFFIXES else _hdr if suffix == HDR_SUFFIX else _raw


def _rendered(path: Path, count: int, kind: _Kind, rng: np.random.Generator) -> Iterator[Planes]:
    coded = iio.imread(path, plugin="pillow", mode="RGB")
    rgb = linear_from_srgb(coded.astype(np.float32) / np.float32(255))
    for _ in range(count):
        # Shrinking in linear light averages away the photograph's own noise and JPEG blocks.
        smallest = kind.pixels / min(rgb.shape[:2])
        if smallest > 1:
            raise ValueError(f"it is smaller than {kind.pixels} pixels")
        scale = max(smallest, float(np.exp(rng.uniform(np.log(0.3), 0))))
        if scale > 0.85:
            scale = max(smallest, 1.0) if rng.random() < 0.5 else max(smallest, 0.7)
        yield pack_rgb(_mix(_shrunk_crop(rgb, scale, kind.pixels, rng), rng), kind.cfa)


def _hdr(path: Path, count: int, kind: _Kind, rng: np.random.Generator) -> Iterator[Planes]:
    rgb = np.asarray(imagecodecs.rgbe_decode(path.read_bytes()), np.float32)
    if min(rgb.shape[:2]) < kind.pixels:
        raise ValueError(f"it is smaller than {kind.pixels} pixels")
    for _ in range(count):
        crop = _shrunk_crop(rgb, 1.0, kind.pixels, rng)
        white = float(np.quantile(crop, rng.uniform(0.9, 0.999)))
        yield pack_rgb(_mix(np.clip(crop / max(white, 1e-6), 0, 1), rng), kind.cfa)


def _raw(path: Path, count: int, kind: _Kind, rng: np.random.Generator) -> Iterator[Planes]:
    photo, side = read_raw(path), kind.side
    if photo.cfa != kind.cfa:
        raise ValueError(f"its sensor is {photo.cfa}, not {kind.cfa}")
    planes = photo.planes()
    _, rows, cols = planes.shape
    if min(rows, cols) < side:
        raise ValueError(f"it is smaller than {kind.pixels} pixels")
    for _ in range(count):
        top, left = (int(rng.integers(0, n - side + 1)) for n in (rows, cols))
        top, left = even_start(kind.planes, top, left)
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


def _mix(rgb: Linear, rng: np.random.Generator) -> Linear:
    """Towards camera colours, which are less saturated than sRGB's: mix the channels a little."""
    share = np.float32(rng.uniform(0, 0.35))
    return (1 - share) * rgb + share * rgb.mean(-1, keepdims=True)

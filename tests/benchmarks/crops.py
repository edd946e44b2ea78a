"""Make the pictures of docs/crops.md: crops noisy, denoised in each quality, and the truth.

    python tests/benchmarks/crops.py [NAME...]

Half a minute on one core for all. Photos are denoised as `led denoise` does, with the noise
estimated from the whole frame; only the crop and what the network sees around it are computed. PSNR
is of the crop's raw planes. Names, or beginnings of them, choose pictures.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from nightscene import night_street
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from protocol import GAINS, Cell, Planes, score
from report import ROOT, SHARED

import ledcli
from ledcli.evaluation.datasets.photographs import (
    WHITE_BALANCE,
    clean_planes,
    noise_of,
    seed_of,
    short_frame,
)
from ledcli.evaluation.simulation import BLACK, WHITE
from ledcli.noise.cameras import CALIBRATED_WHITE
from ledcli.output.render import develop_mosaic
from ledcli.raw.colour import srgb_from_linear
from ledcli.raw.exif import Exif
from ledcli.raw.reader import RawPhoto, read_raw
from ledcli.sensor.cfa import Phase, unpack
from ledcli.sensor.levels import Levels
from ledcli.training.data.crops import pack_rgb

OUT = ROOT / "docs" / "crops"
RAW = SHARED / "raw"
RATIOS = (1, 20, 100, 300)
SIDE, HALO, BLOCK = 96, 96, 16
"""Plane pixels, of two pixels each way: side of a crop, what the networks see around it, and what
crops begin at multiples of."""
GAP, LINE, LETTERS = 6, 30, 21
GROUND, INK = (24, 24, 24), (236, 236, 236)
JPEG = {"quality": 78, "subsampling": 0, "optimize": True}
CAMERAS = {"SonyA7S2": "Sony A7S II", "CanonEOS700D": "Canon EOS 700D"}
STREET = {"sign": (6, 11), "tree": (2, 1)}
"""Top and left of the crops of the drawn street, in blocks of 16 plane pixels."""


load_model = cache(ledcli.load_model)


class Look(NamedTuple):
    """A crop to show: its top and left in blocks of 16 plane pixels; planes of the truth."""

    name: str
    photo: RawPhoto
    ratio: float
    corner: tuple[int, int]
    truth: Planes | None = None
    about: str = ""


def looks(street: Planes) -> Iterator[Look]:
    """Yield what is shown, in the order of the page."""
    portrait = clean_planes(SHARED / "clean" / "eval" / "kodak" / "4.png")
    for name, clean, camera, corner in (
        *((name, street, "SonyA7S2", corner) for name, corner in STREET.items()),
        ("portrait", portrait, "CanonEOS700D", (8, 3)),
    ):
        for ratio in RATIOS:
            cell = Cell(camera, GAINS[camera][0], ratio)
            about = f"ratio {ratio}\n{CAMERAS[camera]}\n{cell.gain:g} DN per e"
            yield Look(f"{name}-{ratio}", taken(clean, cell), ratio, corner, clean, about)
    yield Look("chart", read_raw(RAW / "good" / "canon_g2_0304.CRW"), 1, (2, 5))
    yield Look("label", read_raw(RAW / "good" / "canon_s40_0112.CRW"), 4, (22, 59))
    yield Look("stars", star_field(RAW / "real-noise" / "unsolved.fits", 700), 8, (8, 8))


def taken(clean: Planes, cell: Cell) -> RawPhoto:
    """Photograph clean planes, too dark by the ratio, with a calibrated camera's noise."""
    noise = noise_of(cell.camera, cell.gain)
    exif = Exif(*CAMERAS[cell.camera].split(" ", 1))
    short = short_frame(clean, noise, cell.ratio, seed_of(f"crops {cell.name}"))
    stored = unpack(short, Phase.RGGB, (2 * clean.shape[1], 2 * clean.shape[2]))
    stored = np.clip(np.rint(stored * CALIBRATED_WHITE + BLACK), 0, WHITE)
    return photo_of(stored, Phase.RGGB, (BLACK, WHITE), WHITE_BALANCE, exif)


def star_field(path: Path, side: int) -> RawPhoto:
    """Read a square FITS of 16-bit samples, as PANOPTES cuts them from its cameras' raws."""
    data = path.read_bytes()
    end = next(at for at in range(0, len(data), 80) if data[at : at + 80].split() == [b"END"])
    start = 2880 * (end // 2880 + 1)
    stored = np.frombuffer(data, ">i2", side * side, start).reshape(side, side) + 32768.0
    exif = Exif("Canon", "Canon EOS 100D", 100, 120.4)
    return photo_of(stored, Phase.GBRG, (2048, 11765), (2.016, 1.0, 1.490), exif)


def photo_of(
    stored: NDArray[np.floating],
    phase: Phase,
    levels: tuple[float, float],
    balance: tuple[float, ...],
    exif: Exif,
) -> RawPhoto:
    """Make a raw of samples in DN."""
    black, white = (np.full(4, level, np.float32) for level in levels)
    return RawPhoto(
        path=Path("made-up"),
        mosaic=stored.astype(np.uint16),
        phase=phase,
        levels=Levels(black, white),
        exif=exif,
        colour_matrix=None,
        as_shot_wb=np.array(balance),
        daylight_wb=None,
        orientation=1,
        bits=14,
    )


def tiles(look: Look) -> Iterator[tuple[str, Image.Image]]:
    """Yield the label and the picture of each version of a look."""
    planes = look.photo.planes()
    noise = look.photo.estimate_noise(planes)
    starts = [max(BLOCK * block - HALO, 0) for block in look.corner]
    rows, cols = (slice(start, start + SIDE + 2 * HALO) for start in starts)
    noise = noise.part(planes.shape[1:], rows, cols)
    tops = (BLOCK * block - start for block, start in zip(look.corner, starts, strict=True))
    inner = tuple(slice(top, top + SIDE) for top in tops)
    around = planes[:, rows, cols].copy()
    truth = None if look.truth is None else look.truth[:, rows, cols]
    shape = 2 * around.shape[1], 2 * around.shape[2]
    photo, ratio = replace(look.photo, mosaic=np.zeros(shape, np.uint16)), look.ratio

    def tile(label: str, part: Planes) -> tuple[str, Image.Image]:
        if truth is not None and part is not truth:
            label += f"  {score(part[:, *inner], truth[:, *inner]).psnr:.1f} dB"
        picture = develop_mosaic(photo, unpack(part, photo.phase, shape)) / 257
        shown = picture[tuple(slice(2 * each.start, 2 * each.stop) for each in inner)]
        return label, Image.fromarray(np.rint(shown).astype(np.uint8))

    yield tile("noisy", around * np.float32(ratio))
    maker = look.photo.exif.make.lower()
    for quality, name in (("fast", f"{maker}-fast"), ("standard", maker), ("best", maker)):
        how = {"phase": photo.phase, "noise": noise, "ensemble": quality == "best"}
        yield tile(quality, load_model(name).denoise(around, ratio, **how))
    if truth is not None:
        yield tile("truth", truth)


def sheet(parts: list[tuple[str, Image.Image]], about: str) -> Image.Image:
    """Put labelled tiles in two rows, which a phone shows too; `about` in the free place."""
    width, height = parts[0][1].size
    across = -(-len(parts) // 2)
    size = across * (width + GAP) - GAP, 2 * (height + LINE)
    picture, font = Image.new("RGB", size, GROUND), ImageFont.load_default(LETTERS)
    draw = ImageDraw.Draw(picture)
    for number, (label, tile) in enumerate(parts):
        left, top = number % across * (width + GAP), number // across * (height + LINE)
        picture.paste(tile, (left, top))
        draw.text((left + 4, top + height + 2), label, INK, font)
    draw.multiline_text((2 * (width + GAP) + 12, height + LINE + 12), about, INK, font, spacing=10)
    return picture


def overview(scene: NDArray[np.float32]) -> Image.Image:
    """Show the drawn street, and where the crops are."""
    picture = Image.fromarray((255 * srgb_from_linear(scene.clip(0, 1))).astype(np.uint8))
    for top, left in STREET.values():
        corner = np.array([left, top, left, top]) * 2 * BLOCK + np.array([0, 0, 1, 1]) * 2 * SIDE
        ImageDraw.Draw(picture).rectangle(corner.tolist(), outline=INK)
    return picture


def save(name: str, picture: Image.Image, told: str = "") -> None:
    path = OUT / f"{name}.jpg"
    picture.save(path, **JPEG)
    print(f"{path.name:16} {path.stat().st_size / 1000:4.0f} kB  {told}", flush=True)


def main(names: list[str]) -> None:
    OUT.mkdir(exist_ok=True)
    scene = night_street()
    if not names:
        save("street", overview(scene))
    for look in looks(pack_rgb((scene / np.float32(WHITE_BALANCE)).clip(0, 1))):
        if not names or look.name.startswith(tuple(names)):
            parts = list(tiles(look))
            save(look.name, sheet(parts, look.about), ", ".join(label for label, _ in parts))
    print(f"{sum(path.stat().st_size for path in OUT.iterdir()) / 1000:.0f} kB in all")


if __name__ == "__main__":
    main(sys.argv[1:])

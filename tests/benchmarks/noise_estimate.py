"""How good the blind noise estimate is: calibrated noise on photographs, found against true.

    python tests/benchmarks/noise_estimate.py --before COMMIT

What counts is the variance that the estimate says for the brightnesses of the photo itself: the
natural logarithm of found over true, averaged over the photo's histogram (0.1 is 10 % too much).
``--before`` measures an earlier version of the estimate on the same frames.
"""

import subprocess
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from protocol import Planes, true_profile
from report import RESULTS, ROOT, SHARED, context, finish, head, parser_of, table

from ledcli.evaluation.datasets.photographs import (
    WHITE_BALANCE,
    clean_planes,
    noise_of,
    seed_of,
    short_frame,
)
from ledcli.noise.estimate import NoiseProfile, estimate_noise
from ledcli.raw.colour import linear_from_srgb
from ledcli.training.data.crops import pack_rgb

CAMERAS = ("SonyA7S2", "NikonD850", "CanonEOS700D", "CanonEOS70D")
GAINS = (0.2, 0.75, 3.0, 10.0)
RATIOS = (1.0, 4.0, 20.0, 100.0, 300.0)
LEVELS = np.linspace(0.01, 0.99, 50)
"""Quantiles of a photo at which found and true variance are compared."""
SUFFIXES = {".jpg", ".jpeg", ".png"}
ONE, WALL, LARGE, KODAK = (
    "one photo, 384 x 256",
    "four photos shrunk by 3, 384 x 256",
    "sixteen photos, 1500 x 1000",
    "Kodak, 384 x 256",
)
LARGE_CAMERAS = CAMERAS[:2]
MODULE = "ledcli/noise/estimate.py"

Estimate = Callable[[Planes], NoiseProfile]


class Row(NamedTuple):
    """One frame: errors as natural logarithms of found over true."""

    group: str
    frame: str
    camera: str
    gain: float
    ratio: float
    own: float
    """What the clean photo's own grain and texture add, as the estimate sees them."""
    errors: dict[str, float]
    """Mean over the histogram, by version."""
    gain_errors: dict[str, float]
    read_errors: dict[str, float]


def main() -> None:
    """Measure, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("--photos", type=Path, default=SHARED / "clean" / "train")
    parser.add_argument("--kodak", type=Path, default=SHARED / "clean" / "eval" / "kodak")
    parser.add_argument("--count", type=int, default=12, help="single photos")
    parser.add_argument("--before", metavar="COMMIT", help="also measure this version")
    parser.add_argument("--json", type=Path, default=RESULTS / "noise_estimate.json")
    options = parser.parse_args()
    versions: dict[str, Estimate] = {"now": estimate_noise}
    if options.before:
        versions = {"before": _version(options.before)} | versions
    seconds = _seconds(versions)
    rows = [
        row
        for group, name, clean in _photos(options.photos, options.kodak, options.count)
        for row in _measure(group, name, clean, versions)
    ]
    about = context()
    cells = _cells(rows, list(versions))
    text = _report(cells, list(versions), seconds, about)
    finish(options.json, about | {"seconds": seconds, "cells": cells}, text)


def _version(commit: str) -> Estimate:
    done = subprocess.run(
        ["git", "show", f"{commit}:{MODULE}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    module = types.ModuleType("earlier")
    exec(compile(done.stdout, MODULE, "exec"), module.__dict__)
    return module.estimate_noise


def _photos(folder: Path, kodak: Path, count: int) -> Iterator[tuple[str, str, Planes]]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    large = [p for p in paths if min(Image.open(p).size) >= 3 * 256]
    if len(large) < max(count, 32):
        raise SystemExit(f"{folder}: fewer than 32 photographs of 1152 x 768; use --photos")
    single = large[:: len(large) // count][:count]
    for path in single:
        yield ONE, path.stem, pack_rgb(_shrunk(path, 512, 768))
    others = [p for p in large if p not in single]
    for start in range(0, 16, 4):
        tiles = [_shrunk(p, 256, 384, 3.0) for p in others[start : start + 4]]
        yield WALL, f"wall {start // 4}", pack_rgb(_wall(tiles, 2))
    for start in (0, len(large) - 16):
        tiles = [_shrunk(p, 500, 750) for p in large[start : start + 16]]
        yield LARGE, f"large wall {start}", pack_rgb(_wall(tiles, 4))
    for path in sorted(kodak.glob("*.png"))[:6]:
        yield KODAK, path.stem, clean_planes(path)


def _shrunk(path: Path, rows: int, cols: int, factor: float | None = None) -> Planes:
    """Linear middle of a photo ``(rows, cols, 3)``, by a factor or as much as its size allows."""
    coded = np.asarray(iio.imread(path, plugin="pillow", mode="RGB"))
    factor = factor or min(coded.shape[0] / rows, coded.shape[1] / cols)
    size = [round(n * factor) for n in (rows, cols)]
    top, left = ((n - m) // 2 for n, m in zip(coded.shape[:2], size, strict=True))
    middle = coded[top : top + size[0], left : left + size[1]].astype(np.float32)
    linear = linear_from_srgb(middle / np.float32(255))
    bands = [
        np.asarray(Image.fromarray(linear[..., c]).resize((cols, rows), Image.Resampling.BOX))
        for c in range(3)
    ]
    return np.stack(bands, -1) / np.array(WHITE_BALANCE, np.float32)


def _wall(tiles: list[Planes], side: int) -> Planes:
    rows = [np.concatenate(tiles[n * side : (n + 1) * side], 1) for n in range(side)]
    return np.concatenate(rows)


def _measure(group: str, name: str, clean: Planes, versions: dict[str, Estimate]) -> Iterator[Row]:
    levels, own = np.quantile(clean, LEVELS), estimate_noise(clean)
    for camera in LARGE_CAMERAS if group == LARGE else CAMERAS:
        for gain in GAINS:
            noise = noise_of(camera, gain)
            true = true_profile(noise)
            for ratio in RATIOS:
                seed = seed_of(f"{group} {name} {camera} {gain:g} {ratio:g}")
                short = short_frame(clean, noise, ratio, seed)
                light = levels / ratio
                grain = own.gain * light / ratio + own.read_variance / ratio**2
                found = {version: estimate(short) for version, estimate in versions.items()}
                yield Row(
                    group,
                    name,
                    camera,
                    gain,
                    ratio,
                    float(np.log1p(grain / _at(true, light)).mean()),
                    {
                        v: float(np.log(_at(f, light) / _at(true, light)).mean())
                        for v, f in found.items()
                    },
                    {v: _log(f.gain, true.gain) for v, f in found.items()},
                    {v: _log(f.read_variance, true.read_variance) for v, f in found.items()},
                )


def _at(line: NoiseProfile, light: NDArray[np.float64]) -> NDArray[np.float64]:
    return line.gain * light + line.read_variance


def _log(found: float, true: float) -> float:
    return float(np.log(max(found, 1e-12) / true))


def _seconds(versions: dict[str, Estimate]) -> dict[str, float]:
    """CPU seconds for 24 megapixels, the least of five turns."""
    rng = np.random.default_rng(0)
    frame = rng.normal(0, 0.01, (4, 2000, 3000)) + np.linspace(0, 0.5, 3000)
    frame = frame.astype(np.float32)
    turns: dict[str, list[float]] = {version: [] for version in versions}
    for _ in range(5):
        for version, estimate in versions.items():
            start = time.process_time()
            estimate(frame)
            turns[version].append(time.process_time() - start)
    return {version: round(min(values), 3) for version, values in turns.items()}


def _cells(rows: list[Row], versions: list[str]) -> list[dict[str, Any]]:
    """Figures of each group of photos at each gain and ratio."""
    cells = []
    for group in dict.fromkeys(row.group for row in rows):
        for gain in GAINS:
            for ratio in RATIOS:
                chosen = [r for r in rows if (r.group, r.gain, r.ratio) == (group, gain, ratio)]
                own = round(float(np.mean([r.own for r in chosen])), 3)
                cell = {"group": group, "K": gain, "ratio": ratio, "frames": len(chosen)}
                cells.append(cell | {"own": own} | {v: _figures(chosen, v) for v in versions})
    return cells


def _figures(rows: list[Row], version: str) -> dict[str, float]:
    errors = np.array([row.errors[version] for row in rows])
    figures = {
        "mean": errors.mean(),
        "spread": errors.std(),
        "worst": errors[np.abs(errors).argmax()],
        "K": np.median([row.gain_errors[version] for row in rows]),
        "read": np.median([row.read_errors[version] for row in rows]),
    }
    return {name: round(float(figure), 3) for name, figure in figures.items()}


def _report(
    cells: list[dict[str, Any]],
    versions: list[str],
    seconds: dict[str, float],
    about: dict[str, Any],
) -> str:
    text = head("The blind noise estimate", about)
    text += (
        "Noise of four calibrated cameras at gains K on photographs (two cameras on the large "
        "walls). Natural logarithm of found over true variance, averaged over the photo's "
        "brightnesses: mean, spread (standard deviation) and worst of the frames; beside it the "
        "medians for K and the read variance alone, which hardly matter where they are the "
        "smaller part. *Own* is what the estimate finds in the clean photo itself: its own grain, "
        "and texture as fine as noise in its quietest places. What is left at ratio 1 is mostly "
        "that.\n"
    )
    text += "\n" + "; ".join(f"{v}: {s:.2f} s" for v, s in seconds.items())
    text += " of CPU time for 24 megapixels.\n"
    names = ["K", "ratio", "own"]
    for version in versions:
        names += [f"{version}: mean", "spread", "worst", "K", "read"]
    for group in dict.fromkeys(cell["group"] for cell in cells):
        lines = [
            [f"{cell['K']:g}", f"{cell['ratio']:g}", f"{cell['own']:.2f}"]
            + [_shown(*item) for version in versions for item in cell[version].items()]
            for cell in cells
            if cell["group"] == group
        ]
        text += f"\n## {group}\n\n" + table(names, lines)
    return text


def _shown(name: str, figure: float) -> str:
    return f"{figure:.2f}" if name == "spread" else f"{figure:+.2f}"


if __name__ == "__main__":
    main()

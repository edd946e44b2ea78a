"""Smooth areas: colour shifts, checkerboards, bands and tile seams of a model, run blind.

    python tests/benchmarks/smooth.py
    python tests/benchmarks/smooth.py --model my.safetensors --cameras D850 --side 256

Flat grey patches and smooth gradients with the noise of the calibrated cameras at a high ISO. A
whole run of the bundled model writes results/smooth.json and smooth.md; any other run writes only
where --json says.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from checkout import RESULTS
from colour_difference import bias
from evenness import Planes, phases, seams, steps
from protocol import GAINS
from report import context, keep
from smoothreport import markdown

from ledcli.evaluation.datasets.photographs import WHITE_BALANCE, noise_of, seed_of, short_frame
from ledcli.inference.denoiser import Denoiser
from ledcli.zoo.store import find_model

RATIOS = (1.0, 100.0, 300.0)
LEVELS = (0.02, 0.1, 0.4)
"""Of the greens, white at 1; red and blue lie under them as daylight leaves them."""
DRAWS = 8
SIDE = 512
GRADIENT = (0.05, 0.8)
"""Levels at the left and at the right."""
GRADIENT_ROWS = 256
GRADIENT_COLUMNS = 1024
SEAM_TILE = 256
GRIDS = (2, 16)
"""Periods in plane pixels: of an upsampled pixel, and of four halvings."""


def main() -> None:
    """Measure, print and keep."""
    options = _options()
    cameras = [name for name in GAINS if (options.cameras or "").lower() in name.lower()]
    if not cameras:
        raise SystemExit(f"--cameras {options.cameras}: choose from {', '.join(GAINS)}")
    found = find_model(options.model)
    tiled, whole = (
        Denoiser(found.path, found.csa_set, precision=options.precision, tile=tile)
        for tile in (SEAM_TILE, 0)
    )
    flat, gradient = [], []
    for camera in cameras:
        for ratio in RATIOS:
            flat += [_flat(whole, camera, ratio, level, options.side) for level in LEVELS]
            gradient.append(_gradient(tiled, whole, camera, ratio))
            print(f"{camera} at ratio {ratio:g}: done", file=sys.stderr, flush=True)
    about = context() | {
        "model": tiled.name,
        "sha256": tiled.sha256,
        "precision": tiled.precision,
        "device": str(tiled.device),
        "side": options.side,
        "draws": DRAWS,
        "grids": list(GRIDS),
        "gradient": f"{GRADIENT[0]:g} to {GRADIENT[1]:g} of white over {GRADIENT_COLUMNS} columns, "
        f"{GRADIENT_ROWS} rows; tiles of {SEAM_TILE}",
    }
    text = markdown(about, flat, gradient)
    print(text)
    complete = len(cameras) == len(GAINS) and options.side == SIDE and not options.model
    path = options.json or (RESULTS / "smooth.json" if complete else None)
    if path:
        keep(path, about | {"flat": flat, "gradients": gradient}, text)
        print(f"written: {path.name}, {path.with_suffix('.md').name}", file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a name or a file; the bundled default without")
    parser.add_argument("--cameras", help="part of a name: D850, Canon; all without")
    parser.add_argument(
        "--side", type=int, default=SIDE, help="of the flat patches, plane pixels, by 16"
    )
    parser.add_argument("--precision", default="auto", help="auto, bf16 or float32")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the results go")
    options = parser.parse_args()
    if options.side < 64 or options.side % max(GRIDS):
        parser.error(f"--side {options.side}: take a multiple of {max(GRIDS)} from 64 up")
    return options


def _grey(level: np.ndarray) -> Planes:
    """Planes of a neutral grey whose greens have the level ``(h, w)``."""
    red, green, blue = (level / balance for balance in WHITE_BALANCE)
    return np.stack([red, green, blue, green]).astype(np.float32)


def _shot(clean: Planes, camera: str, ratio: float, draw: str) -> Planes:
    noise = noise_of(camera, GAINS[camera][0])
    return short_frame(clean, noise, ratio, seed_of(f"smooth {camera} {ratio:g} {draw}"))


def _flat(denoiser: Denoiser, camera: str, ratio: float, level: float, side: int) -> dict[str, Any]:
    """Return the errors of a flat patch; shares of the plane's level."""
    clean = _grey(np.full((side, side), level))
    shorts = [_shot(clean, camera, ratio, f"{level:g} {draw}") for draw in range(DRAWS)]
    results = [denoiser.denoise(short, ratio) for short in shorts]
    of_level = clean.mean((1, 2), keepdims=True)
    relative = [result / of_level for result in results]
    error = np.mean([bias(result, clean) for result in results], 0)
    noisy = np.mean([bias(short * np.float32(ratio), clean) for short in shorts], 0)
    grids = {f"grid_{period}": phases(relative, period)._asdict() for period in GRIDS}
    return {
        "camera": camera,
        "ratio": ratio,
        "level": level,
        "bias_of_white": error.tolist(),
        "noisy_bias_of_white": noisy.tolist(),
        "bias": (error / of_level.ravel()).tolist(),
        "noise_left": [float(np.mean([r[plane].std() for r in relative])) for plane in range(4)],
    } | grids


def _gradient(tiled: Denoiser, whole: Denoiser, camera: str, ratio: float) -> dict[str, Any]:
    """Return steps and seams of a gradient, shares of white."""
    row = np.linspace(*GRADIENT, GRADIENT_COLUMNS)
    clean = _grey(np.broadcast_to(row, (GRADIENT_ROWS, GRADIENT_COLUMNS)))
    short = _shot(clean, camera, ratio, "gradient")
    at_once = whole.denoise(short, ratio)
    in_tiles = tiled.denoise(short, ratio)
    return {
        "camera": camera,
        "ratio": ratio,
        "steps": steps(at_once, clean)._asdict(),
        "noisy_steps": steps(short * np.float32(ratio), clean)._asdict(),
        "seams": seams(in_tiles, at_once, SEAM_TILE)._asdict(),
    }


if __name__ == "__main__":
    main()

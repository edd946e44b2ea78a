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
from colour_difference import bias
from evenness import Planes, phases, seams, steps
from protocol import GAINS
from report import RESULTS, context, finish, head, parser_of, table

from ledcli.evaluation.datasets.photographs import WHITE_BALANCE, noise_of, seed_of, short_frame
from ledcli.inference import denoiser as denoising
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
    if options.uncorrected:
        denoising.remove_checkerboard = lambda clean, *_: clean
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
    complete = len(cameras) == len(GAINS) and options.side == SIDE and not options.model
    name = "smooth_uncorrected.json" if options.uncorrected else "smooth.json"
    path = options.json or (RESULTS / name if complete else None)
    finish(path, about | {"flat": flat, "gradients": gradient}, text)


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--model", help="a name or a file; the bundled default without")
    parser.add_argument("--cameras", help="part of a name: D850, Canon; all without")
    parser.add_argument(
        "--side", type=int, default=SIDE, help="of the flat patches, plane pixels, by 16"
    )
    parser.add_argument("--precision", default="auto", help="auto, bf16 or float32")
    parser.add_argument(
        "--uncorrected", action="store_true", help="leave out the removal of the checkerboard"
    )
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


Entry = dict[str, Any]


def markdown(about: dict[str, Any], flat: list[Entry], gradient: list[Entry]) -> str:
    """Write the report: flat patches, then gradients."""
    grids = about["grids"]
    text = head("Smooth areas", about) + (
        f"Model {about['model']} (sha256 {about['sha256'][:12]}), {about['precision']} on "
        f"{about['device']}, blind.\n\n"
        + "".join(f"- {line}\n" for line in _summary(flat, gradient, grids))
        + f"\n## Flat grey\n\n{about['draws']} patches of {about['side']} x {about['side']} plane "
        "pixels each. Bias: mean error in % of white, worst plane, and the noisy input's, which "
        "is chance; then in % of the plane's level: the bias, the noise left in a pixel, and for "
        "the phases of a grid of so many plane pixels the one that is furthest off, the rms of "
        "all, and the rms that chance alone makes.\n\n"
    )
    columns = ["camera, ratio, level", "bias, white", "noisy", "bias, level", "noise left"]
    columns += [f"grid {period}: furthest, rms / chance" for period in grids]
    text += table(columns, [_flat_row(entry, grids) for entry in flat])
    text += (
        f"\n## Smooth gradient\n\n{about['gradient']}. Jumps of the error from a column to the "
        "next, means over the rows, worst plane; the rms error of such means inside and in the "
        "outermost columns; tiles against the whole frame, and the step across a seam: all in % "
        "of white. Distinct: values along a row over its pixels.\n\n"
    )
    columns = ["camera, ratio", "jump: largest / median", "noisy: largest / median"]
    columns += ["rms inside / border", "distinct", "seams: rms / largest / step"]
    return text + table(columns, [_gradient_row(entry) for entry in gradient])


def _flat_row(entry: Entry, grids: list[int]) -> list[str]:
    found = [entry[f"grid_{period}"] for period in grids]
    return [
        f"{entry['camera']}, {entry['ratio']:g}, {entry['level']:g}",
        f"{100 * max(entry['bias_of_white'], key=abs):+.3f}",
        f"{100 * max(entry['noisy_bias_of_white'], key=abs):+.3f}",
        f"{100 * max(entry['bias'], key=abs):+.2f}",
        f"{100 * max(entry['noise_left']):.2f}",
        *(
            f"{100 * grid['largest']:.3f}, {100 * grid['rms']:.3f} / {100 * grid['chance']:.3f}"
            for grid in found
        ),
    ]


def _gradient_row(entry: Entry) -> list[str]:
    found, noisy, seam = entry["steps"], entry["noisy_steps"], entry["seams"]
    return [
        f"{entry['camera']}, {entry['ratio']:g}",
        f"{100 * found['largest']:.3f} / {100 * found['median']:.4f}",
        f"{100 * noisy['largest']:.3f} / {100 * noisy['median']:.4f}",
        f"{100 * found['inside']:.3f} / {100 * found['border']:.3f}",
        f"{found['levels']:.3f}",
        f"{100 * seam['rms']:.4f} / {100 * seam['largest']:.3f} / {100 * seam['step']:.4f}",
    ]


def _summary(flat: list[Entry], gradient: list[Entry], grids: list[int]) -> list[str]:
    """Say the worst of each, one line a figure."""
    at_100 = [entry for entry in flat if entry["ratio"] == 100]
    lines = [
        f"Largest mean error of a plane at ratio 100 (wanted: under 0.2 % of white): "
        f"{_worst_bias(at_100)}; at any ratio {_worst_bias(flat)}."
    ]
    for period in grids:
        found = [(entry[f"grid_{period}"], entry) for entry in flat]
        even = sum(grid["largest"] < 0.001 for grid, _ in found)
        # Of noise alone the square of rms over chance is 1 on the mean.
        ratio = (sum((g["rms"] / g["chance"]) ** 2 for g, _ in found) / len(found)) ** 0.5
        worst, where = max(found, key=lambda pair: pair[0]["rms"] / pair[0]["chance"])
        lines.append(
            f"Grid of {period}: all phases agree to 0.1 % of the level in {even} of {len(found)} "
            f"patches; rms over what chance makes (1 and a little, in the worst plane) "
            f"{ratio:.2f} on the mean, at most {worst['rms'] / worst['chance']:.2f} "
            f"({_name(where)}: {100 * worst['rms']:.3f} % against {100 * worst['chance']:.3f} %)."
        )
    seam = max(gradient, key=lambda entry: entry["seams"]["step"])
    band = max(gradient, key=lambda e: e["steps"]["largest"] / e["steps"]["median"])
    edge = max(gradient, key=lambda e: e["steps"]["border"] / e["steps"]["inside"])
    lines += [
        f"Largest step across a seam of tiles: {100 * seam['seams']['step']:.4f} % of white "
        f"({_name(seam)}); largest difference of a pixel there "
        f"{100 * seam['seams']['largest']:.3f} %.",
        "Largest jump in a gradient over the median jump: "
        f"{band['steps']['largest'] / band['steps']['median']:.1f} ({_name(band)}); the noisy "
        f"input's {band['noisy_steps']['largest'] / band['noisy_steps']['median']:.1f}.",
        "Error in the outermost columns over the error inside, at most: "
        f"{edge['steps']['border'] / edge['steps']['inside']:.2f} ({_name(edge)}).",
    ]
    return lines


def _worst_bias(entries: list[Entry]) -> str:
    entry = max(entries, key=lambda e: max(map(abs, e["bias_of_white"])))
    worst = max(entry["bias_of_white"], key=abs)
    noisy = max(entry["noisy_bias_of_white"], key=abs)
    return f"{100 * worst:+.3f} % ({_name(entry)}; of the noisy input {100 * noisy:+.3f} %)"


def _name(entry: Entry) -> str:
    level = f", level {entry['level']:g}" if "level" in entry else ""
    return f"{entry['camera']}, ratio {entry['ratio']:g}{level}"


if __name__ == "__main__":
    main()

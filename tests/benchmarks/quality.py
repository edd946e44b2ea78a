"""PSNR and SSIM of the bundled model, the noisy input and peers, in twelve cells.

    python tests/benchmarks/quality.py
    python tests/benchmarks/quality.py --cells A7S2-1,D850-300 --crop 96 --no-bm3d

A whole run writes results/quality.json and quality.md; a part of one only where --json says.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from checkout import RESULTS, SHARED
from peers import PMRID, PMRID_SOURCE, Bm3d, bm3d_version
from protocol import CELLS, PHOTOS, Cell, Photo, Score, Shot, cells, photos, score
from report import context, head, keep, table

from ledcli.inference.engine import Denoiser
from ledcli.noise.cameras import CALIBRATED_WHITE
from ledcli.noise.estimate import estimate_noise
from ledcli.zoo.shelf import find_model

METHODS = {
    "noisy": "noisy",
    "bm3d": "BM3D, oracle",
    "pmrid": "PMRID, oracle",
    "led": "led, blind",
}


def main() -> None:
    """Measure, print and keep."""
    options = _options()
    chosen = cells(options.cells)
    pictures = photos(options.photos, options.crop)
    found = find_model(options.model)
    denoiser = Denoiser(*found, precision=options.precision)
    bm3d = Bm3d(None if options.crop else RESULTS / "bm3d.json", compute=options.bm3d)
    results = []
    for cell in chosen:
        results.append(_measure(cell, pictures, denoiser, bm3d))
        print(f"{cell.name}: {_cells_of(results[-1])}", file=sys.stderr, flush=True)
    about = context() | {
        "model": denoiser.name,
        "sha256": denoiser.sha256,
        "precision": denoiser.precision,
        "device": str(denoiser.device),
        "photos": [picture.path.name for picture in pictures],
        "crop": options.crop,
        "bm3d": bm3d_version(),
        "pmrid": PMRID_SOURCE,
    }
    whole = options.crop is None and chosen == CELLS and len(pictures) == PHOTOS
    markdown = _markdown(about, results)
    print(markdown)
    path = options.json or (RESULTS / "quality.json" if whole else None)
    if path:
        keep(path, about | {"means": _means(results), "cells": results}, markdown)
        print(f"written: {path.name}, {path.with_suffix('.md').name}", file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", help="parts of cell names, by commas: A7S2, D850-100")
    parser.add_argument("--photos", type=Path, default=SHARED / "clean" / "eval" / "kodak")
    parser.add_argument("--model", help="a name or a file; the bundled default without")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the results go")
    parser.add_argument(
        "--bm3d",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compute what the cache lacks of BM3D, or take from the cache alone",
    )
    parser.add_argument("--precision", default="auto", help="auto, bf16 or float32")
    parser.add_argument("--crop", type=int, help="side in plane pixels, for smoke runs")
    return parser.parse_args()


def _measure(cell: Cell, pictures: list[Photo], denoiser: Denoiser, bm3d: Bm3d) -> dict[str, Any]:
    """Return the mean scores of a cell by method, and how far the blind estimate was off."""
    scores: dict[str, list[Score | None]] = {"noisy": [], "bm3d": [], "led": []}
    gains, variances = [], []
    for picture in pictures:
        shot = Shot(picture, cell)
        # As `led denoise` does it: the noise from the planes, then the model.
        noise = estimate_noise(shot.short)
        denoised = denoiser.denoise(shot.short, cell.ratio, noise=noise)
        scores["noisy"].append(score(shot.noisy, picture.planes))
        scores["led"].append(score(denoised, picture.planes))
        scores["bm3d"].append(bm3d.score(shot))
        gains.append(noise.gain * CALIBRATED_WHITE / cell.gain)
        variances.append(noise.variance * CALIBRATED_WHITE**2 / float(shot.noise.pixel_variance()))
    means = {method: _mean(values) for method, values in scores.items()}
    # Measured on whole photographs only.
    means["pmrid"] = None if pictures[0].crop else PMRID[cell.name]
    return {
        "cell": cell.name,
        "camera": cell.camera,
        "gain": cell.gain,
        "ratio": cell.ratio,
        "scores": {m: means[m] and [round(v, 4) for v in means[m]] for m in METHODS},
        "estimated_over_true_gain": [round(g, 3) for g in gains],
        "estimated_over_true_variance": [round(v, 3) for v in variances],
    }


def _mean(values: list[Score | None]) -> Score | None:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Score(*(sum(part) / len(known) for part in zip(*known, strict=True)))


def _means(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean of each method over the cells; None where one is missing."""
    means = {}
    for method in METHODS:
        mean = _mean(
            [result["scores"][method] and Score(*result["scores"][method]) for result in results]
        )
        means[method] = mean and [round(value, 4) for value in mean]
    return means


def _markdown(about: dict[str, Any], results: list[dict[str, Any]]) -> str:
    rows = [
        [f"{r['camera']} K={r['gain']:g}, {r['ratio']:g}", *map(_figures, r["scores"].values())]
        for r in results
    ]
    means = _means(results)
    rows.append(["**mean**", *map(_figures, means.values())])
    text = head("Quality", about)
    bm3d = f"BM3D {about['bm3d']}" if about["bm3d"] else "BM3D"
    text += (
        f"Model {about['model']} (sha256 {about['sha256'][:12]}), {about['precision']} on "
        f"{about['device']}. PSNR in dB / SSIM over {len(about['photos'])} photographs"
        f"{' cropped for a smoke run' if about['crop'] else ''}: {', '.join(about['photos'])}.\n"
        f"{bm3d} works under a generalised Anscombe transform with the true parameters; led "
        f"estimates them from the frame.\nPMRID: {about['pmrid']}.\n\n"
    )
    text += table(["camera, ratio", *METHODS.values()], rows) + "\n"
    worst = min(results, key=_gain)
    text += f"Least gain over the noisy input: {_gain(worst):+.2f} dB ({worst['cell']}).\n"
    for method, name in (("bm3d", "BM3D"), ("pmrid", "PMRID")):
        if means[method]:
            text += f"Mean over {name}: {means['led'][0] - means[method][0]:+.2f} dB.\n"
    return text


def _gain(result: dict[str, Any]) -> float:
    return float(result["scores"]["led"][0] - result["scores"]["noisy"][0])


def _figures(scored: list[float] | None) -> str:
    return f"{scored[0]:.2f}/{scored[1]:.3f}" if scored else "-"


def _cells_of(result: dict[str, Any]) -> str:
    return ", ".join(f"{m} {_figures(s)}" for m, s in result["scores"].items())


if __name__ == "__main__":
    main()

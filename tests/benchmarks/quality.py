"""Signal, structure, colour and texture of models, of the noisy input and of BM3D, in 48 cells.

    python tests/benchmarks/quality.py
    python tests/benchmarks/quality.py --model sony --model my.safetensors --oracle
    python tests/benchmarks/quality.py --cells A7S2-1,D850-300 --crop 96 --no-bm3d

The first model is the one that the others are compared with: without --model the bundled default
and the fast one. A whole run of these writes results/quality.json and quality.md; any other run
writes only where --json says.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from facts import BM3D, NOISY, Fact, facts_of
from figures import figures, summary
from peers import CACHE, Bm3d, bm3d_version
from protocol import CELLS, PHOTOS, Cell, Photo, Shot, cells, photos, photos_of, true_profile
from qualityreport import markdown, mean_figures
from report import RESULTS, SHARED, context, finish, parser_of

from ledcli.inference.denoiser import Denoiser
from ledcli.noise.cameras import CALIBRATED_WHITE
from ledcli.noise.photo_noise import estimate_photo_noise
from ledcli.zoo.selection import default_name
from ledcli.zoo.store import find_model

FAST = default_name("bayer", fast=True)


def main() -> None:
    """Measure, print and keep."""
    options = _options()
    chosen = cells(options.cells)
    pictures = photos(options.photos, options.crop)
    models = _models(options.model or [None, FAST], options.precision)
    bm3d = Bm3d(None if options.crop else CACHE, compute=options.bm3d)
    results = []
    for cell in chosen:
        results.append(_measure(cell, photos_of(cell, pictures), models, bm3d, options))
        print(f"{cell.name}: {_line(results[-1])}", file=sys.stderr, flush=True)
    about = context() | {
        "models": [
            {"name": n, "sha256": d.sha256, "precision": d.precision, "device": str(d.device)}
            for n, d in models.items()
        ],
        "photos": [picture.path.name for picture in pictures],
        "crop": options.crop,
        "bm3d": bm3d_version(),
    }
    whole_photos = options.crop is None
    standard = f"{next(iter(models))}, blind"
    facts = {
        method: facts_of(results, method, standard, whole_photos)
        for method in results[0]["figures"]
        if method not in (NOISY, BM3D)
    }
    text = markdown(about, results, facts)
    whole = whole_photos and chosen == CELLS and len(pictures) == PHOTOS
    path = options.json or (RESULTS / "quality.json" if whole and not options.model else None)
    finish(path, about | _kept(results, facts), text)


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--cells", help="parts of cell names, by commas: A7S2, D850-100, K2.5")
    parser.add_argument("--photos", type=Path, default=SHARED / "clean" / "eval" / "kodak")
    parser.add_argument(
        "--model",
        action="append",
        help="a name or a file; again for more; the bundled default and the fast model without",
    )
    parser.add_argument(
        "--oracle", action="store_true", help="run each model with the true noise line too"
    )
    parser.add_argument("--best", action="store_true", help="run each with --quality best too")
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


def _models(named: list[str | None], precision: str) -> dict[str, Denoiser]:
    """Load models; two of one name are told apart by their files'."""
    models: dict[str, Denoiser] = {}
    for given in named:
        found = find_model(given)
        denoiser = Denoiser(found.path, found.csa_set, precision=precision)
        name = denoiser.name
        if name in models:
            name += f" ({Path(given or '').stem})"
        if name in models:
            raise SystemExit(f"--model {given}: named twice, or another file of the same name")
        models[name] = denoiser
    return models


def _measure(
    cell: Cell,
    pictures: list[Photo],
    models: dict[str, Denoiser],
    bm3d: Bm3d,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return the figures of a cell by method, and how far the blind estimate was off."""
    found: dict[str, list[dict[str, Any]]] = {}
    gains, variances = [], []
    for picture in pictures:
        shot = Shot(picture, cell)
        of_shot = {NOISY: figures(shot.noisy, picture).as_json(), BM3D: bm3d.figures(shot)}
        truth = true_profile(shot.noise)
        # As `led denoise` does it: the noise from the planes, then the model.
        blind = estimate_photo_noise(shot.short, 1 / CALIBRATED_WHITE)
        for name, denoiser in models.items():
            ways = [("blind", blind, False)]
            ways += [("oracle", truth, False)] if options.oracle else []
            ways += [("blind, quality best", blind, True)] if options.best else []
            for how, line, best in ways:
                denoised = denoiser.denoise(shot.short, cell.ratio, noise=line, ensemble=best)
                of_shot[f"{name}, {how}"] = figures(denoised, picture).as_json()
        for method, value in of_shot.items():
            found.setdefault(method, []).append(value)
        gains.append(blind.profile.gain / truth.gain)
        variances.append(blind.profile.read_variance / truth.read_variance)
    return {
        "cell": cell.name,
        "camera": cell.camera,
        "gain": cell.gain,
        "ratio": cell.ratio,
        "shrink": cell.shrink,
        "figures": {method: summary(values) for method, values in found.items()},
        "estimated_over_true_gain": [round(g, 3) for g in gains],
        "estimated_over_true_variance": [round(v, 3) for v in variances],
    }


def _kept(results: list[dict[str, Any]], facts: dict[str, list[Fact]]) -> dict[str, Any]:
    ratios = sorted({r["ratio"] for r in results})
    by_ratio = {f"{k:g}": mean_figures([r for r in results if r["ratio"] == k]) for k in ratios}
    return {
        "facts": {
            method: [fact._asdict() for fact in several] for method, several in facts.items()
        },
        "means": mean_figures(results),
        "means_by_ratio": by_ratio,
        "cells": results,
    }


def _line(result: dict[str, Any]) -> str:
    return ", ".join(
        f"{method} {f['psnr']:.2f}/{f['ssim']:.3f}" if f else f"{method} -"
        for method, f in result["figures"].items()
    )


if __name__ == "__main__":
    main()

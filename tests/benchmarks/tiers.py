"""The fast model beside the standard one: seconds of a photo, alternating in one process.

    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python tests/benchmarks/tiers.py
    python tests/benchmarks/tiers.py --megapixels 1 --repeats 1

"Network and form" is `Denoiser.run`: input form, network, inverse, on made-up planes. "All" is
`Denoiser.denoise` with the noise given: the corrections before and after too. --json keeps them.
"""

import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_parts import flops_of
from report import context, head, keep, parser_of, table

from ledcli.inference.denoiser import Denoiser
from ledcli.noise.estimate import NoiseProfile
from ledcli.zoo.selection import default_name
from ledcli.zoo.store import find_model

RATIO = 100.0
NOISE = NoiseProfile(2.5e-4, 1e-7)
WAYS = {
    "network and form": lambda each, planes: each.run(torch.from_numpy(planes), RATIO, NOISE),
    "all": lambda each, planes: each.denoise(planes, RATIO, noise=NOISE),
}


def main() -> None:
    """Measure, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("--megapixels", type=float, default=6.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", default="auto", help="auto, bf16 or float32")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the results go")
    options = parser.parse_args()
    denoisers = {}
    for name in (default_name("bayer"), default_name("bayer", fast=True)):
        found = find_model(name)
        denoisers[name] = Denoiser(found.path, found.csa_set, precision=options.precision)
    rows = round((options.megapixels * 1e6 / 4 / 1.5) ** 0.5)
    rng = np.random.default_rng(0)
    planes = rng.poisson(8.0, (4, rows, rows * 3 // 2)).astype(np.float32) * np.float32(NOISE.gain)
    seconds: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.repeats + 1):
        for way, run in WAYS.items():
            took = {}
            for name, denoiser in denoisers.items():
                before = time.perf_counter()
                with torch.inference_mode():
                    run(denoiser, planes)
                took[name] = time.perf_counter() - before
            seconds[way].append(took)
    results = {way: _compared(rounds[1:]) for way, rounds in seconds.items()}
    about = context() | {
        "instructions": os.environ.get("ONEDNN_MAX_CPU_ISA", "all"),
        "precision": next(iter(denoisers.values())).precision,
        "shape": planes.shape,
        "flops_per_plane_pixel": {n: flops_of(find_model(n)) for n in denoisers},
    }
    text = _markdown(about, results)
    print(text)
    if options.json:
        keep(options.json, about | {"results": results}, text)


def _compared(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return median seconds by model, and the median of the rounds' ratios."""
    standard, fast = rounds[0]
    found = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    return found | {"ratio": statistics.median(each[standard] / each[fast] for each in rounds)}


def _markdown(about: dict[str, Any], results: dict[str, dict[str, float]]) -> str:
    _, rows, cols = about["shape"]
    flops = list(about["flops_per_plane_pixel"].values())
    return (
        head("Fast and standard", about)
        + f"{4 * rows * cols / 1e6:.1f} MP, {about['precision']}, instructions "
        f"{about['instructions']}. Multiplications of the standard model over those of the fast "
        f"one: {flops[0] / flops[1]:.1f}. Median seconds, and the median of the ratios:\n\n"
        + table(
            ["", *next(iter(results.values()))],
            [[way, *(f"{v:.2f}" for v in found.values())] for way, found in results.items()],
        )
    )


if __name__ == "__main__":
    main()

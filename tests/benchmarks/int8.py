"""The fast model in OpenVINO with 8 bits below the top level: what it loses, and what it gains.

    python tests/benchmarks/int8.py
    python tests/benchmarks/int8.py --cells D850-300 --crop 64 --side 128 --json /tmp/int8.json

PSNR of photographs in the cells of quality.py, with the blind estimate, less that of torch in
float32. Seconds of one frame (input form, network, inverse) in one process in turn: torch's strips,
OpenVINO in float32 and in int8, each also with the instructions that older processors lack left
out. A whole run writes results/int8.json and int8.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import CELLS, Shot, cells, photos, photos_of, score
from report import RESULTS, SHARED, context, finish, head, parser_of, table

from ledcli.inference.denoiser import Denoiser
from ledcli.noise.cameras import CALIBRATED_WHITE
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.photo_noise import estimate_photo_noise
from ledcli.zoo.selection import default_name
from ledcli.zoo.store import find_model

WAYS = {
    "torch, float32": ("torch", "float32"),
    "OpenVINO, float32": ("openvino", "float32"),
    "OpenVINO, int8": ("openvino", "int8"),
}
ISA = ("", "AVX512_CORE", "AVX2_VNNI", "AVX2")
NOISE = NoiseProfile(2.5e-4, 1e-7)
RATIO = 100.0


def main() -> None:
    """Measure, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("--cells", help="parts of cell names, by commas: A7S2, K2.5")
    parser.add_argument("--photos", type=Path, default=SHARED / "clean" / "eval" / "kodak")
    parser.add_argument("--crop", type=int, help="side in plane pixels; whole photographs without")
    parser.add_argument("--side", type=int, default=1024, help="of the frame, plane pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the results go")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(seconds(options.side, options.rounds)))
        return
    losses = quality(options)
    times = {}
    for isa in ISA:
        variables = {"ONEDNN_MAX_CPU_ISA": isa} if isa else {}
        if isa.startswith("AVX2"):
            variables["ATEN_CPU_CAPABILITY"] = "avx2"
        done = subprocess.run(
            [sys.executable, __file__, "--measure", *sys.argv[1:]],
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            check=True,
        )
        times[isa or "all"] = json.loads(done.stdout)
    about = context() | {"crop": options.crop, "side": options.side, "rounds": options.rounds}
    text = report(about, losses, times)
    path = options.json or (None if options.cells else RESULTS / "int8.json")
    finish(path, about | {"psnr_differences": losses, "seconds": times}, text)


def quality(options: argparse.Namespace) -> dict[str, float]:
    """Return the PSNR of int8 less that of torch in each cell, dB."""
    exact, rounded = _load("torch, float32"), _load("OpenVINO, int8")
    pictures = photos(options.photos, options.crop)
    losses = {}
    for cell in cells(options.cells):
        differences = []
        for picture in photos_of(cell, pictures):
            shot = Shot(picture, cell)
            noise = estimate_photo_noise(shot.short, 1 / CALIBRATED_WHITE)
            before, after = (
                score(each.denoise(shot.short, cell.ratio, noise=noise), picture.planes).psnr
                for each in (exact, rounded)
            )
            differences.append(after - before)
        losses[cell.name] = round(statistics.mean(differences), 4)
        print(f"{cell.name}: {losses[cell.name]:+.3f}", file=sys.stderr, flush=True)
    return losses


@torch.inference_mode()
def seconds(side: int, rounds: int) -> dict[str, float]:
    """Return the median processor seconds of a made-up frame by way."""
    ready = {way: _load(way) for way in WAYS}
    counts = np.random.default_rng(0).poisson(8.0, (4, side, side))
    planes = torch.from_numpy(counts.astype(np.float32) * np.float32(NOISE.gain))
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(rounds + 1):
        for way, denoiser in ready.items():
            start = time.process_time()
            denoiser.run(planes, RATIO, NOISE)
            if turn:  # the first warms up and compiles
                took[way].append(time.process_time() - start)
    return {way: round(statistics.median(each), 3) for way, each in took.items()}


def report(about: dict[str, Any], losses: dict[str, float], times: dict[str, Any]) -> str:
    """Return the results for readers."""
    text = head("The fast model in int8", about) + "Processor seconds of one frame:\n\n"
    rows = [
        [isa, *(f"{each[way]:.2f}" for way in WAYS), f"{rest[0] / last:.2f}, {rest[1] / last:.2f}"]
        for isa, each in times.items()
        for *rest, last in [list(each.values())]
    ]
    text += table(["instructions", *WAYS, "int8 faster than torch, OpenVINO"], rows)
    text += f"\nPSNR less that of float32, dB: {min(losses.values()):+.3f} in the worst cell, "
    text += f"{statistics.mean(losses.values()):+.3f} on the mean.\n\n"
    ratios = sorted({cell.ratio for cell in CELLS if cell.name in losses})
    rows = [
        [f"{camera} K={gain:g}"]
        + [
            f"{losses[cell.name]:+.3f}" if cell.name in losses else ""
            for ratio in ratios
            for cell in CELLS
            if cell[:] == (camera, gain, ratio)
        ]
        for camera, gain in dict.fromkeys(cell[:2] for cell in CELLS if cell.name in losses)
    ]
    return text + table(["camera", *(f"{ratio:g}" for ratio in ratios)], rows)


def _load(way: str) -> Denoiser:
    found = find_model(default_name("bayer", fast=True))
    backend, precision = WAYS[way]
    return Denoiser(found.path, found.csa_set, device="cpu", precision=precision, backend=backend)


if __name__ == "__main__":
    main()

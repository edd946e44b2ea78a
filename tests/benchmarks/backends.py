"""torch against OpenVINO on the CPU in float32: the same picture, and which is faster.

    python tests/benchmarks/backends.py
    python tests/benchmarks/backends.py --side 64 --frame 128 --rounds 1 --json /tmp/backends.json

Both run in one process, in turn, once with all that the processor has and once with AVX2 only, as
most laptops have it: oneDNN, which both use, is told so. A whole run writes results/backends.json
and backends.md.
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
from report import RESULTS, context, finish, head, parser_of, table

from ledcli.evaluation.datasets.photographs import noise_of, short_frame
from ledcli.evaluation.metrics import psnr
from ledcli.inference.denoiser import Denoiser
from ledcli.noise.estimate import estimate_noise
from ledcli.training.data.crops import pack_rgb
from ledcli.training.data.scenes import make_scene
from ledcli.zoo.store import find_model

ISA = {
    "all that the processor has": {},
    "AVX2 only": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
}
BACKENDS = ("torch", "openvino")
RATIO = 100.0


def main() -> None:
    """Measure, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("--side", type=int, default=832, help="of a window, plane pixels")
    parser.add_argument("--rounds", type=int, default=5, help="of both backends in turn")
    parser.add_argument("--frame", type=int, default=1024, help="side of a frame")
    parser.add_argument("--frame-rounds", type=int, default=3, help="rounds of the frame")
    parser.add_argument("--model", help="a name or a file; the bundled default without")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the results go")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options)))
        return
    results = {}
    for name, variables in ISA.items():
        command = [sys.executable, __file__, "--measure", *sys.argv[1:]]
        environment = {**os.environ, **variables}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        results[name] = json.loads(done.stdout)
        print(name, results[name], file=sys.stderr, flush=True)
    about = context() | vars(options) | {"json": None}
    markdown = report(about, results)
    finish(options.json or RESULTS / "backends.json", about | {"results": results}, markdown)


@torch.inference_mode()
def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds of one window and of one frame, and the PSNR of the frame, per backend."""
    found, side = find_model(options.model), options.side
    ready = {
        backend: Denoiser(
            found.path, found.csa_set, device="cpu", precision="float32", backend=backend
        )
        for backend in BACKENDS
    }
    clean = pack_rgb(make_scene(2 * options.frame, np.random.default_rng(0)))
    short = short_frame(clean, noise_of("NikonD850", 3.0), RATIO, seed=0)
    noise = estimate_noise(short)
    window = torch.randn(1, ready["torch"].form.in_planes, side, side)
    window = window.contiguous(memory_format=torch.channels_last)
    works = {
        "window": (options.rounds, lambda d: d.net(window)),
        "frame": (
            options.frame_rounds,
            lambda denoiser: denoiser.denoise(short, RATIO, noise=noise),
        ),
    }
    seconds: dict[str, dict[str, list[float]]] = {}
    results = {}
    for part, (count, work) in works.items():
        seconds[part] = {backend: [] for backend in BACKENDS}
        for turn in range(count + 1):
            for backend, denoiser in ready.items():
                start = time.process_time()
                results[backend] = work(denoiser)
                if turn:  # the first warms up and compiles
                    seconds[part][backend].append(time.process_time() - start)
    found_psnr = {backend: float(psnr(out, clean)) for backend, out in results.items()}
    return {
        "psnr": found_psnr,
        "largest_difference": float(np.abs(results["torch"] - results["openvino"]).max()),
        **{
            part: {backend: statistics.median(each) for backend, each in by.items()}
            | {"faster": statistics.median(map(lambda a, b: a / b, *by.values()))}
            for part, by in seconds.items()
        },
    }


def report(about: dict[str, Any], results: dict[str, Any]) -> str:
    """Return the results for readers."""
    text = head("Backends on the CPU", about) + (
        f"One window of {about['side']} x {about['side']} plane pixels through the network, and a "
        f"made-up frame of {about['frame']} x {about['frame']} denoised at ratio {RATIO:g}, in "
        f"float32. Processor seconds of all threads, medians of {about['rounds']} and "
        f"{about['frame_rounds']} rounds, in turn in one process; 'faster' is the median of "
        "torch's time over OpenVINO's in each round. OpenVINO goes over a frame in tiles with a "
        "halo.\n\n"
    )
    rows = []
    for name, each in results.items():
        for part in ("window", "frame"):
            times = each[part]
            shown = [f"{times[backend]:.2f}" for backend in BACKENDS]
            rows.append([name, part, *shown, f"{times['faster']:.2f} times"])
    text += table(["processor", "what", *BACKENDS, "faster"], rows) + "\n"
    rows = [
        [name, *(f"{each['psnr'][b]:.3f}" for b in BACKENDS), f"{each['largest_difference']:.1e}"]
        for name, each in results.items()
    ]
    return text + table(["processor", "PSNR torch", "PSNR OpenVINO", "largest difference"], rows)


if __name__ == "__main__":
    main()

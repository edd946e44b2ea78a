"""Speed and memory of `led denoise` on generated 12-MP and 24-MP raws.

    python tests/benchmarks/speed.py
    python tests/benchmarks/speed.py --quick

A whole run writes results/speed.json and speed.md; a quick one only where --json says.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from checkout import RESULTS
from measure import flops_per_pixel, matrix_rate, peak_of_led, whole_frame_seconds
from report import context, head, keep, table

from ledcli.batch.inputs import find_raws
from ledcli.batch.plan import plan_names
from ledcli.batch.run import DenoiseRun
from ledcli.batch.settings import Engine, Settings
from ledcli.inference.backends.torch import choose_device
from ledcli.inference.denoiser import Denoiser
from ledcli.nets.forms import FORMS
from ledcli.nets.repnr import deploy
from ledcli.noise.estimate import estimate_noise
from ledcli.raw.reader import read_raw
from ledcli.zoo.model_file import load_model
from ledcli.zoo.selection import NamedModel
from ledcli.zoo.store import find_model
from tests.shoot import make_raw

SHAPES = {"12 MP": (3000, 4000), "24 MP": (4000, 6000)}
QUICK = {"1 MP": (800, 1200)}
RATIO = 100.0
PARTS = ("decode", "pack", "network", "encode")
"""Of a photo's way; in a run they overlap with those of the photos beside it."""
COLUMNS = (*PARTS, "in a run", "network alone")


def main() -> None:
    """Measure, print and keep."""
    options = _options()
    if options.upstream:
        _measure_upstream(options)
        return
    shapes = QUICK if options.quick else SHAPES
    repeats = 1 if options.quick else options.repeats
    found = find_model(options.model)
    denoiser = Denoiser(found.path, found.csa_set, precision=options.precision)
    dtype = torch.bfloat16 if denoiser.precision == "bf16" else torch.float32
    spec, repnr = load_model(found.path)
    plain = deploy(repnr, found.csa_set) if spec.csa_sets else repnr
    in_planes = denoiser.form.in_planes
    per_pixel = flops_per_pixel(copy.deepcopy(plain), in_planes, denoiser.multiple)
    rates, results = [matrix_rate(dtype, denoiser.device)], []
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in shapes.items():
            _note(f"{name}: making the raw")
            raw = Path(folder) / f"{name.replace(' ', '')}.ARW"
            make_raw(raw, shape=shape, gain=4.0, read_noise=5.0, iso=12800)
            _note(f"{name}: led denoise in a process of its own")
            out = Path(folder) / "child"
            wall, peak = peak_of_led(
                "denoise", str(raw), f"--ratio={RATIO:g}", f"--out={out}", "--quiet",
                f"--precision={denoiser.precision}",
                *([f"--model={options.model}"] if options.model else []),
            )  # fmt: skip
            _note(f"{name}: {repeats + 1} runs, the first to warm up")
            parts = _parts(denoiser, found.path, raw, repeats)
            rates.append(matrix_rate(dtype, denoiser.device))
            size = tuple(n // 2 for n in shape)
            padded = tuple(-(-n // denoiser.multiple) * denoiser.multiple for n in size)
            _note(f"{name}: the network alone")
            parts["network alone"] = _network_alone(denoiser, raw, repeats)
            _note(f"{name}: the whole frame in float32")
            upstream = _upstream(options, padded, max(1, repeats // 2))
            flops = per_pixel * size[0] * size[1]
            results.append(
                {
                    "photo": name,
                    "shape": shape,
                    "seconds": parts,
                    "useful_gflop": flops / 1e9,
                    "network_gflops": flops / parts["network alone"] / 1e9,
                    "upstream_seconds": upstream,
                    "times_faster": upstream and upstream / parts["network alone"],
                    "process_seconds": wall,
                    "peak_bytes": peak,
                }
            )
    # The best of all: what the machine can do when nothing else runs.
    rate = max(rates) / 1e9
    for result in results:
        result["share_of_matrix_rate"] = result["network_gflops"] / rate
    about = context() | {
        "model": denoiser.name,
        "sha256": denoiser.sha256,
        "precision": denoiser.precision,
        "device": str(denoiser.device),
        "tile": denoiser.tile,
        "halo": denoiser.halo,
        "repeats": repeats,
        "matrix_gflops": rate,
    }
    markdown = _markdown(about, results)
    print(markdown)
    path = options.json or (None if options.quick else RESULTS / "speed.json")
    if path:
        keep(path, about | {"photos": results}, markdown)
        _note(f"written: {path.name}, {path.with_suffix('.md').name}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one run of 1 MP, to try it")
    parser.add_argument("--repeats", type=int, default=5, help="runs to take the median of")
    parser.add_argument("--model", help="a name or a file; the bundled default without")
    parser.add_argument("--precision", default="auto", help="auto, bf16 or float32")
    parser.add_argument(
        "--upstream", type=int, nargs=2, help="only upstream's way, on planes of this size"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the results go")
    return parser.parse_args()


def _parts(denoiser: Denoiser, model: Path, raw: Path, repeats: int) -> dict[str, float]:
    """Median seconds of each part of a photo's way, and of a photo in a run of several."""
    folder = raw.parent / raw.stem / "raw"
    folder.mkdir(parents=True)
    for n in range(repeats + 1):
        (folder / f"{n}{raw.suffix}").hardlink_to(raw)
    jobs = plan_names(find_raws([str(folder)]), ["dng"])
    seconds: dict[str, list[float]] = {part: [] for part in (*PARTS, "in a run")}
    engine = Engine(str(denoiser.device), denoiser.precision)
    before = None
    for done in DenoiseRun(jobs, Settings(ratio=RATIO), NamedModel(model), engine).run():
        if done.error:
            raise done.error
        now = time.perf_counter()
        if before is not None:  # the first warms up
            for part in PARTS:
                seconds[part].append(done.seconds[part])
            seconds["in a run"].append(now - before)
        before = now
    return {part: statistics.median(values) for part, values in seconds.items()}


def _network_alone(denoiser: Denoiser, raw: Path, repeats: int) -> float:
    """Median seconds of the network on a photo with nothing beside it."""
    photo = read_raw(raw)
    planes = photo.planes()
    noise = estimate_noise(planes)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        denoiser.denoise(planes, RATIO, phase=photo.phase, noise=noise)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def _upstream(options: argparse.Namespace, size: tuple[int, int], repeats: int) -> float | None:
    """Seconds of upstream's way, in a process that torch's large pages are not asked for in."""
    words = [sys.executable, __file__, "--upstream", *map(str, size), "--repeats", str(repeats)]
    words += ["--model", options.model] if options.model else []
    environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": "0"}
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def _measure_upstream(options: argparse.Namespace) -> None:
    found = find_model(options.model)
    spec, repnr = load_model(found.path)
    plain = deploy(repnr, found.csa_set) if spec.csa_sets else repnr
    in_planes = FORMS[spec.input_form].in_planes
    size = tuple(options.upstream)
    print(json.dumps(whole_frame_seconds(plain, in_planes, size, choose_device(), options.repeats)))


def _markdown(about: dict[str, Any], results: list[dict[str, Any]]) -> str:
    text = head("Speed", about)
    text += (
        f"Model {about['model']} (sha256 {about['sha256'][:12]}), {about['precision']} on "
        f"{about['device']}, tiles of {about['tile']} with a halo of {about['halo']}. Seconds, "
        f"median of {about['repeats']} after one to warm up; raw to DNG at ratio {RATIO:g}.\n\n"
    )
    text += table(
        [
            "photo",
            *PARTS,
            "a photo in a run",
            "network alone",
            "`led denoise` of one, start to end",
            "peak memory",
        ],
        [
            [
                r["photo"],
                *(f"{r['seconds'][part]:.2f}" for part in COLUMNS),
                f"{r['process_seconds']:.2f}",
                f"{r['peak_bytes'] / 1e9:.2f} GB",
            ]
            for r in results
        ],
    )
    text += (
        f"\nMatrix products of side 4096 in {about['precision']} run at "
        f"{about['matrix_gflops']:.0f} GFLOP/s here. The network's rate counts useful work only: "
        "the halo is in its time, not in its FLOPs. Upstream's way is the same network on the "
        "whole frame in float32, contiguous, eager, without the large pages that led asks for.\n\n"
    )
    return text + table(
        ["photo", "useful GFLOP", "GFLOP/s", "of the matrix rate", "upstream's way", "faster"],
        [
            [
                r["photo"],
                f"{r['useful_gflop']:.0f}",
                f"{r['network_gflops']:.0f}",
                f"{r['share_of_matrix_rate']:.0%}",
                f"{r['upstream_seconds']:.2f} s" if r["upstream_seconds"] else "out of memory",
                f"{r['times_faster']:.1f} times" if r["times_faster"] else "-",
            ]
            for r in results
        ],
    )


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

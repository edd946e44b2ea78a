"""Speed and memory of `led denoise` on a generated 24-MP raw.

    python tests/benchmarks/speed.py
    python tests/benchmarks/speed.py --network --cpu-time
    python tests/benchmarks/speed.py --quick

The network alone runs in strips, as led does, and in tiles with a halo, as it used to; both
alternate with matrix products in one process, and their ratios are taken within each round. Rounds
end after --rounds or when --minutes are over, but there is one. On a machine that others use,
--cpu-time and one thread (OMP_NUM_THREADS=1) give steadier ratios than the clock on the wall.
A whole run writes results/speed.json and speed.md; any other run only where --json says.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from measure import flops_per_pixel, matrix_rate, peak_of_led, whole_frame_seconds
from report import RESULTS, context, finish, head, note, parser_of, table
from torch import Tensor

from ledcli.batch.plan import plan_names
from ledcli.batch.run import DenoiseRun
from ledcli.batch.settings import Engine, Settings
from ledcli.inference.backends.torch import choose_device
from ledcli.inference.denoiser import Denoiser
from ledcli.inference.tiles import tiled
from ledcli.nets.forms import form_of
from ledcli.nets.repnr import deploy
from ledcli.noise.estimate import estimate_noise
from ledcli.raw.inputs import find_raws
from ledcli.raw.reader import read_raw
from ledcli.zoo.model_file import load_model
from ledcli.zoo.selection import NamedModel
from ledcli.zoo.store import find_model
from tests.shoot import make_raw

SHAPES = {"24 MP": (4000, 6000)}
QUICK = {"1 MP": (800, 1200)}
RATIO = 100.0
TILE = 640
"""Side of the reference's tiles, plane pixels."""
PARTS = ("decode", "pack", "network", "encode")
"""Of a photo's way; in a run they overlap with those of the photos beside it."""


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
    clock = time.process_time if options.cpu_time else time.perf_counter
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in shapes.items():
            note(f"{name}: making the raw")
            raw = Path(folder) / f"{name.replace(' ', '')}.ARW"
            make_raw(raw, shape=shape, gain=4.0, read_noise=5.0, iso=12800)
            size = tuple(n // 2 for n in shape)
            flops = per_pixel * size[0] * size[1]
            rounds = _rounds(denoiser, raw, dtype, clock, options)
            result = {
                "photo": name,
                "shape": shape,
                "useful_gflop": flops / 1e9,
                "rounds": [each._asdict() for each in rounds],
                "strips": statistics.median(each.strips for each in rounds),
                "tiles": statistics.median(each.tiles for each in rounds),
                "faster_than_tiles": statistics.median(each.tiles / each.strips for each in rounds),
                "share_of_matrix_rate": statistics.median(
                    flops / each.strips / each.matrix_rate for each in rounds
                ),
            }
            if not options.network:
                note(f"{name}: the whole frame in float32")
                padded = tuple(-(-n // denoiser.multiple) * denoiser.multiple for n in size)
                upstream = result["upstream"] = _upstream(options, padded)
                result["times_upstream"] = upstream and upstream / result["strips"]
                note(f"{name}: led denoise in a process of its own")
                out = Path(folder) / "child"
                result["process_seconds"], result["peak_bytes"] = peak_of_led(
                    "denoise", str(raw), f"--ratio={RATIO:g}", f"--out={out}", "--quiet",
                    f"--precision={denoiser.precision}",
                    *([f"--model={options.model}"] if options.model else []),
                )  # fmt: skip
                note(f"{name}: {repeats + 1} photos in a run, the first to warm up")
                result["seconds"] = _parts(denoiser, found.path, raw, repeats)
            results.append(result)
    about = context() | {
        "model": denoiser.name,
        "sha256": denoiser.sha256,
        "precision": denoiser.precision,
        "device": str(denoiser.device),
        "tile": TILE,
        "halo": denoiser.halo,
        "clock": "processor time" if options.cpu_time else "wall time",
        "repeats": repeats,
    }
    markdown = _markdown(about, results)
    whole = not (options.quick or options.network)
    path = options.json or (RESULTS / "speed.json" if whole else None)
    finish(path, about | {"photos": results}, markdown)


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="one run of 1 MP, to try it")
    parser.add_argument("--network", action="store_true", help="only the network, no led denoise")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the network at most")
    parser.add_argument("--minutes", type=float, default=5, help="after which no round begins")
    parser.add_argument("--cpu-time", action="store_true", help="processor time, not wall time")
    parser.add_argument("--repeats", type=int, default=3, help="photos in a run after the first")
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


class Round(NamedTuple):
    """Seconds of the network on a photo in strips and in tiles; FLOP/s of matrix products beside.

    The input form is in the seconds of both, the corrections after the network in neither.
    """

    strips: float
    tiles: float
    matrix_rate: float


def _rounds(
    denoiser: Denoiser,
    raw: Path,
    dtype: torch.dtype,
    clock: Callable[[], float],
    options: argparse.Namespace,
) -> list[Round]:
    frame = torch.from_numpy(read_raw(raw).planes())
    noise = estimate_noise(frame.numpy())
    figures = [torch.tensor([value], device=denoiser.device) for value in (RATIO, *noise)]

    def in_strips(frame: Tensor) -> None:
        denoiser.run(frame, RATIO, noise)

    def in_tiles(frame: Tensor) -> None:
        def window(x: Tensor) -> Tensor:
            return denoiser.form(denoiser.net, x.to(denoiser.device), *figures)

        tiled(window, frame, tile=TILE, halo=denoiser.halo, multiple=denoiser.multiple)

    rounds: list[Round] = []
    with torch.inference_mode():
        small = frame[:, :TILE, :TILE].contiguous()
        for work in (in_strips, in_tiles):
            work(small)  # warms up
        begun = time.monotonic()
        while len(rounds) < (1 if options.quick else options.rounds):
            seconds, rates = [], []
            for work in (in_strips, in_tiles):
                rates.append(matrix_rate(dtype, denoiser.device, 3, clock=clock))
                before = clock()
                work(frame)
                seconds.append(clock() - before)
            rounds.append(Round(*seconds, statistics.fmean(rates)))
            note(f"  {rounds[-1]}")
            if time.monotonic() - begun > 60 * options.minutes:
                break
    return rounds


def _upstream(options: argparse.Namespace, size: tuple[int, ...]) -> float | None:
    """Seconds of upstream's way, in a process of its own."""
    words = [sys.executable, __file__, "--upstream", *map(str, size), "--repeats", "1"]
    words += ["--model", options.model] if options.model else []
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def _measure_upstream(options: argparse.Namespace) -> None:
    found = find_model(options.model)
    spec, repnr = load_model(found.path)
    plain = deploy(repnr, found.csa_set) if spec.csa_sets else repnr
    in_planes = form_of(spec.input_form).in_planes
    size = tuple(options.upstream)
    print(json.dumps(whole_frame_seconds(plain, in_planes, size, choose_device(), options.repeats)))


def _markdown(about: dict[str, Any], results: list[dict[str, Any]]) -> str:
    text = head("Speed", about)
    text += (
        f"Model {about['model']} (sha256 {about['sha256'][:12]}), {about['precision']} on "
        f"{about['device']}; seconds of {about['clock']}, ratios within a round, medians. Input "
        "form and network alone, in strips and in tiles of "
        f"{about['tile']} with a halo of {about['halo']}. The rate counts useful work only, not "
        f"the form and not the halo; matrix products of the same precision run beside it.\n\n"
    )
    text += table(
        ["photo", "rounds", "strips", "tiles", "faster", "useful GFLOP/s", "of the matrix rate"],
        [
            [
                r["photo"],
                str(len(r["rounds"])),
                f"{r['strips']:.2f}",
                f"{r['tiles']:.2f}",
                f"{r['faster_than_tiles']:.2f} times",
                f"{r['useful_gflop'] / r['strips']:.0f}",
                f"{r['share_of_matrix_rate']:.0%}",
            ]
            for r in results
        ],
    )
    if any("seconds" not in r for r in results):
        return text
    text += (
        f"\nRaw to DNG at ratio {RATIO:g}: seconds of wall time, median of {about['repeats']} "
        "after one to warm up. Upstream's way is the same network on the whole frame in float32, "
        "contiguous, eager.\n\n"
    )
    return text + table(
        [
            "photo",
            *PARTS,
            "a photo in a run",
            "`led denoise` of one, start to end",
            "peak memory",
            "upstream's way",
            "slower than strips",
        ],
        [
            [
                r["photo"],
                *(f"{r['seconds'][part]:.2f}" for part in (*PARTS, "in a run")),
                f"{r['process_seconds']:.2f}",
                f"{r['peak_bytes'] / 1e9:.2f} GB",
                f"{r['upstream']:.2f} s" if r["upstream"] else "out of memory",
                f"{r['times_upstream']:.1f} times" if r["upstream"] else "-",
            ]
            for r in results
        ],
    )


if __name__ == "__main__":
    main()

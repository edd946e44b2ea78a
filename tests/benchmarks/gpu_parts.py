"""What gpu.py measures of denoising: a generator for each part yields what it has found so far.

That is ``rows`` of a table, a ``note`` below it, and figures; later ones replace earlier ones.
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from measure import flops_per_pixel, matrix_rate, timed
from torch import Tensor, nn

import ledcli
from ledcli.batch.settings import Engine, Quality, Result
from ledcli.errors import LedError
from ledcli.evaluation.simulation import compare_engines
from ledcli.inference.backends.torch import choose_precision
from ledcli.inference.denoiser import Denoiser, self_ensemble
from ledcli.nets.forms import form_of
from ledcli.nets.repnr import deploy
from ledcli.noise.estimate import estimate_noise
from ledcli.raw.reader import read_raw
from ledcli.zoo.model_file import load_model
from ledcli.zoo.selection import default_name
from ledcli.zoo.store import ChosenModel, find_model, read_registry
from tests.shoot import make_raw

RATIO = 100.0
Found = Iterator[dict[str, Any]]


class Bench(NamedTuple):
    """Where and how long a part measures."""

    device: torch.device
    tiny: bool
    end: float
    """Of its time, as of `time.monotonic`."""
    folder: Path
    """For files that it needs."""

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.end - time.monotonic()

    @property
    def bf16(self) -> bool:
        """Whether led computes in bfloat16 on the device."""
        return choose_precision("auto", self.device) == "bf16"

    def matrix_rate(self) -> float:
        """Return the device's own rate of bfloat16 matrix products, FLOP/s."""
        return matrix_rate(torch.bfloat16, self.device, side=256 if self.tiny else 8192)

    def pick(self, size: Any, tiny: Any) -> Any:
        """Return a size, or the one to try the script with."""
        return tiny if self.tiny else size


class Tier(NamedTuple):
    """A quality, the model that it takes, and a photo's seconds with it on the bench's device."""

    quality: Quality
    model: ChosenModel
    network: float
    photo: float


def _tiers(bench: Bench, shape: tuple[int, int], runs: int, problems: list[str]) -> Iterator[Tier]:
    """Denoise a raw of a size in every quality, as users do; add those that fail to `problems`."""
    raw = bench.folder / "photo.ARW"
    make_raw(raw, shape=shape, gain=4.0, read_noise=5.0, iso=12800)
    for quality in Quality:
        try:
            results = [_denoise(bench, raw, quality, run) for run in range(runs)]
        except LedError as error:
            problems.append(f"{quality}: {error}")
            continue
        model = results[-1].model
        assert model is not None, "a photo that is done has a model"
        kept = results[1:] or results  # the first warms up
        network = statistics.median(each.seconds["network"] for each in kept)
        whole = statistics.median(sum(each.seconds.values()) for each in kept)
        yield Tier(quality, model, network, whole)


def _denoise(bench: Bench, raw: Path, quality: Quality, run: int) -> Result:
    out, engine = bench.folder / f"{quality}-{run}", Engine(device=str(bench.device))
    (result,) = ledcli.denoise(raw, out, ratio=RATIO, quality=quality, engine=engine)
    if result.error is not None:
        raise result.error
    return result


def agreement(bench: Bench) -> Found:
    """Compare every backend, device and precision with the CPU in float32, as doctor does."""
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    names = [default_name("bayer"), *filter(None, [read_registry().fast.get("bayer")])]
    for name in names:
        for engine, found, missing in compare_engines(find_model(name)):
            row = {"model": name} | engine._asdict() | {"rms": "-", "largest": "-"}
            if found is not None and not found.error:
                row |= {"rms": f"{found.rms:.1e}", "largest": f"{found.largest:.1e}"}
            row["result"] = missing if found is None else found.problem or "agrees"
            rows.append(row)
            if found is not None and found.problem:
                way = f"{engine.backend} on {engine.device} in {engine.precision}"
                problems.append(f"{name}: {way} {found.problem}")
            yield {"rows": rows, "problems": problems}
            if bench.tiny and found is not None:
                return


def photo(bench: Bench) -> Found:
    """Denoise a photo of 24 MP in every quality, and time the network of each alone."""
    shape = bench.pick((4000, 6000), (128, 160))
    rate = bench.matrix_rate()
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for tier in _tiers(bench, shape, bench.pick(4, 1), problems):
        denoiser = Denoiser(tier.model.path, tier.model.csa_set, device=str(bench.device))
        planes = read_raw(bench.folder / "photo.ARW").planes()
        passes, work = 1, partial(denoiser.run, noise=estimate_noise(planes))
        if tier.quality == Quality.BEST:
            passes, work = 4, partial(self_ensemble, work)
        frame, repeats = torch.from_numpy(planes), bench.pick(4, 2)
        seconds, moved = (
            statistics.median(timed(partial(work, each, RATIO), repeats, bench.device)[1:])
            for each in (frame.to(bench.device), frame)
        )
        flops = passes * planes[0].size * flops_of(tier.model)
        rows.append(
            {
                "quality": str(tier.quality),
                "model": tier.model.path.stem,
                "precision": denoiser.precision,
                "GFLOP": round(flops / 1e9),
                "network, s": round(seconds, 4),
                "of the matrix rate": f"{flops / seconds / rate:.1%}",
                "with transfers, s": round(moved, 4),
                "with corrections, s": round(tier.network, 3),
                "raw to DNG, s": round(tier.photo, 3),
            }
        )
        note = f"Matrix products in bfloat16: {rate / 1e12:.4g} TFLOP/s. Network: with its input "
        note += "form, on a frame on the device. The corrections are computed on the CPU."
        yield {"rows": rows, "note": note}
    yield {"problems": problems}


def flops_of(model: ChosenModel) -> float:
    """Return the FLOPs of a model's plain network per plane pixel."""
    spec, net = load_model(model.path)
    plain = deploy(net, model.csa_set) if spec.csa_sets else net
    form = form_of(spec.input_form, spec.output, spec.planes)
    return flops_per_pixel(plain, form.in_planes, plain.architecture.size_multiple)


def memory(bench: Bench) -> Found:
    """Denoise a frame as a whole, then with too little memory for that, then with none."""
    model, rows = find_model(), []
    size = bench.pick((2000, 3000), (384, 256))
    planes = np.random.default_rng(0).poisson(4, (4, *size)).astype(np.float32) / 4000
    reference, needed, whole = None, 0, size[0] * size[1]
    shares = {"all": None, "too little for the whole": bench.pick(0.4, 0.85), "none": 0.0}
    for name, share in shares.items():
        denoiser = Denoiser(model.path, model.csa_set, device=str(bench.device), tile=0)
        first = denoiser.net.get_submodule(denoiser.net.architecture.first_layer)
        windows: list[int] = []
        limit = None if share is None else share * (needed or whole)
        with _little_memory(bench, first, limit), _recorded(first, windows):
            before = _allocated(bench)
            try:
                result, outcome = denoiser.denoise(planes, RATIO), "done"
            except (LedError, RuntimeError) as error:
                result, outcome = None, str(error).splitlines()[0]
            needed = needed or _peak(bench) - before
        row = {"memory left": name, "largest window": max(windows, default="-"), "result": outcome}
        row["rms to the first"] = "-"
        if reference is None:
            reference = result
        elif result is not None:
            row["rms to the first"] = f"{np.sqrt(np.mean((result - reference) ** 2)):.1e}"
        rows.append(row)
        yield {"rows": rows, "bytes": needed}


@contextmanager
def _recorded(layer: nn.Module, windows: list[int]) -> Iterator[None]:
    """Note the plane pixels of every window that a layer has computed."""
    hook = layer.register_forward_hook(lambda _, given, out: windows.append(out[0, 0].numel()))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _little_memory(bench: Bench, layer: nn.Module, limit: float | None) -> Iterator[None]:
    """Leave so many bytes of a CUDA device; elsewhere let larger windows fail at a layer."""
    if limit is None:
        yield
    elif bench.device.type == "cuda":
        blocks = _fill(bench.device, int(limit))
        yield
        blocks.clear()
        torch.cuda.empty_cache()
    else:

        def fail(_: nn.Module, given: tuple[Tensor]) -> None:
            if given[0][0, 0].numel() > limit:
                raise torch.OutOfMemoryError("out of memory, as a stand-in")

        hook = layer.register_forward_pre_hook(fail)
        yield
        hook.remove()


def _fill(device: torch.device, leave: int) -> list[Tensor]:
    """Take a device's memory in ever smaller blocks."""
    torch.cuda.empty_cache()
    blocks: list[Tensor] = []
    size = 1 << 34
    while size >= 1 << 20:
        if torch.cuda.mem_get_info(device)[0] - leave >= size:
            try:
                blocks.append(torch.empty(size, dtype=torch.uint8, device=device))
                continue
            except torch.OutOfMemoryError:
                pass
        size //= 2
    return blocks


def _allocated(bench: Bench) -> int:
    if bench.device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(bench.device)
    return torch.cuda.memory_allocated(bench.device)


def _peak(bench: Bench) -> int:
    return torch.cuda.max_memory_allocated(bench.device) if bench.device.type == "cuda" else 0

"""Rates and memory: what the speed benchmark compares with."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from report import ROOT
from torch import Tensor, nn

PRODUCT_SIDE = 4096
"""Side of the square matrices; large enough for any processor's full rate."""
BYTES_PER_MAXRSS = 1 if sys.platform == "darwin" else 1024

# A small process between this large one and the measured one: a child's peak counts the memory
# that its parent held when it was made.
_WATCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(done.returncode, seconds, peak)
"""


def timed(
    work: Callable[[], object],
    repeats: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Return the seconds of each of ``repeats`` runs."""
    seconds = []
    for _ in range(repeats):
        _wait(device)
        start = clock()
        work()
        _wait(device)
        seconds.append(clock() - start)
    return seconds


def matrix_rate(
    dtype: torch.dtype,
    device: torch.device,
    repeats: int = 10,
    side: int = PRODUCT_SIDE,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return this machine's rate of matrix products, FLOP/s: the best of some runs."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    timed(lambda: torch.mm(a, b, out=out), 2, device)
    return 2 * side**3 / min(timed(lambda: torch.mm(a, b, out=out), repeats, device, clock))


def flops_per_pixel(net: nn.Module, in_planes: int, multiple: int) -> float:
    """Return the FLOPs of a plain network per plane pixel, from its layers' shapes.

    Two per multiplication of a convolution or transposed convolution; all else is left out.
    """
    side, total = 4 * multiple, 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        # Every output pixel of a convolution, every input pixel of a transposed one, takes part
        # in one product with the whole kernel.
        pixels = output if isinstance(layer, nn.Conv2d) else inputs[0]
        total += 2 * pixels.shape[2] * pixels.shape[3] * layer.weight.numel() // layer.groups

    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        weight = next(net.parameters())
        x = torch.zeros(1, in_planes, side, side, device=weight.device)
        with torch.inference_mode():
            net(x)
    finally:
        for hook in hooks:
            hook.remove()
    return total / side**2


def whole_frame_seconds(
    net: nn.Module, in_planes: int, size: tuple[int, int], device: torch.device, repeats: int
) -> float | None:
    """Run a network as published code does: whole frame, float32, contiguous, eager.

    The size (rows, cols) of the frame is in plane pixels, multiples of what the plain network
    needs. Returns the median of the seconds; None where the memory does not hold the frame.
    """
    net = net.to(device).to(memory_format=torch.contiguous_format).eval()
    x = torch.randn(1, in_planes, *size, device=device)
    try:
        with torch.inference_mode():
            return statistics.median(timed(lambda: net(x), repeats, device))
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        return None


def peak_of_led(*arguments: str) -> tuple[float, float]:
    """Run ``led`` in a process of its own; return its wall time in seconds and peak in bytes."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _WATCHER, sys.executable, "-m", "ledcli", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=Path(ROOT), check=True
    )
    status, seconds, peak = done.stdout.split()
    if status != "0":
        raise SystemExit(f"led {' '.join(arguments)} failed:\n{done.stderr}")
    return float(seconds), int(peak) * BYTES_PER_MAXRSS


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

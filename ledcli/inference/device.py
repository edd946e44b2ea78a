"""Which device and which precision the work runs in."""

import platform
from typing import Literal

import torch

from ledcli.errors import UsageError

Precision = Literal["bf16", "float32"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name; ``auto`` takes CUDA, XPU, MPS or the CPU, the first there is.

    Raises
    ------
    UsageError
        The name is not a device, or this machine has none such.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "xpu": torch.xpu.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device '{name}': choose auto, {', '.join(available)}") from error
    if not available.get(device.type, False):
        there = ", ".join(kind for kind, is_there in available.items() if is_there)
        raise UsageError(f"this machine has no device '{name}': choose auto or {there}")
    return device


def choose_precision(name: str, device: torch.device) -> Precision:
    """Return the precision of a name; ``auto`` is bfloat16 where the device is fast in it."""
    if name == "bf16" or (name == "auto" and fast_in_bf16(device)):
        return "bf16"
    if name not in ("float32", "auto"):
        raise UsageError(f"no precision '{name}': choose auto, bf16 or float32")
    return "float32"


def choose_place(backend: str, device: str, precision: str) -> tuple[torch.device, Precision]:
    """Return where a backend works and in which precision: onnx on the CPU, in float32.

    Raises
    ------
    UsageError
        As the two above; and for another device or precision with onnx.
    """
    if backend == "onnx":
        if device not in ("auto", "cpu"):
            raise UsageError(f"onnx runs on the CPU, not on {device}: leave --device out")
        if precision not in ("auto", "float32"):
            raise UsageError(f"onnx runs in float32, not in {precision}: leave --precision out")
        return torch.device("cpu"), "float32"
    where = choose_device(device)
    return where, choose_precision(precision, where)


def fast_in_bf16(device: torch.device) -> bool:
    """Tell whether a device multiplies bfloat16 matrices in hardware."""
    if device.type == "cpu":
        if platform.machine().lower() in ("x86_64", "amd64"):
            return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        return bool(supported and supported())
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "xpu"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error of torch says that the device's memory is full."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        t in str(error) for t in ("allocate memory", "out of memory", "not enough memory")
    )

"""The torch backend: devices, precisions, and convolutions fused with their activation."""

import platform
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ledcli.errors import UsageError
from ledcli.inference.backends import Backend, Precision, Target
from ledcli.nets.network import Network, middle_rows
from ledcli.nets.unet import NEGATIVE_SLOPE, ResidualBlock
from ledcli.zoo.spec import ModelSpec

CPU = torch.device("cpu")
full_float32 = partial(torch.backends.cudnn.flags, enabled=True, allow_tf32=False)
"""Context in which layers that are float32 for a reason are not rounded to TF32, in all threads. By
default these flags turn cuDNN off."""


class TorchBackend(Backend):
    """Runs any model on any device of torch's."""

    def devices(self) -> dict[str, str]:
        """Return CUDA, XPU, MPS and the CPU; one that is not there says so."""
        return {
            kind: "" if there else f"not found by torch {torch.__version__}"
            for kind, there in available_devices().items()
        }

    def targets(self, device: str, precision: str) -> list[Target]:
        """Return the targets; ``auto`` tries float32 after bfloat16, and ends with the CPU."""
        devices = [choose_device(device)]
        if device == "auto" and devices[0].type != "cpu":
            devices.append(CPU)
        targets = []
        for each in devices:
            first = choose_precision(precision, each)
            kinds: list[Precision] = [first]
            if precision == "auto" and first != "float32" and each != CPU:
                kinds.append("float32")
            targets += [Target(str(each), kind, each, _identity(each)) for kind in kinds]
        return targets

    def prepare(self, spec: ModelSpec, net: Network, target: Target) -> nn.Module:
        """Move a plain network to its device; its inner layers to the precision."""
        # torch's type stubs do not know this argument of Module.to.
        net = net.to(target.tensors).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.eval().requires_grad_(False)
        if target.precision == "bf16":
            for name, layer in net.named_children():
                if name not in net.architecture.float32_layers:
                    layer.to(torch.bfloat16)
        if target.tensors == CPU and (target.precision == "float32" or fast_in_bf16(CPU)):
            fuse(net)
        return net


BACKEND = TorchBackend()


def available_devices() -> dict[str, int]:
    """Return the kinds of device that torch knows, the preferred first, and how many are there."""
    return {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "xpu": torch.xpu.device_count() if torch.xpu.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }


def _identity(device: torch.device) -> str:
    """Return hardware, driver and library, as `Target.identity`."""
    kind, library = device.type, f"torch {torch.__version__}"
    if kind == "cpu":
        return ""
    if kind == "cuda":
        driver = torch._C._cuda_getDriverVersion()  # type: ignore[attr-defined]
        return f"{library}, {torch.cuda.get_device_name(device)}, driver {driver}"
    if kind == "xpu":
        found = torch.xpu.get_device_properties(device)
        return f"{library}, {found.name}, driver {getattr(found, 'driver_version', '')}"
    return f"{library}, {kind}"


def choose_device(name: str = "auto") -> torch.device:
    """Return a device; ``auto`` is the first available of CUDA, XPU, MPS and CPU.

    Raises UsageError if the name is not a device, or this machine does not have it.
    """
    available = available_devices()
    there = [kind for kind, is_there in available.items() if is_there]
    if name == "auto":
        return torch.device(there[0])
    try:
        device = torch.device(name)
    except RuntimeError as error:
        kinds = ", ".join(available)
        raise UsageError(f"torch knows no device '{name}': choose auto, {kinds}") from error
    if (device.index or 0) >= available.get(device.type, 0):
        kinds = ", ".join(there)
        raise UsageError(f"this machine has no device '{name}': choose auto or {kinds}")
    return CPU if device.type == "cpu" else device  # "cpu:0" is not equal to it


def choose_precision(name: str, device: torch.device) -> Precision:
    """Return a precision; ``auto`` is bf16 where the device is fast in it. Raises UsageError."""
    if name == "bf16" or (name == "auto" and fast_in_bf16(device)):
        return "bf16"
    if name not in ("float32", "auto"):
        hint = "; led denoise has it with --backend openvino" if name in ("int8", "fp16") else ""
        raise UsageError(f"no precision '{name}': choose auto, bf16 or float32{hint}")
    return "float32"


def fast_in_bf16(device: torch.device) -> bool:
    """Return True if a device runs a network faster in bfloat16 than in float32.

    A Zen 4 takes half as long; an Intel with AVX512-BF16 but no AMX took 1.6 times as long.
    """
    if device.type == "cpu":
        if platform.machine().lower() in ("x86_64", "amd64"):
            known = dict(getattr(torch.cpu, "get_capabilities", dict)())  # not in old releases
            zen4 = known.get("avx512_bf16") and str(known.get("cpu_name")).startswith("AMD")
            return torch.cpu._is_amx_tile_supported() or bool(zen4)
        return bool(getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)())
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "xpu"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return True if an error of torch means that the device's memory is full."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        t in str(error)
        for t in ("allocate memory", "out of memory", "not enough memory", "STATUS_ALLOC_FAILED")
    )


def does_not_hold(what: str, device: str, *remedies: str) -> str:
    """Return the message about a device whose memory is too small for something."""
    remedies = ("close other programs", *remedies)
    if not device.startswith("cpu"):
        remedies += ("use --device cpu",)
    return f"the memory of {device} does not hold {what}: {' or '.join(remedies)}"


class ActivatedConv(nn.Module):
    """A plain convolution and the leaky ReLU behind it in one operation."""

    def __init__(self, plain: nn.Conv2d, slope: float) -> None:
        super().__init__()
        self.plain, self.slope = plain, slope

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)`` and activate."""
        return torch.ops.mkldnn._convolution_pointwise(
            x, *_arguments(self.plain), "leaky_relu", [self.slope], ""
        )


class FusedBlock(nn.Module):
    """A residual block of two plain convolutions, with activation and sum fused into them."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        assert isinstance(block.first, nn.Conv2d) and isinstance(block.second, nn.Conv2d)
        self.first = ActivatedConv(block.first, NEGATIVE_SLOPE)
        self.second = block.second

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape, less the rows that are not padded."""
        h = self.first(x)
        rows = h.shape[2] if self.second.padding[0] else h.shape[2] - 2
        return torch.ops.mkldnn._convolution_pointwise.binary(
            h, middle_rows(x, rows), *_arguments(self.second), "add", 1.0, None, [], None
        )


def fuse(net: Network) -> None:
    """Fuse residual blocks and activated convolutions in place.

    Does nothing if this build of torch lacks the operation: the result is the same, but slower.
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(
        torch.ops.mkldnn, "_convolution_pointwise"
    ):
        return
    for name, module in list(net.named_modules()):
        if isinstance(module, ResidualBlock):
            net.set_submodule(name, FusedBlock(module))
    architecture = net.architecture
    if architecture.activation_slope == 1:
        return
    for name, layer in list(net.named_children()):
        if isinstance(layer, nn.Conv2d) and name not in architecture.plain_layers:
            setattr(net, name, ActivatedConv(layer, architecture.activation_slope))
    net.activation = nn.Identity()


def _arguments(conv: nn.Conv2d) -> tuple[Any, ...]:
    geometry = list(conv.padding), list(conv.stride), list(conv.dilation)
    return conv.weight, conv.bias, *geometry, conv.groups

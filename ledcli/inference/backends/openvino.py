"""The OpenVINO backend: Intel's and other CPUs, Intel's GPUs and NPUs.

In int8 the levels below the top are rounded after training: weights by output channel, activations
by layer. The top level and all sums stay in float32. In deep noise the picture is a tenth of the
noise there, less than a step of 8 bits over a layer's range (models/EXPERIMENTS.md).
"""

import copy
import sys
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ledcli.errors import DeviceError, ModelError, UsageError
from ledcli.inference.agreement import synthetic_frames
from ledcli.inference.backends import Backend, Precision, Target
from ledcli.inference.backends.torch import CPU, fast_in_bf16
from ledcli.nets.forms import form_of
from ledcli.nets.network import Network
from ledcli.nets.unet import ResizeConv, ResUNet
from ledcli.zoo.onnx import trace_onnx
from ledcli.zoo.selection import FAST_INT8
from ledcli.zoo.spec import ModelSpec
from ledcli.zoo.store import cache_dir

if TYPE_CHECKING:
    from openvino import CompiledModel, Core

KINDS = ("gpu", "npu", "cpu")
"""Of device. ``auto`` takes a GPU, else the CPU; an NPU has to be asked for."""
HINTS: dict[Precision, str] = {"float32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
"""OpenVINO's names of the precisions; int8 is in the network."""
_CAPABILITIES: dict[Precision, str] = {
    "float32": "FP32",
    "bf16": "BF16",
    "fp16": "FP16",
    "int8": "INT8",
}
_VERSIONS = (
    "FULL_DEVICE_NAME",
    "DEVICE_ARCHITECTURE",
    "GPU_UARCH_VERSION",
    "GPU_DRIVER_VERSION",
    "NPU_DRIVER_VERSION",
)
"""Properties that say which hardware and driver it is; not every device has all."""
MAX_SHAPES = 2
"""Compiled networks in memory: one for each size of window."""
MAX_KEPT = 32
"""Compiled networks in the cache folder."""
_MEMORY = ("OUT_OF", "alloc", "max size of memory object")
"""In OpenVINO's errors: the device's memory is full."""
_CONVERTER = "openvino.tools.ovc"
TOP = ("head", "tail", "encoder.0.", "decoder.0.")
"""Layers that stay in float32."""
STEPS = 255
"""From the smallest to the largest number of 8 bits."""
KEPT = 0.6
"""Of the range of a layer's input on synthetic frames, whose contrasts are rare in photographs:
what lies beyond is clipped. 0.9 of the range loses 0.10 dB in the worst cell, 0.75 of it 0.06."""


class OpenvinoBackend(Backend):
    """Runs folded networks after exporting them in memory."""

    # A window of 1216 costs 3 % more a pixel than one of 608, and 17 % less for the halo than 832.
    label, min_tile = ", OpenVINO", 1024

    def devices(self) -> dict[str, str]:
        """Return the devices that OpenVINO finds, and the kinds that it does not."""
        there = dict.fromkeys(_devices(), "")
        missing = "not found by OpenVINO: no such device, or no driver"
        absent = [kind for kind in KINDS if not any(name.startswith(kind) for name in there)]
        return there | dict.fromkeys(absent, missing)

    def targets(self, device: str, precision: str) -> list[Target]:
        """Return devices and precisions; ``auto`` begins with the GPUs and ends with the CPU."""
        there = _devices()
        if device == "auto":
            names = [name for name in there if name.startswith("gpu")] + ["cpu"]
        elif device in there or any(name.startswith(f"{device}.") for name in there):
            names = [device]
        else:
            raise UsageError(
                f"OpenVINO finds no device '{device}': choose auto or {', '.join(there)}"
            )
        return [
            Target(name, kind, CPU, _identity(name))
            for name in names
            for kind in _precisions(name, precision)
        ]

    def prepare(self, spec: ModelSpec, net: Network, target: Target) -> nn.Module:
        """Export a folded network; in 16 bits its first and last layer stay in torch."""
        architecture = net.architecture
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.eval().requires_grad_(False)
        planes = net.get_parameter(f"{architecture.first_layer}.weight").shape[1]
        sample = torch.zeros(1, planes, *2 * (architecture.size_multiple,))
        if target.precision == "int8":
            round_below_top(spec, net)
        if target.precision in ("float32", "int8"):
            return OpenvinoNet(trace_onnx(net, sample), target)
        inner = OpenvinoNet(trace_onnx(_Inner(net), net._enter(sample)), target)
        return _OuterInTorch(net, inner)


BACKEND = OpenvinoBackend()


class OpenvinoNet(nn.Module):
    """An ONNX network in OpenVINO, compiled for each size of input when it first comes.

    Raises DeviceError if the device cannot compile or run it.
    """

    def __init__(self, data: bytes, target: Target) -> None:
        super().__init__()
        self.target, self.core = target, _core()
        self.model = self.core.read_model(data)
        self.compiled: OrderedDict[tuple[int, ...], CompiledModel] = OrderedDict()
        self.options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": HINTS[target.precision],
        }
        if target.name == "cpu":
            self.options["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
        else:
            # Compiling for a GPU or NPU takes up to a minute.
            self.options["CACHE_DIR"] = str(_compiled_dir())

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to float32 ``(N, C', H, W)``, both on the CPU."""
        given = x.detach().float().contiguous().numpy()
        try:
            out = self._compiled(given.shape)(given, share_outputs=False)[0]
        except Exception as error:  # of any device's driver
            text = f"OpenVINO on {self.target.name}: {_first(error)}"
            if any(word in str(error) for word in _MEMORY):
                # Worded as torch does: callers recognise full memory by it.
                raise RuntimeError(f"{text}: out of memory") from error
            raise DeviceError(text) from error
        return torch.from_numpy(out)

    def _compiled(self, shape: tuple[int, ...]) -> "CompiledModel":
        if shape not in self.compiled:
            while len(self.compiled) >= MAX_SHAPES:
                self.compiled.popitem(last=False)
            model = self.model.clone()
            model.reshape(list(shape))
            device = self.target.name.upper()
            self.compiled[shape] = self.core.compile_model(model, device, self.options)
        self.compiled.move_to_end(shape)
        return self.compiled[shape]


class _Inner(nn.Module):
    """A copy of a network without its first and last layer."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        self.net.adds_input = False
        for outer in ("_enter", "_leave"):
            setattr(self.net, outer, lambda h: h)

    def forward(self, h: Tensor) -> Tensor:
        return self.net(h)


class _OuterInTorch(nn.Module):
    """A network whose inner layers run elsewhere; the first and the last one in float32 here."""

    def __init__(self, net: Network, inner: nn.Module) -> None:
        super().__init__()
        self.net, self.inner = net, inner

    def forward(self, x: Tensor) -> Tensor:
        out = self.net._leave(self.inner(self.net._enter(x)))
        return out + x if self.net.adds_input else out


def _first(error: Exception) -> str:
    """Return what went wrong, without the line of its source that OpenVINO names first."""
    lines = [line.strip().rstrip(".:") for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return (told or lines or [type(error).__name__])[0]


def _core() -> "Core":
    """Return OpenVINO's core, imported without the converter.

    The converter reports each import to its maker over the network, and takes most of the time.
    """
    blocked = _CONVERTER not in sys.modules
    if blocked:
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if blocked:
            del sys.modules[_CONVERTER]
    return openvino.Core()


def _devices() -> list[str]:
    """Return OpenVINO's devices on this machine, in small letters: ``cpu``, ``gpu``, ``gpu.1``."""
    return [name.lower() for name in _core().available_devices]


def _precisions(device: str, precision: str) -> list[Precision]:
    """Return precisions of a device, the fastest first; raises UsageError."""
    able = _core().get_property(device.upper(), "OPTIMIZATION_CAPABILITIES")
    there = [kind for kind, name in _CAPABILITIES.items() if name in able]
    if precision != "auto":
        if precision not in there:
            raise UsageError(
                f"{device} has no precision '{precision}': choose auto, {', '.join(there)}"
            )
        return [kind for kind in there if kind == precision]
    if device == "cpu":
        return ["bf16"] if fast_in_bf16(CPU) and "bf16" in there else ["float32"]
    return [kind for kind in ("fp16", "float32") if kind in there]


def _identity(device: str) -> str:
    core, name = _core(), device.upper()
    known = core.get_property(name, "SUPPORTED_PROPERTIES")
    facts = [str(core.get_property(name, each)) for each in _VERSIONS if each in known]
    (version,) = core.get_versions(name).values()  # of GPU.1 under GPU
    return ", ".join((f"OpenVINO {version.build_number} {device}", *facts))


def _compiled_dir() -> Path:
    """Return the folder of compiled networks, after removing the oldest of too many."""
    folder = cache_dir() / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = sorted(filter(Path.is_file, folder.iterdir()), key=lambda path: path.stat().st_mtime)
        for path in kept[:-MAX_KEPT]:
            path.unlink(missing_ok=True)
    except OSError:
        pass  # OpenVINO then compiles without keeping
    return folder


class RoundedConv(nn.Module):
    """A convolution whose weights and input are rounded to 8 bits; the bounds are the input's."""

    def __init__(self, conv: nn.Conv2d, lowest: float, highest: float) -> None:
        super().__init__()
        self.conv, self.step = conv, max(highest - lowest, 1e-6) / STEPS
        self.zero = round(-lowest / self.step)
        largest = conv.weight.abs().amax((1, 2, 3)).clamp_min(1e-6)
        self.steps, self.zeros = largest * 2 / (STEPS - 1), torch.zeros_like(largest).int()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` as the convolution does."""
        conv = self.conv
        x = torch.fake_quantize_per_tensor_affine(x, self.step, self.zero, 0, STEPS)
        weight = torch.fake_quantize_per_channel_affine(
            conv.weight, self.steps, self.zeros, 0, -(STEPS // 2) - 1, STEPS // 2
        )
        h = F.conv2d(x, weight, conv.bias, conv.stride, conv.padding)
        resized = isinstance(conv, ResizeConv)
        return F.interpolate(h, scale_factor=2, mode="bilinear") if resized else h


def round_below_top(spec: ModelSpec, net: Network) -> None:
    """Round a folded network in place, to the ranges that synthetic frames have.

    Raises ModelError if it is not built as the fast model: others lose too much.
    """
    if not (isinstance(net, ResUNet) and all(isinstance(up, ResizeConv) for up in net.up)):
        raise ModelError(FAST_INT8)
    bounds: dict[str, tuple[float, float]] = {}

    def widen(name: str, _: nn.Module, given: tuple[Tensor]) -> None:
        lowest, highest = bounds.get(name, (0.0, 0.0))
        bounds[name] = (
            min(lowest, KEPT * float(given[0].min())),
            max(highest, KEPT * float(given[0].max())),
        )

    layers = {
        name: layer
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Conv2d) and not name.startswith(TOP)
    }
    hooks = [each.register_forward_pre_hook(partial(widen, name)) for name, each in layers.items()]
    form = form_of(spec.input_form, spec.output, spec.planes)
    with torch.inference_mode():
        for frame, ratio, noise in synthetic_frames(spec.planes):
            form(net, frame[None], *(torch.tensor([value]) for value in (ratio, *noise)))
    for hook in hooks:
        hook.remove()
    for name, layer in layers.items():
        net.set_submodule(name, RoundedConv(layer, *bounds[name]))

"""The onnxruntime backend: float32 on any execution provider that the installed build has."""

from pathlib import Path

import torch
from torch import nn

from ledcli.errors import UsageError
from ledcli.inference.backends import Backend, Loaded, Target
from ledcli.nets.network import Network
from ledcli.zoo.model_file import is_onnx
from ledcli.zoo.onnx import CPU_PROVIDER, OnnxNet, load_onnx, to_onnx
from ledcli.zoo.spec import ModelSpec

PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "directml": "onnxruntime-directml",
    "coreml": "onnxruntime on macOS",
    "webgpu": "onnxruntime-webgpu",
    "openvino": "onnxruntime-openvino",
}
"""What ``auto`` looks for before the CPU, the preferred first, and who provides it."""
_NAMES = {"dml": "directml"}
_REMOTE = "azure"


class OnnxBackend(Backend):
    """Runs exported files, and other models after exporting them in memory."""

    label = ", onnxruntime"

    def devices(self) -> dict[str, str]:
        """Return the providers of the installed build, and those that others have."""
        there = _providers()
        absent = {k: f"not in this onnxruntime: see {v}" for k, v in PACKAGES.items()}
        return absent | dict.fromkeys(there, "")

    def targets(self, device: str, precision: str) -> list[Target]:
        """Return providers in float32; raises UsageError for what is not there."""
        if precision not in ("auto", "float32"):
            raise UsageError(f"onnx runs in float32, not in {precision}; leave out --precision")
        there = _providers()
        names = [device]
        if device == "auto":
            names = [*(name for name in PACKAGES if name in there), "cpu"]
        elif device not in there:
            raise UsageError(
                f"this onnxruntime has no device '{device}': choose auto or {', '.join(there)}"
            )
        return [_target(name, there[name]) for name in names]

    def load(self, path: Path, target: Target) -> Loaded:
        """Read an exported file or a model file; raises ModelError."""
        if is_onnx(path):
            return Loaded(*load_onnx(path, _providers()[target.name]))
        return super().load(path, target)

    def prepare(self, spec: ModelSpec, net: Network, target: Target) -> nn.Module:
        """Export a folded network; raises ModelError unless the result equals torch's."""
        exported, provider = to_onnx(spec, net), _providers()[target.name]
        return exported.net if provider == CPU_PROVIDER else OnnxNet(exported.data, provider)


BACKEND = OnnxBackend()


def _providers() -> dict[str, str]:
    """Return onnxruntime's providers on this machine by their names as devices."""
    import onnxruntime

    found = {}
    for provider in onnxruntime.get_available_providers():
        name = provider.removesuffix("ExecutionProvider").lower()
        if name != _REMOTE:  # would send photos to a server
            found[_NAMES.get(name, name)] = provider
    return found


def _target(name: str, provider: str) -> Target:
    import onnxruntime

    if name == "cpu":
        # What runs on the CPU was compared with torch when it was exported.
        return Target(name, "float32", torch.device("cpu"))
    facts = [f"onnxruntime {onnxruntime.__version__}, {name}"]
    # Since 1.23; no release tells the driver.
    for each in getattr(onnxruntime, "get_ep_devices", list)():
        if each.ep_name == provider:
            card, about = each.device, sorted(each.device.metadata.items())
            facts.append(f"{card.vendor} {card.vendor_id:x}:{card.device_id:x} {about}")
    return Target(name, "float32", torch.device("cpu"), ", ".join(facts))

"""The onnxruntime backend: on the CPU, in float32."""

from pathlib import Path

import torch
from torch import nn

from ledcli.errors import UsageError
from ledcli.inference.backends import Loaded, Precision
from ledcli.nets.network import Network
from ledcli.zoo.model_file import is_onnx, load_model
from ledcli.zoo.onnx import load_onnx, to_onnx
from ledcli.zoo.spec import ModelSpec


class OnnxBackend:
    """Runs exported files, and other models after exporting them in memory."""

    label = ", onnxruntime"

    def resolve(self, device: str, precision: str) -> tuple[torch.device, Precision]:
        """Return the CPU and float32; raises UsageError for anything else."""
        if device not in ("auto", "cpu"):
            raise UsageError(f"onnx runs on the CPU, not on {device}; leave out --device")
        if precision not in ("auto", "float32"):
            raise UsageError(f"onnx runs in float32, not in {precision}; leave out --precision")
        return torch.device("cpu"), "float32"

    def load(self, path: Path) -> Loaded:
        """Read an exported file or a model file; raises ModelError."""
        return Loaded(*load_onnx(path)) if is_onnx(path) else Loaded(*load_model(path))

    def prepare(
        self, spec: ModelSpec, net: Network, device: torch.device, precision: Precision
    ) -> nn.Module:
        """Export a folded network; raises ModelError unless the result equals torch's."""
        return to_onnx(spec, net).net


BACKEND = OnnxBackend()

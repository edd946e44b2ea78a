"""Backends: what computes the network. This file imports no torch.

A new backend is a line in `BACKENDS` and a module of the same name, whose `BACKEND` is a `Backend`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast

from ledcli.errors import UsageError
from ledcli.zoo.model_file import is_onnx, load_model, require, require_onnx

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ledcli.nets.modulation import ModulatedNet
    from ledcli.nets.network import Network
    from ledcli.zoo.spec import ModelSpec


Precision = Literal["bf16", "fp16", "int8", "float32"]


class Target(NamedTuple):
    """Where and how a backend computes a network."""

    name: str
    """The device as the user names it."""
    precision: Precision
    tensors: torch.device
    """Where the backend takes and gives tensors."""
    identity: str = ""
    """Hardware, driver and library, whose result is compared with the reference before it is used
    (`inference.agreement`); empty for torch on the CPU, and where each network is compared."""


class Loaded(NamedTuple):
    """A model file's network: in torch and, if the file holds it, in the backend's own form.

    The one in torch has no weights when there is a `runnable`.
    """

    spec: ModelSpec
    net: Network | ModulatedNet
    runnable: nn.Module | None = None


class Backend(Protocol):
    """A way to compute a network."""

    label: str = ""
    """Added to device and precision in messages; empty for torch."""
    min_tile: int = 0
    """Least default side of a tile, plane pixels, for networks without global operations."""

    def devices(self) -> dict[str, str]:
        """Return every device that the backend knows, with why it is unavailable, or ""."""

    def targets(self, device: str, precision: str) -> list[Target]:
        """Turn the user's device and precision, both maybe ``auto``, into targets, the best first.

        There is more than one only if something is ``auto``. Raises UsageError if the backend or
        this machine does not have them.
        """

    def load(self, path: Path, target: Target) -> Loaded:
        """Read a model file; raises ModelError."""
        return Loaded(*load_model(path))

    def prepare(self, spec: ModelSpec, net: Network, target: Target) -> nn.Module:
        """Turn a folded network in torch into one that the backend runs; raises ModelError."""


class _Entry(NamedTuple):
    """What has to be known of a backend before it is imported."""

    runs_onnx_files: bool = False
    require: Callable[[str], None] = lambda what: None
    """Raises UsageError if the packages that it needs are not installed."""


BACKENDS = {
    "torch": _Entry(),
    "onnx": _Entry(runs_onnx_files=True, require=require_onnx),
    "openvino": _Entry(require=partial(require, packages=("openvino", "onnx"), extra="openvino")),
}


def choose_backend(name: str = "auto", model: Path | None = None) -> str:
    """Return the name of the backend to use; ``auto`` is onnx for an ONNX file, else torch.

    `model` is the model file, if one is used for all photos. Raises UsageError if the backend does
    not exist, cannot run this file, or is not installed.
    """
    exported = model is not None and is_onnx(model)
    if name == "auto":
        name = "onnx" if exported else "torch"
    if name not in BACKENDS:
        raise UsageError(f"no backend '{name}': choose {', '.join(('auto', *BACKENDS))}")
    if exported and not BACKENDS[name].runs_onnx_files:
        raise UsageError(f"{model}: {name} cannot run an ONNX file; leave out --backend")
    BACKENDS[name].require(f"the {name} backend")
    return name


def load_backend(name: str) -> Backend:
    """Import the backend of a name from `choose_backend`."""
    return cast(Backend, import_module(f"{__name__}.{name}").BACKEND)

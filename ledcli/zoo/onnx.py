"""Export a folded network to ONNX, checked against torch, and run ONNX networks.

The export uses torch's tracing exporter: our networks do not branch, and the check finds what a
trace gets wrong. Its successor in torch takes ten times as long and two more packages for the same
graph.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ledcli import __version__
from ledcli.errors import DeviceError, ModelError, UsageError, first_line
from ledcli.nets.modulation import ModulatedNet
from ledcli.nets.network import Network
from ledcli.output.atomic import atomic_write
from ledcli.zoo.folding import Difference, compare_networks, fold, made_of, network_inputs
from ledcli.zoo.model_file import (
    METADATA_KEY,
    ONNX_SUFFIX,
    build_network,
    damaged,
    file_sha256,
    is_onnx,
    load_model,
    read_onnx,
    require_onnx,
)
from ledcli.zoo.spec import ModelSpec

# onnxruntime's official builds report their use to Microsoft unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

SIZE_MULTIPLE_KEY = "led.size_multiple"
"""Metadata for other programs: height and width of the input must be multiples of this."""
SOURCE_KEY = "led.source_sha256"
"""Metadata: hash of the model file that was exported."""

OPSET = 17
"""The first with layer normalisation; our networks need nothing newer."""
TOLERANCE = 1e-4
"""Largest difference from torch, relative to the output's largest value where that is above 1."""
INPUT, OUTPUT = "input", "output"
_DYNAMIC = {0: "batch", 2: "height", 3: "width"}

CPU_PROVIDER = "CPUExecutionProvider"
_PROVIDER_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
"""TF32 would round float32 to ten bits."""
_ONLY_FATAL = 4
"""Log level of onnxruntime; its exceptions say the same as its log."""
MIN_SHARE = 0.9
"""Of the expected weights: the exporter stores equal tensors, such as zero biases, only once."""


class OnnxNet(nn.Module):
    """An ONNX network in onnxruntime, in float32; on the CPU with as many threads as torch.

    Takes the ONNX file and an execution provider. Raises ModelError, without the file's name, when
    onnxruntime rejects the network; DeviceError when the provider does not start or cannot run it.
    """

    def __init__(self, data: bytes, provider: str = CPU_PROVIDER) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = _ONLY_FATAL
        # Between two tiles torch computes: spinning threads would slow it down.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        chosen = [(provider, _PROVIDER_OPTIONS.get(provider, {}))]
        try:
            self.session = onnxruntime.InferenceSession(data, options, providers=chosen)
            (given,), (_,) = self.session.get_inputs(), self.session.get_outputs()
        except Exception as error:  # its own types have no common base
            kind = ModelError if provider == CPU_PROVIDER else DeviceError
            raise kind(f"onnxruntime rejects the network: {first_line(error)}") from error
        if self.session.get_providers()[0] != provider:
            # onnxruntime takes the CPU instead, and says so in its log only.
            raise DeviceError(f"{provider} does not start: a library or driver is missing")
        self.input = given.name

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_planes, H, W)`` to float32 ``(N, out_planes, H, W)``, both on the CPU."""
        given = x.detach().float().contiguous().numpy()
        try:
            (out,) = self.session.run(None, {self.input: given})
        except Exception as error:
            # Worded as torch does: callers recognise full memory by it.
            raise RuntimeError(f"onnxruntime: {first_line(error)}") from error
        return torch.from_numpy(out)


def load_onnx(
    path: Path, provider: str = CPU_PROVIDER
) -> tuple[ModelSpec, Network | ModulatedNet, OnnxNet]:
    """Read an ONNX file that `led` wrote.

    Returns its description, the network described, without weights, and the network that runs.
    Raises as `read_onnx`, and ModelError when onnxruntime rejects the network.
    """
    header, data = read_onnx(path)
    with torch.device("meta"):
        plain = build_network(path, header.spec)
    expected = sum(tensor.numel() for tensor in plain.state_dict().values())
    if not MIN_SHARE * expected <= header.parameters <= expected:
        raise damaged(
            path,
            f"has {header.parameters} weights, and '{header.spec.architecture}' has {expected}: "
            "header and tensors disagree",
        )
    try:
        return header.spec, plain, OnnxNet(data, provider)
    except ModelError as error:
        raise ModelError(f"{path}: {error}. It is not a model for this led.") from error


class Exported(NamedTuple):
    """A network as an ONNX file and ready to run, and its difference from torch over inputs."""

    data: bytes
    net: OnnxNet
    difference: Difference
    inputs: int

    def __str__(self) -> str:
        """Return it as one line."""
        return (
            f"onnxruntime and torch differ by {self.difference.largest:.1e} at most "
            f"(values to {self.difference.scale:.3g}) over {self.inputs} inputs"
        )


def to_onnx(spec: ModelSpec, plain: Network, *, source_sha256: str = "") -> Exported:
    """Export a plain network for any batch, height and width, and compare it with torch.

    Description and network are those of `fold`; the hash of the model's file is for the record.
    Raises ModelError, without the file's name, when torch cannot export the network, or the result
    differs; UsageError when onnx or onnxruntime is not installed.
    """
    require_onnx("ONNX")
    multiple = plain.architecture.size_multiple
    inputs = network_inputs(spec, plain)
    inputs.append(torch.cat((inputs[0], inputs[0].flip(3))))  # more than one in a batch
    data = _described(
        trace_onnx(plain, inputs[0]), spec, multiple, inputs[0].shape[1], source_sha256
    )
    net = OnnxNet(data)
    exported = Exported(data, net, compare_networks(net, plain, inputs), len(inputs))
    if exported.difference.relative > TOLERANCE:
        raise ModelError(f"differs as ONNX: {exported}")
    return exported


def export_model(
    path: Path, out: Path, csa_set: str, *, overwrite: bool = False, dry_run: bool = False
) -> Exported:
    """Fold a model file, write it as an ONNX file and return it.

    The CSA set is empty for a plain network. `dry_run` does everything but write the file. Raises
    ModelError if the model cannot be read or exported; OutputError if the ONNX file exists, without
    `overwrite`, or cannot be written; UsageError if its name has another suffix.
    """
    if not is_onnx(out):
        raise UsageError(f"{out}: an ONNX file ends in {ONNX_SUFFIX}; change --out")
    with made_of(path, out, overwrite=overwrite):
        spec, net = load_model(path)
        if isinstance(net, ModulatedNet):
            raise ModelError(
                "its network differs by camera and ISO, and an ONNX file holds one network: use "
                "the model with 'led denoise --backend onnx'"
            )
        sha256 = file_sha256(path)
        if csa_set:
            spec, net = fold(spec, net, csa_set, source_sha256=sha256)
        exported = to_onnx(spec, net, source_sha256=sha256)
        if not dry_run:
            atomic_write(out, exported.data, overwrite=overwrite)
    return exported


def trace_onnx(plain: nn.Module, sample: Tensor) -> bytes:
    """Export a module of one input ``(N, C, H, W)`` and one output for any N, H and W.

    Needs onnx. Raises ModelError when torch cannot export it.
    """
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                plain,
                (sample,),
                file,  # type: ignore[arg-type]  # the types leave out what is in memory
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: _DYNAMIC, OUTPUT: _DYNAMIC},
            )
    except Exception as error:  # torch's own, of any kind
        first = f"{type(error).__name__}: {first_line(error)}"
        raise ModelError(
            f"torch {torch.__version__} cannot export this network ({first})"
        ) from error
    return file.getvalue()


def _described(
    data: bytes, spec: ModelSpec, multiple: int, in_planes: int, source_sha256: str
) -> bytes:
    import onnx

    model = onnx.load_model_from_string(data)
    facts = {
        METADATA_KEY: json.dumps(spec.to_header(), allow_nan=False),
        SIZE_MULTIPLE_KEY: str(multiple),
        SOURCE_KEY: source_sha256,
    }
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = "led", __version__
    model.doc_string = (
        f"{spec.name}: {spec.architecture} of led, the network alone. {INPUT}: float32 (batch, "
        f"{in_planes}, height, width) in led's form '{spec.input_form}', height and width "
        f"multiples of {multiple}. Licence: {spec.licence}. Source: {spec.source}."
    )
    return model.SerializeToString()

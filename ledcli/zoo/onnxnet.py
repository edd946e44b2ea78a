"""A network that onnxruntime computes: the same call as the torch network that it stands for."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ledcli.errors import ModelError
from ledcli.zoo.modelfile import build_network
from ledcli.zoo.onnxheader import read_onnx, require_onnx
from ledcli.zoo.spec import ModelSpec

_ONLY_FATAL = 4
"""onnxruntime's own log would come between our lines, and says what its exceptions say."""
LEAST_SHARE = 0.9
"""Of the weights that are expected: the exporter keeps tensors of the same values, such as biases
of zeros, only once."""


class OnnxNet(nn.Module):
    """An ONNX network in onnxruntime: on the CPU, in float32, on as many threads as torch.

    Parameters
    ----------
    data : bytes
        The ONNX file.

    Raises
    ------
    ModelError
        When onnxruntime does not take it; without the file's name.
    UsageError
        When onnxruntime is not installed.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__()
        require_onnx("an ONNX network")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = _ONLY_FATAL
        # Between two windows torch is at work: threads that spin would be in its way.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self.session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
            (given,), (_,) = self.session.get_inputs(), self.session.get_outputs()
        except Exception as error:  # its own types have no common base
            raise ModelError(f"onnxruntime does not take the network: {_first(error)}") from error
        self.input = given.name

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_planes, H, W)`` to float32 ``(N, out_planes, H, W)``, both on the CPU."""
        given = x.detach().float().contiguous().numpy()
        try:
            (out,) = self.session.run(None, {self.input: given})
        except Exception as error:
            # As torch would say it: full memory is known by these words.
            raise RuntimeError(f"onnxruntime: {_first(error)}") from error
        return torch.from_numpy(out)


def load_onnx(path: Path) -> tuple[ModelSpec, nn.Module, OnnxNet]:
    """Read an ONNX file that `led` wrote.

    Returns
    -------
    spec : ModelSpec
        The description.
    plain : nn.Module
        The network that it describes, without its weights: for its size multiple and the like.
    net : OnnxNet
        The network that runs.

    Raises
    ------
    ModelError
        As `read_onnx`, and when onnxruntime does not take the network. The message names the file.
    UsageError
        When onnxruntime is not installed.
    """
    require_onnx(f"{path}:")
    file = read_onnx(path)
    with torch.device("meta"):
        plain = build_network(path, file.header.spec)
    expected = sum(tensor.numel() for tensor in plain.state_dict().values())
    if not LEAST_SHARE * expected <= file.header.parameters <= expected:
        raise ModelError(
            f"{path}: has {file.header.parameters} weights, and '{file.header.spec.architecture}' "
            f"has {expected}: header and tensors disagree. Get the file again."
        )
    try:
        return file.header.spec, plain, OnnxNet(file.data)
    except ModelError as error:
        raise ModelError(f"{path}: {error}. It is no model for this led.") from error


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")

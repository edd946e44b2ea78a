"""The model file: one self-describing `.safetensors`, written whole and read with suspicion.

An ONNX file that was exported from one says the same of itself. Nothing is ever unpickled.
`read_spec` and `read_header` work without torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ledcli.errors import ModelError, OutputError
from ledcli.output.atomic import atomic_write
from ledcli.zoo.header import MAX_HEADER_BYTES, METADATA_KEY, Header, TensorInfo
from ledcli.zoo.header import read_header as read_safetensors
from ledcli.zoo.onnx_file import is_onnx, read_onnx
from ledcli.zoo.spec import ModelSpec

if TYPE_CHECKING:
    import torch

    from ledcli.nets.modulation import ModulatedNet
    from ledcli.nets.network import Network

__all__ = [
    "Header",
    "ModelSpec",
    "TensorInfo",
    "build_network",
    "file_sha256",
    "load_model",
    "read_header",
    "read_spec",
    "save_model",
    "write_new",
]


def read_header(path: Path | str) -> Header:
    """Read all that a model file, or an exported one, says before its weights, without torch.

    Raises
    ------
    ModelError
        As `zoo.header.read_header`, or `zoo.onnxheader.read_onnx` for an ONNX file.
    """
    path = Path(path)
    return read_onnx(path).header if is_onnx(path) else read_safetensors(path)


def read_spec(path: Path | str) -> ModelSpec:
    """Read what a model file says about itself, without torch.

    Raises
    ------
    ModelError
        When the file is missing, damaged or not a model for this `led`.
    """
    return read_header(path).spec


def file_sha256(path: Path | str) -> str:
    """Hash of a model file, 64 hexadecimal digits: what identifies its weights in a record."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}). Check its permissions."
        ) from error


def save_model(
    path: Path | str,
    spec: ModelSpec,
    tensors: Mapping[str, torch.Tensor],
    *,
    half: bool = False,
    overwrite: bool = True,
) -> None:
    """Write a model file; nothing half-written stays when it fails.

    Parameters
    ----------
    path
        Where to.
    spec
        The description.
    tensors
        The state dict of the network that `spec` describes, RepNR blocks unfolded.
    half
        Store the weights as float16, in half the room. They are loaded as float32 either way.
    overwrite
        Whether a file that is there already is replaced, in one step, or is an error. Of two that
        write at once without it, one succeeds and the other meets the error.

    Raises
    ------
    FileExistsError
        When there is such a file and it is not to be overwritten.
    ModelError
        When a tensor is missing, superfluous, of the wrong shape, not finite or, with `half`,
        too large for float16; when the description is longer than one may be.
    OutputError
        When the file cannot be written.
    """
    import torch
    from safetensors.torch import save

    path = Path(path)
    _compare(path, spec, {name: tuple(t.shape) for name, t in tensors.items()})
    stored = {}
    for name, tensor in tensors.items():
        # Cloned, because tied tensors would be refused by safetensors.
        value = tensor.detach().to("cpu", torch.float16 if half else torch.float32, copy=True)
        if not value.isfinite().all():
            raise ModelError(f"{path}: tensor '{name}' holds values that are not finite numbers")
        stored[name] = value.contiguous()
    # One key only: safetensors writes several in random order, and the file's hash would change.
    metadata = {METADATA_KEY: json.dumps(spec.to_header(), allow_nan=False)}
    data = save(stored, metadata)
    if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
        raise ModelError(f"{path}: its description has more than {MAX_HEADER_BYTES} bytes")
    if overwrite:
        atomic_write(path, data)
    else:
        write_new(path, data)


def load_model(path: Path | str) -> tuple[ModelSpec, Network | ModulatedNet]:
    """Read a model file and build its network.

    Returns
    -------
    spec : ModelSpec
        The description.
    net : Network or ModulatedNet
        The network with its RepNR blocks, if it has any, on the CPU in float32, in eval mode.

    Raises
    ------
    ModelError
        When the file is missing or damaged, its architecture is unknown, or its tensors are not
        those of the network that it describes. The message names the file and the first tensor.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if is_onnx(path):
        raise ModelError(
            f"{path}: is an exported network: it denoises, and that is all. Name the "
            ".safetensors model that it was exported from."
        )
    header = read_safetensors(path)
    # The shapes are compared on a network without memory: a header that promises a giant is
    # refused before anything is allocated.
    _compare(path, header.spec, {name: info.shape for name, info in header.tensors.items()})
    try:
        tensors = load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot be read ({error}). Get the file again.") from error
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ModelError(
                f"{path}: tensor '{name}' holds values that are not finite numbers. "
                "Get the file again."
            )
    net = build_network(path, header.spec)
    net.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return header.spec, net.float().eval()


def write_new(path: Path, data: bytes) -> None:
    """Write a file whole, under a name that nobody else has taken meanwhile.

    Raises
    ------
    FileExistsError
        When there is such a file.
    OutputError
        When it cannot be written.
    """
    hidden = path.parent / f".led-{os.getpid()}-{secrets.token_hex(4)}.new"
    atomic_write(hidden, data)
    try:
        try:
            os.link(hidden, path)
        except FileExistsError:
            raise
        except OSError:
            # A disk without hard links: the name is taken first, with nothing in it.
            with open(path, "xb"):
                pass
            os.replace(hidden, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        hidden.unlink(missing_ok=True)


def build_network(path: Path, spec: ModelSpec) -> Network | ModulatedNet:
    """Build the network that `spec` describes, with weights still to be set.

    Raises
    ------
    ModelError
        When there is no such architecture, or not with these arguments; names the file.
    """
    from ledcli.nets import modulation, repnr
    from ledcli.nets import registry as table

    try:
        net = table.build(spec.architecture, dict(spec.arguments))
        if spec.modulation:
            return modulation.ModulatedNet(net, spec.modulation)
        return repnr.convert(net, spec.csa_sets, omnr=spec.omnr) if spec.csa_sets else net
    except ModelError as error:
        raise ModelError(f"{path}: {error}. It is no model for this led.") from error
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"{path}: architecture '{spec.architecture}' cannot be built with {spec.arguments}. "
            "It is no model for this led."
        ) from error


def _compare(path: Path, spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse tensors that are not those of the network that `spec` describes."""
    import torch

    with torch.device("meta"):
        expected = {n: tuple(t.shape) for n, t in build_network(path, spec).state_dict().items()}
    for name, shape in expected.items():
        if name not in shapes:
            raise ModelError(
                f"{path}: tensor '{name}' of '{spec.architecture}' is missing: header and tensors "
                "disagree. Get the file again."
            )
        if shapes[name] != shape:
            raise ModelError(
                f"{path}: tensor '{name}' is {_size(shapes[name])} and '{spec.architecture}' needs "
                f"{_size(shape)}: header and tensors disagree. Get the file again."
            )
    for name in shapes:
        if name not in expected:
            raise ModelError(
                f"{path}: tensor '{name}' is not one of '{spec.architecture}': header and tensors "
                "disagree. Get the file again."
            )


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"

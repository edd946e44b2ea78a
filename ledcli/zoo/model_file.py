"""The model file: one self-describing `.safetensors`, written whole. Nothing is ever unpickled."""

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
from ledcli.zoo.header import (
    MAX_HEADER_BYTES,
    METADATA_KEY,
    damaged,
    is_onnx,
    read_header,
    read_safetensors,
    read_spec,
    unreadable,
)
from ledcli.zoo.spec import ModelSpec

if TYPE_CHECKING:
    import torch

    from ledcli.nets.modulation import ModulatedNet
    from ledcli.nets.network import Network

Shape = tuple[int, ...]

__all__ = [
    "ModelSpec", "build_network", "file_sha256", "load_model", "read_header", "read_spec",
    "save_model", "write_new",
]  # fmt: skip


def file_sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits; raises ModelError."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def save_model(
    path: Path | str,
    spec: ModelSpec,
    tensors: Mapping[str, torch.Tensor],
    *,
    half: bool = False,
    overwrite: bool = True,
) -> None:
    """Write a model file in one step; a failure leaves nothing half-written.

    Parameters
    ----------
    path
        The file to write.
    spec
        The description.
    tensors
        The state dict of the network that `spec` describes, RepNR blocks unfolded.
    half
        Store the weights as float16, half the size. They are loaded as float32 either way.
    overwrite
        Whether to replace an existing file. Without it, one of two that write at once succeeds
        and the other gets the error.

    Raises
    ------
    FileExistsError
        When the file exists and `overwrite` is false.
    ModelError
        When a tensor is missing, superfluous, of the wrong shape, not finite or, with `half`,
        too large for float16; when the description is too long.
    OutputError
        When the file cannot be written.
    """
    import torch
    from safetensors.torch import save

    path = Path(path)
    _compare(path, spec, {name: tuple(t.shape) for name, t in tensors.items()})
    stored = {}
    for name, tensor in tensors.items():
        # Copied, because safetensors refuses tied tensors.
        value = tensor.detach().to("cpu", torch.float16 if half else torch.float32, copy=True)
        if not value.isfinite().all():
            raise ModelError(f"{path}: tensor '{name}' holds values that are not finite numbers")
        stored[name] = value.contiguous()
    # One key only: safetensors writes several in random order, which would change the hash.
    metadata = {METADATA_KEY: json.dumps(spec.to_header(), allow_nan=False)}
    data = save(stored, metadata)
    if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
        raise ModelError(f"{path}: its description has more than {MAX_HEADER_BYTES} bytes")
    (atomic_write if overwrite else write_new)(path, data)


def write_new(path: Path, data: bytes) -> None:
    """Write a whole file under a name that must still be free.

    Raises
    ------
    FileExistsError
        When the file exists.
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
        except OSError:  # no hard links here: reserve the name with an empty file first
            open(path, "xb").close()
            os.replace(hidden, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        hidden.unlink(missing_ok=True)


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
            f"{path}: an exported network can only denoise. Name the .safetensors model that it "
            "was exported from."
        )
    header = read_safetensors(path)
    # Compared without allocating anything: a header may promise a giant.
    _compare(path, header.spec, header.shapes)
    try:
        tensors = load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise damaged(path, f"cannot be read ({error})") from error
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise damaged(path, f"tensor '{name}' holds values that are not finite numbers")
    net = build_network(path, header.spec)
    net.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return header.spec, net.float().eval()


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
        raise ModelError(f"{path}: {error}. It is not a model for this led.") from error
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"{path}: architecture '{spec.architecture}' cannot be built with {spec.arguments}. "
            "It is not a model for this led."
        ) from error


def _compare(path: Path, spec: ModelSpec, shapes: Mapping[str, Shape]) -> None:
    """Refuse tensors that are not those of the network that `spec` describes."""
    import torch

    with torch.device("meta"):
        expected = {n: tuple(t.shape) for n, t in build_network(path, spec).state_dict().items()}
    try:
        check_shapes(spec.architecture, expected, shapes)
    except ModelError as error:
        raise damaged(path, f"{error}: header and tensors disagree") from error


def check_shapes(
    architecture: str, expected: Mapping[str, Shape], found: Mapping[str, Shape]
) -> None:
    """Raise ModelError, without the file's name, unless all tensors are those of a network."""
    for name in [*expected, *found]:
        if name not in found:
            raise ModelError(f"is a {architecture}, but its tensor '{name}' is missing")
        if name not in expected:
            raise ModelError(f"is a {architecture}, but has a tensor '{name[:80]}' too many")
        if found[name] != expected[name]:
            sizes = ("x".join(map(str, shapes[name])) or "1" for shapes in (found, expected))
            raise ModelError(
                f"is a {architecture}, but its tensor '{name}' is {' instead of '.join(sizes)}"
            )

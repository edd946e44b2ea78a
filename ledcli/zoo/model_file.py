"""The model file: one self-describing `.safetensors`, read without trust and written whole.

An ONNX file that was exported from one has the same description in its metadata. Nothing is ever
unpickled. Descriptions are read without torch, and onnx is imported only for an ONNX file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ledcli.errors import ModelError, UsageError
from ledcli.output.atomic import atomic_write
from ledcli.zoo.onnx_graph import foreign_part
from ledcli.zoo.spec import ModelSpec, short

if TYPE_CHECKING:
    import torch

    from ledcli.nets.modulation import ModulatedNet
    from ledcli.nets.network import Network

Shape = tuple[int, ...]

METADATA_KEY = "led"
"""Key of the description in the metadata of a safetensors or ONNX file."""
MAX_HEADER_BYTES = 4 << 20
"""Header of a safetensors file; a UNet's has 20 kB. A larger one is an attack or no header."""
DTYPES = ("F32", "F16", "BF16")
"""Number types that weights may have."""

ONNX_SUFFIX = ".onnx"
MAX_ONNX_BYTES = 2**31 - 1  # of any protobuf message


class Header(NamedTuple):
    """What a model file says before its weights."""

    spec: ModelSpec
    shapes: dict[str, Shape]

    @property
    def parameters(self) -> int:
        """Number of stored values."""
        return sum(map(math.prod, self.shapes.values()))


def is_onnx(path: Path) -> bool:
    """Return True if a model file is an ONNX file, by its name."""
    return path.suffix.lower() == ONNX_SUFFIX


def require_onnx(what: str) -> None:
    """Raise UsageError if onnx or onnxruntime is not installed; `what` needs them."""
    require(what, ("onnx", "onnxruntime"), "onnx")


def require(what: str, packages: Sequence[str], extra: str) -> None:
    """Raise UsageError if a package of one of led's extras is not installed; `what` needs it."""
    if missing := [name for name in packages if not importlib.util.find_spec(name)]:
        raise UsageError(f"{what} needs {' and '.join(missing)}: pip install 'ledcli[{extra}]'")


def read_spec(path: Path | str) -> ModelSpec:
    """Read the description of a model file; raises as `read_header`."""
    return read_header(path).spec


def read_header(path: Path | str) -> Header:
    """Read and check what a model file, or an exported one, says before its weights.

    Raises ModelError, with the file's name, when the file is missing, damaged, not made by `led`,
    or describes a model that is not allowed; UsageError for an ONNX file if onnx is not installed.
    """
    path = Path(path)
    return read_onnx(path)[0] if is_onnx(path) else read_safetensors(path)


def read_safetensors(path: Path) -> Header:
    """Read and check the header of a safetensors file; raises ModelError."""
    from safetensors import SafetensorError, safe_open

    start = _read_bytes(path, 8)
    length = int.from_bytes(start, "little")
    proper = len(start) == 8 and 2 <= length <= MAX_HEADER_BYTES
    text = _read_bytes(path, 8 + length)[8:] if proper else b""
    # The JSON starts with a brace; a torch checkpoint starts with "PK".
    if not text.startswith(b"{"):
        raise ModelError(f"{path}: is not a safetensors file. Name a .safetensors model.")
    if len(text) < length:
        raise damaged(path, "is cut off inside its header")
    _parse_json(path, text, "header")  # safetensors itself accepts duplicate keys
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            dtypes = {name: str(part.get_dtype()) for name, part in slices.items()}
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise damaged(path, f"is damaged or cut off ({short(str(error))})") from error
    for name, dtype in dtypes.items():
        if dtype not in DTYPES:
            raise ModelError(
                f"{path}: tensor '{name}' is of type {dtype}; weights are {', '.join(DTYPES)}. "
                "It is not a model for this led."
            )
    return Header(_description(path, metadata), shapes)


def read_onnx(path: Path) -> tuple[Header, bytes]:
    """Read an ONNX file that `led` wrote; return its checked description and all its bytes.

    Raises as `read_header`.
    """
    require_onnx(f"{path}:")
    import onnx
    from google.protobuf.message import DecodeError

    data = _read_bytes(path, MAX_ONNX_BYTES + 1)
    if len(data) > MAX_ONNX_BYTES:
        raise ModelError(f"{path}: is too large for an ONNX file. Name another file.")
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise damaged(path, "is not an ONNX file, or damaged") from error
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if len(metadata) != len(model.metadata_props):
        raise damaged(path, "has duplicate keys in its metadata")
    if foreign := foreign_part(model):
        raise damaged(path, foreign)
    weights = model.graph.initializer
    floats = [tensor for tensor in weights if tensor.data_type == onnx.TensorProto.FLOAT]
    shapes = {tensor.name: tuple(tensor.dims) for tensor in floats}
    header = Header(_description(path, metadata), shapes)
    if header.spec.csa_sets:
        raise ModelError(f"{path}: describes a network that is not folded. Export it again.")
    return header, data


def _read_bytes(path: Path, count: int) -> bytes:
    with reading(path, "model file"), open(path, "rb") as file:
        return file.read(count)


def _parse_json(path: Path, text: str | bytes, what: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise damaged(path, f"has an unreadable {what}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("duplicate key")
    return entries


def _description(path: Path, metadata: Mapping[str, str] | None) -> ModelSpec:
    text = (metadata or {}).get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{path}: has no description by led: name a model that led made.")
    header = _parse_json(path, text, "description")
    try:
        return ModelSpec.from_header(header)
    except ModelError as error:
        raise ModelError(f"{path}: {error}. It is not a model for this led.") from error


def damaged(path: Path, what: str) -> ModelError:
    """Return the error for a file that must be got again."""
    return ModelError(f"{path}: {what}. Get the file again.")


@contextmanager
def reading(path: Path | str, what: str = "file") -> Iterator[None]:
    """Raise ModelError where the block meets a file that is missing or cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such {what}. Check the path.") from None
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}). Check path and permissions."
        ) from error


def file_sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits; raises ModelError."""
    with reading(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_model(
    path: Path | str,
    spec: ModelSpec,
    tensors: Mapping[str, torch.Tensor],
    *,
    half: bool = False,
    overwrite: bool = True,
) -> None:
    """Write a model file in one step; a failure leaves nothing half-written.

    The tensors are the state dict of the network that `spec` describes, RepNR blocks unfolded.
    `half` stores them as float16, half the size; they are loaded as float32 either way. Raises
    ModelError for a tensor that is missing, superfluous, of the wrong shape, not finite or, with
    `half`, too large, and for a description that is too long; else as `atomic_write`.
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
    atomic_write(path, data, overwrite=overwrite)


def load_model(path: Path | str) -> tuple[ModelSpec, Network | ModulatedNet]:
    """Read a model file and build its network.

    The network has its RepNR blocks, if any, and is on the CPU in float32, in eval mode. Raises
    ModelError when the file is missing or damaged, its architecture is unknown, or its tensors are
    not those of the network that it describes; the message names the file and the first tensor.
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

    Raises ModelError, with the file's name, for an unknown architecture or impossible arguments.
    """
    from ledcli.nets import modulation, repnr
    from ledcli.nets import network as table

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

    # A network of so many blocks would take long to build.
    for name in ("encoder", "middle", "decoder", "blocks", "refinement"):
        counts = spec.arguments.get(name, 0)
        counts = counts if isinstance(counts, list | tuple) else [counts]
        if any(isinstance(count, int) and count > len(shapes) for count in counts):
            raise damaged(path, f"its header names more {name} blocks than there are tensors")
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

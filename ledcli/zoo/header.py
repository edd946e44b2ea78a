"""Read what a model file says before its weights, trusting nothing in it. No torch.

A safetensors file has the description in its metadata, and so has an ONNX file that was exported
from one. The onnx package is imported only for an ONNX file.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ledcli.errors import ModelError, UsageError
from ledcli.zoo.spec import ModelSpec, short

METADATA_KEY = "led"
"""Key of the description in the metadata of a safetensors or ONNX file."""
MAX_HEADER_BYTES = 4 << 20
"""Header of a safetensors file; a UNet's has 20 kB. A larger one is an attack or no header."""
DTYPES = ("F32", "F16", "BF16")
"""Number types that weights may have."""

ONNX_SUFFIX = ".onnx"
MAX_ONNX_BYTES = 2**31 - 1
"""The limit of any protobuf message."""


class Header(NamedTuple):
    """What a model file says before its weights: description, and shapes of the tensors."""

    spec: ModelSpec
    shapes: dict[str, tuple[int, ...]]

    @property
    def parameters(self) -> int:
        """Number of stored values."""
        return sum(map(math.prod, self.shapes.values()))


class OnnxFile(NamedTuple):
    """An ONNX file of `led`: its header, all its metadata, and the whole file."""

    header: Header
    metadata: dict[str, str]
    data: bytes


def is_onnx(path: Path) -> bool:
    """Return True if a model file is an ONNX file, by its name."""
    return path.suffix.lower() == ONNX_SUFFIX


def has_onnx() -> bool:
    """Return True if onnx and onnxruntime are installed."""
    return not _missing_packages()


def require_onnx(what: str) -> None:
    """Raise UsageError if onnx or onnxruntime is not installed; `what` needs them."""
    if missing := _missing_packages():
        raise UsageError(f"{what} needs {' and '.join(missing)}: pip install 'ledcli[onnx]'")


def _missing_packages() -> list[str]:
    return [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]


def read_spec(path: Path | str) -> ModelSpec:
    """Read the description of a model file; raises as `read_header`."""
    return read_header(path).spec


def read_header(path: Path | str) -> Header:
    """Read and check what a model file, or an exported one, says before its weights.

    Raises
    ------
    ModelError
        When the file is missing, damaged, not made by `led`, or describes a model that is not
        allowed. The message names the file.
    UsageError
        For an ONNX file, when onnx is not installed.
    """
    path = Path(path)
    return read_onnx(path).header if is_onnx(path) else read_safetensors(path)


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
    if not shapes:
        raise damaged(path, "has no weights")
    return Header(_description(path, metadata), shapes)


def read_onnx(path: Path) -> OnnxFile:
    """Read an ONNX file that `led` wrote, and check its description; raises as `read_header`."""
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
    weights = list(model.graph.initializer)
    constants = [attribute.t for node in model.graph.node for attribute in node.attribute]
    if any(t.external_data or t.data_location for t in (*weights, *constants)):
        # The ONNX file would decide which file that is.
        raise damaged(path, "keeps its weights in another file")
    floats = [tensor for tensor in weights if tensor.data_type == onnx.TensorProto.FLOAT]
    shapes = {tensor.name: tuple(tensor.dims) for tensor in floats}
    header = Header(_description(path, metadata), shapes)
    if header.spec.csa_sets:
        raise ModelError(f"{path}: describes a network that is not folded. Export it again.")
    return OnnxFile(header, metadata, data)


def _read_bytes(path: Path, count: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such model file. Check the path.") from None
    except OSError as error:
        raise unreadable(path, error) from error


def _parse_json(path: Path, text: str | bytes, what: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise damaged(path, f"has an unreadable {what}") from None


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("duplicate key")
    return entries


def _description(path: Path, metadata: Mapping[str, str] | None) -> ModelSpec:
    text = (metadata or {}).get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{path}: has no description by led: name a model that led made.")
    try:
        return ModelSpec.from_header(_parse_json(path, text, "description"))
    except ModelError as error:
        if str(error).startswith(f"{path}:"):
            raise
        raise ModelError(f"{path}: {error}. It is not a model for this led.") from error


def damaged(path: Path, what: str) -> ModelError:
    """Return the error for a file that must be got again."""
    return ModelError(f"{path}: {what}. Get the file again.")


def unreadable(path: Path | str, error: OSError) -> ModelError:
    """Return the error for a file that the system does not let us read."""
    return ModelError(f"{path}: cannot be read ({error.strerror}). Check its permissions.")

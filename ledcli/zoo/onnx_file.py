"""What an ONNX file of `led` says of itself, read by hand: no torch, no onnx, and no trust.

An ONNX file is one protobuf message: fields, each a number, a kind and a value; the value of some
is a message again. `led` puts the model's description among the metadata, under the same key as in
a safetensors file, and beside it what a program that runs the network must know.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ledcli.errors import ModelError, UsageError
from ledcli.zoo.header import Header, TensorInfo, described

ONNX_SUFFIX = ".onnx"
SIZE_MULTIPLE_KEY = "led.size_multiple"
"""What height and width of the network's input must be a multiple of: for other programs."""
SOURCE_KEY = "led.source_sha256"
"""Hash of the model file that was exported."""

MOST_BYTES = 2**31 - 1
"""Of any protobuf message."""

# Numbers of the fields, from the ONNX standard (onnx.proto).
_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_GRAPH_INITIALIZER = 5
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_PLACE = 1, 2, 8, 13, 14
_FLOAT = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class OnnxFile(NamedTuple):
    """An ONNX file of `led`.

    Attributes
    ----------
    header : Header
        The description, and the network's float32 weights.
    metadata : dict of str to str
        All of it; the description is under `header.METADATA_KEY`.
    data : bytes
        The whole file.
    """

    header: Header
    metadata: dict[str, str]
    data: bytes


def is_onnx(path: Path) -> bool:
    """Tell, by its name, whether a model file is an ONNX file."""
    return path.suffix.lower() == ONNX_SUFFIX


def has_onnx() -> bool:
    """Tell whether what ONNX takes is installed."""
    return not _missing()


def require_onnx(what: str) -> None:
    """Refuse what needs ONNX where it is not installed; raises UsageError."""
    if missing := _missing():
        raise UsageError(
            f"{what} needs {' and '.join(missing)}: pip install 'ledcli[onnx]' brings it"
        )


def _missing() -> list[str]:
    return [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]


def read_onnx(path: Path) -> OnnxFile:
    """Read an ONNX file that `led` wrote, and check what it says.

    Raises
    ------
    ModelError
        When there is no such file, when it is no ONNX file, is cut off, was not made by `led`,
        describes a model that is not allowed or keeps its weights elsewhere. The message names
        the file.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such model file. Check the path.") from None
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}). Check its permissions."
        ) from error
    metadata: dict[str, str] = {}
    tensors: dict[str, TensorInfo] = {}
    try:
        if not data or len(data) > MOST_BYTES:
            raise ValueError("its size is not that of an ONNX file")
        for number, value in _fields(memoryview(data)):
            if number == _MODEL_METADATA:
                _add_entry(metadata, _message(value))
            elif number == _MODEL_GRAPH:
                _add_tensors(tensors, _message(value))
    except ValueError as error:
        raise ModelError(f"{path}: is no ONNX file, or damaged ({error}). Get it again.") from None
    header = Header(described(path, metadata), tensors)
    if header.spec.csa_sets:
        raise ModelError(f"{path}: is said to be unfolded, which no ONNX file is. Export it again.")
    return OnnxFile(header, metadata, data)


def _add_entry(metadata: dict[str, str], entry: memoryview) -> None:
    key = value = ""
    for number, part in _fields(entry):
        if number == _ENTRY_KEY:
            key = _text(part)
        elif number == _ENTRY_VALUE:
            value = _text(part)
    if key in metadata:
        raise ValueError(f"{key[:40]!r} stands twice")
    metadata[key] = value


def _add_tensors(tensors: dict[str, TensorInfo], graph: memoryview) -> None:
    for number, value in _fields(graph):
        if number == _GRAPH_INITIALIZER:
            _add_tensor(tensors, _message(value))


def _add_tensor(tensors: dict[str, TensorInfo], tensor: memoryview) -> None:
    name, kind, dims = "", 0, list[int]()
    for number, value in _fields(tensor):
        if number == _TENSOR_NAME:
            name = _text(value)
        elif number == _TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number == _TENSOR_DIMS:
            dims += [value] if isinstance(value, int) else _varints(value)
        elif number == _TENSOR_EXTERNAL or (number == _TENSOR_PLACE and value):
            # Which file that is would be for the ONNX file to say.
            raise ValueError("weights are kept in another file")
    if kind == _FLOAT:
        tensors[name] = TensorInfo("F32", tuple(dims))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Go through a message; what is not a number or bytes is passed over."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("a field of no known kind")
        if size > len(message) - at:
            raise ValueError("cut off")
        if kind == _BYTES:
            yield key >> 3, message[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Read a number, seven bits a byte, the lowest first; return it and where the next byte is."""
    value = 0
    for place, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("cut off inside a number")


def _varints(data: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode("utf-8")

"""The header of a safetensors file, read by hand: no torch, and nothing in it is trusted.

A file is an 8-byte little-endian length, that many bytes of JSON, and the tensors' bytes. The JSON
maps tensor names to type, shape and place, and `__metadata__` to texts; the model's description
is one of these.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ledcli.errors import ModelError
from ledcli.zoo.spec import ModelSpec

MAX_HEADER_BYTES = 4 << 20
"""A UNet's header has 20 kB; one of megabytes is an attack or no header."""

METADATA_KEY = "led"
"""Where the description stands in the metadata."""

BYTES_OF_TYPE = {"F32": 4, "F16": 2, "BF16": 2}
"""Number types that weights may have, and their size in bytes."""


class TensorInfo(NamedTuple):
    """Type and shape of a stored tensor."""

    dtype: str
    shape: tuple[int, ...]


class Header(NamedTuple):
    """All that a model file says before its weights."""

    spec: ModelSpec
    tensors: dict[str, TensorInfo]

    @property
    def parameters(self) -> int:
        """Number of stored values."""
        return sum(math.prod(t.shape) for t in self.tensors.values())


def read_header(path: Path) -> Header:
    """Read and check the header of a model file.

    Raises
    ------
    ModelError
        When there is no such file, when it is not a safetensors file, is cut off, was not made by
        `led` or describes a model that is not allowed. The message names the file.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            start = file.read(8)
            length = int.from_bytes(start, "little")
            proper = len(start) == 8 and 2 <= length <= MAX_HEADER_BYTES
            text = file.read(length) if proper else b""
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such model file. Check the path.") from None
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}). Check its permissions."
        ) from error
    # JSON of this form starts with a brace; a torch checkpoint starts with "PK".
    if not text.startswith(b"{"):
        raise ModelError(f"{path}: is not a safetensors file. Name a .safetensors model.")
    if len(text) < length:
        raise _damaged(path, "is cut off inside its header")
    try:
        entries = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _damaged(path, "has an unreadable header") from None
    metadata = entries.pop("__metadata__", None)
    tensors = _tensors(path, entries, data_bytes=size - 8 - length)
    return Header(described(path, metadata), tensors)


def described(path: Path, metadata: object) -> ModelSpec:
    """Return the description among a file's metadata; raises ModelError, which names the file."""
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ModelError(
            f"{path}: has no led description: it was not made by led. Name a model made by led."
        )
    try:
        values = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _damaged(path, "has an unreadable description") from None
    try:
        return ModelSpec.from_header(values)
    except ModelError as error:
        raise ModelError(f"{path}: {error}. It is no model for this led.") from None


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError(f"{path}: {what}. Get the file again.")


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a key stands twice")
    return entries


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _tensors(path: Path, entries: dict[str, Any], data_bytes: int) -> dict[str, TensorInfo]:
    """Check that the entries tile the file's bytes exactly, in whatever order they are named."""
    tensors, places = {}, []
    for name, entry in entries.items():
        info, begin, end = _tensor(path, name, entry)
        tensors[name] = info
        places.append((begin, end, name))
    if not tensors:
        raise _damaged(path, "holds no weights")
    at = 0
    for begin, end, name in sorted(places):
        if begin != at:
            raise _damaged(path, f"has tensor '{name}' in the wrong place")
        at = end
    if data_bytes < at:
        raise _damaged(path, f"is cut off: {at - data_bytes} bytes are missing")
    if data_bytes > at:
        raise _damaged(path, f"has {data_bytes - at} bytes too many")
    return tensors


def _tensor(path: Path, name: str, entry: object) -> tuple[TensorInfo, int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"has no proper entry for tensor '{name}'")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BYTES_OF_TYPE:
        raise ModelError(
            f"{path}: tensor '{name}' is of type {str(dtype)[:20]}; weights are F32, F16 or BF16. "
            "It is no model for this led."
        )
    if (
        not _are_sizes(shape)
        or not _are_sizes(offsets)
        or len(offsets) != 2
        or len(shape) > 8
        or offsets[1] - offsets[0] != math.prod(shape) * BYTES_OF_TYPE[dtype]
    ):
        raise _damaged(path, f"has a tensor '{name}' whose shape and size disagree")
    return TensorInfo(dtype, tuple(shape)), offsets[0], offsets[1]


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 48 for v in value
    )

"""A published `.pth` checkpoint: what its name says, and its tensors, read without trust.

Such a file is a zip with a pickle in it, and a pickle may call whatever it names. The names are
read first without running anything, and all but tensors and dictionaries are refused. Only then
`torch.load(weights_only=True)` reads the file, mapped into memory, so that no claim in it allocates
more memory than the file has bytes.
"""

from __future__ import annotations

import os
import pickletools
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ledcli.errors import ModelError
from ledcli.zoo.model_file import damaged, reading
from ledcli.zoo.spec import is_ratio_range, short

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 1 << 30
"""Largest checkpoint that is read or downloaded; published ones have 30 to 120 MB."""
MAX_PICKLE_BYTES = 16 << 20
"""Largest pickle, without the values of the tensors; Restormer's has 1 MB."""
MAX_OPCODES = 500_000
"""Steps of a pickle, looked at in about a second; published ones have under 100,000."""
MAX_TENSORS = 100_000

_DTYPES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
NUMPY_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")
"""Names by which a pickle makes NumPy numbers, such as a training's PSNR; they are ignored."""
ALLOWED = frozenset(
    {
        *NUMPY_SCALARS,
        "_codecs.encode",
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        *(f"torch.{dtype}Storage" for dtype in _DTYPES),
    }
)
"""What a pickle may name: dictionaries, tensors, parameters, their storages and NumPy numbers."""

Tensors = dict[str, "Tensor"]

_NUMBER = r"\d{1,7}(?:\.\d{1,6})?"
_PUBLISHED_NAME = re.compile(
    r"(?P<method>[^_]+)_(?P<phase>[^_]+)_(?P<dataset>[^_]+)_(?P<camera>[^_]+)_(?P<setting>.+)"
    rf"_Setting_Ratio(?P<low>{_NUMBER})(?:-(?P<high>{_NUMBER}))?",
    re.IGNORECASE,
)


class PublishedName(NamedTuple):
    """Method, camera (empty for none) and ratio range in a published file's name."""

    method: str
    camera: str
    ratio_range: tuple[float, float]


def parse_name(stem: str) -> PublishedName | None:
    """Parse a file's name without its suffix; None if it is not of the published form.

    Examples
    --------
    >>> parse_name("LED_Pretrain_None_None_CVPR20_Setting_Ratio100-300").ratio_range
    (100.0, 300.0)
    """
    match = _PUBLISHED_NAME.fullmatch(stem)
    if match is None:
        return None
    ends = float(match["low"]), float(match["high"] or match["low"])
    if not is_ratio_range(ends):
        return None
    camera = "" if match["camera"].lower() == "none" else match["camera"]
    return PublishedName(match["method"], camera, ends)


class _Number:
    """In place of a NumPy number and its type."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_sections(path: Path) -> dict[str, Tensors]:
    """Read the tensors of a checkpoint that torch 1.6 or later saved.

    Returns its dictionaries of tensors by key (`params`, ...); the empty key has those at the top
    level. Other values, such as an iteration number, are ignored. Raises ModelError, with the
    file's name, when the file is missing, too large, damaged, not a checkpoint, or contains more
    than tensors.
    """
    _check_zip(path)
    import torch

    # NumPy itself is not called.
    numbers: list[Any] = [(_Number, name) for name in NUMPY_SCALARS]
    try:
        with torch.serialization.safe_globals(numbers):
            content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch fails in many ways on damaged files
        first = " ".join(str(error).split())
        raise damaged(path, f"torch cannot read it ({short(first)})") from error
    if not isinstance(content, dict):
        raise ModelError(
            f"{path}: contains a {type(content).__name__}, not a dictionary of tensors: it is not "
            "a checkpoint of a network"
        )
    inner = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, dict)}
    parts = {"": content, **inner}
    sections = {key: tensors for key, part in parts.items() if (tensors := _tensors(part))}
    _check_tensors(path, sections)
    return sections


def _tensors(content: dict[object, object]) -> Tensors:
    import torch

    return {
        key: value.detach()
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, torch.Tensor)
    }


def _check_tensors(path: Path, sections: dict[str, Tensors]) -> None:
    """Refuse tensors that would need more memory than they have bytes in the file."""
    tensors = [(name, t) for section in sections.values() for name, t in section.items()]
    if not tensors:
        raise ModelError(f"{path}: has no tensors: it is not a checkpoint of a network")
    if len(tensors) > MAX_TENSORS:
        raise ModelError(f"{path}: has over {MAX_TENSORS} tensors: it is not an LED checkpoint")
    total = 0
    for name, tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        total += size
        if size > tensor.untyped_storage().nbytes() or total > MAX_BYTES:
            raise ModelError(
                f"{path}: tensor {short(name)} claims more values than the file has: it "
                "is not a checkpoint of a network"
            )


def _check_zip(path: Path) -> None:
    """Refuse a file that `torch.save` cannot have written, before torch reads it."""
    try:
        with reading(path), open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise ModelError(
                    f"{path}: has {size / 1e9:.1f} GB; a checkpoint has at most "
                    f"{MAX_BYTES / 1e9:.1f}. Name another file"
                )
            if file.read(1) == b"\x80":
                raise ModelError(
                    f"{path}: is a bare pickle, as torch before 1.6 wrote it: loading it could run "
                    "a program, so it is refused. If you trust it, load it with torch and save it "
                    "again with torch.save"
                )
            if not zipfile.is_zipfile(file):
                what = "is not a torch checkpoint, or was cut off" if size else "is empty"
                raise ModelError(f"{path}: {what}. Name a .pth file; led's own need no import.")
            with zipfile.ZipFile(file) as archive:
                text = _pickle_of(path, archive, size)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise damaged(path, f"is damaged ({short(str(error))})") from error
    try:
        forbidden = _find_forbidden(text)
    except ValueError as error:
        raise damaged(path, "has a damaged pickle") from error
    if forbidden is not None:
        raise ModelError(
            f"{path}: its pickle contains {short(forbidden)}, which is not a tensor: loading it "
            "could run a program, so it is refused. Get a file of tensors only"
        )


def _pickle_of(path: Path, archive: zipfile.ZipFile, size: int) -> bytes:
    """Check the members of a checkpoint's zip and return its pickle."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    folders = {name.partition("/")[0] for name in names}
    pickles = [e for e in entries if e.filename == f"{min(folders, default='')}/data.pkl"]
    if len(folders) != 1 or len(pickles) != 1 or len(set(names)) != len(names):
        raise ModelError(f"{path}: is a zip, but not a torch checkpoint. Name a .pth file.")
    if f"{min(folders)}/constants.pkl" in names:
        raise ModelError(f"{path}: is a TorchScript program. Name a checkpoint of tensors.")
    # torch stores uncompressed; compressed or overlapping members expand to more than the file.
    if (
        any(
            e.compress_type != zipfile.ZIP_STORED or e.file_size != e.compress_size for e in entries
        )
        or sum(e.file_size for e in entries) > size
        or pickles[0].file_size > MAX_PICKLE_BYTES
    ):
        raise ModelError(
            f"{path}: expands to more than its size, which no checkpoint does; refused"
        )
    bad = archive.testzip()
    if bad is not None:
        raise damaged(path, f"is damaged ({short(bad)} has a wrong checksum)")
    return archive.read(pickles[0])


def _find_forbidden(text: bytes) -> str | None:
    """Return the first name in a pickle that is not in `ALLOWED`; nothing is run.

    Raises ValueError for a damaged pickle.
    """
    texts: list[str] = []
    memo: dict[int, str] = {}
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(text)):
            if count > MAX_OPCODES:
                raise ValueError("too many opcodes")
            name = ""
            if opcode.name in ("GLOBAL", "INST"):
                name = str(argument).replace(" ", ".")
            elif opcode.name == "STACK_GLOBAL":  # of the last two texts
                name = ".".join(texts[-2:]) or "a name"
            elif opcode.name in ("EXT1", "EXT2", "EXT4"):
                name = opcode.name
            if name and name not in ALLOWED:
                return name
            if opcode.name in ("BINGET", "LONG_BINGET"):
                texts.append(memo.get(argument or 0, "?"))
            elif opcode.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
                # Other values count as well, so that the indices are right.
                index = len(memo) if argument is None else argument
                memo[index] = texts[-1] if texts else "?"
            elif isinstance(argument, str):
                texts.append(argument)
            del texts[:-2]
    except ValueError:
        raise
    except Exception as error:  # genops fails in many ways on damaged pickles
        raise ValueError("not a pickle") from error
    return None

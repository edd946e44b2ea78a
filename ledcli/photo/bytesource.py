"""A file as if it were in memory, of which only what is looked at is read."""

import errno
import os
import stat
from collections import OrderedDict
from pathlib import Path
from typing import Protocol, Self

_BLOCK = 1 << 14
"""Bytes; directories and their values lie close together."""
_MOST_BLOCKS = 256


class Bytes(Protocol):
    """What is asked of data: its length and slices; `bytes` is one, `FileBytes` another."""

    def __len__(self) -> int:
        """Return the number of bytes."""

    def __getitem__(self, part: slice, /) -> bytes:
        """Return a slice; beyond the end there is nothing."""


class FileBytes:
    """A regular file's bytes, read in blocks when they are asked for.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        It cannot be opened, or is no regular file; slices raise it when the disk fails.
    """

    def __init__(self, path: Path) -> None:
        # A FIFO would make the opening wait for its other end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(f"{path} is not a regular file")
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        self._size = os.fstat(self._file.fileno()).st_size
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self._size)
        if stop <= start:
            return b""
        first, last = start // _BLOCK, (stop - 1) // _BLOCK
        if last - first > _MOST_BLOCKS // 4:
            return self._read(start, stop - start)
        joined = b"".join(self._block(index) for index in range(first, last + 1))
        return joined[start - first * _BLOCK : stop - first * _BLOCK]

    def _block(self, index: int) -> bytes:
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = self._read(index * _BLOCK, _BLOCK)
            if len(self._blocks) > _MOST_BLOCKS:
                self._blocks.popitem(last=False)
        return block

    def _read(self, start: int, count: int) -> bytes:
        self._file.seek(start)
        parts = []
        count = min(count, self._size - start)
        while count > 0:
            part = self._file.read(count)
            if not part:
                raise OSError(errno.EIO, "it became shorter while it was read")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

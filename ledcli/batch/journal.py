"""A file of lines that is only appended to, and the stamp by which files are recognised.

On network drives files may be replaced or removed meanwhile, and times be rounded.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ledcli.errors import OutputError
from ledcli.output.atomic import make_folder

MAX_LINE_BYTES = 1 << 20
"""A line has about 1 kB; a longer one is damage."""
_GONE = {errno.ENOENT, errno.ENOTDIR, getattr(errno, "ESTALE", errno.ENOENT)}
"""Errors of a file that was removed or replaced; ESTALE on network drives."""
_TIME_STEPS = (100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)
"""Nanoseconds to which file systems round times: NTFS, network drives, exFAT, ext3, FAT."""
_ZONE_STEP, _MAX_SHIFT = 900 * 10**9, 26 * 3600 * 10**9
"""Nanoseconds. FAT and exFAT keep local time: in another time zone all times are shifted."""


@dataclass(frozen=True)
class Stamp:
    """Size in bytes and modification time in nanoseconds, by which a file is recognised."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, state: os.stat_result) -> Self:
        """Take it from the result of `os.stat`."""
        return cls(state.st_size, state.st_mtime_ns)

    def matches(self, now: Self) -> bool:
        """Return True if it is unchanged; the disk may have rounded or shifted its time since."""
        apart = abs(self.mtime_ns - now.mtime_ns)
        rounded = any(apart < step and now.mtime_ns % step == 0 for step in _TIME_STEPS)
        shifted = apart % _ZONE_STEP == 0 and apart <= _MAX_SHIFT  # by 0 too
        return self.size == now.size and (shifted or rounded)


class Journal:
    """Appends lines to a file; each is on the disk when `append` returns.

    The file is made when the first line comes. If another one takes its place, or it is removed,
    the journal goes on in that, with its own lines. Used by one thread.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self.path = path
        self.root = root
        """The folder without which the file is not made again."""
        self._file: int | None = None
        self._root: int | None = None  # open, so that no other folder gets its number
        self._torn = False
        self._written: list[bytes] = []

    def append(self, line: str) -> None:
        """Append a line of ASCII; raises OSError, and OutputError if `root` was replaced."""
        data = line.encode("ascii")
        if self._file is not None and not self._has_its_name(self._file):
            self._give_up()
        try:
            self._add(data)
        except OSError as error:
            # A network drive may tell only now; a run that ends removes an empty folder.
            if error.errno not in _GONE:
                raise
            self._give_up()
            self._add(data)
        self._written.append(data)

    def close(self) -> None:
        """Close it; another `append` opens it again."""
        for file in (self._file, self._root):
            if file is not None:
                with contextlib.suppress(OSError):
                    os.close(file)
        self._file = self._root = None

    def _add(self, data: bytes) -> None:
        if self._file is None:
            for lost in self._open():
                self._write(lost)
        self._write(data)

    def _open(self) -> list[bytes]:
        """Open the file; returns the lines written before that it lacks."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        make_folder(self.path.parent)
        self._file = open_no_link(self.path, flags)
        with contextlib.suppress(PermissionError):  # Windows opens no folders
            self._root = os.open(self.root, os.O_RDONLY)
        with open(self.path, "rb", opener=open_no_link) as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
            self._torn = file.read() not in (b"", b"\n")
            if not self._written:
                return []
            file.seek(0)
            lost = dict.fromkeys(self._written)
            for line in file:
                lost.pop(line.rstrip(b"\n"), None)
        return list(lost)

    def _has_its_name(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return False

    def _give_up(self) -> None:
        """Close a file that was replaced; raises OutputError if the folder was, too."""
        same = self._root is None  # Windows: the folder of an open file stays
        with contextlib.suppress(OSError):
            same = same or os.path.samestat(os.fstat(self._root or 0), os.stat(self.root))
        if not same:
            raise OutputError(
                f"{self.root}: the output folder was removed or replaced during the run; "
                "run the command again"
            ) from OSError(errno.ENODEV, "the output folder was removed")
        self.close()

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        data = (b"\n" if self._torn else b"") + line + b"\n"
        self._torn = True
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)
        self._torn = False


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file, without those that are too long to be led's."""
    ended = True
    with open(path, "rb", opener=open_no_link) as file:
        for data in iter(lambda: file.readline(MAX_LINE_BYTES), b""):
            whole, ended = ended, data.endswith(b"\n")  # else the rest of too long a line
            if whole and (ended or len(data) < MAX_LINE_BYTES):
                yield data.decode("utf-8", "replace").rstrip("\n")


def open_no_link(path: str | Path, flags: int) -> int:
    """Open a file as `os.open` does, but no symbolic link: the opener of led's own state."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def check_no_link(path: Path) -> None:
    """Raise OutputError for a symbolic link: somebody could redirect led's writes."""
    if os.path.islink(path):
        raise OutputError(f"{path}: is a symbolic link, which is not followed: remove it")

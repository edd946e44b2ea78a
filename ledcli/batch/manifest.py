"""What a run wrote, by which it knows when it is called again what is done and what is not."""

import contextlib
import errno
import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Self

from ledcli.errors import OutputError
from ledcli.metadata.xmp import read_note
from ledcli.output.atomic import atomic_write, explain, make_folder

VERSION = 1
START = f'{{"v":{VERSION},"output":'
"""How a line of this version begins."""
_TIME_STEPS = (100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)
"""Nanoseconds to which disks round a file's time: NTFS, some network disks, exFAT, ext3, FAT."""
_NUMBERS = ("size", "mtime_ns", "source_size", "source_mtime_ns")


@dataclass(frozen=True)
class Stamp:
    """Size in bytes and time of change in nanoseconds, by which a file is known again."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, state: os.stat_result) -> Self:
        """Return the stamp of what `os.stat` found."""
        return cls(state.st_size, state.st_mtime_ns)

    def still(self, now: "Stamp") -> bool:
        """Tell whether a file that had this stamp and has `now` the other is unchanged.

        A disk may have rounded the time since, as FAT does when it is taken out.
        """
        apart = abs(self.mtime_ns - now.mtime_ns)
        rounded = any(apart < step and now.mtime_ns % step == 0 for step in _TIME_STEPS)
        return self.size == now.size and (apart == 0 or rounded)


@dataclass(frozen=True)
class Entry:
    """One output as it was written; a line of the manifest.

    Attributes
    ----------
    output : str
        Its path relative to the root, with ``/``.
    source : str
        The photo's path, relative to the root where there is a way.
    source_stamp : Stamp
        Of the photo, taken before it was read.
    made_with : mapping
        The settings and the model; what JSON can hold.
    photo : mapping
        What choosing the model needs to know of the photo; what JSON can hold.
    output_stamp : Stamp
    """

    output: str
    source: str
    source_stamp: Stamp
    made_with: Mapping[str, object]
    photo: Mapping[str, object]
    output_stamp: Stamp

    def line(self) -> str:
        """Return the entry as one line of ASCII."""
        record = {
            "v": VERSION,
            "output": self.output,
            "size": self.output_stamp.size,
            "mtime_ns": self.output_stamp.mtime_ns,
            "source": self.source,
            "source_size": self.source_stamp.size,
            "source_mtime_ns": self.source_stamp.mtime_ns,
            "made_with": self.made_with,
            "photo": self.photo,
        }
        return json.dumps(record, separators=(",", ":"))

    @classmethod
    def parse(cls, line: str) -> Self | None:
        """Return the entry of a line; None if it is none, or of another version."""
        try:
            record = json.loads(line)
            if record["v"] != VERSION:
                return None
            stamps = [record[key] for key in _NUMBERS]
            texts = [record["output"], record["source"]]
            maps = [record["made_with"], record["photo"]]
        except (ValueError, RecursionError, KeyError, TypeError):
            return None
        good = (
            all(type(n) is int for n in stamps)
            and all(type(t) is str for t in texts)
            and all(type(m) is dict for m in maps)
        )
        if not good:
            return None
        (output, source), (made_with, photo) = texts, maps
        return cls(output, source, Stamp(*stamps[2:]), made_with, photo, Stamp(*stamps[:2]))


__all__ = ["STATE_FOLDER", "Entry", "Manifest", "Stamp", "Standing"]

STATE_FOLDER = ".led"
"""In the output folder: the manifest and the lock."""
FILE_NAME = "manifest.jsonl"
LARGEST = 1 << 30
"""Bytes: 100,000 photos in three formats, written five times each, take half of it."""
COMPACT_FROM = 1000
"""Lines under which a manifest is not worth making shorter."""


class Standing(Enum):
    """What the file under an output's name is.

    ``ABSENT``: there is none. ``CURRENT``: what led wrote last. ``OURS``: what led wrote earlier;
    the newer one never got its name. ``CHANGED``: led wrote one, somebody changed it since.
    ``FOREIGN``: led knows nothing of it.
    """

    ABSENT = "absent"
    CURRENT = "current"
    OURS = "ours"
    CHANGED = "changed"
    FOREIGN = "foreign"


class Manifest:
    """The journal of an output folder, ``.led/manifest.jsonl``: a line for each output written.

    A line goes in just before the finished file gets its name. A run that is killed between the
    two leaves a line without its file, never a file of led's without a line. Damaged lines and
    those of other versions are passed over.

    Parameters
    ----------
    root : Path
        The output folder; need not exist until something is recorded.

    Raises
    ------
    OutputError
        There is one that cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / STATE_FOLDER / FILE_NAME
        self._real = os.path.realpath(root)
        self._lines: dict[str, list[str]] = {}  # by output; parsed when asked for
        self._other: list[str] = []
        self._whole = True
        self._file: int | None = None
        self._closed = False
        self._writing = threading.Lock()
        self._load()

    def __len__(self) -> int:
        """Return for how many outputs there is a line."""
        return len(self._lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def entry(self, path: Path) -> Entry | None:
        """Return the latest line of an output of this folder."""
        return next(self._entries(path), None)

    def standing(self, path: Path) -> Standing:
        """Say what the file under an output's name is; raises OutputError if nobody can tell."""
        try:
            state = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return Standing.ABSENT
        except (OSError, ValueError) as error:
            raise OutputError(f"{path}: cannot be read: {explain(error)}") from error
        entries = list(self._entries(path))
        if not entries:
            return Standing.FOREIGN
        if stat.S_ISREG(state.st_mode):
            now = Stamp.of(state)
            if entries[0].output_stamp.still(now):
                return Standing.CURRENT
            if any(entry.output_stamp.still(now) for entry in entries):
                return Standing.OURS
        return Standing.CHANGED

    def wrote(self, path: Path) -> bool:
        """Tell whether the file under a name is led's: as it was written, or edited since.

        One that was edited has led's note in it; without, it is another file that somebody put
        in its place, a camera's own DNG say. Raises OutputError if nobody can tell.
        """
        standing = self.standing(path)
        if standing is Standing.CHANGED:
            return read_note(path) is not None
        return standing in (Standing.CURRENT, Standing.OURS)

    def new_entry(
        self,
        output: Path,
        source: Path,
        source_stamp: Stamp,
        made_with: Mapping[str, object],
        photo: Mapping[str, object],
        written: os.stat_result,
    ) -> Entry:
        """Return the entry of an output of this folder; `written` is its hidden file's state."""
        where = self.from_root(source)
        return Entry(self._name(output), where, source_stamp, made_with, photo, Stamp.of(written))

    def from_root(self, path: Path) -> str:
        """Return the path of a photo as seen from this folder, with ``/``."""
        folder, name = os.path.split(path)
        real = os.path.join(os.path.realpath(folder), name)
        with contextlib.suppress(ValueError):  # another drive of Windows
            real = os.path.relpath(real, self._real)
        return real.replace(os.sep, "/")

    def record(self, entry: Entry) -> None:
        """Write down an output that is about to get its name, onto the disk.

        Raises
        ------
        OutputError
            It cannot be written, the manifest is closed, or its folder is not what it was.
        """
        line = entry.line()
        with self._writing:
            if self._closed:
                raise OutputError(
                    f"{self.root}: the run was broken off: run the same command again"
                )
            try:
                if self._file is not None and not self._in_place(self._file):
                    raise OutputError(
                        f"{self.root}: the output folder was removed or replaced while led was at "
                        "work: run the same command again"
                    ) from OSError(errno.ENODEV, "the output folder was removed")
                self._append(line)
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be written: {explain(error)}") from error
            self._lines.setdefault(entry.output, []).append(line)

    def close(self) -> None:
        """Close it for good, once what is being recorded is: nothing more can be.

        The folder's lock may go after this, though another thread is still at work.
        """
        with self._writing:
            self._closed = True
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _in_place(self, file: int) -> bool:
        """Tell whether the open file is the one that the manifest's path leads to."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _append(self, line: str) -> None:
        if self._file is None:
            self._open()
        assert self._file is not None
        data = (line if self._whole else "\n" + line).encode("ascii") + b"\n"
        self._whole = False
        written = os.write(self._file, data)
        if written < len(data):
            os.write(self._file, data[written:])
        os.fsync(self._file)
        self._whole = True

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _entries(self, path: Path) -> Iterator[Entry]:
        """Parse the lines of an output, the latest first; what is damaged is passed over."""
        for line in reversed(self._lines.get(self._name(path), ())):
            entry = Entry.parse(line)
            if entry is not None:
                yield entry

    def _load(self) -> None:
        try:
            state = os.stat(self.path)
            if not stat.S_ISREG(state.st_mode) or state.st_size > LARGEST:
                raise OutputError(f"{self.path}: is no manifest of led's: remove it")
            text = self.path.read_bytes().decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be read: {explain(error)}") from error
        lines = text.split("\n")
        self._whole = lines[-1] == ""
        decode = json.JSONDecoder().raw_decode
        for line in lines:
            if not line:
                continue
            name: object = None
            with contextlib.suppress(ValueError):
                if line.startswith(START + '"') and line.endswith("}"):
                    name = decode(line, len(START))[0]  # the rest when it is asked for
                else:
                    self._other.append(line)
            if isinstance(name, str):
                self._lines.setdefault(name, []).append(line)

    def _open(self) -> None:
        make_folder(self.path.parent)
        self._compact()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._file = os.open(self.path, flags, 0o666)

    def _compact(self) -> None:
        """Rewrite a manifest most of whose lines nobody needs: under the lock, as all writing."""
        count = sum(map(len, self._lines.values()))
        if count < COMPACT_FROM or count < 2 * len(self._lines):
            return
        for name, lines in self._lines.items():
            kept = lines[-1:]
            with contextlib.suppress(OSError, ValueError):
                now = Stamp.of(os.lstat(self.root / name))
                older = map(Entry.parse, lines[:-1])
                match = [e.line() for e in older if e and e.output_stamp.still(now)]
                kept = match[-1:] + kept
            self._lines[name] = kept
        every = [line for lines in self._lines.values() for line in lines]
        text = "\n".join([*self._other, *every, ""])
        atomic_write(self.path, text.encode("utf-8", "replace"))
        self._whole = True

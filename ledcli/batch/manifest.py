"""The output manifest: what led wrote, by which a second run skips finished photos."""

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

from ledcli.batch.settings import Stamp
from ledcli.errors import OutputError
from ledcli.metadata.xmp import read_note
from ledcli.output.atomic import atomic_write, explain, make_folder

STATE_FOLDER = ".led"
"""In the output folder, for the manifest and the lock."""
FILE_NAME = "manifest.jsonl"
LINE_START = '{"v":1,"output":'
"""The start of a line of version 1, the only one."""
MAX_BYTES = 1 << 30
"""100,000 photos in three formats, written five times each, take half of it."""
MAX_LINE_BYTES = 1 << 20
"""A line has about 1 kB; a longer one is damage."""
_decode = json.JSONDecoder().raw_decode
COMPACT_FROM = 1000
"""Lines; shorter manifests are not compacted."""


@dataclass(frozen=True)
class ManifestEntry:
    """One output as it was written; a line of the manifest.

    The paths are relative to the output folder (the photo's where possible), with ``/``.
    """

    output: str
    source: str
    source_stamp: Stamp
    """Of the photo before it was read."""
    made_with: Mapping[str, object]
    """The settings and the model, as JSON values."""
    photo: Mapping[str, object]
    """What choosing the model needs to know of the photo, as JSON values."""
    output_stamp: Stamp

    def line(self) -> str:
        """Return the entry as one line of ASCII."""
        record = {
            "v": 1,
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
        """Return the entry of a line; None if it is damaged or of another version."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
        match record:
            case {
                "v": 1,
                "output": str(output),
                "size": int(size),
                "mtime_ns": int(mtime_ns),
                "source": str(source),
                "source_size": int(source_size),
                "source_mtime_ns": int(source_mtime_ns),
                "made_with": dict(made_with),
                "photo": dict(photo),
            }:
                source_stamp = Stamp(source_size, source_mtime_ns)
                output_stamp = Stamp(size, mtime_ns)
                return cls(output, source, source_stamp, made_with, photo, output_stamp)
        return None


class FileState(Enum):
    """What the file under an output's name is."""

    ABSENT = "there is none"
    CURRENT = "what led wrote last"
    OLDER = "what led wrote earlier; the last run was killed before it replaced the file"
    EDITED = "written by led, changed since"
    FOREIGN = "not written by led"


class Manifest:
    """The journal of an output folder, ``.led/manifest.jsonl``, with a line for each output.

    A line is written just before the finished file gets its name. A run that is killed between the
    two leaves a line without its file, never a file without a line. Damaged lines and those of
    other versions are ignored. The folder need not exist until something is recorded. Raises
    OutputError if the manifest exists but cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / STATE_FOLDER / FILE_NAME
        self._real = os.path.realpath(root)
        check_no_link(self.path.parent)
        self._file: int | None = None
        self._closed = False
        self._ends_whole = True
        self._writing = threading.Lock()
        self._load()

    def entry(self, path: Path) -> ManifestEntry | None:
        """Return the latest line of an output of this folder."""
        return next(self._entries(path), None)

    def file_state(self, path: Path) -> FileState:
        """Return what the file under an output's name is; raises OutputError if unreadable."""
        try:
            state = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return FileState.ABSENT
        except (OSError, ValueError) as error:
            why = explain(error) if isinstance(error, OSError) else "choose another name"
            raise OutputError(f"{path}: cannot be read: {why}") from error
        entries = list(self._entries(path))
        if not entries:
            return FileState.FOREIGN
        if stat.S_ISREG(state.st_mode):
            now = Stamp.of(state)
            if entries[0].output_stamp.matches(now):
                return FileState.CURRENT
            if any(entry.output_stamp.matches(now) for entry in entries):
                return FileState.OLDER
        return FileState.EDITED

    def wrote(self, path: Path) -> bool:
        """Return True if led wrote the file, even if it was edited since; as `file_state`.

        An edited file still has led's note in it; without, it is another file in the same place,
        such as a camera's own DNG.
        """
        state = self.file_state(path)
        if state is FileState.EDITED:
            return read_note(path) is not None
        return state in (FileState.CURRENT, FileState.OLDER)

    def new_entry(
        self,
        output: Path,
        source: Path,
        source_stamp: Stamp,
        made_with: Mapping[str, object],
        photo: Mapping[str, object],
        written: os.stat_result,
    ) -> ManifestEntry:
        """Return the entry of an output of this folder; `written` is its part file's state."""
        name, photo_path = self._name(output), self.relative_path(source)
        return ManifestEntry(name, photo_path, source_stamp, made_with, photo, Stamp.of(written))

    def relative_path(self, path: Path) -> str:
        """Return the path of a photo relative to this folder, with ``/``."""
        folder, name = os.path.split(path)
        real = os.path.join(os.path.realpath(folder), name)
        with contextlib.suppress(ValueError):  # another drive of Windows
            real = os.path.relpath(real, self._real)
        return real.replace(os.sep, "/")

    def record(self, entry: ManifestEntry) -> None:
        """Write an entry to the disk, before its file gets its name; raises OutputError."""
        line = entry.line()
        with self._writing:
            if self._closed:
                raise OutputError(f"{self.root}: the run was interrupted; run the command again")
            try:
                if self._file is not None and not self._is_open(self._file):
                    raise OutputError(
                        f"{self.root}: the output folder was removed or replaced during the run; "
                        "run the command again"
                    ) from OSError(errno.ENODEV, "the output folder was removed")
                self._append(line)
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be written: {explain(error)}") from error
            self._lines.setdefault(entry.output, []).append(line)

    def close(self) -> None:
        """Close it for good, after a `record` in progress; the folder's lock may go after this."""
        with self._writing:
            self._closed = True
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def refresh(self) -> bool:
        """Load the file again if it has changed; return whether it had."""
        before, now = self._loaded, None
        with contextlib.suppress(OSError):
            now = Stamp.of(os.lstat(self.path))
        if now != before:
            self._load()
        return now != before

    def _is_open(self, file: int) -> bool:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        return False

    def _append(self, line: str) -> None:
        if self._file is None:
            make_folder(self.path.parent)
            self._compact()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._file = _open_no_link(self.path, flags)
        data = (line if self._ends_whole else "\n" + line).encode("ascii") + b"\n"
        self._ends_whole = False
        written = os.write(self._file, data)
        if written < len(data):
            os.write(self._file, data[written:])
        os.fsync(self._file)
        self._ends_whole = True

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _entries(self, path: Path) -> Iterator[ManifestEntry]:
        """Parse the lines of an output, the latest first, without damaged ones."""
        for line in reversed(self._lines.get(self._name(path), ())):
            entry = ManifestEntry.parse(line)
            if entry is not None:
                yield entry

    def _load(self) -> None:
        self._lines: dict[str, list[str]] = {}  # by output; parsed when needed
        self._other_lines: list[str] = []
        self._ends_whole = True
        self._loaded: Stamp | None = None
        try:
            state = os.lstat(self.path)
            if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_BYTES:
                raise OutputError(f"{self.path}: not a manifest of led; remove it")
            self._loaded = Stamp.of(state)
            with open(self.path, "rb", opener=_open_no_link) as file:
                for data in iter(lambda: file.readline(MAX_LINE_BYTES), b""):
                    whole = self._ends_whole  # else it is the rest of a line that is too long
                    self._ends_whole = data.endswith(b"\n")
                    if whole and (self._ends_whole or len(data) < MAX_LINE_BYTES):
                        self._add_line(data.decode("utf-8", "replace").rstrip("\n"))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be read: {explain(error)}") from error

    def _add_line(self, line: str) -> None:
        if not line.startswith(LINE_START + '"') or not line.endswith("}"):
            if line:
                self._other_lines.append(line)
            return
        with contextlib.suppress(ValueError, RecursionError):
            name: str = _decode(line, len(LINE_START))[0]
            self._lines.setdefault(name, []).append(line)

    def _compact(self) -> None:
        """Rewrite a manifest if more than half of its lines are out of date; under the lock."""
        count = sum(map(len, self._lines.values()))
        if count < COMPACT_FROM or count < 2 * len(self._lines):
            return
        for name, lines in self._lines.items():
            kept = lines[-1:]
            with contextlib.suppress(OSError, ValueError):
                now = Stamp.of(os.lstat(self.root / name))
                older = map(ManifestEntry.parse, lines[:-1])
                match = [e.line() for e in older if e and e.output_stamp.matches(now)]
                kept = match[-1:] + kept
            self._lines[name] = kept
        every = [line for lines in self._lines.values() for line in lines]
        text = "\n".join([*self._other_lines, *every, ""])
        atomic_write(self.path, text.encode("utf-8", "replace"))
        self._ends_whole = True


def check_no_link(path: Path) -> None:
    """Raise OutputError for a symbolic link: led would write where somebody else wants."""
    if path.is_symlink():
        raise OutputError(f"{path}: is a symbolic link, which is not followed: remove it")


def _open_no_link(path: str | Path, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


class Manifests(dict[Path, Manifest]):
    """The manifests of a run by output folder; each is loaded when first needed, and once."""

    def __missing__(self, root: Path) -> Manifest:
        """Load the manifest of a folder; raises OutputError."""
        self[root] = manifest = Manifest(root)
        return manifest

    def refresh(self) -> bool:
        """Load those again whose files have changed; return whether any had."""
        return any([manifest.refresh() for manifest in self.values()])

    def close(self) -> None:
        """Close all; nothing more can be recorded."""
        for manifest in self.values():
            manifest.close()

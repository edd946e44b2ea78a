"""The output manifest: what led wrote, by which a second run skips finished photos."""

import contextlib
import json
import os
import re
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Self

from ledcli.batch.journal import Journal, Stamp, check_no_link, read_lines
from ledcli.errors import OutputError
from ledcli.metadata.xmp import read_note
from ledcli.output.atomic import atomic_write, explain, is_abandoned, unique_name

STATE_FOLDER = ".led"
"""In the output folder, for the manifest and the lock."""
FILE_NAME = "manifest.jsonl"
_FILE_NAMES = re.compile(r"manifest(-\d+-of-\d+)?(?:-(\w+)-(\d+)-\w+)?\.jsonl", re.ASCII)
"""Of a whole run or a shard; then, for runs without a lock, what `unique_name` gave."""
PROCESS_MAX_AGE_S = 24 * 3600.0
"""A manifest gets no more lines after so long without one, even if its process may still run."""
LINE_START = '{"v":1,"output":'
"""The start of a line of version 1, the only one."""
MAX_BYTES, MAX_ALL_BYTES = 1 << 30, 4 << 30
"""Of one and of all: 100,000 photos in three formats, written five times, take half of one."""
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
    CURRENT = "written by led"
    EDITED = "written by led, changed since"
    FOREIGN = "not written by led"


_own_name = cache(unique_name)
"""The same for all runs of a process: watching a folder makes one after the other."""


class Manifest:
    """The journal of an output folder, ``.led/manifest*.jsonl``, with a line for each output.

    A whole run writes ``manifest.jsonl``, a shard ``manifest-0-of-4.jsonl``, and a run without a
    lock that excludes others one of its process: no two write one file at a time. All are read.

    A line is written just before the finished file gets its name. A run that is killed between the
    two leaves a line without its file, never a file without a line. Damaged lines and those of
    other versions are ignored. The folder need not exist until something is recorded. Raises
    OutputError if the manifest exists but cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / STATE_FOLDER
        self._journal = Journal(self.folder / FILE_NAME, root)
        self._compacts = False
        self._real = os.path.realpath(root)
        check_no_link(self.folder)
        self._closed = False
        self._writing = threading.Lock()
        self._load()

    @property
    def path(self) -> Path:
        """The file that this run writes."""
        return self._journal.path

    def begin(self, shard: str | None = None, *, exclusive: bool) -> None:
        """Choose the file to write: that of whole runs, or of a shard (``0-of-4``).

        Unless the run holds an `exclusive` lock, it is one of this process alone.
        """
        parts = ["manifest", *([shard] if shard else []), *([] if exclusive else [_own_name()])]
        self._journal = Journal(self.folder / f"{'-'.join(parts)}.jsonl", self.root)
        self._compacts = exclusive and not shard

    def look(self, path: Path) -> tuple[FileState, ManifestEntry | None]:
        """Return what the file under an output's name is, and its own line, else the latest.

        Raises OutputError if the file is unreadable.
        """
        entries = self._entries(self._name(path))
        latest = next(iter(entries), None)
        try:
            state = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return FileState.ABSENT, latest
        except (OSError, ValueError) as error:
            why = explain(error) if isinstance(error, OSError) else "choose another name"
            raise OutputError(f"{path}: cannot be read: {why}") from error
        if latest is None:
            return FileState.FOREIGN, None
        if stat.S_ISREG(state.st_mode):
            now = Stamp.of(state)
            for entry in entries:
                if entry.output_stamp.matches(now):
                    return FileState.CURRENT, entry
        return FileState.EDITED, latest

    def wrote(self, path: Path) -> bool:
        """Return True if led wrote the file, even if it was edited since; raises as `look`.

        An edited file still has led's note in it; without, it is another file in the same place,
        such as a camera's own DNG.
        """
        state, _ = self.look(path)
        if state is FileState.EDITED:
            return read_note(path) is not None
        return state is FileState.CURRENT

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
                if self._compacts:  # once, before the first line
                    self._compact()
                    self._compacts = False
                self._journal.append(line)
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be written: {explain(error)}") from error
            self._lines.setdefault(entry.output, []).append(line)

    def close(self) -> None:
        """Close it for good, after a `record` in progress; the folder's lock may go after this."""
        with self._writing:
            self._closed = True
            self._journal.close()

    def refresh(self) -> bool:
        """Load the files again if any has changed; return whether one had."""
        before = self._loaded
        changed = before != dict(self._files())
        if changed:
            self._load()
        return changed

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _entries(self, name: str) -> list[ManifestEntry]:
        """Parse the lines of an output, the latest first, without damaged ones."""
        lines = self._lines.get(name, ())
        entries = [entry for each in reversed(lines) if (entry := ManifestEntry.parse(each))]
        return sorted(entries, key=lambda entry: entry.output_stamp.mtime_ns, reverse=True)

    def _files(self) -> Iterator[tuple[str, Stamp]]:
        """Find the manifests; raises OutputError for a file that is not one."""
        names: list[str] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            names = [name for name in os.listdir(self.folder) if _FILE_NAMES.fullmatch(name)]
        size = 0
        # What a whole run moves from the others into its own is there before they are removed.
        for name in [*sorted({*names} - {FILE_NAME}), FILE_NAME]:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                state = os.lstat(self.folder / name)
                size += state.st_size
                if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_BYTES:
                    raise OutputError(f"{self.folder / name}: not a manifest of led; remove it")
                if size > MAX_ALL_BYTES:
                    raise OutputError(f"{self.folder}: manifests too large; use another --out")
                yield name, Stamp.of(state)

    def _load(self) -> None:
        self._lines: dict[str, list[str]] = {}  # by output; parsed when needed
        self._other_lines: list[str] = []
        self._loaded: dict[str, Stamp] = {}
        path = self.folder
        try:
            for name, stamp in self._files():
                path = self.folder / name
                with contextlib.suppress(FileNotFoundError):
                    for line in read_lines(path):
                        self._add_line(line)
                    self._loaded[name] = stamp
        except OSError as error:
            raise OutputError(f"{path}: cannot be read: {explain(error)}") from error

    def _add_line(self, line: str) -> None:
        if not line.startswith(LINE_START + '"') or not line.endswith("}"):
            if line:
                self._other_lines.append(line)
            return
        with contextlib.suppress(ValueError, RecursionError):
            name: str = _decode(line, len(LINE_START))[0]
            self._lines.setdefault(name, []).append(line)

    def _compact(self) -> None:
        """Write a long manifest anew without what is out of date; with the lines of other files.

        Only under a lock that excludes all others. Files of processes that may still run stay.
        """
        ended = [name for name, stamp in self._loaded.items() if _has_ended(name, stamp)]
        count = sum(map(len, self._lines.values()))
        if not ended and count < max(COMPACT_FROM, 2 * len(self._lines)):
            return
        for name, lines in self._lines.items():
            kept = lines[-1:]
            with contextlib.suppress(OutputError, ValueError):
                entry = self.look(self.root / name)[1]
                kept = [entry.line()] if entry else []
            self._lines[name] = kept
        every = [line for lines in self._lines.values() for line in lines]
        text = "\n".join([*dict.fromkeys(self._other_lines), *every, ""])
        atomic_write(self.path, text.encode("utf-8", "replace"))
        for name in ended:
            with contextlib.suppress(OSError):
                if Stamp.of(os.lstat(self.folder / name)) == self._loaded[name]:
                    os.unlink(self.folder / name)


def _has_ended(name: str, stamp: Stamp) -> bool:
    """Return whether nobody writes a manifest any more, under a lock that excludes all shards."""
    match = _FILE_NAMES.fullmatch(name)
    if match is None or match[2] is None:
        return name != FILE_NAME
    age_s = time.time() - stamp.mtime_ns / 1e9
    return is_abandoned(match[2], int(match[3]), age_s, PROCESS_MAX_AGE_S)


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

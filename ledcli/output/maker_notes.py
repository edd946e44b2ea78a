"""Copying maker notes to a DNG with exiftool, which knows how each maker stores offsets."""

import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from ledcli.metadata.containers import FileBytes, largest_image
from ledcli.output.atomic import part_file, process_exists

TIMEOUT_S = 30.0
"""For one command, which takes well under a second."""
_MAX_FAILURES = 3
"""In a row; then exiftool is not tried again."""
_WORK_FOLDER = re.compile(r"led-(\d{1,10})-[a-z0-9_]{8}")
_WORK_FOLDER_MAX_AGE_S = 86400.0
"""An older work folder is abandoned even if its process seems to run: process ids are reused."""
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")
_COPIED = ["-MakerNotes", "-MakerNoteSafety"]
_REPAIR = [
    # The offsets in a CR3's notes are valid in the CR3 only.
    "-F",
    "-tagsFromFile",
    "@",
    "-Software",
    # The maker's preview was not copied; our preview takes its place.
    "-MakerNotes:PreviewImage<SubIFD1:PreviewImage",
]
_CHUNK_BYTES = 1 << 22
_NOTES_BYTES = 1 << 20
"""More than most maker notes have."""


class ExiftoolError(Exception):
    """exiftool cannot be started, died, or took too long; the message is the end of a sentence."""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, and on POSIX what it has started."""
    with contextlib.suppress(OSError):
        if process.poll() is None:
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()


class MakerNotes(contextlib.AbstractContextManager["MakerNotes"]):
    """Copies maker notes with exiftool, one file at a time.

    Use it as a context manager, or `close` it. It is safe to use from several threads. The timeout
    is for each command.
    """

    def __init__(self, program: str, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        _remove_abandoned_folders(Path(tempfile.gettempdir()))
        # exiftool sees names in this folder only: line breaks, dashes and pipes in a photo's own
        # name have a meaning for it.
        self._folder = tempfile.TemporaryDirectory(
            prefix=f"led-{os.getpid()}-", ignore_cleanup_errors=True
        )
        self._work = Path(self._folder.name)
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._aborted = False
        self._lock = threading.Lock()
        self._failures = 0

    @classmethod
    def find(cls) -> Self | None:
        """Return an instance if exiftool is on the PATH, otherwise None."""
        program = shutil.which("exiftool")
        return cls(program) if program else None

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the work folder."""
        with self._lock:
            self._folder.cleanup()

    def abort(self) -> None:
        """Make a `copy` in another thread end at once; later ones do nothing."""
        self._aborted = True
        if self._process is not None:
            _kill(self._process)

    def copy(self, source: Path, dng: Path) -> str | None:
        """Copy the maker notes of a source into a finished DNG.

        The DNG is replaced as a whole, after a check that its image is the same; if anything goes
        wrong it stays as it was. Returns None on success, otherwise one line that says why the
        notes were not copied. Raises OSError if the DNG's disk is full.
        """
        with self._lock:
            if self._aborted:
                return "maker notes not copied: the run was aborted"
            if self._failures >= _MAX_FAILURES:
                return "maker notes not copied: exiftool failed too often"
            with part_file(dng.parent) as new, part_file(dng.parent) as repaired:
                try:
                    why = self._copy(source, dng, new, repaired)
                    self._failures = 0
                except ExiftoolError as error:
                    self._failures += 1
                    why = f"exiftool: {error}"
                except OSError as error:
                    _check_room(dng, new)
                    why = (error.strerror or str(error)).lower()
                finally:
                    for path in (new, repaired):
                        with contextlib.suppress(OSError):
                            (self._work / path.name).unlink()
            return f"maker notes not copied: {why}" if why else None

    def _copy(self, source: Path, dng: Path, new: Path, repaired: Path) -> str | None:
        """Copy by way of two part files beside the DNG; returns why that was not possible."""
        suffix = source.suffix if _SUFFIX.fullmatch(source.suffix) else ""
        folder = self._link("folder", dng.parent)
        donor = self._link(f"source{suffix}", source)
        target = os.path.join(folder, new.name)
        old = self._link("old.dng", dng)
        said = self._ask("-tagsFromFile", donor, *_COPIED, "-o", target, old)
        if "No writable tags" in said:
            return "the source has none that exiftool can copy"
        if not self._fetch(folder, new, dng):
            return f"exiftool: {_first_problem(said)}"
        if not self._ask("-validate", "-s3", self._link("new.dng", new)).startswith("OK"):
            self._ask(*_REPAIR, "-o", os.path.join(folder, repaired.name), "new.dng")
            if self._fetch(folder, repaired, dng):
                os.replace(repaired, new)
        if not _same_image(dng, new):
            return "exiftool would have changed the image"
        os.replace(new, dng)
        return None

    def _ask(self, *arguments: str) -> str:
        """Run exiftool and return its output, warnings included; raises ExiftoolError."""
        if self._aborted:
            raise ExiftoolError("it was aborted")
        with tempfile.TemporaryFile() as said:  # no pipe: a launcher's child may keep one open
            try:
                process = subprocess.Popen(
                    # An empty -config: the user's own settings must not change the result.
                    [self._program, "-config", "", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    cwd=self._work,
                    env=os.environ | {"LC_ALL": "C"},  # else Perl may warn of the locale first
                    start_new_session=os.name == "posix",  # so that Ctrl-C reaches led alone
                )
            except OSError as error:
                raise ExiftoolError(f"it cannot be run: {error.strerror or error}") from None
            self._process = process
            try:
                if not self._aborted:  # `abort` may not have seen the new process
                    process.wait(self._timeout_s)
            except subprocess.TimeoutExpired:
                raise ExiftoolError(f"it took more than {self._timeout_s:g} s") from None
            finally:
                _kill(process)
                process.wait()
            if self._aborted:
                raise ExiftoolError("it was aborted")
            if process.returncode not in (0, 1):  # 1 is an error that the output names
                raise ExiftoolError("it ended before it was done")
            said.seek(0)
            return said.read().decode("utf-8", "replace")

    def _link(self, name: str, path: Path) -> str:
        """Make a file or folder readable in the work folder; returns its name there.

        Windows lets only administrators make symbolic links. Files then get a hard link, or a copy
        from another disk; for folders the result is empty, which stands for the work folder.
        """
        link, real = self._work / name, os.path.realpath(path)
        # Removed first: exiftool must not find the last photo if this one's link fails.
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        try:
            link.symlink_to(real)
        except (OSError, NotImplementedError):
            if os.path.isdir(real):
                return ""
            try:
                os.link(real, link)
            except (OSError, NotImplementedError):
                shutil.copyfile(real, link)
        return name

    def _fetch(self, folder: str, path: Path, dng: Path) -> bool:
        """Return whether exiftool wrote a file; move it if it had to be in the work folder."""
        written = self._work / path.name
        if not folder and written.exists():
            shutil.move(written, path)
        if path.exists():
            return True
        _check_room(dng, path)
        return False


def _check_room(dng: Path, trial: Path) -> None:
    """Raise OSError if there is no room for a DNG with maker notes: exiftool does not say why."""
    shutil.copyfile(dng, trial)
    with open(trial, "ab") as file:
        file.write(bytes(_NOTES_BYTES))


def _remove_abandoned_folders(folder: Path) -> None:
    """Remove this user's work folders of killed runs."""
    for path in folder.glob("led-*-*"):
        match = _WORK_FOLDER.fullmatch(path.name)
        with contextlib.suppress(OSError):
            state = path.lstat()
            own = os.name == "nt" or state.st_uid == os.geteuid()
            if match and own and stat.S_ISDIR(state.st_mode):
                recent = time.time() - state.st_mtime < _WORK_FOLDER_MAX_AGE_S
                if not (recent and process_exists(int(match[1]))):
                    shutil.rmtree(path, ignore_errors=True)


def _first_problem(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if "Error" in line or "Warning" in line]
    # After the dash comes the file's name, which here is not the user's.
    return lines[0].rpartition(" - ")[0] or lines[0] if lines else "it wrote nothing"


def _same_image(old: Path, new: Path) -> bool:
    """Return whether the largest images of two TIFFs have the same bytes."""
    with FileBytes(old) as before, FileBytes(new) as after:
        sizes = [size for _, size in largest_image(before)]
        if not sizes or sizes != [size for _, size in largest_image(after)]:
            return False
        pairs = zip(_image_chunks(before), _image_chunks(after), strict=True)
        return all(one == other for one, other in pairs)


def _image_chunks(data: FileBytes) -> Iterator[bytes]:
    for start, size in largest_image(data):
        for at in range(0, size, _CHUNK_BYTES):
            yield data[start + at : start + min(at + _CHUNK_BYTES, size)]

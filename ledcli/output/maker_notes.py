"""Maker notes from a source into its DNG, by exiftool: each maker's offsets are their own riddle.

exiftool runs on its own, as a program of its own; it is used when it is there.
"""

import contextlib
import os
import queue
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

from ledcli.metadata.containers import FileBytes, largest_image
from ledcli.output.atomic import part_file_path, process_exists

_GOODBYE_S = 2
_AT_OUR_END = "cat; printf '\\n-stay_open\\nFalse\\n'"
"""exiftool waits for more at the end of its input; this tells it to go when we are gone, killed or
not."""


class ExiftoolError(Exception):
    """exiftool cannot be started, died, or took too long; the message is the end of a sentence."""


class Exiftool:
    """An exiftool that stays open.

    Parameters
    ----------
    program : str
        Its path.
    folder : Path
        Where it works: names without a folder are looked for there.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._feeder: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._asked = 0
        self.aborted = False

    def ask(self, arguments: Sequence[str], limit_s: float) -> str:
        """Run one command.

        Parameters
        ----------
        arguments : sequence of str
            Without line breaks.
        limit_s : float
            After so long it is killed.

        Returns
        -------
        str
            What it says, warnings included.

        Raises
        ------
        ExiftoolError
        """
        end = time.monotonic() + limit_s
        self._asked += 1
        ready = b"{ready%d}" % self._asked
        text = b"".join(os.fsencode(argument) + b"\n" for argument in arguments)
        said = []
        try:
            self._start()
            self._send(text + b"-execute%d\n" % self._asked)
            while True:
                line = self._lines.get(timeout=max(end - time.monotonic(), 0))
                if line is None:
                    raise ExiftoolError("it ended before it was done")
                # What it was still saying belongs before its mark.
                rest, mark, _ = line.partition(ready)
                said.append(rest)
                if mark:
                    break
        except queue.Empty:
            self.kill()
            raise ExiftoolError(f"it took more than {limit_s:g} s") from None
        except OSError as error:
            self.kill()
            raise ExiftoolError(f"it cannot be run: {error.strerror or error}") from None
        except BaseException:
            # An interruption too: its answer would be taken for the next one's.
            self.kill()
            raise
        return b"".join(said).decode("utf-8", "replace")

    def close(self) -> None:
        """End it in a friendly way."""
        if self._process is not None:
            with contextlib.suppress(OSError, ValueError):
                self._send(b"-stay_open\nFalse\n").close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GOODBYE_S)
        self.kill()

    def kill(self) -> None:
        """End it at once; the next question starts another."""
        for process in (self._process, self._feeder):
            if process is not None:
                process.kill()
                process.wait()
                if process.stdin is not None:
                    with contextlib.suppress(OSError):
                        process.stdin.close()
        self._process = self._feeder = None

    def abort(self) -> None:
        """End it for good, from any thread: a question under way fails, and so does any other."""
        self.aborted = True
        # Left to be waited for by the thread that asks.
        for process in (self._process, self._feeder):
            if process is not None:
                process.kill()
        # Whoever else may hold its output open, as on Windows, where it starts a second process.
        self._lines.put(None)

    def _start(self) -> None:
        self._go_on()
        if self._process is not None and self._process.poll() is None:
            return
        self.kill()
        self._lines = queue.SimpleQueue()
        shell = shutil.which("sh") if os.name == "posix" else None
        ours: int | IO[bytes] = subprocess.PIPE
        # Of a session of their own: Ctrl-C is for us, and we say what becomes of them.
        alone = os.name == "posix"
        if shell is not None:
            self._feeder = subprocess.Popen(
                [shell, "-c", _AT_OUR_END],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=alone,
            )
            assert self._feeder.stdout is not None
            ours = self._feeder.stdout
        self._process = subprocess.Popen(
            # An empty -config: nobody's own settings change what is done here.
            [self._program, "-config", "", "-stay_open", "True", "-@", "-"],
            stdin=ours,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            start_new_session=alone,
        )
        if self._feeder is not None and self._feeder.stdout is not None:
            self._feeder.stdout.close()
        threading.Thread(
            target=_listen, args=(self._process.stdout, self._lines), daemon=True
        ).start()
        self._go_on()  # `abort` may not have seen it yet

    def _go_on(self) -> None:
        if self.aborted:
            raise ExiftoolError("it was broken off")

    def _send(self, text: bytes) -> IO[bytes]:
        process = self._feeder or self._process
        assert process is not None and process.stdin is not None
        process.stdin.write(text)
        process.stdin.flush()
        return process.stdin


def _listen(output: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    with contextlib.suppress(OSError, ValueError), output:
        for line in output:
            lines.put(line)
    lines.put(None)


LIMIT_S = 30.0
"""Seconds for one file, many times what it takes."""
_MOST_FAILURES = 3
"""In a row, after which it is not tried any more."""
_LEFT = re.compile(r"led-(\d{1,10})-[a-z0-9_]{8}")
"""Our folders among those for passing things; what a killed run had stays there."""
_FORGOTTEN_S = 86400.0
"""After which nobody uses such a folder any more, though a process of that id runs."""
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")
_COPY = ["-MakerNotes"]
_MEND = [
    # A CR3's notes have offsets that hold in the CR3 only.
    "-F",
    "-tagsFromFile",
    "@",
    "-Software",
    # The maker's own preview stays behind, and its empty place gets the denoised one.
    "-MakerNotes:PreviewImage<SubIFD1:PreviewImage",
]
_CHUNK = 1 << 22


class MakerNotes:
    """Copies maker notes, one file after the other, with one exiftool.

    Use as a context manager, or `close` it. Safe to use from several threads.

    Parameters
    ----------
    program : str
        Path of exiftool.
    limit_s : float
        Seconds for one file.
    """

    def __init__(self, program: str, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        # Under tame names: a photo's own may have line breaks, dashes and pipes, which mean
        # something to exiftool.
        _remove_abandoned_folders(Path(tempfile.gettempdir()))
        self._folder = tempfile.TemporaryDirectory(
            prefix=f"led-{os.getpid()}-", ignore_cleanup_errors=True
        )
        self._tame = Path(self._folder.name)
        self._exiftool = Exiftool(program, self._tame)
        self._lock = threading.Lock()
        self._failures = 0

    @classmethod
    def find(cls) -> Self | None:
        """Return one when exiftool is on the PATH, else None."""
        program = shutil.which("exiftool")
        return cls(program) if program else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End exiftool and remove what it needed."""
        with self._lock:
            self._exiftool.close()
            self._folder.cleanup()

    def abort(self) -> None:
        """Make a `copy` under way in another thread end at once, and any other not begin."""
        self._exiftool.abort()

    def copy(self, source: Path, dng: Path) -> str | None:
        """Copy the maker notes of a source into a DNG that is already written.

        The DNG is replaced as a whole, and only by one whose picture is the same; whatever goes
        wrong, it stays as it was. The source is only read.

        Parameters
        ----------
        source : Path
        dng : Path

        Returns
        -------
        str or None
            None when all is well, else in one line why there are no maker notes.
        """
        with self._lock:
            if self._exiftool.aborted:
                return "maker notes not copied: the run was broken off"
            if self._failures >= _MOST_FAILURES:
                return "maker notes not copied: exiftool failed too often"
            new, mended = (part_file_path(dng.parent) for _ in range(2))
            try:
                why = self._copied(source, dng, new, mended)
                self._failures = 0
            except ExiftoolError as error:
                self._failures += 1
                why = f"exiftool: {error}"
            except OSError as error:
                why = (error.strerror or str(error)).lower()
            finally:
                for left in (new, mended, self._tame / new.name, self._tame / mended.name):
                    with contextlib.suppress(OSError):
                        left.unlink()
            return f"maker notes not copied: {why}" if why else None

    def _copied(self, source: Path, dng: Path, new: Path, mended: Path) -> str | None:
        suffix = source.suffix if _SUFFIX.fullmatch(source.suffix) else ""
        # A name each time: exiftool must not find the last photo where this one's link failed.
        made = self._way_to(dng.parent)
        at = os.path.join(made, new.name)
        taken = self._link(f"source{suffix}", source)
        said = self._ask("-tagsFromFile", taken, *_COPY, "-o", at, self._link("old.dng", dng))
        if "No writable tags" in said:
            return "the source has none that exiftool can copy"
        self._bring(made, new)
        if not new.exists():
            return f"exiftool: {_first_line(said)}"
        if not self._ask("-validate", "-s3", self._link("new.dng", new)).startswith("OK"):
            self._ask(*_MEND, "-o", os.path.join(made, mended.name), "new.dng")
            self._bring(made, mended)
            if mended.exists():
                os.replace(mended, new)
        if not _same_picture(dng, new):
            return "exiftool would have changed the picture"
        os.replace(new, dng)
        return None

    def _ask(self, *arguments: str) -> str:
        return self._exiftool.ask(arguments, self._limit_s)

    def _link(self, name: str, path: Path) -> str:
        """Give a file a tame name, for reading alone; return the name."""
        link, real = self._tame / name, os.path.realpath(path)
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        try:
            link.symlink_to(real)
        except (OSError, NotImplementedError):  # as Windows does, unless it is told to
            try:
                os.link(real, link)
            except (OSError, NotImplementedError):  # another disk
                shutil.copyfile(real, link)
        return name

    def _way_to(self, folder: Path) -> str:
        """Return a tame name of a folder; of none where there are no links to folders."""
        link = self._tame / "folder"
        try:
            with contextlib.suppress(FileNotFoundError):
                link.unlink()
            link.symlink_to(os.path.abspath(folder), target_is_directory=True)
        except (OSError, NotImplementedError):  # as in _link
            return ""
        return link.name

    def _bring(self, made: str, path: Path) -> None:
        """Bring what was written without a way to its folder there."""
        here = self._tame / path.name
        if not made and here.exists():
            shutil.move(here, path)


def _remove_abandoned_folders(folder: Path) -> None:
    """Remove the folders of runs of this user that were killed."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _LEFT.fullmatch(entry.name)
            if match is None:
                continue
            with contextlib.suppress(OSError):
                state = entry.stat(follow_symlinks=False)
                ours = os.name == "nt" or state.st_uid == os.geteuid()
                busy = process_exists(int(match[1])) and time.time() - state.st_mtime < _FORGOTTEN_S
                if ours and stat.S_ISDIR(state.st_mode) and not busy:
                    shutil.rmtree(entry.path, ignore_errors=True)


def _first_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if "Error" in line or "Warning" in line]
    # Behind the dash it names the file, by a name that is not the user's.
    return lines[0].rpartition(" - ")[0] or lines[0] if lines else "it wrote nothing"


def _same_picture(old: Path, new: Path) -> bool:
    """Whether two TIFFs hold the same bytes for their largest picture."""
    with FileBytes(old) as before, FileBytes(new) as after:
        pieces, again = largest_image(before), largest_image(after)
        if not pieces or [size for _, size in pieces] != [size for _, size in again]:
            return False
        for (start, size), (other, _) in zip(pieces, again, strict=True):
            for at in range(0, size, _CHUNK):
                length = min(_CHUNK, size - at)
                one = before[start + at : start + at + length]
                if one != after[other + at : other + at + length]:
                    return False
    return True

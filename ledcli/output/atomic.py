"""Writing a file whole or not at all."""

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path

from ledcli.errors import OutputError

_ELSEWHERE = "choose another folder with --out"
_GONE = f"the drive is gone or does not answer: connect it again, or {_ELSEWHERE}"
_REFUSED = "the disk's format does not allow this name: choose another with --name"
# Elsewhere a file that is open can be replaced.
_HELD_OPEN = ", or close the program that has the file open" if os.name == "nt" else ""
_WAY_OUT = {
    "ENOSPC": f"the disk is full: free some space, or {_ELSEWHERE} on another disk",
    "EDQUOT": f"your disk quota is used up: free some space, or {_ELSEWHERE} on another disk",
    "EACCES": f"permission denied: {_ELSEWHERE} that you may write to{_HELD_OPEN}",
    "EPERM": f"permission denied: {_ELSEWHERE} that you may write to",
    "EROFS": f"the disk is read-only: {_ELSEWHERE} on another disk",
    "ENOENT": "its folder does not exist: make it first",
    "ENOTDIR": f"a part of its path is a file, not a folder: {_ELSEWHERE}",
    "EEXIST": f"a part of its path is a file, not a folder: {_ELSEWHERE}",
    "EISDIR": "there is a folder of that name: remove it or choose another name",
    "ELOOP": f"its symbolic links go in a circle: {_ELSEWHERE}",
    "ENAMETOOLONG": "the name is too long: choose a shorter one with --name",
    "EINVAL": _REFUSED,
    "EILSEQ": _REFUSED,
    "EFBIG": "larger than a file may be on this disk or in this session: "
    f"{_ELSEWHERE} on another disk, or raise the limit ('ulimit -f')",
    "EIO": f"the disk reports an error: check it, and {_ELSEWHERE} on another disk",
    "ENODEV": _GONE,
    "ENXIO": _GONE,
    "ESTALE": _GONE,
    "ENOTCONN": _GONE,
    "EHOSTDOWN": _GONE,
    "ETIMEDOUT": _GONE,
    "EMFILE": "too many files are open: raise the limit ('ulimit -n'), or close other programs",
    "ENFILE": "too many files are open on this machine: close other programs",
    "ENOMEM": "the system is out of memory: close other programs",
}
"""By name: not every system has every number."""

ABANDONED = 3600.0
"""Seconds after which nobody writes a hidden file any more, even if its process seems alive."""

_PART = re.compile(r"\.led-(\d{1,10})-[0-9a-f]{8}\.part(_exiftool_tmp|_original)?")
_writing: set[str] = set()
"""Names of the hidden files that this process is writing now."""


def way_out(error: OSError) -> str:
    """Return why the system would not have it and what to do, for the end of a message."""
    name = errno.errorcode.get(error.errno or 0, "")
    return _WAY_OUT.get(name, (error.strerror or str(error)).lower())


def hidden_name(folder: Path) -> Path:
    """Return a new name in a folder for what is not finished; `remove_leftovers` knows its form."""
    return folder / f".led-{os.getpid()}-{secrets.token_hex(4)}.part"


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; raises OutputError saying why it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"{folder}: cannot be made: {_why(error)}") from error


def atomic_write(
    path: Path,
    data: bytes | bytearray | memoryview,
    *,
    finish: Callable[[Path], None] | None = None,
    before: Callable[[os.stat_result], None] | None = None,
) -> None:
    """Write a file so that at every moment it is the old one, the new one, or absent.

    The data go to a hidden file in the same folder, onto the disk, and only then under the name
    asked for. Whatever goes wrong on the way, an interruption included, the hidden file goes.

    Parameters
    ----------
    path : Path
        An existing file of that name is replaced; a symbolic link is replaced, not followed.
    data : bytes
    finish : callable, optional
        Given the hidden file, which it may change or replace, before it goes onto the disk.
    before : callable, optional
        Given what the finished hidden file's `os.stat` says, just before it gets its name: for
        a journal. What it raises stops the write.

    Raises
    ------
    OutputError
        Saying why it cannot be written and what to do.
    """
    path = Path(path)
    # Short whatever the name: a name of 255 bytes must still find room beside itself.
    hidden = hidden_name(path.parent)
    _writing.add(hidden.name)
    try:
        if path.is_dir():
            raise OutputError(f"{path}: cannot be written: {_WAY_OUT['EISDIR']}")
        try:
            with open(hidden, "xb") as file:
                file.write(data)
                if finish is None:
                    _onto_disk(file.fileno(), file.flush)
            if finish is not None:
                finish(hidden)
                with open(hidden, "r+b") as file:
                    _onto_disk(file.fileno(), file.flush)
            if before is not None:
                before(os.stat(hidden))
            os.replace(hidden, path)
        except BaseException:
            with contextlib.suppress(OSError):
                hidden.unlink()
            raise
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written: {_why(error)}") from error
    finally:
        _writing.discard(hidden.name)
    _name_onto_disk(path.parent)


def leftovers(folder: Path) -> list[tuple[str, int]]:
    """List the hidden files of a folder that are being written or were left: path and process."""
    try:
        with os.scandir(folder) as entries:
            return [(e.path, int(m[1])) for e in entries if (m := _PART.fullmatch(e.name))]
    except OSError:
        return []


def remove_leftovers(folder: Path) -> int:
    """Remove the hidden files that killed runs left in a folder, and return how many.

    Those of a process that is alive stay, unless they are older than an hour: its number may have
    gone to another. A folder that cannot be read has none.

    To be called only while holding the folder's lock: the number of a process on another machine,
    or in another container, says nothing here, and its files would seem left behind.
    """
    removed = 0
    for name, pid in leftovers(folder):
        with contextlib.suppress(OSError):
            state = os.lstat(name)
            young = time.time() - state.st_mtime < ABANDONED
            # Our own number on a file we do not write: of a run that had it before us, as in a
            # container, where every run has the same.
            own = pid == os.getpid()
            busy = os.path.basename(name) in _writing if own else young and alive(pid)
            if not busy and stat.S_ISREG(state.st_mode):
                os.unlink(name)
                removed += 1
    return removed


def alive(pid: int) -> bool:
    """Tell whether there is a process of that number; where nobody can tell, there is."""
    if os.name == "nt":
        return True  # signal 0 would be a Ctrl-C there
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # another user's
    return True


def _onto_disk(number: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(number)


def _name_onto_disk(folder: Path) -> None:
    """Make the new name survive a power cut, where the system lets a folder be synced."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _why(error: OSError | ValueError) -> str:
    # A ValueError is a name with a NUL, or one that cannot be written in the disk's encoding.
    return way_out(error) if isinstance(error, OSError) else _REFUSED

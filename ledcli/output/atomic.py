"""Write a file completely or not at all, through a part file in the same folder; file locks."""

import contextlib
import errno
import os
import platform
import re
import secrets
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ledcli.errors import ExistsError, OutputError, os_reason

if TYPE_CHECKING:
    from filelock import FileLock

_ELSEWHERE = "choose another folder"
_BAD_NAME = "the disk's format does not allow this name: choose another"
# Only Windows refuses to replace a file that a program has open.
_OPEN_ELSEWHERE = ", or close the program that has the file open" if os.name == "nt" else ""
_ADVICE = {
    "ENOSPC": "the disk is full: free some space, or choose a folder on another disk",
    "EDQUOT": "your disk quota is used up: free some space, or choose a folder on another disk",
    "EACCES": f"permission denied: {_ELSEWHERE} that you may write to{_OPEN_ELSEWHERE}",
    "EPERM": f"permission denied: {_ELSEWHERE} that you may write to",
    "EROFS": "the disk is read-only: choose a folder on another disk",
    "ENOENT": "its folder does not exist: create it first",
    "ENOTDIR": f"a part of its path is a file, not a folder: {_ELSEWHERE}",
    "EEXIST": f"a part of its path is a file, not a folder: {_ELSEWHERE}",
    "EISDIR": "there is a folder of that name: remove it or choose another name",
    "ELOOP": f"its symbolic links go in a circle: {_ELSEWHERE}",
    "ENAMETOOLONG": "the name is too long: choose a shorter one",
    "EINVAL": _BAD_NAME,
    "EILSEQ": _BAD_NAME,
    "EFBIG": "larger than a file may be on this disk or in this session: "
    "choose a folder on another disk, or raise the limit ('ulimit -f')",
    "EIO": "the disk reports an error: check it, and choose a folder on another disk",
    **dict.fromkeys(
        ("ENODEV", "ENXIO", "ESTALE", "ENOTCONN", "EHOSTDOWN", "ETIMEDOUT"),
        f"the drive is gone or does not answer: connect it again, or {_ELSEWHERE}",
    ),
    "EMFILE": "too many files are open: raise the limit ('ulimit -n'), or close other programs",
    "ENFILE": "too many files are open on this machine: close other programs",
    "ENOMEM": "the system is out of memory: close other programs",
}
"""By the name of the errno: not every system has every number."""

REPLACE = "use --overwrite, or another name with --out"
RENAME = "choose another name with --out"
"""What to do about a file that exists."""
PART_FILE_MAX_AGE_S = 3600.0
"""An older part file is abandoned even if its process may run: process ids are reused."""

_PART_FILE = re.compile(
    r"\.led-(?:(\w{1,80})-)?(\d{1,10})-[0-9a-f]{8}\.part(_exiftool_tmp|_original)?", re.ASCII
)
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux's random name for the time since a machine was started."""
MAKE_TRIES = 5
_writing: set[str] = set()
"""Names of the part files that this process is writing now."""


def explain(error: OSError | ValueError) -> str:
    """Return the end of an error message: why the system refused, and what to do."""
    if isinstance(error, ValueError):  # a NUL in the name, or characters the disk cannot encode
        return _BAD_NAME
    name = errno.errorcode.get(error.errno or 0, "")
    return _ADVICE.get(name, os_reason(error))


def unique_name() -> str:
    """Return a name that no other process has, on any machine: host, process id, random digits."""
    return f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"


@cache
def _host() -> str:
    """Return where this process's id means something: the machine, and the container if any."""
    name = platform.node()[:40]
    with contextlib.suppress(OSError):  # only Linux has it
        name += "_" + BOOT_ID.read_text("ascii", "replace")[:8]  # machines may share a name
    with contextlib.suppress(OSError):
        name += re.sub(r"\D", "_", os.readlink("/proc/self/ns/pid"))[:30]
    return re.sub(r"\W", "_", name, flags=re.ASCII) or "_"


@contextlib.contextmanager
def part_file(folder: Path) -> Iterator[Path]:
    """Yield an unused path for a part file; what is still there at the end is removed."""
    path = folder / f".led-{unique_name()}.part"  # known by `_PART_FILE`
    _writing.add(path.name)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        _writing.discard(path.name)


def make_folder(folder: Path, named: Path | None = None) -> None:
    """Make a folder and its parents; raises OutputError, of the one that the user has `named`."""
    for tries in range(1, MAKE_TRIES + 1):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return
        except (OSError, ValueError) as error:
            # A run that ends removes its folders if they are empty, perhaps right now.
            gone = isinstance(error, FileNotFoundError)
            if tries < MAKE_TRIES and (gone or isinstance(error, FileExistsError)):
                continue
            shown = named or folder
            what = "written to" if os.path.isdir(shown) else "created"
            why = f"no folder can be made there: {_ELSEWHERE}" if gone else explain(error)
            raise OutputError(f"{shown}: cannot be {what}: {why}") from error


def acquire_lock(path: Path, *, wait: bool = False) -> "FileLock | None":
    """Return a lock once it is free, or None if it is not and is not waited for.

    Raises OSError or NotImplementedError where there are no locks.
    """
    from filelock import FileLock, Timeout

    # A lock by a file's existence alone would outlive a killed run.
    lock = FileLock(path, fallback_to_soft=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # filelock's, about file systems without locks
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            return None
    return lock


def check_new(path: Path, advice: str, *, overwrite: bool = False) -> None:
    """Raise OutputError if a file cannot be written later: it exists, or none can be made there.

    An existing one may be replaced with `overwrite`; else the error ends in the `advice`.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # os.path.lexists takes a name too long for a free one
        raise OutputError(f"{path}: cannot be written: {explain(error)}") from error
    else:
        if not overwrite:
            raise ExistsError(f"{path}: already exists; {advice}")
    if not os.path.isdir(path.parent):
        raise OutputError(f"{path}: {_ADVICE['ENOENT']}")
    with part_file(path.parent) as trial, explained(path):
        _open_new(trial).close()


def atomic_write(
    path: Path,
    data: bytes | bytearray | memoryview,
    *,
    overwrite: bool = True,
    finish: Callable[[Path], None] | None = None,
    before_rename: Callable[[os.stat_result], None] | None = None,
) -> None:
    """Write a file so that at any moment it is the old one, the new one, or absent.

    The data are written to a part file in the same folder and flushed to the disk; then the part
    file is renamed. After an error or an interruption the part file is removed.

    An existing file is replaced; a symbolic link is replaced, not followed. Without `overwrite` the
    name must be free: of two writers at once, one gets the ExistsError; on a disk without hard
    links the file is empty for a moment before it is the new one. `finish` is called with
    the path of the part file, which it may change or replace; `before_rename` with the `os.stat` of
    the finished part file, so that a journal can record it: an exception stops the write.

    Raises OutputError if the file cannot be written; the message says why and what to do.
    """
    path = Path(path)
    # A short name of its own: a name of 255 bytes leaves no room for a suffix.
    with part_file(path.parent) as part:
        write_part(part, path, data, finish)
        move_part(part, path, before_rename, overwrite=overwrite)


def write_part(
    part: Path,
    path: Path,
    data: bytes | bytearray | memoryview,
    finish: Callable[[Path], None] | None = None,
) -> None:
    """Do the first half of `atomic_write`: write the part file of `path`."""
    with explained(path):
        if os.path.isdir(path):
            raise OutputError(f"{path}: cannot be written: {_ADVICE['EISDIR']}")
        with _open_new(part) as file:
            file.write(data)
            if finish is None:
                _flush(file)
        if finish is not None:
            finish(part)
            with open(part, "r+b") as file:
                _flush(file)


def move_part(
    part: Path,
    path: Path,
    before_rename: Callable[[os.stat_result], None] | None = None,
    *,
    overwrite: bool = True,
) -> None:
    """Do the second half of `atomic_write`: give a part file its name."""
    with explained(path, overwrite):
        if before_rename is not None:
            before_rename(os.stat(part))
        if overwrite:
            os.replace(part, path)
        else:
            _move_to_new(part, path)
    _flush_folder(path.parent)


def _open_new(part: Path) -> IO[bytes]:
    try:
        return open(part, "xb")
    except FileNotFoundError:
        if not os.path.isdir(part.parent):
            raise
        raise OSError("no file can be made there: choose another folder") from None


@contextlib.contextmanager
def explained(path: Path, overwrite: bool = True) -> Iterator[None]:
    """Raise OutputError for what goes wrong while a file is written."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, FileExistsError) and not overwrite:
            raise ExistsError(f"{path}: already exists; choose another name") from None
        why = explain(error)
        if isinstance(error, FileNotFoundError) and os.path.isdir(path.parent):
            why = "another program removed its unfinished file: run the command again"
        raise OutputError(f"{path}: cannot be written: {why}") from error


def remove_abandoned_part_files(folder: Path) -> int:
    """Remove the part files of killed runs and return how many; 0 for an unreadable folder.

    Those of running processes stay until they are `PART_FILE_MAX_AGE_S` old, and so do those of
    other machines and containers, where nobody here can tell. No lock is needed.
    """
    removed = 0
    try:
        with os.scandir(folder) as entries:
            found = [(e.path, match) for e in entries if (match := _PART_FILE.fullmatch(e.name))]
    except OSError:
        return 0
    now = _time_of(folder) if found else 0.0
    for path, match in found:
        with contextlib.suppress(OSError):
            state = os.lstat(path)
            host, pid = match[1], int(match[2])
            abandoned = is_abandoned(host, pid, now - state.st_mtime, PART_FILE_MAX_AGE_S)
            # Our own id on a file that we are not writing: that of an earlier process.
            if host == _host() and pid == os.getpid():
                abandoned = match[0].removesuffix(match[3] or "") not in _writing
            if abandoned and stat.S_ISREG(state.st_mode):
                os.unlink(path)
                removed += 1
    return removed


def _time_of(folder: Path) -> float:
    """Return the time by which a folder's files are dated: that of its server on network drives."""
    with contextlib.suppress(OSError), part_file(folder) as trial:
        _open_new(trial).close()
        return os.stat(trial).st_mtime
    return time.time()


def is_abandoned(host: str, pid: int, age_s: float, max_age_s: float) -> bool:
    """Return whether a process, by its `unique_name`, will not change a file any more.

    It has ended; or the file was not changed for so long: of a process on another machine or in a
    container nobody here can tell, and process ids are reused.
    """
    return age_s >= max_age_s or (host == _host() and not process_exists(pid))


def process_exists(pid: int) -> bool:
    """Return whether a process runs; True where the system cannot tell."""
    if os.name == "nt":
        return True  # signal 0 is Ctrl-C there
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # another user's process
    return True


def _move_to_new(part: Path, path: Path) -> None:
    """Rename a file to a name that must be free; raises FileExistsError."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links here: reserve the name with an empty file first
        open(path, "xb").close()
        try:
            os.replace(part, path)
        except BaseException:
            path.unlink()
            raise
    else:
        part.unlink()


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the system can sync a folder."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)

"""The output folders of a run: locked by one run at a time, writable, with enough room."""

import contextlib
import errno
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from filelock import FileLock, Timeout

from ledcli.batch.manifest import STATE_FOLDER, check_no_link
from ledcli.batch.settings import Job, Settings
from ledcli.errors import OutputError
from ledcli.output.atomic import (
    explain,
    list_part_files,
    make_folder,
    part_file_path,
    remove_abandoned_part_files,
)
from ledcli.output.formats import FORMATS

LOCK = "lock"
POLL_S = 0.2
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}
"""Errors of file systems without locks: network drives, some FUSE ones."""


@contextlib.contextmanager
def folder_lock(
    root: Path,
    on_message: Callable[[str], None],
    stop: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[bool]:
    """Hold an output folder's lock, ``.led/lock``, during a block; yields False if stopped.

    The system frees it when the holder ends, however it ends. The folder is created, and removed
    again if it stays empty. `on_message` gets one message if another run holds the lock, or if the
    file system has no locks; the block then runs without. The waiting ends when `stop` returns
    True. Raises OutputError if the folder cannot be made or written to.
    """
    state = root / STATE_FOLDER
    for path in (state, state / LOCK):
        check_no_link(path)
    made = [folder for folder in (state, root, *root.parents) if not os.path.exists(folder)]
    make_folder(state)
    # A lock by a file's existence alone would outlive a killed run.
    lock = FileLock(state / LOCK, fallback_to_soft=False)
    waiting = locked = False
    try:
        while not locked and not stop():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # filelock's, about file systems without locks
                    lock.acquire(blocking=False)
                locked = True
            except FileNotFoundError:
                make_folder(state)  # its last holder has just removed it
                sleep(POLL_S)
            except Timeout:
                if waiting:
                    sleep(POLL_S)
                else:
                    on_message(f"{root}: another led process is using this folder; waiting")
                    waiting = True
            except (OSError, NotImplementedError) as error:  # filelock's for "no locks here"
                if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                    raise OutputError(f"{state}: cannot be written to: {explain(error)}") from error
                on_message(
                    f"{root}: this file system does not support file locks; do not run led twice "
                    "in this folder at the same time"
                )
                locked = True
        yield locked
    finally:
        with contextlib.suppress(OSError):
            if locked and os.listdir(state) == [LOCK]:  # nothing was written to it
                os.unlink(state / LOCK)
                state.rmdir()
                root.rmdir()  # unless it has other files
        with contextlib.suppress(OSError):
            lock.release()
        for folder in made:  # only empty ones; another run's is not
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def folder_locks(
    roots: Iterable[Path],
    on_message: Callable[[str], None],
    stop: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[bool]:
    """Hold the locks of several folders like `folder_lock`; always in the same order."""
    real = {root.resolve(): root for root in roots}
    with contextlib.ExitStack() as stack:
        yield all(
            stack.enter_context(folder_lock(real[path], on_message, stop, sleep))
            for path in sorted(real)
        )


def remove_leftovers(jobs: Sequence[Job], *, locked: bool) -> None:
    """Remove the part files that killed runs left behind.

    Unless the folders are `locked` by the caller, those that another run is using are skipped.
    """
    folders: dict[Path, set[Path]] = {}
    for job in jobs:
        below = folders.setdefault(job.root, {job.root / STATE_FOLDER})
        below |= {path.parent for path in job.outputs.values()}
    for root, below in folders.items():
        if locked:
            for folder in below:
                remove_abandoned_part_files(folder)
        elif any(map(list_part_files, below)):
            # Tries the lock once.
            stop = partial(next, iter([False]), True)
            with folder_lock(root, lambda text: None, stop) as free:
                for folder in below if free else ():
                    remove_abandoned_part_files(folder)


@dataclass
class _Disk:
    """The bytes to be written to one disk: at least, usually, and of the largest replaced file."""

    folder: Path
    minimum: float = 0.0
    usual: float = 0.0
    largest: float = 0.0


def check_space(jobs: Sequence[Job], settings: Settings) -> str:
    """Check that the output folders are writable and that the results fit on their disks.

    The size of a result is estimated from its source's, minus what is replaced. Cameras differ by a
    factor of two, so a run is refused only if not even half of the usual size would fit. Returns a
    warning if space may run out; raises OutputError if a folder cannot be made or written to, or
    the results cannot fit.
    """
    for root in {job.root: None for job in jobs}:
        make_folder(root)
        trial = part_file_path(root)
        try:
            trial.write_bytes(b"led")
            trial.unlink()
        except OSError as error:
            with contextlib.suppress(OSError):
                trial.unlink()
            raise OutputError(f"{root}: cannot be written to: {explain(error)}") from error
    disk_of = cache(_disk_of)
    disks: dict[int, _Disk] = {}
    for job in jobs:
        source = _size(job.source)
        for name, path in job.outputs.items():
            minimum, usual = FORMATS[name].size(settings)
            number, folder = disk_of(path.parent)
            disk = disks.setdefault(number, _Disk(folder))
            old = _size(path)
            disk.minimum += source * minimum - old
            disk.usual += source * usual - old
            # The old file is removed only when the new one exists.
            disk.largest = max(disk.largest, min(old, source * usual))
    warning = ""
    for disk in disks.values():
        usage = None
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(disk.folder)
        if not usage or not usage.total:
            continue  # unknown
        free, usual = usage.free, disk.usual + disk.largest
        have = f"{_readable(free)} are free on the disk of {disk.folder}"
        need = f"need about {_readable(usual)}, {have}"
        if disk.minimum > free:
            raise OutputError(f"the results {need}: free some space, or use another --out")
        if usual > free:
            warning = f"the results may {need}"
    return warning


def _disk_of(folder: Path) -> tuple[int, Path]:
    """Return a folder's device number, and the part of its path that exists."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if there == folder and not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: permission denied: choose another folder with --out")
    return os.stat(there).st_dev, there


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0  # reading or writing it will report the error


def _readable(size: float) -> str:
    for unit, power in (("GB", 1e9), ("MB", 1e6)):
        if size >= power:
            return f"{size / power:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"

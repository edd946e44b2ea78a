"""The output folders of a run: locked by one run at a time, writable, with enough room."""

import contextlib
import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

from filelock import FileLock

from ledcli.batch.journal import check_no_link
from ledcli.batch.manifest import STATE_FOLDER
from ledcli.batch.settings import Job, Settings
from ledcli.batch.shards import Shard
from ledcli.errors import OutputError
from ledcli.output.atomic import (
    acquire_lock,
    explain,
    make_folder,
    part_file,
    remove_abandoned_part_files,
)
from ledcli.output.formats import FORMATS

LOCK = "lock"
POLL_S = 0.2
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}
"""Errors of file systems without locks: network drives, some FUSE ones."""


MOUNTS = Path("/proc/self/mountinfo")
"""Where Linux lists the file systems."""
_LOCAL_LOCKS = {"nolock", "local_lock=all", "local_lock=flock", "nobrl", "localflock"}
"""Options of network drives (NFS, SMB, Lustre) whose locks exclude no other machine."""
_PASSED_ON = r"9p|virtiofs|vboxsf|fuse\..+"
"""File systems that another program or machine serves; most keep locks to themselves."""
_COMMON_LOCKS = {"fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.juicefs"}
"""Those of them whose locks all machines see."""
NO_EVENTS = re.compile(rf"nfs\d?|cifs|smb\w*|afs|ceph|lustre|glusterfs|{_PASSED_ON}")
"""File systems on which others' changes are not reported."""


class Hold(IntEnum):
    """What a run has of an output folder; true if it may go on."""

    STOPPED = 0
    """Nothing: it was stopped while it waited."""
    SHARED = 1
    """No lock, or one that may not exclude other runs."""
    EXCLUSIVE = 2
    """A lock that was tried: a second one is refused."""


@contextlib.contextmanager
def folder_lock(
    root: Path,
    on_message: Callable[[str], None],
    stop: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
    shard: Shard | None = None,
) -> Iterator[Hold]:
    """Hold an output folder's lock, ``.led/lock``, during a block; or a shard's own.

    Shards of one number (0/4, 3/4) run at the same time; each excludes another run of the same
    shard, shards of another number, and whole runs.

    The system frees it when the holder ends, however it ends. The folder is created, and then
    removed again if it stays empty. `on_message` gets one message if another run holds the lock, or
    if the file system has no locks that exclude others; the block then runs without. The waiting
    ends when `stop` returns True. Raises OutputError if the folder cannot be made or written to.
    """
    state = root / STATE_FOLDER
    own = state / (f"{LOCK}-{shard.name}" if shard else LOCK)
    for path in (state, state / LOCK, own):
        check_no_link(path)
    folders = (state, root, *root.parents)
    made = [folder for folder in folders if not os.path.exists(folder)]
    make_folder(state, root)
    lock: FileLock | None = None
    hold, tries, lacking = Hold.STOPPED, 0, ""
    try:
        while not hold and not stop():
            try:
                if lock := _try_lock(state, own, shard):
                    hold = Hold.EXCLUSIVE if _excludes(own) else Hold.SHARED
                    lacking = "has file locks that may not exclude other runs"
            except (FileNotFoundError, FileExistsError):  # the second from filelock's own mkdir
                # Its last holder has just removed it.
                made += [folder for folder in folders if not os.path.exists(folder)]
                make_folder(state, root)
            except (OSError, NotImplementedError) as error:  # filelock's for "no locks here"
                if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                    raise OutputError(f"{root}: cannot be written to: {explain(error)}") from error
                hold, lacking = Hold.SHARED, "does not support file locks"
            if not hold:
                tries += 1
                if tries == 2:  # a shard that starts holds the folder's lock for a moment
                    on_message(f"{root}: another led process is using this folder; waiting")
                sleep(POLL_S)
        if hold is Hold.SHARED:
            on_message(
                f"{root}: this file system {lacking}; do not run led twice on the same photos at "
                "the same time (--shard divides them)"
            )
        yield hold
    finally:
        with contextlib.suppress(OSError):
            if hold is Hold.EXCLUSIVE:
                _remove_locks(state, own)
        if lock is not None:
            with contextlib.suppress(OSError):
                lock.release()
        for folder in made:  # only empty ones; another run's is not
            with contextlib.suppress(OSError):
                folder.rmdir()


def _try_lock(state: Path, own: Path, shard: Shard | None) -> FileLock | None:
    """Return a run's own lock; None if another run is in its way.

    A whole run keeps the folder's lock. A shard holds that only while it takes its own; what it is
    not to meet, it finds by the other locks.
    """
    folder = acquire_lock(state / LOCK)
    if folder is None:
        return None
    try:
        for name in os.listdir(state):
            other = Shard.named(name.removeprefix(f"{LOCK}-"))
            if other and not (shard and shard.count == other.count):
                found = acquire_lock(state / name)
                if found is None:
                    return None
                with contextlib.suppress(OSError):  # a killed run's
                    os.unlink(state / name)
                found.release()
        if shard is None:
            lock, folder = folder, None
            return lock
        return acquire_lock(own)
    finally:
        if folder is not None:
            folder.release()


def _excludes(path: Path) -> bool:
    """Return whether a lock that is held keeps all others out: a second one must be refused."""
    kind, options = mount_of(path)
    passed_on = re.fullmatch(_PASSED_ON, kind) and kind not in _COMMON_LOCKS
    if _LOCAL_LOCKS & options or passed_on:
        return False
    second = acquire_lock(path)
    if second is not None:
        second.release()
    return second is None


def mount_of(path: Path) -> tuple[str, set[str]]:
    """Return the type of a path's file system and its options; empty where unknown."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = MOUNTS.read_text(errors="replace").splitlines()
        device = os.stat(path).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        for line in lines:
            before, _, after = line.partition(" - ")
            if before.split()[2] == number:
                kind, _, options = after.split()[:3]
                return kind, set(options.split(","))
    return "", set()


def _remove_locks(state: Path, own: Path) -> None:
    """Remove a shard's lock, and the folder of locks if nothing was written to it."""
    last = None
    if own.name != LOCK:
        os.unlink(own)
        last = acquire_lock(state / LOCK)
        if last is None:
            return  # another run is there
    if os.listdir(state) == [LOCK]:
        os.unlink(state / LOCK)
        state.rmdir()
    if last is not None:
        last.release()


@contextlib.contextmanager
def folder_locks(
    roots: Iterable[Path],
    on_message: Callable[[str], None],
    stop: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
    shard: Shard | None = None,
) -> Iterator[dict[Path, Hold]]:
    """Hold the locks of several folders like `folder_lock`; always in the same order.

    Yields nothing if it was stopped.
    """
    real = {root.resolve(): root for root in roots}
    with contextlib.ExitStack() as stack:
        holds: dict[Path, Hold] = {}
        for path in sorted(real):
            lock = folder_lock(real[path], on_message, stop, sleep, shard)
            holds[real[path]] = stack.enter_context(lock)
        yield holds if all(holds.values()) else {}


def remove_leftovers(jobs: Sequence[Job]) -> None:
    """Remove the part files that killed runs left behind."""
    folders = {job.root / STATE_FOLDER for job in jobs}
    for folder in folders | {path.parent for job in jobs for path in job.outputs.values()}:
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
        try:
            with part_file(root) as trial:
                trial.write_bytes(b"led")
                trial.unlink()
        except OSError as error:
            raise OutputError(f"{root}: cannot be written to: {explain(error)}") from error
    disk_of = cache(_disk_of)
    disks: dict[int, _Disk] = {}
    for job in jobs:
        source = file_size(job.source)
        for name, path in job.outputs.items():
            minimum, usual = FORMATS[name].size(**FORMATS[name].options(settings))
            number, folder = disk_of(path.parent)
            disk = disks.setdefault(number, _Disk(folder))
            old = file_size(path)
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
    while not os.path.exists(there) and there != there.parent:
        there = there.parent
    if there == folder and not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: permission denied: choose another folder with --out")
    return os.stat(there).st_dev, there


def file_size(path: Path) -> int:
    """Return a file's size in bytes; 0 if it cannot be told."""
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0  # reading or writing it will report the error


def _readable(size: float) -> str:
    for unit, power in (("GB", 1e9), ("MB", 1e6)):
        if size >= power:
            return f"{size / power:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"

"""One run at a time in an output folder."""

import contextlib
import errno
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ledcli.batch.manifest import STATE_FOLDER
from ledcli.errors import OutputError
from ledcli.output.atomic import explain, make_folder

LOCK = "lock"
POLL = 0.2
"""Seconds between two looks at a lock that another run holds."""
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}
"""What systems say of a disk without locks: network disks, some FUSE ones."""


@contextlib.contextmanager
def folder_lock(
    root: Path,
    waiting: Callable[[str], None],
    stop: Callable[[], bool],
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[bool]:
    """Hold an output folder's lock, ``.led/lock``, for the length of a block.

    The system frees it when the holder ends, however it ends. A folder in which nothing came to be
    is removed again. On a disk that knows no locks the block runs without.

    Parameters
    ----------
    root : Path
        Is made if it is not there.
    waiting : callable
        Told once that another run holds the lock, or that there can be none.
    stop : callable
        Whether to give up waiting.
    pause : callable
        Waits so many seconds.

    Yields
    ------
    bool
        Whether to go on; False when it gave up.

    Raises
    ------
    OutputError
        The folder cannot be made or written to.
    """
    state = root / STATE_FOLDER
    made = [folder for folder in (state, root, *root.parents) if not os.path.exists(folder)]
    make_folder(state)
    # A lock by a file's being there alone would outlive a killed run.
    lock = FileLock(state / LOCK, fallback_to_soft=False)
    said = held = False
    try:
        while not held and not stop():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of filelock's, about disks without locks
                    lock.acquire(blocking=False)
                held = True
            except FileNotFoundError:
                make_folder(state)  # its last holder has just cleared it away
                pause(POLL)
            except Timeout:
                if said:
                    pause(POLL)
                else:
                    waiting(f"{root}: another led is at work there: waiting until it is done")
                    said = True
            except (OSError, NotImplementedError) as error:  # filelock's word for "no locks here"
                if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                    raise OutputError(f"{state}: cannot be written to: {explain(error)}") from error
                waiting(f"{root}: this disk knows no locks: do not run led there twice at a time")
                held = True
        yield held
    finally:
        if held:
            _clear_away(root)
        with contextlib.suppress(OSError):
            lock.release()
        for folder in made:  # those that are empty; one in which another run is, is not
            with contextlib.suppress(OSError):
                folder.rmdir()


def _clear_away(root: Path) -> None:
    """Remove an output folder in which nothing came to be."""
    state = root / STATE_FOLDER
    with contextlib.suppress(OSError):
        if os.listdir(state) == [LOCK]:
            os.unlink(state / LOCK)
            state.rmdir()
            root.rmdir()  # unless there is something in it


@contextlib.contextmanager
def folder_locks(
    roots: Iterable[Path],
    waiting: Callable[[str], None],
    stop: Callable[[], bool],
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[bool]:
    """Hold the locks of several folders, as `folder_lock`; in one order, so that two runs agree."""
    real = {root.resolve(): root for root in roots}
    with contextlib.ExitStack() as stack:
        yield all(
            stack.enter_context(folder_lock(real[place], waiting, stop, pause))
            for place in sorted(real)
        )

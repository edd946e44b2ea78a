"""Writing a file whole or not at all."""

import contextlib
import errno
import os
import secrets
from pathlib import Path

from ledcli.errors import OutputError

_WAY_OUT = {
    errno.ENOSPC: "the disk is full: free some space, or choose another place with --out",
    errno.EDQUOT: "your disk quota is used up: free some space, or choose another place",
    errno.EACCES: "permission denied: choose a folder you may write to with --out",
    errno.EPERM: "permission denied: choose a folder you may write to with --out",
    errno.EROFS: "the disk is read-only: choose another place with --out",
    errno.ENOENT: "its folder does not exist: make it first",
    errno.ENOTDIR: "a part of its path is a file, not a folder: choose another place",
    errno.EISDIR: "there is a folder of that name: remove it or choose another name",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EFBIG: "the disk's format cannot hold a file this large: choose another disk",
}


def atomic_write(path: Path, data: bytes | bytearray | memoryview) -> None:
    """Write a file so that at every moment it is the old one, the new one, or absent.

    The data go to a hidden file in the same folder, onto the disk, and only then under the name
    asked for. Whatever goes wrong on the way, an interruption included, the hidden file goes.

    Parameters
    ----------
    path : Path
        An existing file of that name is replaced; a symbolic link is replaced, not followed.
    data : bytes

    Raises
    ------
    OutputError
        Saying why it cannot be written and what to do.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path}: cannot be written: {_WAY_OUT[errno.EISDIR]}")
    # Short whatever the name: a name of 255 bytes must still find room beside itself.
    hidden = path.parent / f".led-{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        try:
            with open(hidden, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(hidden, path)
        except BaseException:
            with contextlib.suppress(OSError):
                hidden.unlink()
            raise
    except OSError as error:
        why = _WAY_OUT.get(error.errno or 0, (error.strerror or str(error)).lower())
        raise OutputError(f"{path}: cannot be written: {why}") from error

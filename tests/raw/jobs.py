"""What a worker process is given to do in tests: by the name of the file, good and evil things."""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np

from ledcli.errors import MetadataError


class NotLoadable(MetadataError):
    """An error that cannot be taken apart and put together again as pickles are."""

    def __init__(self, one, two):
        super().__init__(f"{one}{two}")


def act(path: Path):
    return globals()[path.name](path)


def name(path):
    return path.name, os.getpid()


def modules(path):
    return sorted(sys.modules)


def spins(path):
    return os.environ.get("GOMP_SPINCOUNT")


def chatter(path):
    print("a library greets", flush=True)
    os.write(1, b"a C library greets\n")
    os.write(2, b"Corrupt JPEG data: 3 extraneous bytes\n")
    return path.name


def interrupted(path):
    os.kill(os.getpid(), signal.SIGINT)
    return path.name


def abort(path):
    os.abort()


def segfault(path):
    os.kill(os.getpid(), signal.SIGSEGV)
    threading.Event().wait()


def killed(path):
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


def leaves(path):
    os._exit(0)


def rubbish(path):
    """As a crash may leave the pipe: bytes that are no answer."""
    for fd in range(3, 16):
        with contextlib.suppress(OSError):
            os.write(fd, b"\xff" * 64)
    threading.Event().wait()


def hang(path):
    threading.Event().wait()


def hang_in_c(path):
    """Never comes back and never lets another thread run."""
    pow(3, 10**9)


def hang_at_fifo(path):
    """Open ``fifo`` beside the file, so that who reads it knows, and never end."""
    with open(path.with_name("fifo"), "wb", buffering=0):
        threading.Event().wait()


def reads_fifo(path):
    return path.with_name("fifo").read_text()


def writes_fifo(path):
    path.with_name("fifo").write_text("told by another")
    return path.name


def greedy(path):
    return np.ones(1 << 30, np.uint8)


def unsendable(path):
    """An array without memory of its own, which a message has to write out in full."""
    return np.broadcast_to(np.uint8(7), 1 << 30)


def bug(path):
    return {}["no such key"]


def told(path):
    raise MetadataError(f"{path}: says it itself")


def odd_error(path):
    raise NotLoadable("in two ", "parts")


def array(path):
    return np.arange(1 << 21, dtype=np.uint16).reshape(2048, 1024)

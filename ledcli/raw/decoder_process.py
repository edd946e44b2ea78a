"""The child process of `Decoders`, and the messages between parent and child. No torch.

The parent sends a limit of memory, then one `Request` after the other; the child answers each with
a result or a LedError. A message is the sizes of its parts, a pickle, and the arrays as they lie in
memory. They go through pipes: shared memory would save one copy of the mosaic, 2 % of the time
that reading a photo takes, but outlives processes that are killed.
"""

import contextlib
import importlib
import os
import pickle
import queue
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from ledcli.errors import LedError

MAX_PARTS = 64
MAX_PART_BYTES = 1 << 34
"""A larger part is not a message but what a crash left in the pipe."""
PIPE_BYTES = 1 << 20
"""The pipe's capacity where it can be set (Linux): fewer switches between the processes."""
ALARM_GRACE_S = 30
"""The child ends itself this long after its parent should have killed it."""


class Request(NamedTuple):
    """What to do with a file, in which folder (for relative paths), and the time limit for it."""

    work: Callable[[Path], object]
    path: Path
    folder: str
    limit_s: float


def send(pipe: FileIO, message: object) -> None:
    """Write a message; its arrays are not copied on the way.

    Raises MemoryError before anything is written.
    """
    arrays: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=arrays.append)
    parts = [memoryview(body), *(array.raw() for array in arrays)]
    sizes = [len(part) for part in parts]
    _write(pipe, memoryview(struct.pack(f"<{1 + len(sizes)}Q", len(sizes), *sizes)))
    for part in parts:
        _write(pipe, part)


def receive(pipe: FileIO) -> object:
    """Read a message; raises EOFError if the other end is gone or sent garbage."""
    (count,) = struct.unpack("<Q", _read(pipe, 8))
    if not 1 <= count <= MAX_PARTS:
        raise EOFError
    sizes = struct.unpack(f"<{count}Q", _read(pipe, 8 * count))
    if max(sizes) > MAX_PART_BYTES:
        raise EOFError
    body, *arrays = [_read(pipe, size) for size in sizes]
    return pickle.loads(body, buffers=arrays)


def enlarge_pipe(pipe: FileIO) -> None:
    """Give a pipe more capacity, where the system allows it."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _write(pipe: FileIO, data: memoryview) -> None:
    while data:
        data = data[pipe.write(data) :]


def _read(pipe: FileIO, size: int) -> memoryview:
    # np.empty, as a bytearray would be filled with zeros first.
    data = np.empty(size, np.uint8).data
    rest = data
    while rest:
        count = pipe.readinto(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return data


def serve() -> None:
    """Answer requests until the parent is gone; the child's main function."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # What a library prints must not get among the messages.
    inbox, outbox = FileIO(os.dup(0), "r"), FileIO(os.dup(1), "w")
    with open(os.devnull, "r+b") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(nothing.fileno(), 1)
    enlarge_pipe(outbox)
    # While the parent imports what it needs; every `work` needs it.
    importlib.import_module("ledcli.raw.reader")
    # OpenBLAS ends the process if it cannot have its buffer later.
    np.linalg.inv(np.eye(3))
    _limit_memory(cast(int, receive(inbox)))
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(inbox, requests), daemon=True).start()
    send(outbox, None)
    while True:
        request = requests.get()
        _alarm(request.limit_s + ALARM_GRACE_S)
        with contextlib.suppress(OSError):  # reading the file says what is wrong
            os.chdir(request.folder)
        try:
            send(outbox, _answer(request.work, request.path))
        except MemoryError as error:
            send(outbox, _too_large(request.path, error))
        _alarm(0)


def _listen(inbox: FileIO, requests: "queue.SimpleQueue[Request]") -> None:
    """Queue requests; when the parent is gone, end the process whatever it is doing."""
    try:
        while True:
            requests.put(cast(Request, receive(inbox)))
    except BaseException:
        os._exit(0)


def _answer(work: Callable[[Path], object], path: Path) -> object:
    try:
        return work(path)
    except LedError as error:
        return _with_trace(error)
    except MemoryError as error:
        return _too_large(path, error)
    except Exception as error:  # of any library: it costs only this file
        said = f"{path}: cannot be read: {type(error).__name__}: {error}"
        return _with_trace(LedError(said), error)


def _too_large(path: Path, error: MemoryError) -> LedError:
    said = f"{path}: takes more memory than a photo should: the file is damaged or too large"
    return _with_trace(LedError(said), error)


def _with_trace(error: LedError, cause: BaseException | None = None) -> LedError:
    """Attach the traceback as text, since a traceback cannot be pickled."""
    text = "".join(traceback.format_exception(cause or error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an error's own constructor may fail in any way
        error = LedError(str(error))
    error.add_note(f"In the decoding process:\n{text}")
    return error


def _limit_memory(size: int) -> None:
    """Limit what the process may take beyond what it has (Unix)."""
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        have = 0
        if sys.platform == "linux":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            have = pages * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = have + size
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _alarm(seconds: float) -> None:
    """Let the system end the process (Unix): it works on code that never returns, too."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)

"""The process that reads raws, from inside, and the frames that both ends talk in. No torch.

A frame is the sizes of what follows, a pickle, and the arrays as they lie in memory. They go
through a pipe: shared memory would save a copy of the mosaic, 2 % of the time that reading the
photo takes, but its names outlive processes that are killed.
"""

import contextlib
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

from ledcli.errors import LedError, RawError
from ledcli.metadata.xmp import read_note
from ledcli.noise.estimate import NoiseProfile, estimate_noise
from ledcli.raw.auto_ratio import gain_of
from ledcli.raw.reader import RawPhoto, read_raw

MOST_ARRAYS = 64
LARGEST_FRAME = 1 << 34
"""Bytes of one array; more is not a frame but what a crash left in the pipe."""
PIPE_BYTES = 1 << 20
"""The pipe's capacity where the system lets one choose (Linux): fewer, longer turns."""
ALARM_GRACE_S = 30
"""The worker ends itself this long after its parent should have ended it."""


class Decoded(NamedTuple):
    """A raw file that has been read.

    Attributes
    ----------
    photo : RawPhoto
    noise : NoiseProfile
        The blind estimate.
    gain : float
        What brings the photo to a normal brightness, 1 or more (`autoratio.gain_of`).
    note : mapping or None
        What was done to it, where it is an output of `led`.
    """

    photo: RawPhoto
    noise: NoiseProfile
    gain: float
    note: dict[str, str] | None


class Setup(NamedTuple):
    """The first frame to a worker: what to do, and within which memory."""

    work: Callable[[Path], object]
    memory_bytes: int


class Request(NamedTuple):
    """A file to work on, and how long it may take in all."""

    path: Path
    limit_s: float


def decode_file(path: Path) -> Decoded:
    """Read one raw file and what a run wants to know of it.

    Raises
    ------
    RawError
        As `read_raw`.
    """
    # Anything but a file would keep its reader waiting; read_raw says what it is.
    note = read_note(path) if path.is_file() else None
    try:
        photo = read_raw(path)
    except RawError:
        if note is None:
            raise
        raise RawError(f"{path}: is a result of led already: give the camera's raw") from None
    planes = photo.planes()
    noise = estimate_noise(planes)
    return Decoded(photo, noise, gain_of(planes), note)


def send(pipe: FileIO, message: object) -> None:
    """Write a frame; its arrays are not copied on the way."""
    arrays: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=arrays.append)
    parts = [memoryview(body), *(array.raw() for array in arrays)]
    sizes = [len(part) for part in parts]
    _write(pipe, memoryview(struct.pack(f"<{1 + len(sizes)}Q", len(sizes), *sizes)))
    for part in parts:
        _write(pipe, part)


def receive(pipe: FileIO) -> object:
    """Read a frame; raises EOFError when the other end is gone or says nonsense."""
    (count,) = struct.unpack("<Q", _read(pipe, 8))
    if not 1 <= count <= MOST_ARRAYS:
        raise EOFError
    sizes = struct.unpack(f"<{count}Q", _read(pipe, 8 * count))
    if max(sizes) > LARGEST_FRAME:
        raise EOFError
    body, *arrays = [_read(pipe, size) for size in sizes]
    return pickle.loads(body, buffers=arrays)


def widen(pipe: FileIO) -> None:
    """Give a pipe more room, where the system lets one."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _write(pipe: FileIO, data: memoryview) -> None:
    while data:
        data = data[pipe.write(data) :]


def _read(pipe: FileIO, size: int) -> memoryview:
    # Not filled with zeros first, as a bytearray would be.
    data = np.empty(size, np.uint8).data
    rest = data
    while rest:
        count = pipe.readinto(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return data


def serve() -> None:
    """Answer requests until the parent is gone: the worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # What a library prints must not get among the frames.
    inbox, outbox = FileIO(os.dup(0), "r"), FileIO(os.dup(1), "w")
    with open(os.devnull, "r+b") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(nothing.fileno(), 1)
    widen(outbox)
    setup = cast(Setup, receive(inbox))
    _limit_memory(setup.memory_bytes)
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(inbox, requests), daemon=True).start()
    send(outbox, None)
    while True:
        request = requests.get()
        _alarm(request.limit_s + ALARM_GRACE_S)
        send(outbox, _answer(setup.work, request.path))
        _alarm(0)


def _listen(inbox: FileIO, requests: "queue.SimpleQueue[Request]") -> None:
    """Hand requests on; the parent's death ends the worker whatever it is doing."""
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
        return _with_trace(
            LedError(
                f"{path}: takes more memory than a photo should: the file is damaged, or too large"
            ),
            error,
        )
    except Exception as error:  # of any library: it costs this file alone
        said = f"{path}: cannot be read: {type(error).__name__}: {error}"
        return _with_trace(LedError(said), error)


def _with_trace(error: LedError, cause: BaseException | None = None) -> LedError:
    """Note where it happened: a trace does not travel, its text does."""
    text = "".join(traceback.format_exception(cause or error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an error's own constructor may fail in any way
        error = LedError(str(error))
    error.add_note(f"In the process that reads raws:\n{text}")
    return error


def _limit_memory(size: int) -> None:
    """Bound what the process may take beyond what it has (Unix)."""
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
    """Let the system end the process (Unix): not even code that never returns can stop it."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)

"""The child processes of `Decoders`: the parent's handle on one, the messages, the child's side.

The parent sends a limit of memory, then one `Request` after the other; the child answers each with
a result or a LedError. A message is the sizes of its parts, a pickle, and the arrays as they lie in
memory. They go through pipes: shared memory would save one copy of the mosaic, 2 % of the time
that reading a photo takes, but outlives processes that are killed. No torch.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from ledcli.errors import LedError, RawError, memory_error, os_reason

START_LIMIT_S = 120.0
EXIT_WAIT_S = 1.0
"""Time for a child that was killed to be gone."""
END_WAIT_S = 20.0
"""Time for a child that has closed its pipe to have an exit status, on a busy machine too."""

# The child gets the parent's search path and imports nothing from the current folder (-P).
_CHILD_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from ledcli.raw.decoder_child import serve; serve()"
)
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
"""Threads that wait must not take the cores from the network, and GNU's go by the last."""
STOPPED = "no more photos are read: the run was stopped"
_NO_MORE = object()
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
    """Read a message; raises EOFError if the other end is gone, others for garbage."""
    (count,) = struct.unpack("<Q", _read(pipe, 8))
    if not 1 <= count <= MAX_PARTS:
        raise ValueError
    sizes = struct.unpack(f"<{count}Q", _read(pipe, 8 * count))
    if max(sizes) > MAX_PART_BYTES:
        raise ValueError
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


class Child:
    """One child; a thread reads its messages, so that waits can time out.

    `stopped` says that nobody wants its answer any more. Raises LedError if it cannot be started.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._messages: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.started = self.stopped = self._ended = False
        self.exit_status: int | None = None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CHILD_CODE, json.dumps([str(p) for p in sys.path])],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if os.environ.get("LED_DEBUG") else subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
                # Ctrl-C at the terminal reaches the parent alone.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            raise LedError(f"the decoding process cannot be started: {os_reason(error)}") from error
        self._to, self._from = cast(FileIO, self._process.stdin), cast(FileIO, self._process.stdout)
        enlarge_pipe(self._from)
        threading.Thread(target=self._listen, daemon=True).start()
        with contextlib.suppress(OSError):
            send(self._to, memory_bytes)

    def _listen(self) -> None:
        try:
            # What answers are made of: imported while the child starts.
            importlib.import_module("ledcli.raw.reader")
            while True:
                self._messages.put(receive(self._from))
        except Exception as error:
            # The end of the pipe, or what a crash left in it.
            self._from.close()
            known = isinstance(error, EOFError | MemoryError)
            self._messages.put(error if known else _NO_MORE)

    def ask(self, request: Request, limit_s: float) -> object:
        """Return the answer; raises EOFError if the child is gone, TimeoutError, MemoryError."""
        if not self.started:
            self._next_message(START_LIMIT_S)
            self.started = True
        try:
            send(self._to, request)
        except OSError:
            raise EOFError from None
        return self._next_message(limit_s)

    def _next_message(self, limit_s: float) -> object:
        try:
            message = self._messages.get(timeout=limit_s)
        except queue.Empty:
            raise TimeoutError from None
        if message is _NO_MORE:
            raise EOFError
        if isinstance(message, EOFError | MemoryError):
            self._ended = isinstance(message, EOFError)
            raise message
        return message

    def runs(self) -> bool:
        """Return False if it was killed while it had nothing to do."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process; its exit status is kept if it had ended by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            # If it has ended by itself, its exit status tells why.
            self._process.wait(END_WAIT_S if self._ended else 0)
            self.exit_status = self._process.returncode
        with contextlib.suppress(OSError):
            self._process.kill()
        self._messages.put(_NO_MORE)
        with contextlib.suppress(subprocess.TimeoutExpired):
            # A read from a drive that is gone cannot be killed until the drive gives up.
            self._process.wait(EXIT_WAIT_S)
        with contextlib.suppress(OSError):
            self._to.close()

    def failure(self, path: Path, error: BaseException, limit_s: float) -> LedError:
        """Return the error for a file that it did not answer for; it has been killed."""
        if self.stopped:
            return LedError(STOPPED)
        if isinstance(error, MemoryError):
            return memory_error(path)
        if not self.started:
            return LedError("the decoding process does not start: set LED_DEBUG=1 to see why")
        if isinstance(error, TimeoutError):
            return RawError(
                f"{path}: LibRaw timed out after {limit_s:.0f} s: the file is damaged, or its "
                "drive is too slow"
            )
        if self.exit_status in (-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM)):
            return LedError(
                f"{path}: the decoding process was killed: if memory is full, close other programs "
                "and try again"
            )
        return RawError(f"{path}: LibRaw crashed: the file is damaged or not supported")


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


def _listen(inbox: FileIO, requests: queue.SimpleQueue[Request]) -> None:
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
